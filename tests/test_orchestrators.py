"""The same tiny study by DVC and as a Kubeflow pipeline, for real, each in a folder of its own.

`dvc repro` finishes, then has nothing to do, then does only what changed; the pipeline gives the same numbers.
"""

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from conformance.rules.metadata import faults_of
from registry.tiny import empty_store
from tagscale.params.load import laid_over
from tiny_project import NAMES, Project, headline_of, pipeline_state, pipelines_run, tiny_settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Project:
    """Every stage was run once. Tasks that start afresh are tested in the container image."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.programs = programs
    ran = project.repro()
    assert ran[0] == "synth"
    assert ran[-1] in {"compare", "register"}
    assert {"train@waveform-all-0", "evaluate@spectrogram-all-0", "evaluate_baseline@descriptors-all-0"} <= set(ran)
    return project


@pytest.fixture(scope="module")
def pipeline_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    folder = empty_store(request.config, tmp_path_factory.mktemp("pipeline"))
    done = pipelines_run(folder, tiny_settings(), programs=programs)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    for line in ("reports/report.html", "reports/metrics.json", "registration/registration.json"):
        assert f"pipeline-run/{line}" in done.stdout
    assert pipeline_state(folder) == ["SUCCEEDED"], "the tasks tracked somewhere else than their caller"
    return folder / "pipeline-run"


def test_the_study_leaves_what_it_promises(project: Project) -> None:
    for path in ("reports/report.html", "reports/metrics.json", "registration/registration.json", "mlflow.db"):
        assert (project.folder / path).stat().st_size > 0, path
    assert "best.pr_auc" in project.command("dvc", "metrics", "show")
    assert "index.html" in project.command("dvc", "plots", "show")
    assert "tiny-corpus" in project.command("tagscale", "results")


def test_dvc_and_the_pipeline_give_the_same_numbers(project: Project, pipeline_run: Path) -> None:
    for results in [*(f"results/{name}" for name in NAMES), "ensembles/results/ensemble-all-0"]:
        by_dvc = (project.folder / results / "metrics.json").read_bytes()
        assert by_dvc == (pipeline_run / results / "metrics.json").read_bytes()
        assert 0 < json.loads(by_dvc)["test"]["pr_auc"] <= 1
    assert headline_of(project.folder) == headline_of(pipeline_run)
    for file in ("reports/scores.json", "registration/candidate.json"):
        assert (project.folder / file).read_bytes() == (pipeline_run / file).read_bytes()
    assert "spectrogram" in (pipeline_run / "reports" / "report.html").read_text()


def test_every_artifact_says_what_it_is(pipeline_run: Path) -> None:
    """On its page in Kubeflow; the pages lead to the runs in MLflow."""
    described: dict[str, dict] = {}
    for file in sorted((pipeline_run / "artifacts").rglob("executor_output.json")):
        for name, made in json.loads(file.read_text()).get("artifacts", {}).items():
            for artifact in made["artifacts"]:
                if name not in ("metrics", "curve"):  # whose metadata are the numbers that they show
                    metadata = artifact.get("metadata", {})
                    assert list(faults_of(json.dumps(metadata))) == [], f"{file}: {name}"
                    described[f"{name} {metadata.get('run', '')}".strip()] = metadata
    assert {f"run {name}" for name in NAMES} | {f"results {name}" for name in NAMES} <= described.keys()
    assert described.keys() >= {"settings", "catalog", "store", "validation", "partition", "reports", "registration"}
    run, results = described["run waveform-all-0"], described["results waveform-all-0"]
    with sqlite3.connect(pipeline_run.parent / "mlflow.db") as store:
        parents = dict(store.execute("SELECT run_uuid, value FROM tags WHERE key = 'mlflow.parentRunId'"))
    assert run["mlflow_run"] == results["mlflow_run"]
    assert parents[run["mlflow_run"]] == described["settings"]["mlflow_run"], "it nests in the pipeline's run"
    assert len(parents) == len(NAMES) + described["ensembles"]["runs"], "the comparison is in the pipeline's run"
    assert 0 < results["test_pr_auc"] <= 1


def test_a_second_study_trains_nothing_and_says_why(pipeline_run: Path, programs: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pipeline_run.parent, tmp_path / "copy")  # other tests read the first one
    trainings, before = runs_of_cells(folder), results_in(pipeline_run)
    done = pipelines_run(folder, tiny_settings(), programs=programs)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    for name in NAMES:
        kept = rf"{name}: kept from 20[-\d]+ [\d:]+ UTC, MLflow run {trainings[name]}; nothing is"
        for task in (rf"train {kept} trained", rf"evaluate {kept} evaluated"):
            assert len(re.findall(task, done.stdout)) == 1, task
    assert runs_of_cells(folder) == trainings, "a training was opened in MLflow"
    assert results_in(folder / "pipeline-run") == before
    described = folder / "pipeline-run" / "volume" / "tiny-corpus" / "descriptors"
    assert len(list(described.iterdir())) == 1, "another partition"
    outcome = json.loads((folder / "pipeline-run" / "registration" / "registration.json").read_text())
    assert (outcome["version"], outcome["alias"]) == ("1", "champion"), "an unchanged dataset was promoted"
    assert "registered already" in outcome["reason"]
    with sqlite3.connect(folder / "mlflow.db") as store:
        taken = dict(store.execute("SELECT key, value FROM tags WHERE key LIKE 'tagscale.kept.%'"))
    assert taken == {f"tagscale.kept.{name}": run for name, run in trainings.items()}


def runs_of_cells(folder: Path) -> dict[str, str]:
    """MLflow's run of every training, by name; one of a name, or this fails."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        runs = [(name, run) for name, run in store.execute("SELECT name, run_uuid FROM runs") if name in NAMES]
    assert sorted(name for name, _ in runs) == sorted(NAMES)
    return dict(runs)


def results_in(pipeline_run: Path) -> dict[str, bytes]:
    return {name: (pipeline_run / "results" / name / "metrics.json").read_bytes() for name in NAMES}


def test_a_task_that_stops_stops_the_pipeline_and_is_named(
    request: pytest.FixtureRequest, tmp_path: Path, programs: Path
) -> None:
    empty_store(request.config, tmp_path)
    wrong = {"synth": {"tracks": 12, "artists": 12}, "validation": {"min_seconds": 60.0, "max_quarantined": 0.0}}
    done = pipelines_run(tmp_path, laid_over(tiny_settings(), wrong), programs=programs)
    assert done.returncode == 1
    assert "'validate'" in done.stderr.splitlines()[-1]
    assert "FAILED" in pipeline_state(tmp_path), "MLflow was not told of the end"
    assert "error tiny-corpus did not pass validation" in done.stdout, "the message of the stage is shown"
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "pipeline-run" / "reports").exists()


def test_a_second_run_does_nothing(project: Project) -> None:
    assert project.repro() == []


def test_only_what_depends_on_a_change_runs_again(project: Project) -> None:
    """Another name for the experiment trains nothing: runs that are evaluated again are those under the old name."""
    runs = mlflow_runs(project)
    project.change({"model": {"waveform": {"width": 0.25}}})
    assert project.changed() == {"train@waveform-all-0"}
    project.change({"model": {"waveform": {"width": 0.125}}, "evaluate": {"hop_seconds": 1.0}})
    evaluated = {"evaluate@waveform-all-0", "evaluate@spectrogram-all-0"}
    assert project.changed() == evaluated | {"register"}
    project.change({"evaluate": {"hop_seconds": 2.0}, "tracking": {"experiment": "another-name"}})
    settings = project.folder / "params.yaml"
    settings.write_text(f"# A comment.\n{settings.read_text()}")
    assert project.changed() == {"compare", "register"}
    project.change({"model": {"waveform": {"width": 0.25}}, "evaluate": {"hop_seconds": 1.0}})
    assert set(project.repro()) == {"train@waveform-all-0", *evaluated, "ensemble", "compare", "register"}
    assert mlflow_runs(project)[: len(runs)] == runs
    new = ["ensemble-all-0", "study of tiny-corpus", "waveform-all-0"]
    assert sorted(mlflow_runs(project)[len(runs) :]) == new, "of spectrogram and descriptors nothing is opened"


def mlflow_runs(project: Project) -> list[str]:
    """Names of the runs in MLflow's store, by their beginning."""
    with sqlite3.connect(project.folder / "mlflow.db") as store:
        return [name for (name,) in store.execute("SELECT name FROM runs ORDER BY start_time")]
