"""The commands that serve a version refuse what they cannot serve, in words."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from registry.tiny import store
from servers.processes import free_port
from tagscale.cli import main
from tagscale.serving.server import app

__all__ = ["store"]


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["--version", ""], "--version is empty: no version is rolled out to this pod yet. `tagscale deploy` does it."),
        (["--version", "3", "--model", "nobody"], "No model 'nobody' in the registry"),
        (["--tokens", "file"], "A token of this server has less than 16 characters"),
        (["--tokens", "umlauts"], "A token of this server has letters beyond ASCII"),
        (["--record", "file"], "file: it exists already"),
        (["--corrections", "file"], "file: its first line is not `when,who,track_id,"),
        (["--corrections", "file/corrections.csv"], "file: it exists already"),
    ],
)
def test_what_cannot_be_served(store: Path, capsys: pytest.CaptureFixture[str], words: list[str], because: str) -> None:
    (store / "file").write_text("of somebody\n")
    (store / "umlauts").write_text("ü" * 20)
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--port", str(free_port()), *words])
    assert ended.value.code == 1
    assert because in capsys.readouterr().err
    assert (store / "file").read_text() == "of somebody\n"


def test_a_port_that_another_program_has_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as ended:
        main(["serve", "--port", str(taken.getsockname()[1])])
    assert ended.value.code == 1
    assert "nobody can listen there (Address already in use)" in capsys.readouterr().err


def test_each_name_has_one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    slots: list[tuple[str, str]] = []

    def run(settings: app.Settings, say: object) -> None:
        slots.extend((one.role, one.name) for one in settings.asked)

    monkeypatch.setattr(app, "serve", run)
    words = ["--version", "2", "--beside", "2", "--beside", "challenger", "--beside", "challenger"]
    with pytest.raises(SystemExit):
        main(["serve", "--model", "tagger", *words, "--shadow", "challenger", "--record", "served"])
    assert slots == [("lead", "2"), ("beside", "challenger"), ("shadow", "challenger")]


def test_the_process_that_speaks_http_starts_without_what_takes_long() -> None:
    code = "import sys, tagscale.serving.server.app; print({'pandas', 'torch', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
