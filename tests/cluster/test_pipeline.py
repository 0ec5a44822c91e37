"""Begin and end of a pipeline's run, with a real MLflow store."""

from pathlib import Path

import pytest

from registry.tiny import empty_store
from tagscale import tracking
from tagscale.cluster.pipeline import begin, end
from tagscale.params.load import Params, laid_over, load, parse
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity

ROOT = Path(__file__).parents[2]
RUN = "tagscale-study-x7f2q"


@pytest.fixture
def params(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    empty_store(request.config, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "volume").mkdir()
    return changed(load(ROOT / "params.yaml"), kubernetes={"mount": str(tmp_path / "volume")})


def changed(params: Params, **blocks: dict) -> Params:
    return parse(laid_over(params.model_dump(), blocks))


def runs(params: Params, condition: str = "") -> list:
    client = tracking.connect()
    experiment = client.get_experiment_by_name(params.tracking.experiment)
    return client.search_runs([experiment.experiment_id], filter_string=condition)


def pipeline_run(params: Params):
    (found,) = runs(params, f"tags.`tagscale.pipeline_run` = '{RUN}'")
    return found


def start(params: Params) -> None:
    begin(params, pipeline="study", pipeline_run=RUN)


def finish(params: Params, state: str, message: str = "") -> None:
    end(params, pipeline="study", pipeline_run=RUN, status={"state": state, "error": {"message": message}})


def test_a_pipeline_has_exactly_one_run_of_its_own(params: Params) -> None:
    start(params)
    start(params)  # the task is tried again
    run = pipeline_run(params)
    assert (run.info.status, run.data.tags["tagscale.pipeline"]) == ("RUNNING", "study")


def test_a_model_that_cannot_take_its_patches_stops_the_first_task(params: Params) -> None:
    with pytest.raises(TagscaleError, match=r"train\.models: waveform: This model needs at least 11\.07"):
        start(changed(params, model={"waveform": {"layers": 9}}))


@pytest.mark.parametrize(
    ("state", "status"),
    [("SUCCEEDED", "FINISHED"), ("COMPLETE", "FINISHED"), ("FAILED", "FAILED"), ("CANCELLED", "KILLED")],
)
def test_the_end_is_recorded(params: Params, state: str, status: str) -> None:
    start(params)
    finish(params, state, "no node has a GPU")
    run = pipeline_run(params)
    assert (run.info.status, run.data.tags["tagscale.state"]) == (status, state)
    assert run.data.tags["tagscale.error"] == "no node has a GPU"


def test_an_end_without_a_begin_is_recorded_too(params: Params) -> None:
    finish(params, "FAILED")
    assert pipeline_run(params).info.status == "FAILED"


def training(params: Params, model: str) -> None:
    """A training whose pod is gone: its run is still RUNNING."""
    identity = RunIdentity(model, "all", 0, "songs", "a" * 12, "b" * 12, "c" * 12)
    with tracking.start_run(params.tracking.experiment, identity, {}) as run:
        pass
    tracking.connect().update_run(run.run_id, status="RUNNING")


def test_lost_trainings_are_ended(params: Params) -> None:
    start(params)
    training(params, "waveform")
    training(params, "somebody-elses")
    finish(params, "FAILED", "evicted")
    states = {run.info.run_name: run.info.status for run in runs(params)}
    assert states["waveform-all-0"] == "FAILED"
    assert states["somebody-elses-all-0"] == "RUNNING", "it is not of this pipeline's grid"


@pytest.mark.parametrize("state", ["RUNNING", ""])
def test_a_server_that_does_not_report_the_state(params: Params, state: str) -> None:
    start(params)
    finish(params, state)
    run = pipeline_run(params)
    assert (run.info.status, run.data.tags["tagscale.state"]) == ("FINISHED", f"unknown ({state or 'nothing'})")
    training(params, "waveform")
    finish(params, state)
    assert pipeline_run(params).info.status == "FAILED", "a training was lost"


def test_success_changes_no_training(params: Params) -> None:
    start(params)
    training(params, "waveform")
    finish(params, "SUCCEEDED")
    assert {run.info.run_name: run.info.status for run in runs(params)}["waveform-all-0"] == "RUNNING"


def test_a_dataset_that_is_not_on_the_volume(params: Params) -> None:
    with pytest.raises(TagscaleError, match=r"dataset.root: .*volume/mp3s: no such folder on the volume tagscale-data"):
        start(changed(params, dataset={"source": "folder", "root": "mp3s"}))


def test_begin_fails_without_mlflow(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TagscaleError, match="no MLflow server answers there"):
        start(params)
