"""The pipeline `tag`, run for real by kfp's local runner: tasks in processes of their own, on a real registry."""

import json
from pathlib import Path

import pytest
import soundfile

from registry.tiny import empty_store, song, tiny_tagger
from tagscale import SAMPLE_RATE
from tagscale.params.load import laid_over, read_yaml
from tagscale.registry.package import register
from tagscale.registry.promote import promote
from tagscale.registry.versions import Registry
from tagscale.runtime.identity import RunIdentity
from tagscale.serving.rows import read_rows
from tagscale.tracking import find_run
from tiny_project import ROOT, pipelines_run


@pytest.mark.slow
def test_a_catalogue_becomes_one_data_set(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Path
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(empty_store(request.config, tmp_path))
    registry = Registry.open_or_create("tagscale-tagger", "for tests")
    with find_run("tests", RunIdentity("spectrogram", "all", 0, "songs", "d" * 12, "p" * 12, "s" * 12)) as run:
        register(registry, run, tiny_tagger(), "a run", {}, "")
    promote("tagscale-tagger", 1, "by hand", force=True)
    (tmp_path / "songs").mkdir()
    for number in range(3):
        soundfile.write(tmp_path / "songs" / f"{number}.wav", song(number), SAMPLE_RATE)
    (tmp_path / "songs" / "broken.wav").write_bytes(b"RIFF")

    settings = laid_over(read_yaml(ROOT / "params.yaml"), {"kubernetes": {"shards": 2}})
    options = ("--catalogue", "songs", "--scores", "rows")
    done = pipelines_run(tmp_path, settings, pipeline="tag", options=options, programs=programs)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    folder = tmp_path / "pipeline-run" / "volume" / "rows" / "tagscale-tagger-1"
    assert f"scores       {folder}" in done.stdout
    assert sorted(file.name for file in folder.iterdir()) == ["_SUCCESS", "part-1-of-2.parquet", "part-2-of-2.parquet"]
    rows = read_rows(folder)
    assert (len(rows), int(rows.tagged.sum())) == (4, 3)
    assert json.loads((folder / "_SUCCESS").read_text())["errors"] == 1
    (made,) = (tmp_path / "pipeline-run" / "artifacts").rglob("join/executor_output.json")
    artifacts = json.loads(made.read_text())["artifacts"]
    assert artifacts["scores"]["artifacts"][0]["metadata"]["tagged"] == 3
    assert artifacts["metrics"]["artifacts"][0]["metadata"]["errors"] == 1
