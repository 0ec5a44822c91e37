"""The metadata that an artifact gets, checked as Kubeflow's launcher takes them."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.rules.metadata import faults_of
from tagscale.cluster.metadata import describe, of_registration, of_results, of_run
from tagscale.runtime.absent import write_absent
from tagscale.runtime.files import write_json


def described(facts: dict[str, Any]) -> dict[str, Any]:
    artifact = SimpleNamespace(metadata={})
    describe(artifact, facts)
    assert list(faults_of(json.dumps(artifact.metadata))) == []
    return artifact.metadata


def test_what_has_no_value_is_left_out() -> None:
    facts = {"hash": "0a1b", "tracks": 7, "champion": None, "test_pr_auc": math.nan, "loss": math.inf, "passed": True}
    assert list(faults_of(json.dumps(facts | {"loss": 1.0, "test_pr_auc": 0.5}))), "None as it stands is refused"
    assert list(faults_of(json.dumps(facts | {"champion": "3"}))), "NaN as it stands is refused"
    assert described(facts) == {"hash": "0a1b", "tracks": 7, "passed": True}


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"tracks": 7}, "without its hash"),
        ({"hash": ""}, "without its hash"),
        ({"hash": "0a1b", "display_name": "run"}, "display_name = 'run' cannot be"),
        ({"hash": "0a1b", "parts": {"train": 3}}, "parts = .* cannot be"),
    ],
)
def test_what_cannot_be_metadata(facts: dict[str, Any], why: str) -> None:
    assert list(faults_of(json.dumps(facts)))
    with pytest.raises(ValueError, match=why):
        describe(SimpleNamespace(metadata={}), facts)


def test_a_run_that_the_study_does_without(tmp_path: Path) -> None:
    write_absent(tmp_path / "run", "probe-all-0", "no weights")
    run = described(of_run(tmp_path / "run"))
    assert (run["run"], run["absent"]) == ("probe-all-0", "no weights")
    assert described(of_results(tmp_path / "run", tmp_path / "run"))["absent"] == "no weights"


@pytest.mark.parametrize(
    ("variables", "page"),
    [
        ({"MLFLOW_TRACKING_URI": "http://ann:secret@mlflow:5000"}, "http://mlflow:5000/#/"),
        (
            {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_UI_ENDPOINT": "https://example.org/mlflow/"},
            "https://example.org/mlflow/#/",
        ),
        ({"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}, None),
    ],
)
def test_the_page_in_mlflow_is_one_that_a_browser_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], page: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    outcome = {"name": "tagger of ann", "version": "3", "champion_value": None, "candidate_value": 0.5}
    write_json(tmp_path / "registration.json", outcome)
    registered = described(of_registration(tmp_path))
    assert registered.get("mlflow") == (f"{page}models/tagger%20of%20ann/versions/3" if page else None)
    assert (registered["version"], registered["candidate_value"]) == ("3", 0.5)
