"""DVC's experiments and revisions in a git repository: numbers for each, and what MLflow keeps lands in the project."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import yaml

from registry.tiny import empty_store
from tagscale.params.load import laid_over, read_yaml
from tiny_project import ROOT, run

pytestmark = pytest.mark.slow
INPUTS = ("data/catalog", "data/partition", "data/store", "data/validation", "runs", "results", "ensembles")


class Repository:
    """A git repository with a finished tiny study, in which DVC runs the last stages: compare and register."""

    def __init__(self, folder: Path, study: Path, programs: Path) -> None:
        self.folder, self.programs = folder, programs
        for name in INPUTS:
            shutil.copytree(study / name, folder / name)
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
        last = {"stages": {name: stages[name] for name in ("compare", "register")}}
        (folder / "dvc.yaml").write_text(yaml.safe_dump(last, sort_keys=False))
        ignored = [line for line in (ROOT / ".gitignore").read_text().splitlines() if line not in ignored_inputs()]
        (folder / ".gitignore").write_text("\n".join(ignored) + "\n")
        settings = laid_over(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "tests" / "tiny.yaml"))
        (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        self("git", "init", "-q", "-b", "main")
        for key, value in (("user.name", "a"), ("user.email", "a@example.org")):
            self("git", "config", key, value)
        self("dvc", "init", "-q")
        self.commit()

    def __call__(self, *words: str) -> str:
        done = run(self.folder, *words, programs=self.programs)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def commit(self) -> None:
        self("git", "add", "-A")
        self("git", "commit", "-q", "-m", "a state of the study")

    def json(self, *words: str) -> Any:
        return json.loads(self(*words))

    def mlflow(self, query: str) -> list[str]:
        with sqlite3.connect(self.folder / "mlflow.db") as store:
            return [value for (value,) in store.execute(query)]


def ignored_inputs() -> set[str]:
    """Lines of .gitignore that hide the study's inputs, which this repository tracks with git."""
    return {f"/{name.split('/')[0]}/" for name in INPUTS}


@pytest.fixture(scope="module")
def repository(
    request: pytest.FixtureRequest, tiny_study: Any, tmp_path_factory: pytest.TempPathFactory, programs: Path
) -> Repository:
    """The study is compared, registered and committed; then an experiment without baselines runs in a copy.

    The experiment registers the best run under another name.
    """
    folder = empty_store(request.config, tmp_path_factory.mktemp("repository"))
    made = Repository(folder, tiny_study.folder, programs)
    made("dvc", "repro")
    made.commit()
    changes = ("--set-param", "train.baselines=[]", "--set-param", "registry.name=another")
    made("dvc", "exp", "run", "--temp", "--name", "alone", *changes)
    return made


def test_an_experiment_in_a_copy_is_tracked_in_the_project(repository: Repository) -> None:
    assert repository.mlflow("SELECT count(*) FROM runs WHERE name = 'study of tiny-corpus'") == [1]
    places = repository.mlflow("SELECT artifact_uri FROM runs")
    assert all(place.startswith((repository.folder / "mlartifacts").as_uri()) for place in places)
    assert sorted(repository.mlflow("SELECT name FROM model_versions")) == ["another", "tagscale-tagger"]
    assert repository.mlflow("SELECT version FROM registered_model_aliases WHERE name = 'another'") == [1]
    assert not list((repository.folder / ".dvc" / "tmp" / "exps").glob("*/mlflow.db"))


def test_each_revision_and_experiment_has_its_own_numbers_in_a_narrow_table(repository: Repository) -> None:
    shown = repository.json("dvc", "exp", "show", "--json")
    numbers = {}
    for revision in shown:
        for name, data in [("baseline", revision["data"])] + [
            (experiment["name"], experiment["revs"][0]["data"]) for experiment in revision["experiments"] or ()
        ]:
            numbers[name] = data["metrics"]["reports/metrics.json"]["data"]
    for found in numbers.values():
        assert {"model", "pr_auc"} <= set(found["best"]) <= {"model", "pr_auc", "low", "high"}
        assert set(found) <= {"best", "gain_over_baseline", "gain_low", "twice_the_tracks", "hours"}, "of the table"
    assert not {"gain_over_baseline", "gain_low"} & set(numbers["alone"]), "there is no baseline"
    everything = repository.json("dvc", "metrics", "show", "--all-commits", "--json")
    files = [one["data"]["reports/metrics.json"] for one in everything.values() if "data" in one]
    assert numbers["baseline"] in [file.get("data") for file in files]  # the commit before the first run has none


def test_an_applied_experiment_and_an_older_commit_bring_their_numbers_back(repository: Repository) -> None:
    before = (repository.folder / "reports" / "metrics.json").read_bytes()
    repository("dvc", "exp", "apply", "alone")
    applied = json.loads((repository.folder / "reports" / "metrics.json").read_bytes())
    assert applied["best"]["model"] != "descriptors"
    assert applied != json.loads(before)
    difference = repository.json("dvc", "metrics", "diff", "--json", "HEAD", "--targets", "reports/scores.json")
    assert {key.partition(".")[0] for key in difference["reports/scores.json"]} == {"descriptors"}
    repository.commit()
    repository("git", "checkout", "-q", "HEAD~1")
    repository("dvc", "checkout", "-q")
    assert (repository.folder / "reports" / "metrics.json").read_bytes() == before
    assert "are up to date" in repository("dvc", "repro")
    assert repository("git", "status", "--porcelain") == ""
