"""The code of docs/python.md runs, on an encoder of random weights."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile

from encoders import write_encoder
from registry.tiny import empty_store, song, tiny_tagger
from tagscale import tracking
from tagscale.registry.package import register
from tagscale.registry.versions import Registry
from tagscale.runtime.identity import RunIdentity

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
IDENTITY = RunIdentity("spectrogram", "all", 0, "tiny", "dddddddddddd", "pppppppppppp", "ssssssssssss")


@pytest.mark.slow
def test_the_page_runs(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))  # to which MLflow adds the code that a model carries
    monkeypatch.chdir(empty_store(request.config, tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    monkeypatch.setenv("TAGSCALE_PRETRAINED", "encoders")
    write_encoder(tmp_path / "encoders", "msd_musicnn")
    soundfile.write("song.mp3", song(1, seconds=7), 16_000, format="MP3")
    registry = Registry.open_or_create("tagscale-tagger", "for tests")
    with tracking.find_run("study", IDENTITY) as run:
        registry.set_alias("champion", register(registry, run, tiny_tagger(), IDENTITY.name, {}, "a description"))
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {"samples": song(2).reshape(2, -1)}
    for block in blocks:
        if "pyspark" not in block:  # tests/registry/test_spark.py runs it
            exec(block, names)
    assert len(names["tagger"].tags) == 50 == names["taggram"].scores.shape[1]
    assert names["embedding"].shape == (names["tagger"].audio.scorer.dims,)
    assert list(names["model"].predict(names["songs"], params={"output": "json"})) == ["result"]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "no such file"
    assert [line.partition(" ")[0] for line in said[1:]] == ["song.mp3", "nowhere.mp3"]
