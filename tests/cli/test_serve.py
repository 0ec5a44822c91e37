"""The commands that serve a version refuse what they cannot serve, in words."""

import pytest

from registry.tiny import store
from tagscale.cli import main
from tagscale.serving.server import app

__all__ = ["store"]


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["--version", ""], "--version is empty: no version is rolled out to this pod yet. `tagscale deploy` does it."),
        (["--version", "3", "--model", "nobody"], "No model 'nobody' in the registry"),
    ],
)
def test_what_cannot_be_served(
    store: object, capsys: pytest.CaptureFixture[str], words: list[str], because: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", *words])
    assert ended.value.code == 1
    assert because in capsys.readouterr().err


def test_each_name_has_one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    slots: list[tuple[str, str]] = []

    def run(settings: app.Settings, say: object) -> None:
        slots.extend((one.role, one.name) for one in settings.asked)

    monkeypatch.setattr(app, "serve", run)
    words = ["--version", "2", "--beside", "2", "--beside", "challenger", "--beside", "challenger"]
    with pytest.raises(SystemExit):
        main(["serve", "--model", "tagger", *words, "--shadow", "challenger", "--record", "served"])
    assert slots == [("lead", "2"), ("beside", "challenger"), ("shadow", "challenger")]
