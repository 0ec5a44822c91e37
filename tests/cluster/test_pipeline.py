"""Begin and end of a pipeline's run, with a real MLflow store."""

import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from registry.tiny import empty_store
from tagscale import tracking
from tagscale.cluster.pipeline import begin, end
from tagscale.params.load import Params, laid_over, load, parse
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity

ROOT = Path(__file__).parents[2]
RUN, OTHER = "0a5e6d1c-4b7f-4d0e-9a53-2f1b8c7d6e90", "7c1f02aa-93d4-4c55-8f0b-5be2d1a4c3f8"
TITLE = "study 2f1c9aa songs 2026-11-29 03:00"  # two runs may have the same


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


def pipeline_run(params: Params, run: str = RUN):
    (found,) = runs(params, f"tags.`tagscale.pipeline_run` = '{run}'")
    return found


def start(params: Params, run: str = RUN) -> str:
    return begin(params, pipeline="study", pipeline_run=run, title=TITLE)


def finish(params: Params, state: str, run: str = RUN) -> None:
    end(params, pipeline="study", pipeline_run=run, title=TITLE, state=state)


def test_a_pipeline_has_exactly_one_run_of_its_own(params: Params) -> None:
    assert start(params) == start(params)  # the task is tried again
    run = pipeline_run(params)
    assert (run.info.status, run.data.tags["tagscale.pipeline"]) == ("RUNNING", "study")
    assert run.info.run_name == f"study {TITLE}"


def test_two_runs_of_one_name_are_two(params: Params) -> None:
    """People choose the name, and `submit` gives those of one minute the same."""
    assert start(params) != start(params, OTHER)
    finish(params, "FAILED")
    assert pipeline_run(params, OTHER).info.status == "RUNNING"


def test_the_first_task_says_what_is_retried_and_which_locks_there_are(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    start(params)
    output = capsys.readouterr().out
    assert "Retries: none, since no cluster runs this task" in output
    assert f"Locks on {params.kubernetes.mount}: of the file system" in output


def test_a_model_that_cannot_take_its_patches_stops_the_first_task(params: Params) -> None:
    with pytest.raises(TagscaleError, match=r"train\.models: waveform: This model needs at least 11\.07"):
        start(changed(params, model={"waveform": {"layers": 9}}))


@pytest.mark.parametrize(
    ("state", "status"),
    [("SUCCEEDED", "FINISHED"), ("COMPLETE", "FINISHED"), ("FAILED", "FAILED"), ("CANCELLED", "KILLED")],
)
def test_the_end_is_recorded(params: Params, state: str, status: str) -> None:
    start(params)
    finish(params, state)
    run = pipeline_run(params)
    assert (run.info.status, run.data.tags["tagscale.state"]) == (status, state)


def test_an_end_without_a_begin_is_recorded_too(params: Params) -> None:
    finish(params, "FAILED")
    assert pipeline_run(params).info.status == "FAILED"


def training(params: Params, seed: int, parent: str | None) -> str:
    """A training whose pod is gone: its run is still RUNNING. Returns the run's id."""
    identity = RunIdentity("waveform", "all", seed, "songs", "a" * 12, "b" * 12, "c" * 12)
    with ExitStack() as around:
        if parent:
            around.enter_context(tracking.nested_in(parent))
        run = around.enter_context(tracking.start_run(params.tracking.experiment, identity, {}))
    tracking.connect().update_run(run.run_id, status="RUNNING")
    return run.run_id


def states(params: Params) -> dict[str, str]:
    return {run.info.run_id: run.info.status for run in runs(params)}


def test_a_pipeline_ends_the_trainings_that_it_lost_and_no_others(params: Params) -> None:
    """Two pipelines, and somebody at a machine, train the same grid in one experiment."""
    ours, theirs = start(params), start(params, OTHER)
    lost, alive, by_hand = training(params, 0, ours), training(params, 1, theirs), training(params, 2, None)
    finish(params, "FAILED")
    found = states(params)
    assert (found[lost], found[alive], found[by_hand]) == ("FAILED", "RUNNING", "RUNNING")
    assert f"{TITLE} ended: FAILED" in tracking.connect().get_run(lost).data.tags["tagscale.error"]


def test_a_training_that_another_pipeline_resumes_is_that_ones(params: Params) -> None:
    ours, theirs = start(params), start(params, OTHER)
    assert training(params, 0, ours) == training(params, 0, theirs), "it resumes"
    finish(params, "FAILED")
    assert list(states(params).values()).count("RUNNING") == 2, "the other pipeline and its training"


def plugin_run(params: Params, monkeypatch: pytest.MonkeyPatch, experiment: str) -> str:
    """The run that Kubeflow's plugin makes before the first task, and what it puts into the tasks' environment."""
    client = tracking.connect()
    place = tracking.made_experiment(client, experiment)
    run = client.create_run(place, run_name=TITLE, tags={"kfp.pipeline_run_id": RUN}).info.run_id
    config = {"endpoint": "http://mlflow", "parentRunId": run, "experimentId": place, "authType": "basic-auth"}
    monkeypatch.setenv("KFP_MLFLOW_CONFIG", json.dumps(config))
    return run


def test_a_kept_training_is_named_and_stays_where_it_was(params: Params) -> None:
    ours, theirs = start(params), start(params, OTHER)
    kept = training(params, 0, theirs)
    tracking.name_kept("waveform-all-0", kept)  # no pipeline around: nobody to tell
    with tracking.nested_in(ours):
        tracking.name_kept("waveform-all-0", kept)
    client = tracking.connect()
    assert client.get_run(ours).data.tags["tagscale.kept.waveform-all-0"] == kept
    assert client.get_run(kept).data.tags[tracking.PARENT] == theirs


def test_the_run_of_kubeflows_plugin_is_the_pipelines(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plugin_run(params, monkeypatch, params.tracking.experiment)
    assert start(params) == start(params) == run
    finish(params, "FAILED")
    ended = pipeline_run(params)
    assert (ended.info.run_id, ended.info.run_name, ended.info.status) == (run, TITLE, "FAILED")
    assert (ended.data.tags["tagscale.pipeline"], ended.data.tags["kfp.pipeline_run_id"]) == ("study", RUN)


@pytest.mark.parametrize("fault", ["another experiment", "another MLflow", "names no run"])
def test_a_run_of_kubeflows_plugin_that_cannot_be_taken(
    params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    run = plugin_run(params, monkeypatch, "KFP-Default")
    if fault != "another experiment":
        config = "" if fault == "names no run" else json.dumps({"parentRunId": "0" * 32})
        monkeypatch.setenv("KFP_MLFLOW_CONFIG", config)
    assert start(params) != run
    assert fault in capsys.readouterr().out
    assert pipeline_run(params).info.run_name == f"study {TITLE}"


def test_the_runs_of_kubeflows_plugin_are_left_to_it(params: Params) -> None:
    """It makes one for each task, in the same run; that of this last task is still RUNNING."""
    parent, client = start(params), tracking.connect()
    experiment = client.get_experiment_by_name(params.tracking.experiment).experiment_id
    task = client.create_run(experiment, run_name="end", tags={tracking.PARENT: parent}).info.run_id
    finish(params, "FAILED")
    assert states(params)[task] == "RUNNING"


@pytest.mark.parametrize("state", ["RUNNING", ""])
def test_a_server_that_does_not_report_the_state(params: Params, state: str) -> None:
    start(params)
    finish(params, state)
    run = pipeline_run(params)
    assert (run.info.status, run.data.tags["tagscale.state"]) == ("FINISHED", f"unknown ({state or 'nothing'})")
    training(params, 0, run.info.run_id)
    finish(params, state)
    assert pipeline_run(params).info.status == "FAILED", "a training was lost"


def test_success_changes_no_training(params: Params) -> None:
    run = training(params, 0, start(params))
    finish(params, "SUCCEEDED")
    assert states(params)[run] == "RUNNING"


def test_a_dataset_that_is_not_on_the_volume(params: Params) -> None:
    with pytest.raises(TagscaleError, match=r"dataset.root: .*volume/mp3s: no such folder on the volume tagscale-data"):
        start(changed(params, dataset={"source": "folder", "root": "mp3s"}))


def test_begin_fails_without_mlflow(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TagscaleError, match="no MLflow server answers there"):
        start(params)
