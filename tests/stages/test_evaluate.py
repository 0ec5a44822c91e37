"""Evaluate: scores, metrics and their files, from a run that learned to tell sounds apart."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from sounds import TAGS, make_sounds
from tagscale.descriptors.baseline import DescriptorTrees
from tagscale.descriptors.table import read_descriptors
from tagscale.evaluation.bootstrap import draw
from tagscale.evaluation.decisions import Decisions
from tagscale.evaluation.metrics import METRICS
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity
from tagscale.stages import results as stage_results


@pytest.fixture
def results(study, trained: Path) -> Path:
    folder = study.root / "results" / trained.name
    return folder if folder.exists() else study.evaluate(study.params(), trained, f"results/{trained.name}")


def metrics_of(results: Path) -> dict:
    return json.loads((results / "metrics.json").read_text())


@pytest.mark.slow
def test_the_model_hears_tones_on_tracks_that_it_never_saw(results: Path) -> None:
    per_tag = pd.read_csv(results / "per_tag.csv").set_index(["part", "tag"])
    assert per_tag.loc[("test", "tone"), "pr_auc"] > 0.9, "half of the tracks are tones"
    metrics = metrics_of(results)
    assert metrics["test"]["roc_auc"] > 0.7
    assert metrics["test"]["rmse"] < 0.3
    assert metrics["unscored"] == {"test": {}, "valid": {}}


def test_tags_that_never_reach_the_wanted_precision_are_named(
    study, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = study.params(evaluate={"thresholds": {"precision": 0.999999}, "resamples": 0})
    folder = study.evaluate(params, trained, "results/precise")
    decisions = Decisions.model_validate_json((folder / "decisions.json").read_text())
    assert {one.threshold for one in decisions.tags.values()} == {None}
    line = "2 of 2 tags are never decided, since no score promises a precision of 0.999999 on the validation part"
    assert line in capsys.readouterr().out


def test_the_files_agree_with_each_other(study, results: Path) -> None:
    predictions = pd.read_parquet(results / "predictions.parquet")
    assert predictions.columns.tolist() == ["track_id", "part", *TAGS]
    assert predictions["part"].tolist() == ["valid"] * 16 + ["test"] * 16
    assert (predictions[list(TAGS)].dtypes == np.float32).all()
    per_tag = pd.read_csv(results / "per_tag.csv")
    of_tags = ["roc_auc", "pr_auc", "rmse", "f1", "ece"]
    columns = ["tag", "group", "kind", "part", "positives", "tracks", "artists", *of_tags]
    columns += ["guess", "threshold", "precision", "recall"]
    ends = [f"{metric}_{end}" for metric in of_tags for end in ("low", "high")]
    assert per_tag.columns.tolist() == columns + ends
    sounds = make_sounds()
    rows = [sounds.tracks.index(track) for track in predictions["track_id"]]
    decisions = Decisions.model_validate_json((results / "decisions.json").read_text())
    assert list(decisions.tags) == list(TAGS[:2])
    labels = pd.DataFrame(sounds.labels[rows], columns=list(TAGS))
    test = predictions["part"] == "test"
    tags = per_tag[per_tag["part"] == "test"].set_index("tag")
    for tag in TAGS[:2]:
        expected = average_precision_score(labels.loc[test, tag] >= 0.5, predictions.loc[test, tag])
        assert tags.loc[tag, "pr_auc"] == pytest.approx(expected, abs=1e-6)
        assert tags.loc[tag, "positives"] == labels.loc[test, tag].sum()
        assert np.isnan(tags.loc[tag, "rmse"])
        decided = predictions.loc[test, tag] >= decisions.tags[tag].threshold
        for metric, score in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            of_decided = score(labels.loc[test, tag] >= 0.5, decided)
            assert tags.loc[tag, metric] == pytest.approx(of_decided, abs=1e-6)
        assert tags.loc[tag, "threshold"] == pytest.approx(decisions.tags[tag].threshold, abs=1e-6)
    assert tags.loc["loudness", ["f1", "ece", "guess", "threshold", "precision", "recall"]].isna().all()
    assert tags["guess"].dropna().tolist() == pytest.approx(labels[list(TAGS[:2])][test].mean().tolist(), abs=1e-6)
    assert metrics_of(results)["test"]["pr_auc"] == pytest.approx(tags["pr_auc"].mean(), abs=1e-6)
    assert metrics_of(results)["test"]["rmse"] == pytest.approx(tags.loc["loudness", "rmse"], abs=1e-6)


def test_metrics_belong_to_the_run(trained: Path, results: Path) -> None:
    run = json.loads((trained / "run.json").read_text())
    metrics = metrics_of(results)
    facts = {"identity", "train_tracks", "parameters", "valid", "test", "unscored", "intervals", "bootstrap"}
    assert set(metrics) == facts | {"files", "sha256"}
    assert all(metrics[key] == run[key] for key in ("identity", "train_tracks", "parameters"))


def test_intervals_are_of_resampled_artists(study, results: Path) -> None:
    """The files against a bootstrap made here, from the predictions: artists drawn, their tracks really repeated."""
    predictions, resamples = (pd.read_parquet(results / f"{name}.parquet") for name in ("predictions", "resamples"))
    assert resamples.columns.tolist() == ["resample", *METRICS]
    assert len(resamples) == study.params().evaluate.resamples
    test, sounds = predictions[predictions["part"] == "test"].set_index("track_id"), make_sounds()
    partition = Partition.load(study.root / "partition")
    artists = partition.table.set_index("track_id")["artist"].loc[test.index].to_numpy()
    labels = pd.DataFrame(sounds.labels, index=sounds.tracks, columns=list(TAGS)).loc[test.index]
    drawn = draw(list(artists), 20, partition.hash)
    assert metrics_of(results)["bootstrap"] == {
        "artists": len(set(artists)),
        "resamples": len(resamples),
        "confidence": 0.95,
        "hash": draw(list(artists), len(resamples), partition.hash).hash,
    }
    means = []
    for resample in range(20):
        rows = np.repeat(np.arange(len(test)), drawn.counts[drawn.artist_of, resample])
        expected = [
            average_precision_score(labels[tag].iloc[rows] >= 0.5, test[tag].iloc[rows])
            for tag in TAGS[:2]
            if labels[tag].iloc[rows].round().nunique() == 2
        ]
        means.append(np.mean(expected))
    shift = np.median(resamples["pr_auc"][:20] - means)  # they are centred on the score
    np.testing.assert_allclose(resamples["pr_auc"][:20], means + shift, atol=1e-8)
    assert resamples["rmse"].mean() == pytest.approx(metrics_of(results)["test"]["rmse"], abs=2e-6)
    for metric, ends in metrics_of(results)["intervals"]["test"].items():
        known = resamples[metric].dropna()
        if known.empty:  # two classification tags are fewer than three, and none is frequent
            assert metric.startswith(("precision_at", "frequent"))
            assert ends == [None, None]
            continue
        count = len(set(artists))
        reach = stats.t.ppf(0.975, count - 1) * np.sqrt(count / (count - 1)) * known.std(ddof=0)
        score = metrics_of(results)["test"][metric]
        assert ends == pytest.approx([max(score - reach, 0), min(score + reach, 1)], abs=2e-6)
        assert all(round(end, 6) == end for end in ends)


def test_tags_have_intervals_on_the_test_part_alone(results: Path) -> None:
    per_tag = pd.read_csv(results / "per_tag.csv").set_index(["part", "tag"])
    ends = [column for column in per_tag if column.endswith(("_low", "_high"))]
    assert per_tag.loc["valid", ends].isna().all(axis=None)
    tone = per_tag.loc[("test", "tone")]
    assert tone["pr_auc_low"] <= tone["pr_auc"] <= tone["pr_auc_high"] <= 1
    assert per_tag.loc[("test", "loudness"), ["rmse_low", "rmse_high"]].notna().all()
    assert per_tag.loc[("test", "loudness"), ["roc_auc_low", "pr_auc_high"]].isna().all()


def test_a_group_of_all_tags_of_a_kind_has_the_interval_of_their_mean(results: Path) -> None:
    groups = pd.read_csv(results / "per_group.csv").set_index("kind")
    metrics = metrics_of(results)
    for kind, metric, tags in (("classification", "pr_auc", 2), ("regression", "rmse", 1)):
        row = groups.loc[[kind]].iloc[0]
        assert (len(groups.loc[[kind]]), row["tags"]) == (1, tags), "the fixture's tags are of one group"
        assert row["score"] == pytest.approx(metrics["test"][metric], abs=2e-6)
        assert row[["low", "high"]].tolist() == pytest.approx(metrics["intervals"]["test"][metric], abs=2e-6)


def test_without_resamples_there_are_no_intervals(study, trained: Path, results: Path) -> None:
    plain = study.evaluate(study.params(evaluate={"resamples": 0}), trained, "results/plain")
    assert {file.name for file in plain.iterdir()} == {
        "decisions.json",
        "metrics.json",
        "per_tag.csv",
        "predictions.parquet",
    }
    metrics = metrics_of(plain)
    assert not {"intervals", "bootstrap"} & set(metrics)
    assert metrics.pop("files").keys() == {"decisions.json", "per_tag.csv", "predictions.parquet"}
    del metrics["sha256"]
    assert metrics == {key: value for key, value in metrics_of(results).items() if key in metrics}
    table = pd.read_csv(plain / "per_tag.csv")
    assert table.filter(regex="_(low|high)$").isna().all(axis=None)


def test_confidence_and_window_are_settings(study, trained: Path, results: Path) -> None:
    other = study.evaluate(study.params(evaluate={"confidence": 0.5}), trained, "results/half")
    assert (other / "resamples.parquet").read_bytes() == (results / "resamples.parquet").read_bytes()
    half, all_ = (metrics_of(folder)["intervals"]["test"]["pr_auc"] for folder in (other, results))
    assert all_[0] <= half[0] <= half[1] <= all_[1]
    longer = study.evaluate(study.params(evaluate={"window_seconds": 2.5, "resamples": 0}), trained, "results/longer")
    scores, others = (pd.read_parquet(folder / "predictions.parquet")["tone"] for folder in (longer, results))
    assert 0 < np.abs(scores - others).max() < 0.5
    settings = study.params()
    short = settings.model_copy(
        update={"evaluate": settings.evaluate.model_copy(update={"window_seconds": 0.1})}  # beyond what it allows
    )
    with pytest.raises(TagscaleError, match=r"evaluate\.window_seconds: found 0\.1"):
        study.evaluate(short, trained, "results/short")


def test_evaluating_again_gives_the_same_bytes(study, trained: Path, results: Path) -> None:
    again = study.evaluate(study.params(), trained, "results/again")
    for file in ("metrics.json", "per_tag.csv", "per_group.csv", "predictions.parquet", "resamples.parquet"):
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
    logged = [run.data.metrics[f"test_pr_auc_{end}"] for end in ("low", "high")]
    assert logged == metrics_of(results)["intervals"]["test"]["pr_auc"]
    assert "valid_loss" in run.data.metrics, "the same run as the curves"
    files = {file.path for file in client.list_artifacts(run.info.run_id, "results")}
    assert files == {"results/decisions.json", "results/metrics.json", "results/per_tag.csv"}


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


def test_one_tag_without_a_score_is_one(capsys: pytest.CaptureFixture) -> None:
    test = {key: 0.5 if key == "pr_auc" else None for key in METRICS}
    stage_results._print_scores(
        RunIdentity("waveform", "all", 0, "", "", "", ""), {"test": test, "unscored": {"test": {"oboe": "none"}}}, 1
    )
    assert capsys.readouterr().out == "waveform-all-0 on 1 test track: PR-AUC 0.500; 1 tag could not be scored\n"


def test_the_baseline_is_scored_alike(study, results: Path) -> None:
    run = study.train(study.params(), "descriptors", "all", 0, "runs/descriptors-all-0")
    scored = study.evaluate(study.params(), run, "results/descriptors-all-0")
    assert {file.name for file in scored.iterdir()} == {file.name for file in results.iterdir()}
    assert metrics_of(scored)["bootstrap"] == metrics_of(results)["bootstrap"], "the same resamples as the front-end's"
    assert metrics_of(scored)["parameters"] == DescriptorTrees.load(run).parameters
    ours, theirs = (pd.read_parquet(folder / "predictions.parquet") for folder in (scored, results))
    assert ours.columns.equals(theirs.columns)
    assert ours["track_id"].equals(theirs["track_id"])
    expected = DescriptorTrees.load(run).predict(
        read_descriptors(study.root / "descriptors", ours["track_id"].tolist())
    )
    np.testing.assert_array_equal(ours[list(TAGS)].to_numpy(), expected)
