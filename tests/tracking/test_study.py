"""The run that the trainings of a study nest in: one, whatever processes make it, with the view of its trainings."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tagscale import tracking
from tagscale.runtime.identity import RunIdentity
from tagscale.tracking import nesting
from tagscale.tracking.views import print_pages

IDENTITY = RunIdentity("waveform", "300", 0, "corpus", "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")
STUDY = "corpus", "aaaaaaaaaaaa", "bbbbbbbbbbbb"
FACTS = tracking.StudyFacts(*STUDY, metrics=["pr_auc", "rmse"], colours={"waveform": "#0072B2"})


@contextmanager
def training(folder: Path, **changes: Any) -> Iterator[tracking.TrackedRun]:
    identity = RunIdentity(**(IDENTITY.as_dict() | changes))
    data = tracking.DataFacts("/music", ["rock", "jazz"], tracks=9, artists=3)
    with tracking.start_run("study", identity, {}, folder, folder.with_suffix(".unfinished"), data) as run:
        folder.mkdir(exist_ok=True)
        yield run


def parent_of(run: tracking.TrackedRun) -> str:
    return str(run.client.get_run(run.run_id).data.tags[tracking.PARENT])


def status_of(run_id: str) -> str:
    return str(tracking.connect().get_run(run_id).info.status)


def test_trainings_of_the_same_data_nest_in_one_run(store: Path) -> None:
    with training(store / "first") as first:
        study = parent_of(first)
        assert status_of(study) == "RUNNING"
    assert status_of(study) == "FINISHED"
    with pytest.raises(ZeroDivisionError), training(store / "second", seed=1) as second:
        1 / 0  # noqa: B018
    assert (parent_of(second), status_of(study)) == (study, "FAILED")
    with training(store / "other", partition_hash="another") as other:
        assert parent_of(other) != study
    with tracking.nested_in("3f0c"), training(store / "third", seed=2) as third:
        assert parent_of(third) == "3f0c", "a pipeline has a run of its own: no second level"
    with tracking.comparison_run("study", FACTS, "Waveform leads.", {}) as compared:
        pass
    assert (compared.run_id, status_of(study)) == (study, "FINISHED")
    colours = [first.client.get_run(run.run_id).data.tags.get("mlflow.runColor") for run in (first, other)]
    assert colours == ["#0072B2", None], "the study's own trainings"


def test_the_page_shows_the_dataset_with_its_schema(store: Path) -> None:
    for seed in (0, 1):
        with training(store / str(seed), seed=seed) as run:
            pass
        (given,) = run.client.get_run(run.run_id).inputs.dataset_inputs
        schema = json.loads(given.dataset.schema)["mlflow_colspec"]
        assert [(column["name"], column["type"]) for column in schema] == [
            ("audio", "binary"),
            ("rock", "double"),
            ("jazz", "double"),
        ]
        assert json.loads(given.dataset.profile) == {"tracks": 9, "artists": 3, "tags": 2}
        assert json.loads(given.dataset.source) == {"uri": "/music"}


@pytest.mark.parametrize("locked", [True, False])
def test_processes_that_start_at_once_make_one_run(store: Path, monkeypatch: pytest.MonkeyPatch, locked: bool) -> None:
    client = tracking.connect()
    experiment = tracking.made_experiment(client, "study")
    if not locked:  # as on a server
        monkeypatch.setattr(nesting, "database_of", lambda uri: None)
    monkeypatch.setattr(nesting, "_PAUSE_SECONDS", 0.5)
    barrier, found = threading.Barrier(4), list[str]()

    def look() -> None:
        barrier.wait()
        found.append(nesting.study_of(client, experiment, *STUDY, {}))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert {run.info.run_id for run in client.search_runs([experiment])} == set(found)
    assert len(set(found)) == 1


def test_a_late_candidate_yields_though_its_time_is_earlier(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tracking.connect()
    experiment, key = tracking.made_experiment(client, "study"), nesting.study_key(*STUDY[1:])
    candidates = [
        client.create_run(experiment, start_time=time, tags={nesting._CANDIDATE: key}).info.run_id for time in (2, 1)
    ]
    client.set_tag(candidates[0], nesting.STUDY, key)
    monkeypatch.setattr(nesting, "_PAUSE_SECONDS", 0.0)
    assert nesting._elected(client, experiment, key, candidates[1]) == candidates[0]
    assert [run.info.run_id for run in client.search_runs([experiment])] == [candidates[0]]


def test_a_candidate_whose_process_has_ended_stops_nobody(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tracking.connect()
    experiment, key = tracking.made_experiment(client, "study"), nesting.study_key(*STUDY[1:])
    client.create_run(experiment, start_time=1, tags={nesting._CANDIDATE: key})
    monkeypatch.setattr(nesting, "database_of", lambda uri: None)
    monkeypatch.setattr(nesting, "_PAUSE_SECONDS", 0.0)
    made = nesting.study_of(client, experiment, *STUDY, {})
    assert made == nesting.study_of(client, experiment, *STUDY, {})


def test_the_comparison_keeps_a_view_of_the_trainings(store: Path, capsys: pytest.CaptureFixture) -> None:
    assert tracking.study_page("study", *STUDY[1:]) is None
    with tracking.comparison_run("study", FACTS, "Waveform leads.", {}) as run:
        run.log_metrics({"best.pr_auc": 0.5})
    page = tracking.study_page("study", *STUDY[1:])
    assert tracking.linked_page("study", *STUDY[1:]) is None, "no server shows the store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_UI_ENDPOINT", "https://mlflow.example.org")
        linked = tracking.linked_page("study", *STUDY[1:])
        assert linked == tracking.study_page("study", *STUDY[1:])
        assert str(linked).startswith("https://mlflow.example.org/#/experiments/")
        assert tracking.linked_page("other", *STUDY[1:]) is None
    assert page is not None
    place = page.removeprefix("http://127.0.0.1:5000/#/")
    assert place.startswith(f"experiments/{run.experiment_id}/runs?viewStateShareKey=tagscale-")
    note = run.client.get_run(run.run_id).data.tags["mlflow.note.content"]
    assert note == f"Waveform leads.\n\n[The trainings side by side, with charts](#/{place})"
    print_pages()
    assert capsys.readouterr().out == f"  study: {page}\n"


def test_the_comparison_of_a_pipeline_is_in_the_pipelines_run(store: Path) -> None:
    client = tracking.connect()
    pipeline = client.create_run(tracking.made_experiment(client, "study")).info.run_id
    with (
        tracking.nested_in(pipeline),
        tracking.comparison_run("study", FACTS, "Waveform leads.", {"a": 1}) as run,
    ):
        pass
    assert run.run_id == pipeline
    assert client.get_run(pipeline).data.tags["tagscale.finding"] == "Waveform leads."
    assert status_of(pipeline) == "RUNNING", "the pipeline ends it"
    assert len(client.search_runs([run.experiment_id])) == 1


def test_a_run_that_no_store_has_gets_axes_and_a_parent(store: Path) -> None:
    with tracking.find_run("study", IDENTITY, store / "run") as run:
        run.log_metrics({"test_pr_auc": 0.5})
    client = tracking.connect()
    kept = client.get_run(run.run_id).data
    assert kept.params == {"model": "waveform", "size": "300", "seed": "0"}
    assert kept.metrics == {"test_pr_auc": 0.5}
    assert client.get_run(kept.tags[tracking.PARENT]).info.run_name == "study of corpus"
