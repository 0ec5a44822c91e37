"""A run in folds: a model each, trained once whatever interrupts the others; scores are of all tracks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from mlflow import MlflowClient
from sklearn.metrics import roc_auc_score

from registry.tiny import empty_store
from sounds import TAGS
from stages.conftest import SoundStudy
from tagscale.catalog.tables import Catalog
from tagscale.descriptors.baseline import DescriptorTrees
from tagscale.evaluation.calibration import learn, learn_without
from tagscale.evaluation.metrics import evaluate
from tagscale.evaluation.predict import predict
from tagscale.evaluation.selection import metrics_by_kind, pool, select_bagged
from tagscale.params.load import Params
from tagscale.partition.divide import Partition, divide
from tagscale.partition.growth import fold_names
from tagscale.registry.candidate import SHA256, choose
from tagscale.registry.folds import predict_held_out
from tagscale.registry.package import load_version
from tagscale.registry.trial import FOLDS as FOLDS_SETTINGS
from tagscale.registry.trial import CannotBeScored, Trial
from tagscale.registry.versions import Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, sha256_of
from tagscale.stages import ensemble, register
from tagscale.stages.results import pool_folds, scored_tracks
from tagscale.store.read import Store
from tagscale.study.grid import read_study
from tagscale.study.members import MEMBERS
from tagscale.study.tables import read_decisions, read_predictions
from tagscale.training import checkpoint

SHORT = {"train": {"max_steps": "2 epochs"}}
FOLDS = fold_names(3)


@pytest.fixture(scope="module")
def folded(
    request: pytest.FixtureRequest, sound_study: SoundStudy, tmp_path_factory: pytest.TempPathFactory
) -> SoundStudy:
    """The study of sounds on a partition in three folds."""
    root = tmp_path_factory.mktemp("folds")
    for name in ("catalog", "store", "descriptors"):
        shutil.copytree(sound_study.root / name, root / name)
    empty_store(request.config, root)
    data = Catalog.load(root / "catalog")
    kinds = data.tags["kind"].tolist()
    parts, quality = divide(data.tracks.assign(split=None), data.labels, kinds, dict.fromkeys(FOLDS, 1 / 3), 1)
    parts.data_hash = "d" * 12
    parts.save(root / "partition", quality)
    return SoundStudy(root)


@pytest.fixture
def study(folded: SoundStudy, monkeypatch: pytest.MonkeyPatch) -> SoundStudy:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(folded.root)
    return folded


@pytest.fixture
def parts(study: SoundStudy) -> Partition:
    return Partition.load(study.root / "partition")


@pytest.fixture
def trees(study: SoundStudy) -> tuple[Path, Path]:
    """The run of the trees and its results."""
    run = study.root / "descriptors-all-0"
    if not run.exists():
        study.train(study.params(), "descriptors", "all", 0, run.name)
        study.evaluate(study.params(), run, f"results/{run.name}")
    return run, study.root / "results" / run.name


def test_a_run_holds_a_run_for_each_fold(trees: tuple[Path, Path], parts: Partition) -> None:
    run, _ = trees
    whole, folds = read_json(run / "run.json"), [read_json(run / name / "run.json") for name in FOLDS]
    assert whole["folds"] == 3
    assert whole["identity"]["partition_hash"] == parts.hash
    hashes = [view.hash for view in parts.views().values()]
    assert [one["identity"]["partition_hash"] for one in folds] == hashes
    assert whole["train_tracks"] == round(np.mean([one["train_tracks"] for one in folds]))
    assert whole["seconds"] == pytest.approx(sum(one["seconds"] for one in folds), abs=0.2)


def test_scores_are_of_all_tracks_each_by_the_model_that_did_not_hear_it(
    study: SoundStudy, trees: tuple[Path, Path], parts: Partition
) -> None:
    run, results = trees
    of_part, scores = read_predictions(results)
    tracks = parts.table["track_id"].tolist()
    assert list(scores.index) == scored_tracks(parts) == [*tracks, *tracks]
    descriptors = pd.read_parquet(study.root / "descriptors" / "descriptors.parquet").set_index("track_id")
    for part in ("valid", "test"):
        pooled = scores[(of_part == part).to_numpy()]
        for name, view in parts.views().items():
            heard_not = view.tracks(part)
            expected = DescriptorTrees.load(run / name).predict(descriptors.loc[heard_not])
            np.testing.assert_array_equal(pooled.loc[heard_not, list(TAGS)].to_numpy(), expected)


def test_metrics_are_of_all_tracks_compared_within_their_folds_and_folds_stand_beside_them(
    study: SoundStudy, trees: tuple[Path, Path], parts: Partition
) -> None:
    _, results = trees
    metrics, labels = read_json(results / "metrics.json"), Catalog.load(study.root / "catalog").labels
    of_part, scores = read_predictions(results)
    pooled = scores[(of_part == "test").to_numpy()]
    kinds = Catalog.load(study.root / "catalog").tags["kind"]
    scored = [tag for tag in TAGS if kinds[tag] == "classification"]

    def areas(tracks: list[str]) -> tuple[list[float], list[int]]:
        """Of every tag: the area of these tracks by themselves, and how many pairs of a positive and a negative."""
        truths = {tag: labels.loc[tracks, tag].dropna() >= 0.5 for tag in scored}
        values = [roc_auc_score(truth, pooled.loc[truth.index, tag]) for tag, truth in truths.items()]
        return values, [truth.sum() * (~truth).sum() for truth in truths.values()]

    of_folds = [areas(view.tracks("test")) for view in parts.views().values()]
    values, pairs = (np.array([fold[which] for fold in of_folds]) for which in (0, 1))
    of_tags = (values * pairs).sum(axis=0) / pairs.sum(axis=0)
    assert metrics["test"]["roc_auc"] == pytest.approx(of_tags.mean(), abs=1e-6)
    assert metrics["test"]["roc_auc"] != pytest.approx(np.mean(areas(list(pooled.index))[0]), abs=1e-6)
    assert metrics["bootstrap"]["artists"] == len(parts.table)  # an artist a track
    by_fold = pd.read_csv(results / "folds.csv")
    assert by_fold["fold"].tolist() == [*FOLDS, *FOLDS]
    tested = by_fold[by_fold["part"] == "test"]
    assert tested["tracks"].sum() == len(parts.table)
    for name, value in zip(tested["fold"], tested["roc_auc"], strict=True):
        assert value == pytest.approx(np.mean(areas(parts.views()[name].tracks("test"))[0]), abs=1e-6)
    spread = metrics["folds"]["test"]["roc_auc"]
    assert spread["mean"] == pytest.approx(tested["roc_auc"].mean(), abs=1e-6)
    assert spread["sd"] == pytest.approx(tested["roc_auc"].std(), abs=1e-6)


def test_a_fold_is_decided_by_what_the_others_teach(
    study: SoundStudy, trees: tuple[Path, Path], parts: Partition
) -> None:
    """In metrics.json, per_tag.csv and folds.csv, and before the gate; decisions.json is for the mean of the models."""
    run, results = trees
    data, tracks, tags = Catalog.load(study.root / "catalog"), parts.tracks("test"), parts.tags
    labels, fold = data.labels.loc[tracks, tags].to_numpy(), parts.fold_of(tracks)
    regression = (data.tags.loc[tags, "kind"] == "regression").to_numpy()
    of_part, table = read_predictions(results)
    valid, test = (table[(of_part == part).to_numpy()][tags].to_numpy() for part in ("valid", "test"))
    whole = learn(labels, (valid + test) / 2, regression, tags, "f1")
    assert read_decisions(results) == whole
    apart = learn_without(labels, valid, regression, tags, "f1", fold)
    expected = evaluate(labels, test, regression, apart, fold=fold)
    known = learn(labels, valid, regression, tags, "f1").of(tags)
    assert expected.overall()["ece"] > evaluate(labels, test, regression, known, fold=fold).overall()["ece"]

    metrics, per_tag = read_json(results / "metrics.json"), pd.read_csv(results / "per_tag.csv")
    assert metrics["test"]["ece"] == pytest.approx(expected.overall()["ece"], abs=1e-6)
    of_test = per_tag[per_tag["part"] == "test"].set_index("tag").loc[tags]
    np.testing.assert_allclose(of_test["ece"], expected["ece"], atol=1e-6)
    for tag, one in whole.tags.items():
        assert of_test.loc[tag, "threshold"] == pytest.approx(one.threshold, abs=1e-6)
    by_fold = pd.read_csv(results / "folds.csv").query("part == 'test'").set_index("fold")["ece"]
    for number, name in enumerate(FOLDS):
        rows = fold == number
        of_fold = evaluate(labels[rows], test[rows], regression, apart[number]).overall()["ece"]
        assert by_fold[name] == pytest.approx(of_fold, abs=1e-6)

    grid = {"models": [], "baselines": ["descriptors"], "ensembles": [], "sizes": ["all"], "seeds": [0]}
    params = study.params(train=grid, registry={"metric": "ece"})
    chosen, whole_study = choose(params, [run], [results])
    trial = Trial(params, *(study.root / name for name in ("catalog", "partition", "store")), chosen, whole_study)
    for part in ("valid", "test"):
        gap = trial.compare(trial.candidate, part).in_table("ece")
        assert gap is not None
        assert gap.candidate == pytest.approx(metrics[part]["ece"], abs=1e-6)


def test_a_fold_of_another_partition_is_refused(study: SoundStudy, trees: tuple[Path, Path]) -> None:
    run, _ = trees
    mixed = study.root / "descriptors-all-7"
    shutil.copytree(run, mixed)
    shutil.rmtree(mixed / "fold-1")
    shutil.copytree(run / "fold-2", mixed / "fold-1")
    with pytest.raises(TagscaleError, match=r"fold-1/run.json: not the file that run.json beside it was written with"):
        study.evaluate(study.params(), mixed, "mixed")


def test_a_size_that_no_fold_holds_is_refused(study: SoundStudy) -> None:
    with pytest.raises(TagscaleError, match="training size 60: the training part holds"):
        study.train(study.params(), "descriptors", 60, 0, "descriptors-60-0")


@pytest.mark.slow
def test_folds_that_are_complete_are_kept_after_an_interruption(
    study: SoundStudy,
    parts: Partition,
    trees: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from tagscale.training import fit as module

    fit, fitted = module.fit, []

    def interrupted_in_the_third(*args: Any, **kwargs: Any) -> Any:
        fitted.append(args[2].tracks)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return fit(*args, **kwargs)

    monkeypatch.setattr(module, "fit", interrupted_in_the_third)
    params, run = study.params(**SHORT), study.root / "spectrogram-all-0"
    with pytest.raises(KeyboardInterrupt):
        study.train(params, "spectrogram", "all", 0, run.name)
    assert not run.exists()
    unfinished = run.with_name(f"{run.name}.unfinished")
    kept = {name: (unfinished / name / checkpoint.WEIGHTS).read_bytes() for name in FOLDS[:2]}

    study.train(params, "spectrogram", "all", 0, run.name)
    trained = [view.training_subset("all") for view in parts.views().values()]
    assert fitted == [*trained, trained[2]]
    assert {name: (run / name / checkpoint.WEIGHTS).read_bytes() for name in FOLDS[:2]} == kept
    assert not unfinished.exists()
    assert "spectrogram-all-0 fold-1: trained before the interruption" in capsys.readouterr().out

    histories = [pd.read_csv(run / name / "history.csv") for name in FOLDS]
    mean = pd.read_csv(run / "history.csv")
    assert mean["valid_loss"].tolist() == pytest.approx(np.mean([one["valid_loss"] for one in histories], axis=0))
    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sounds")
    (logged,) = client.search_runs([experiment.experiment_id], "tags.`tagscale.model` = 'spectrogram'")
    assert logged.info.status == "FINISHED"
    for number, name in enumerate(FOLDS):
        points = client.get_metric_history(logged.info.run_id, f"{name}/valid_loss")
        assert [point.value for point in points] == pytest.approx(histories[number]["valid_loss"].tolist(), abs=1e-6)
    study.evaluate(params, run, f"results/{run.name}")
    data = client.get_run(logged.info.run_id).data
    metrics = json.loads((study.root / "results" / run.name / "metrics.json").read_text())
    assert data.metrics["test_roc_auc"] == metrics["test"]["roc_auc"]
    assert data.metrics["test_pr_auc_fold_mean"] == metrics["folds"]["test"]["pr_auc"]["mean"]
    assert data.params["folds"] == str(len(histories))

    grid: dict[str, Any] = {"models": ["spectrogram", "descriptors"], "sizes": ["all"], "seeds": [0]}
    read = read_study([run, trees[0]], [study.root / "results" / run.name, trees[1]], **grid)
    assert read.partition_hash == parts.hash
    assert read.runs["test_roc_auc"][0] == metrics["test"]["roc_auc"]
    assert read.curves["valid_loss"].tolist() == mean["valid_loss"].tolist()


def test_scores_without_folds_are_handed_on_as_they_are(sound_study: SoundStudy) -> None:
    parts = Partition.load(sound_study.root / "partition")
    scores = pd.DataFrame({"tag": np.arange(len(scored_tracks(parts)), dtype=float)}, index=scored_tracks(parts))
    pd.testing.assert_frame_equal(pool_folds(parts, lambda name, view: scores), scores)


@pytest.fixture
def registered(study: SoundStudy, tmp_path: Path) -> tuple[Path, Params]:
    """The run of a network, which is a version in the registry; the record is `registration` in the study's folder."""
    grid: dict[str, Any] = {"models": ["spectrogram"], "baselines": [], "ensembles": []}
    grid |= {"sizes": ["all"], "seeds": [1]}
    params = study.params(train=SHORT["train"] | grid, registry={"name": "folds"})
    run = study.root / "spectrogram-all-1"
    if not run.exists():
        study.train(params, "spectrogram", "all", 1, run.name)
        study.evaluate(params, run, f"results/{run.name}")
        folders = {name: study.root / name for name in ("partition", "store", "catalog", "registration")}
        register.run(params, runs=[run], results=[study.root / "results" / run.name], **folders)
    return run, params


@pytest.mark.slow
def test_the_registered_model_is_the_mean_of_the_folds(
    study: SoundStudy, registered: tuple[Path, Params], parts: Partition, tmp_path: Path
) -> None:
    run, params = registered
    assert read_json(study.root / "registration" / "registration.json")["alias"] == "champion"
    version = Registry.open("folds").version("champion")
    assert version.tags[SHA256] == sha256_of(*(run / name / checkpoint.WEIGHTS for name in FOLDS))
    about = Registry.open("folds").client.get_model_version("folds", version.number).description
    assert about.startswith("spectrogram front-end, the mean of 3 models, a fold each, trained on")
    store, track = Store.open(study.root / "store"), parts.table["track_id"][0]
    samples = store.read(track, 0, store.samples(track))
    soundfile.write(tmp_path / "song.wav", samples, 16_000, subtype="PCM_16")
    results, profile = study.root / "results" / run.name, load_version("folds")[0].profile
    scored = trial_of(study, params, study.root, [run], [results]).candidate.scores
    assert profile is not None
    unheard = (scored("valid") + scored("test")) / 2
    for tag in parts.tags:
        assert profile.scores[tag] == pytest.approx(unheard[tag].tolist(), abs=1e-6)
    hop = params.evaluate.hop_seconds
    expected = np.mean([predict(*checkpoint.load(run / name), store, [track], hop).loc[track] for name in FOLDS], 0)
    scores = load_version("folds")[0].tag(tmp_path / "song.wav").scores
    assert [scores[tag] for tag in parts.tags] == pytest.approx(expected, abs=1e-5)


def trial_of(study: SoundStudy, params: Params, root: Path, runs: list[Path], results: list[Path]) -> Trial:
    """The candidate of some runs, on the data in `root`."""
    inputs = [root / name for name in ("catalog", "partition", "store")]
    return Trial(params, *inputs, *choose(params, runs, results))


def test_a_champion_in_folds_is_scored_on_tracks_that_its_models_did_not_learn_from(
    study: SoundStudy, registered: tuple[Path, Params], parts: Partition
) -> None:
    run, params = registered
    results = study.root / "results" / run.name
    trial, version = trial_of(study, params, study.root, [run], [results]), Registry.open("folds").version("champion")
    tracks = parts.table.set_index("track_id")["part"].sample(frac=1, random_state=0)
    store, scorer = Store.open(study.root / "store"), load_version("folds")[0].scorer
    held_out, scored = predict_held_out(scorer, store, tracks), trial.candidate.scores
    expected = scored("test").loc[tracks.index, list(TAGS)]
    pd.testing.assert_frame_equal(held_out[list(TAGS)], expected, atol=1e-6, check_names=False)
    same = {FOLDS_SETTINGS: version.tags[FOLDS_SETTINGS]}
    champion, _, notes = trial.champion(version, replace(version, tags=same))
    for part in ("valid", "test"):
        again = champion.scores(part)[list(TAGS)]
        pd.testing.assert_frame_equal(again, scored(part)[list(TAGS)], atol=1e-6, check_names=False)
        gap = trial.compare(champion, part).in_table("ece")
        assert gap is not None
        assert gap.difference == pytest.approx(0, abs=1e-4)
    assert "each track by its model of that fold" in notes[0]


@pytest.mark.parametrize(("folds", "same_folds"), [(3, False), (0, True)])
def test_a_champion_of_other_folds_is_not_scored(
    study: SoundStudy,
    registered: tuple[Path, Params],
    sound_study: SoundStudy,
    folds: int,
    same_folds: bool,
) -> None:
    run, params = registered
    root = study.root if folds else sound_study.root
    trial = trial_of(study, params, root, [run], [study.root / "results" / run.name])
    version = Registry.open("folds").version("champion")
    present = "in 3 folds of other settings" if folds else "not in folds"
    expected = f"the champion is the mean of 3 models, a fold each, and the present partition is {present}"
    with pytest.raises(CannotBeScored, match=expected):
        trial.champion(version, version if same_folds else replace(version, tags={}))


@pytest.mark.slow
def test_a_folds_ensemble_is_chosen_without_the_folds_tracks(
    study: SoundStudy, registered: tuple[Path, Params], parts: Partition, tmp_path: Path
) -> None:
    """The weights of a fold are those that the validation scores of the other folds' tracks give."""
    grid: dict[str, Any] = {"models": ["spectrogram", "waveform"], "baselines": []}
    params = study.params(train=SHORT["train"] | grid | {"sizes": ["all"], "seeds": [1]}, registry={"name": "pooled"})
    names = ("spectrogram-all-1", "waveform-all-1")
    study.evaluate(params, study.train(params, "waveform", "all", 1, names[1]), f"results/{names[1]}")
    members = {"runs": [study.root / name for name in names], "results": [study.root / "results" / n for n in names]}
    inputs = {name: study.root / name for name in ("catalog", "partition")}
    ensemble.run(params, **members, **inputs, ensembles=tmp_path)
    run, results = tmp_path / "runs" / "ensemble-all-1", tmp_path / "results" / "ensemble-all-1"

    catalog, tracks = Catalog.load(study.root / "catalog"), parts.tracks("valid")
    regression = (catalog.tags.loc[parts.tags, "kind"] == "regression").to_numpy()
    tables = [read_predictions(folder) for folder in members["results"]]
    of_part = {
        part: np.stack([table[(where == part).to_numpy()][parts.tags].to_numpy() for where, table in tables])
        for part in ("valid", "test")
    }
    where, own = read_predictions(results)
    in_fold, labels = np.array(parts.about(tracks, "part")), catalog.labels.loc[tracks, parts.tags].to_numpy()
    for name in FOLDS:
        others = in_fold != name
        fold = parts.fold_of(tracks)[others]
        known = of_part["valid"][:, others], labels[others], regression, metrics_by_kind("pr_auc")
        weights, _ = select_bagged(*known, parts.artist_of(tracks)[others], 1, fold)
        chosen = {one["run"]: one["weights"] for one in read_json(run / name / MEMBERS)}
        by_kind = [dict(zip(np.where(regression, "regression", "classification"), row, strict=True)) for row in weights]
        assert chosen == {run: of_run for run, of_run in zip(names, by_kind, strict=True) if any(of_run.values())}
        for part, scores in of_part.items():
            expected = pool(scores[:, ~others], weights, regression)
            ours = own[(where == part).to_numpy()].loc[np.array(tracks)[~others], parts.tags]
            np.testing.assert_allclose(ours.to_numpy(), expected, atol=1e-6)

    folders = {name: study.root / name for name in ("partition", "store", "catalog")}
    only = params.model_copy(update={"registry": params.registry.model_copy(update={"candidates": ["ensemble"]})})
    everything = {kind: [*members[kind], tmp_path / kind / run.name] for kind in ("runs", "results")}
    register.run(only, **everything, **folders, registration=tmp_path / "registration")
    champion = load_version("pooled")[0]
    trial, store = trial_of(study, only, study.root, *everything.values()), Store.open(study.root / "store")
    of_fold = parts.table.set_index("track_id")["part"]
    held_out = predict_held_out(champion.scorer, store, of_fold)  # each track by the ensemble of its fold
    expected_scores = trial.candidate.scores("test").loc[held_out.index, parts.tags]
    np.testing.assert_allclose(held_out[parts.tags].to_numpy(), expected_scores.to_numpy(), atol=1e-5)
    samples = store.read(tracks[0], 0, 16_000)
    of_folds = [champion.scorer.members[name].scores(samples) for name in FOLDS]
    np.testing.assert_allclose(champion.scorer.scores(samples), np.mean(of_folds, axis=0), atol=1e-6)
