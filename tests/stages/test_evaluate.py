"""Evaluate: scores, metrics and their files, from a run that learned to tell sounds apart."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.metrics import average_precision_score

from sounds import TAGS, make_sounds
from tagscale.data.partition import Partition
from tagscale.errors import TagscaleError
from tagscale.models.baselines.descriptors import DescriptorTrees
from tagscale.stages.train import read_descriptors


@pytest.fixture
def results(study, trained: Path) -> Path:
    folder = study.root / "results" / trained.name
    return folder if folder.exists() else study.evaluate(study.params(), trained, f"results/{trained.name}")


def metrics_of(results: Path) -> dict:
    return json.loads((results / "metrics.json").read_text())


def test_the_model_hears_tones_on_tracks_that_it_never_saw(results: Path) -> None:
    per_tag = pd.read_csv(results / "per_tag.csv").set_index(["part", "tag"])
    assert per_tag.loc[("test", "tone"), "pr_auc"] > 0.9, "half of the tracks are tones"
    metrics = metrics_of(results)
    assert metrics["test"]["roc_auc"] > 0.7
    assert metrics["test"]["rmse"] < 0.3
    assert metrics["unscored"] == {"test": {}, "valid": {}}


def test_the_files_agree_with_each_other(study, results: Path) -> None:
    predictions = pd.read_parquet(results / "predictions.parquet")
    assert predictions.columns.tolist() == ["track_id", "part", *TAGS]
    assert predictions["part"].tolist() == ["valid"] * 16 + ["test"] * 16
    assert (predictions[list(TAGS)].dtypes == np.float32).all()
    per_tag = pd.read_csv(results / "per_tag.csv")
    columns = ["tag", "group", "kind", "part", "positives", "tracks", "roc_auc", "pr_auc", "rmse"]
    assert per_tag.columns.tolist() == columns
    sounds = make_sounds()
    rows = [sounds.tracks.index(track) for track in predictions["track_id"]]
    labels = pd.DataFrame(sounds.labels[rows], columns=list(TAGS))
    test = predictions["part"] == "test"
    tags = per_tag[per_tag["part"] == "test"].set_index("tag")
    for tag in TAGS[:2]:
        expected = average_precision_score(labels.loc[test, tag] >= 0.5, predictions.loc[test, tag])
        assert tags.loc[tag, "pr_auc"] == pytest.approx(expected, abs=1e-6)
        assert tags.loc[tag, "positives"] == labels.loc[test, tag].sum()
        assert np.isnan(tags.loc[tag, "rmse"])
    assert metrics_of(results)["test"]["pr_auc"] == pytest.approx(tags["pr_auc"].mean(), abs=1e-6)
    assert metrics_of(results)["test"]["rmse"] == pytest.approx(tags.loc["loudness", "rmse"], abs=1e-6)


def test_metrics_belong_to_the_run(trained: Path, results: Path) -> None:
    run = json.loads((trained / "run.json").read_text())
    metrics = metrics_of(results)
    assert set(metrics) == {"identity", "train_tracks", "parameters", "valid", "test", "unscored"}
    assert all(metrics[key] == run[key] for key in ("identity", "train_tracks", "parameters"))


def test_evaluating_again_gives_the_same_bytes(study, trained: Path, results: Path) -> None:
    again = study.evaluate(study.params(), trained, "results/again")
    for file in ("metrics.json", "per_tag.csv", "predictions.parquet"):
        assert (again / file).read_bytes() == (results / file).read_bytes()


def test_metrics_are_in_the_mlflow_run_that_training_began(study, trained: Path, results: Path) -> None:
    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sounds")
    identity = json.loads((trained / "run.json").read_text())["identity"]
    condition = " and ".join(f"tags.`tagscale.{key}` = '{value}'" for key, value in identity.items())
    (run,) = client.search_runs([experiment.experiment_id], condition)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["test_pr_auc"] == metrics_of(results)["test"]["pr_auc"]
    assert run.data.metrics["valid_rmse"] == metrics_of(results)["valid"]["rmse"]
    assert "valid_loss" in run.data.metrics, "the same run as the curves"
    files = {file.path for file in client.list_artifacts(run.info.run_id, "results")}
    assert files == {"results/metrics.json", "results/per_tag.csv"}


def test_no_run_is_told(study) -> None:
    with pytest.raises(TagscaleError, match=r"run\.json: no such file. Run `tagscale train` first"):
        study.evaluate(study.params(), study.root / "runs" / "nothing", "results/nothing")


def test_another_partition_is_refused(study, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partition = Partition.load(study.root / "partition")
    partition.table["part"] = partition.table["part"].replace({"valid": "test", "test": "valid"})
    for name in ("catalog", "store"):
        (tmp_path / name).symlink_to(study.root / name)
    partition.save(tmp_path / "partition")
    with pytest.raises(TagscaleError, match=r"partition_hash .* train it again"):
        type(study)(tmp_path).evaluate(study.params(), trained, "results/other")


def test_an_edited_checkpoint_is_refused(study, trained: Path) -> None:
    edited = study.root / "runs" / "edited"
    shutil.copytree(trained, edited)
    with open(edited / "weights.safetensors", "ab") as file:
        file.write(b"more")
    with pytest.raises(TagscaleError, match=r"weights\.safetensors"):
        study.evaluate(study.params(), edited, "results/edited")


def test_the_baseline_is_scored_alike(study, results: Path) -> None:
    run = study.train(study.params(), "descriptors", "all", 0, "runs/descriptors-all-0")
    scored = study.evaluate(study.params(), run, "results/descriptors-all-0")
    assert {file.name for file in scored.iterdir()} == {file.name for file in results.iterdir()}
    assert metrics_of(scored)["parameters"] == DescriptorTrees.load(run).parameters
    ours, theirs = (pd.read_parquet(folder / "predictions.parquet") for folder in (scored, results))
    assert ours.columns.equals(theirs.columns)
    assert ours["track_id"].equals(theirs["track_id"])
    expected = DescriptorTrees.load(run).predict(
        read_descriptors(study.root / "descriptors", ours["track_id"].tolist())
    )
    np.testing.assert_array_equal(ours[list(TAGS)].to_numpy(), expected)
