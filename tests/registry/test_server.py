"""Through MLflow's own application over HTTP works what works on the local store: MLFLOW_TRACKING_URI names it."""

from collections.abc import Iterator
from pathlib import Path

import mlflow.pyfunc
import pandas as pd
import pytest

from registry.tiny import TinyStudy, make_study, package_little_code
from servers.flaky import flaky_mlflow
from tagscale import tracking
from tagscale.registry.package import example_wav, load_version
from tagscale.registry.promote import history, rollback
from tagscale.registry.versions import CHAMPION, Registry
from tagscale.runtime.identity import RunIdentity
from tagscale.stages import register

pytestmark = pytest.mark.slow
NAME = "tagscale-tagger"


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server that keeps runs in SQLite and serves artifacts itself."""
    with flaky_mlflow(request.config, tmp_path_factory.mktemp("server")) as server:
        yield server.address


@pytest.fixture
def study(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyStudy:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.chdir(tmp_path)
    made = make_study(tmp_path / "study", tracks=48)
    made.set_skill("spectrogram", 0.3)
    return made


def test_from_run_to_champion_through_the_server(study: TinyStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = RunIdentity("spectrogram", "all", 0, "tiny", "d", "p", "s")
    with tracking.start_run("study", identity, {"train": {"batch": 8}}) as run:
        run.log_metrics({"train_loss": 0.5}, step=1)
        run.log_artifacts(study.root / "runs" / "spectrogram-all-0", "checkpoint")
    client = tracking.connect()
    assert client.get_run(run.run_id).info.artifact_uri.startswith("mlflow-artifacts:")
    assert [entry.path for entry in client.list_artifacts(run.run_id)] == ["checkpoint"]

    register.run(study.params, **study.paths())
    better = make_study(study.root.parent / "better", seed=1, tracks=48)
    better.set_skill("spectrogram", 4.0)
    package_little_code(monkeypatch, better.root)  # the first version's is what is loaded below
    register.run(better.params, **better.paths())
    assert better.registration()["alias"] == CHAMPION
    assert rollback(NAME)["champion"] == "1"
    assert [record["action"] for record in history(NAME)] == ["promote", "promote", "rollback"]
    assert Registry.open(NAME).aliases() == {CHAMPION: "1"}

    tagger, version = load_version(NAME)
    assert version.number == "1"
    song = study.root / "song.wav"
    song.write_bytes(example_wav(tagger.scorer.seconds))
    ours = tagger.tag(song).scores
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@{CHAMPION}")
    theirs = loaded.predict(pd.DataFrame({"audio": [song.read_bytes()]}))
    assert theirs.iloc[0].to_dict() == pytest.approx(ours, abs=1e-6)
    assert not list(Path.cwd().glob("mlartifacts")), "artifacts go to the server, not beside the study"
    assert not list(Path.cwd().glob("mlflow.db*"))
