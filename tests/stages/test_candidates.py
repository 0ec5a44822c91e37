"""Whatever is best is registered: trees and ensembles become versions that tag audio as they were evaluated."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from mlflow import MlflowClient

from stages.conftest import SoundStudy
from tagscale.catalog.tables import Catalog
from tagscale.cli import main
from tagscale.cli.stages import folders
from tagscale.descriptors import baseline
from tagscale.descriptors.describe import VERSION
from tagscale.evaluation.metrics import KINDS
from tagscale.evaluation.selection import metrics_by_kind, pool, select_bagged
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.registry.candidate import choose
from tagscale.registry.cost import PLACE, SIZE, TIME
from tagscale.registry.package import load_version
from tagscale.registry.trained import scorer_of
from tagscale.registry.trial import Trial
from tagscale.registry.versions import Registry
from tagscale.runtime.absent import absence_in, write_absent
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, seal
from tagscale.runtime.identity import content_of_run
from tagscale.stages import describe, ensemble, evaluate, register, train_baseline
from tagscale.store.read import Store
from tagscale.study.grid import read_study
from tagscale.study.members import MEMBERS, Member, folders_in, write_members
from tagscale.study.tables import read_predictions

RUNS, RESULTS, ENSEMBLES = "candidates/runs", "candidates/results", "candidates/ensembles"
MEMBERS_OF = ("spectrogram-all-0", "descriptors-all-0")  # the ensemble, in the order of the grid


@pytest.fixture(scope="module")
def scored(sound_study: SoundStudy, trained: Path) -> SoundStudy:
    """The study of sounds with runs and results of a spectrogram model, and of trees on descriptors of the sounds."""
    root, params = sound_study.root, settings(sound_study, "none", ["ensemble"])
    inputs = {name: root / name for name in ("catalog", "partition")}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(root)
        heard = {"spectrogram-all-0": root / "store", "descriptors-all-0": root / "described"}
        describe.run(params, partition=root / "partition", store=root / "store", descriptors=root / "described")
        shutil.copytree(trained, root / RUNS / trained.name)
        trees = {"model": "descriptors", "size": "all", "seed": 0, "run": root / RUNS / "descriptors-all-0"}
        train_baseline.run(params, **trees, inputs=root / "described", **inputs)
        for name, place in heard.items():
            places = {"run": root / RUNS / name, "results": root / RESULTS / name}
            evaluate.run(params, inputs=place, **places, **inputs)
    return sound_study


def settings(study: SoundStudy, name: str, candidates: list[str], **train: Any) -> Params:
    grid = {"models": ["spectrogram"], "ensembles": [], "sizes": ["all"], "seeds": [0]}
    registry, tracking = {"name": name, "candidates": candidates}, {"experiment": "candidates"}
    return study.params(train=grid | train, registry=registry, tracking=tracking)


def registered(study: SoundStudy, params: Params, tmp_path: Path) -> dict[str, Any]:
    """registration.json of this study, whose settings are then params.yaml in `tmp_path`."""
    inputs = {name: study.root / name for name in ("partition", "store", "catalog")}
    paths = folders(params, study.root / RUNS, study.root / RESULTS, study.root / ENSEMBLES)
    register.run(params, **paths, registration=tmp_path / "registration", **inputs)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")))
    outcome: dict[str, Any] = read_json(tmp_path / "registration" / "registration.json")
    return outcome


def tagged(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """Scores of a file by `tagscale tag`."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["tag", str(file), "--json", "--params", str(tmp_path / "params.yaml")])
    assert not ended.value.code
    (entry,) = json.loads(capsys.readouterr().out)["files"]
    scores: dict[str, float] = entry["scores"]
    return scores


@pytest.mark.slow
def test_trees_are_registered_and_tag_audio_as_they_were_evaluated(
    scored: SoundStudy,
    study: SoundStudy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = registered(study, settings(study, "trees", ["descriptors"]), tmp_path)
    assert (outcome["candidate"], outcome["role"], outcome["alias"]) == ("descriptors-all-0", "descriptors", "champion")
    assert outcome["baseline"] is None, "the candidate is no baseline to itself"
    version = Registry.open("trees").version(1)
    assert float(version.tags[TIME]) > 0
    assert 0 < float(version.tags[SIZE]) < 10
    assert version.tags[PLACE] == "one CPU thread"
    cost = f"{version.tags[TIME]} ms per 30 s of audio on one CPU thread, {version.tags[SIZE]} MB"
    assert cost in capsys.readouterr().out
    about = Registry.open("trees").client.get_model_version("trees", "1").description
    assert about.startswith("descriptors with trees trained on")
    assert cost in about

    parts, predictions = read_predictions(study.root / RESULTS / "descriptors-all-0")
    track = str(predictions.index[list(parts).index("test")])
    store = Store.open(study.root / "store")
    samples = store.read(track, 0, store.samples(track))
    soundfile.write(tmp_path / "song.wav", samples, 16_000, subtype="PCM_16")
    assert tagged(tmp_path / "song.wav", tmp_path, capsys) == pytest.approx(predictions.loc[track].to_dict(), abs=1e-5)
    tracks = list(predictions.index[:3])
    champion = load_version("trees")[0]
    again = champion.scorer.predict(store, tracks)
    np.testing.assert_allclose(again.to_numpy(), predictions.loc[tracks].to_numpy(), atol=1e-6)

    monkeypatch.setattr(baseline, "VERSION", VERSION + 1)  # as after an update of tagscale
    with pytest.raises(TagscaleError, match=rf"of version {VERSION}, where .* {VERSION + 1}, .*tagscale promote"):
        load_version("trees")
    with pytest.raises(SystemExit) as ended:
        main(["tag", str(tmp_path / "song.wav"), "--params", str(tmp_path / "params.yaml")])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "dvc repro" in said
    assert "Traceback" not in said


def test_the_best_of_all_kinds_is_chosen_unless_the_settings_restrict_them(
    scored: SoundStudy, study: SoundStudy, tmp_path: Path
) -> None:
    values = {
        name: read_json(study.root / RESULTS / f"{name}-all-0" / "metrics.json")["valid"]["pr_auc"]
        for name in ("spectrogram", "descriptors")
    }
    both = registered(study, settings(study, "both", ["front-end", "descriptors"]), tmp_path)
    best = max(values, key=lambda name: values[name])
    assert both["candidate"] == f"{best}-all-0"
    alone = registered(study, settings(study, "alone", ["front-end"]), tmp_path)
    assert alone["candidate"] == "spectrogram-all-0"
    assert alone["baseline"] == "descriptors-all-0"


def test_a_study_without_a_permitted_kind_says_so(scored: SoundStudy, study: SoundStudy, tmp_path: Path) -> None:
    expected = r"registry\.candidates names pretrained, and the study has front-end, descriptors"
    with pytest.raises(TagscaleError, match=expected):
        registered(study, settings(study, "none", ["pretrained"]), tmp_path)


@pytest.fixture(scope="module")
def ensembled(scored: SoundStudy) -> SoundStudy:
    """The same study with its ensemble."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(scored.root)
        make_ensembles(scored, settings(scored, "none", ["ensemble"], ensembles=["ensemble"]))
    return scored


def make_ensembles(study: SoundStudy, params: Params, ensembles: str = ENSEMBLES) -> Path:
    members = folders(params, study.root / RUNS, study.root / RESULTS, ensembles=None)
    inputs = {name: study.root / name for name in ("catalog", "partition")}
    ensemble.run(params, **members, **inputs, ensembles=study.root / ensembles)
    return study.root / ensembles


def scores_of(study: SoundStudy, part: str) -> tuple[np.ndarray, pd.DataFrame]:
    """The scores of the ensemble's two members, (members, tracks, tags), and its own."""
    results = [study.root / RESULTS / name for name in MEMBERS_OF]
    tables = []
    for folder in [*results, study.root / ENSEMBLES / "results" / "ensemble-all-0"]:
        of_part, table = read_predictions(folder)
        tables.append(table[(of_part == part).to_numpy()])
    return np.stack([table.to_numpy() for table in tables[:2]]), tables[2]


def regression_tags(study: SoundStudy) -> np.ndarray:
    kinds = Catalog.load(study.root / "catalog").tags["kind"]
    return np.array([kinds[tag] == "regression" for tag in Partition.load(study.root / "partition").tags])


def weights_in(run: Path) -> list[list[float]]:
    """The weights of the two members, for classification and for regression tags."""
    weights = {member["run"]: member["weights"] for member in read_json(run / MEMBERS)}
    return [[weights.get(name, {}).get(kind, 0.0) for kind in KINDS] for name in MEMBERS_OF]


def of_tags(weights: list[list[float]], regression: np.ndarray) -> np.ndarray:
    """Weights of two kinds of tags as those of tags, (members, tags)."""
    return np.array(weights)[:, regression.astype(int)]


def test_an_ensemble_is_a_run_whose_test_scores_are_the_mean_of_its_members(
    ensembled: SoundStudy, study: SoundStudy
) -> None:
    run = study.root / ENSEMBLES / "runs" / "ensemble-all-0"
    weights, members = weights_in(run), [read_json(study.root / RUNS / name / "run.json") for name in MEMBERS_OF]
    chosen = [facts for facts, weight in zip(members, weights, strict=True) if any(weight)]
    whole = read_json(run / "run.json")
    assert whole["parameters"] == sum(facts["parameters"] for facts in chosen)
    assert whole["seconds"] == pytest.approx(sum(facts["seconds"] for facts in chosen), abs=0.1)
    assert whole["train_tracks"] == members[0]["train_tracks"]
    scores, own = scores_of(study, "test")
    regression = regression_tags(study)
    np.testing.assert_allclose(own.to_numpy(), pool(scores, of_tags(weights, regression), regression), atol=1e-6)
    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("candidates")
    (logged,) = client.search_runs([experiment.experiment_id], "tags.`tagscale.model` = 'ensemble'")
    metrics = read_json(study.root / ENSEMBLES / "results" / "ensemble-all-0" / "metrics.json")
    assert logged.info.status == "FINISHED"
    assert logged.data.metrics["test_pr_auc"] == metrics["test"]["pr_auc"]
    assert logged.data.params["members"].count("%") in (len(chosen), np.count_nonzero(weights)), (
        "alike, or kind by kind"
    )


def test_validation_scores_are_of_members_chosen_without_the_tracks_artist(
    ensembled: SoundStudy, study: SoundStudy
) -> None:
    parts, catalog = Partition.load(study.root / "partition"), Catalog.load(study.root / "catalog")
    scores, own = scores_of(study, "valid")
    labels, regression = catalog.labels.loc[own.index, parts.tags].to_numpy(), regression_tags(study)
    artist = parts.artist_of(list(own.index))
    _, expected = select_bagged(scores, labels, regression, metrics_by_kind("pr_auc"), artist, seed=0)
    np.testing.assert_allclose(own.to_numpy(), expected, atol=1e-6)


@pytest.mark.slow
def test_an_ensemble_is_registered_as_one_model_and_tags_audio_as_it_was_evaluated(
    ensembled: SoundStudy, study: SoundStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = settings(study, "means", ["ensemble"], ensembles=["ensemble"])
    outcome = registered(study, params, tmp_path)
    assert (outcome["candidate"], outcome["role"], outcome["alias"]) == ("ensemble-all-0", "ensemble", "champion")
    about = Registry.open("means").client.get_model_version("means", "1").description
    assert about.startswith("ensemble (the weighted mean of several models) trained on")
    _, own = scores_of(study, "test")
    store, track = Store.open(study.root / "store"), str(own.index[0])
    soundfile.write(tmp_path / "song.wav", store.read(track, 0, store.samples(track)), 16_000, subtype="PCM_16")
    assert tagged(tmp_path / "song.wav", tmp_path, capsys) == pytest.approx(own.loc[track].to_dict(), abs=1e-5)
    inputs = [study.root / name for name in ("catalog", "partition", "store")]
    paths = folders(params, study.root / RUNS, study.root / RESULTS, study.root / ENSEMBLES)
    trial, version = Trial(params, *inputs, *choose(params, **paths)), Registry.open("means").version(1)
    champion, _, notes = trial.champion(version, replace(version, tags={}))
    again = "the champion comes from another partition and was scored again, perhaps on tracks that it learned from"
    assert notes == [again]
    pd.testing.assert_frame_equal(champion.scores("test"), own, atol=1e-5, check_names=False)
    kept, _, notes = trial.champion(version, version)
    assert notes == []
    pd.testing.assert_frame_equal(kept.scores("test"), own)


@pytest.mark.slow
def test_a_packaged_ensemble_weighs_its_members_by_members_json(
    ensembled: SoundStudy, study: SoundStudy, tmp_path: Path
) -> None:
    run, runs = tmp_path / "ensemble-all-0", {name: study.root / RUNS / name for name in MEMBERS_OF}
    given, regression = [[3.0, 1.0], [1.0, 2.0]], regression_tags(study)
    members = [
        Member(run=name, weights=dict(zip(KINDS, weights, strict=True)), content=content_of_run(runs[name]))
        for name, weights in zip(MEMBERS_OF, given, strict=True)
    ]

    def rewrite(members: list[Member]) -> None:
        run.mkdir(exist_ok=True)
        write_members(run, members)
        seal(run, "run.json", read_json(study.root / RUNS / MEMBERS_OF[0] / "run.json"), [MEMBERS])

    rewrite(members)
    window, (scores, own) = study.params().evaluate, scores_of(study, "test")
    tracks, store = [str(track) for track in own.index[-3:]], Store.open(study.root / "store")
    packaged = scorer_of(run, runs, window).predict(store, tracks)
    expected = pool(scores[:, -3:], of_tags(given, regression), regression)
    np.testing.assert_allclose(packaged[list(own.columns)].to_numpy(), expected, atol=1e-5)

    rewrite([Member(run=MEMBERS_OF[0], weights={"classification": 1.0}, content="0")])
    expected_words = (
        r"members\.json: its member spectrogram-all-0 was trained again since. Run `tagscale ensemble` again"
    )
    with pytest.raises(TagscaleError, match=expected_words):
        scorer_of(run, runs, window)
    rewrite([Member(run="waveform-all-0", weights={"classification": 1.0}, content="0")])
    with pytest.raises(TagscaleError, match=r"its member waveform-all-0 is no run of the study"):
        scorer_of(run, runs, window)
    (run / MEMBERS).write_text("[]")
    with pytest.raises(
        TagscaleError, match=r"members\.json: not the file that run.json .* Run `tagscale ensemble` again"
    ):
        scorer_of(run, runs, window)


def test_a_damaged_member_is_named(ensembled: SoundStudy, study: SoundStudy, tmp_path: Path) -> None:
    runs = {name: tmp_path / name for name in MEMBERS_OF}
    for name, folder in runs.items():
        shutil.copytree(study.root / RUNS / name, folder)
        weights = folder / ("trees.ubj.gz" if name.startswith("descriptors") else "weights.safetensors")
        weights.unlink()
        weights.write_bytes(b"damaged")
    with pytest.raises(TagscaleError, match=r"(trees\.ubj\.gz|weights\.safetensors): not the file .* `tagscale train"):
        scorer_of(study.root / ENSEMBLES / "runs" / "ensemble-all-0", runs, study.params().evaluate)


def test_a_member_that_is_absent_is_left_out_and_so_is_an_ensemble_of_one(
    ensembled: SoundStudy, study: SoundStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in (RUNS, RESULTS):
        write_absent(study.root / kind / "probe-all-0", "probe-all-0", "no weights")
    params = settings(study, "none", ["ensemble"], ensembles=["ensemble"], probes=["probe"])
    ensembles = make_ensembles(study, params, "candidates/with-absent")
    assert weights_in(ensembles / "runs" / "ensemble-all-0") == weights_in(
        study.root / ENSEMBLES / "runs" / "ensemble-all-0"
    )

    params = settings(study, "none", ["ensemble"], ensembles=["ensemble"], baselines=[])
    alone = make_ensembles(study, params, "candidates/alone")
    reason = "an ensemble needs 2 models to choose from; there is spectrogram-all-0."
    assert f"ensemble-all-0 is left out: {reason}" in capsys.readouterr().out
    paths = folders(params, study.root / RUNS, study.root / RESULTS, alone)
    read = read_study(**paths, models=params.train.everyone, sizes=["all"], seeds=[0])
    assert read.everyone == ["spectrogram"]
    assert read.notes == [f"Ensemble is left out: {reason}"]


def test_models_that_are_no_members_have_no_weight(ensembled: SoundStudy, study: SoundStudy) -> None:
    """A probe on what has heard the test tracks, say: it has a row of its own, and the ensemble goes without it."""
    for kind in (RUNS, RESULTS):
        for name in ("vgg-all-0", "short_chunk-all-0"):
            write_absent(study.root / kind / name, name, "not here")
    grid: dict[str, Any] = {"models": ["spectrogram", "vgg", "short_chunk"], "ensembles": ["ensemble"]}
    params = settings(study, "none", ["ensemble"], **grid, members=["descriptors", "spectrogram"])
    ensembles = make_ensembles(study, params, "candidates/members")
    of_all = study.root / ENSEMBLES / "runs" / "ensemble-all-0"
    assert weights_in(ensembles / "runs" / "ensemble-all-0") == weights_in(of_all), "in the order of the grid"

    params = settings(study, "none", ["ensemble"], **grid, members=["spectrogram", "vgg"])
    alone = make_ensembles(study, params, "candidates/members") / "runs" / "ensemble-all-0"
    assert absence_in(alone), "trees are in the study, and no member"

    nothing = study.params(train={"models": ["vgg"], "baselines": [], "sizes": ["all"]})
    with pytest.raises(TagscaleError, match=r"Every model of the study is left out\.\n  VGG is left out: not here"):
        make_ensembles(study, nothing, "candidates/nothing")


def test_ensembles_that_are_no_longer_in_the_grid_are_removed(ensembled: SoundStudy, study: SoundStudy) -> None:
    shutil.copytree(study.root / ENSEMBLES, study.root / "candidates" / "former")
    former = make_ensembles(study, settings(study, "none", ["ensemble"], ensembles=[]), "candidates/former")
    assert [path.name for path in sorted(former.glob("*/*"))] == []
    assert folders_in(former) == ([], [])
    assert folders_in(None) == ([], [])
    here = study.root / ENSEMBLES
    assert folders_in(here) == ([here / "runs" / "ensemble-all-0"], [here / "results" / "ensemble-all-0"])


def test_a_study_that_lacks_a_result_names_its_command(ensembled: SoundStudy, study: SoundStudy) -> None:
    params = settings(study, "none", ["ensemble"], ensembles=["ensemble"], seeds=[0, 1])
    with pytest.raises(TagscaleError, match=r"spectrogram-all-1: no run; `dvc repro evaluate@spectrogram-all-1`"):
        make_ensembles(study, params, "candidates/incomplete")
    paths = folders(params, study.root / RUNS, study.root / RESULTS, study.root / "candidates" / "nothing")
    with pytest.raises(TagscaleError, match=r"ensemble-all-0: no run; `dvc repro ensemble`"):
        read_study(**paths, models=["ensemble"], sizes=["all"], seeds=[0])
