"""`tagscale models` as its users meet it: the JSON, the table at two widths, and what it refuses."""

import json
from pathlib import Path

import pytest
import yaml

from tagscale.cli import main
from tagscale.models.spec import MODELS

ROOT = Path(__file__).parents[2]


def run(*words: str) -> int:
    """Exit status of `tagscale models` with these words."""
    with pytest.raises(SystemExit) as ended:
        main(["models", *words])
    return int(ended.value.code or 0)


@pytest.fixture
def params(tmp_path: Path) -> str:
    """The shipped settings with every network narrow, so that the test is quick, and a named capacity."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, block in content["model"].items():
        if "width" in block and name not in ("waveform", "spectrogram"):
            block["width"] = 0.25
    content["model"]["waveform-x4"] = {"layers": 7, "width": 4.0, "filters": 512, "units": 500}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    return str(tmp_path / "params.yaml")


def test_json_has_every_model_of_the_settings_and_its_rows(params: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--params", params, "--json") == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {*MODELS, "waveform-x4"}
    assert rows["waveform-x4"]["parameters"] == 11_824_058  # table 2
    assert [row["printed"] for row in rows["waveform-x4"]["paper"]] == ["11.8M"]
    assert rows["waveform"]["capacity"]["filters"] == 64
    assert rows["waveform"]["shortest_seconds"] == 1.23
    assert rows["descriptors"]["parameters"] is None
    assert rows["short_chunk"]["paper"] == []
    assert sum(len(row["paper"]) for name, row in rows.items() if name != "waveform-x4") == 47, "every row of the paper"


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits_the_terminal(
    params: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run("--params", params) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert "…" not in out, "something was cut off"
    for said in (*MODELS, "waveform-x4", "11,824,058", "published", "2: 11.8M 89.05/34.92", "4: 3M 86.20"):
        assert said in out


def test_missing_settings_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--params", str(tmp_path / "none.yaml")) == 1
    assert "none.yaml: no such file" in capsys.readouterr().err
