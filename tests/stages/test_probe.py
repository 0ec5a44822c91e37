"""A probe through its stages: encode, train, evaluate; with missing weights, and after an interruption."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from encoders import write_encoder
from tagscale.evaluation.predict import predict
from tagscale.models.pretrained.probe import Probe
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.absent import absence_in
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, sha256_of
from tagscale.runtime.reading import Damaged
from tagscale.stages import encode, evaluate, train_probe
from tagscale.store.read import Store
from tagscale.study.grid import read_study
from tagscale.training import checkpoint
from tagscale.training import features as features_module
from tagscale.training.encoders import PLACE
from tagscale.training.features import Features

ENCODER = "msd_vgg"  # the quickest
CHANGES = {
    "model": {"probe": {"encoder": ENCODER}},
    "train": {"models": ["spectrogram"], "probes": ["probe"], "sizes": ["all"]},
    "evaluate": {"hop_seconds": 1.0, "resamples": 0},
}


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    write_encoder(folder, ENCODER)
    return folder


@pytest.fixture
def here(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLACE, str(weights))
    return weights


@pytest.fixture
def params(study) -> Params:
    return study.params(**CHANGES)


@pytest.fixture(scope="session")
def encoded(sound_study, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of the study of sounds, computed once."""
    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PLACE, str(weights))
        encode_in(sound_study.params(**CHANGES), sound_study.root, folder)
    return folder


def encode_in(params: Params, root: Path, features: Path, **options: object) -> None:
    encode.run(params, partition=root / "partition", store=root / "store", features=features, **options)


def train_in(params: Params, study, features: Path, run: Path) -> Path:
    folders = {name: study.root / name for name in ("catalog", "partition")}
    train_probe.run(params, model="probe", size="all", seed=0, inputs=features, run=run, **folders)
    return run


def evaluate_in(params: Params, study, features: Path, run: Path, results: Path) -> Path:
    folders = {name: study.root / name for name in ("catalog", "partition")}
    evaluate.run(params, run=run, inputs=features, results=results, **folders)
    return results


@pytest.mark.slow
def test_scores_from_features_are_those_of_the_run_on_the_audio(study, params, here, encoded, tmp_path) -> None:
    """The run is an ordinary checkpoint of an encoder and a head, which hears audio."""
    run = train_in(params, study, encoded, tmp_path / "probe-all-0")
    results = evaluate_in(params, study, encoded, run, tmp_path / "results" / "probe-all-0")
    scores = pd.read_parquet(results / "predictions.parquet").set_index("track_id").drop(columns="part")
    model, architecture = checkpoint.load(run)
    assert isinstance(model, Probe)
    store = Store.open(study.root / "store")
    expected = predict(model, architecture, store, scores.index.tolist(), params.evaluate.hop_seconds)
    pd.testing.assert_frame_equal(scores, expected[scores.columns], atol=1e-5, rtol=0, check_names=False)
    facts = read_json(run / "run.json")
    assert facts["parameters"] == (256 + 1) * len(architecture.tags), "of the head: the encoder is not trained"
    assert read_json(results / "metrics.json")["test"]["roc_auc"] > 0.7, "a random network tells these sounds apart"


@pytest.mark.slow
def test_only_missing_tracks_are_encoded_and_the_bytes_are_the_same(
    study, params, here, encoded, tmp_path, monkeypatch, capsys
) -> None:
    """Also after an interruption, which keeps what was computed."""
    monkeypatch.setattr(features_module, "PART_SECONDS", 0.0)
    original, calls = encode.encode_track, []

    def interrupted(*arguments: object) -> np.ndarray:
        calls.append(arguments[2])
        if len(calls) == 6:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(encode, "encode_track", interrupted)
    features = tmp_path / "features"
    with pytest.raises(KeyboardInterrupt):
        encode_in(params, study.root, features)
    assert not (features / "probe").exists()
    encode_in(params, study.root, features)
    tracks = Partition.load(study.root / "partition").table["track_id"].tolist()
    assert calls == [*tracks[:6], *tracks[5:]], "the first five are not computed again"
    assert bytes_of(features) == bytes_of(encoded)
    assert not list(features.glob(".probe*"))
    encode_in(params, study.root, features)
    assert f"0 computed, {len(tracks)} reused" in capsys.readouterr().out
    assert bytes_of(features) == bytes_of(encoded)


@pytest.mark.slow
def test_small_shards_hold_the_same_rows(study, params, here, encoded, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(features_module, "SHARD_TRACKS", 7)
    encode_in(params, study.root, tmp_path, previous=encoded)
    tracks = Partition.load(study.root / "partition").table["track_id"].tolist()[::-2]
    small, large = (Features(folder / "probe", "") for folder in (tmp_path, encoded))
    assert small.index["shard"].nunique() == -(-len(small.index) // 7)
    assert np.array_equal(small.means(tracks), large.means(tracks))


@pytest.mark.slow
def test_other_windows_are_computed_anew(study, params, here, encoded, tmp_path, capsys) -> None:
    changed = study.params(**CHANGES | {"evaluate": {"hop_seconds": 2.0}})
    encode_in(changed, study.root, tmp_path, previous=encoded)
    assert ", 0 reused" in capsys.readouterr().out


@pytest.mark.slow
def test_damaged_features_are_named_and_computed_again(study, params, here, encoded, tmp_path, capsys) -> None:
    folder = tmp_path / "features"
    shutil.copytree(encoded, folder)
    shard = folder / "probe" / "shard-00000.f32"
    shard.write_bytes(shard.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(Damaged, match=r"shard-00000\.f32.*tagscale encode --model probe"):
        train_in(params, study, folder, tmp_path / "probe-all-0")
    encode_in(params, study.root, folder)
    assert "Its rows are computed again" in capsys.readouterr().out
    assert bytes_of(folder) == bytes_of(encoded)


@pytest.mark.slow
def test_without_weights_the_study_runs_without_the_probe(
    study, trained, params, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "pretrained"))
    encode_in(params, study.root, tmp_path / "features")
    run = train_in(params, study, tmp_path / "features", tmp_path / "probe-all-0")
    results = evaluate_in(params, study, tmp_path / "features", run, tmp_path / "results" / "probe-all-0")
    reason = "the weights of its encoder msd_vgg are not in pretrained/; `tagscale fetch-encoders` gets them"
    said = capsys.readouterr().out
    assert said.count(reason) == 3, "each stage says so"
    assert absence_in(results) == absence_in(run)
    other = evaluate_in(params, study, study.root / "store", trained, tmp_path / "results" / "spectrogram-all-0")
    read = read_study(
        [trained, run], [other, results], models=params.train.everyone[:2], sizes=["all"], seeds=params.train.seeds
    )
    assert read.everyone == ["spectrogram"]
    assert read.notes == [f"Probe is left out: {reason}, then `dvc repro` trains it."]


def test_weights_that_arrive_later_are_used(study, params, here, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(encode, "absence_of", lambda _: "away")
    encode_in(params, study.root, tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv(PLACE, str(here))
    tiny = Partition.load(study.root / "partition")
    small = Partition(tiny.table.iloc[:2], tiny.tags)
    small.save(tmp_path / "partition")
    encode.run(params, partition=tmp_path / "partition", store=study.root / "store", features=tmp_path)
    assert absence_in(tmp_path / "probe") is None
    assert len(Features(tmp_path / "probe", "").index) == 2


def test_damaged_weights_are_an_error(study, params, tmp_path, monkeypatch) -> None:
    write_encoder(tmp_path, ENCODER)
    (tmp_path / ENCODER / checkpoint.WEIGHTS).write_bytes(b"no")
    monkeypatch.setenv(PLACE, str(tmp_path))
    with pytest.raises(TagscaleError, match="tagscale fetch-encoders"):
        encode_in(params, study.root, tmp_path / "features")


def bytes_of(features: Path) -> dict[str, str]:
    return {file.name: sha256_of(file) for file in sorted((features / "probe").iterdir())}
