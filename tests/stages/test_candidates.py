"""Whatever is best is registered: trees become a version that tags audio as they were evaluated, at a known cost."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from stages.conftest import SoundStudy
from tagscale.cli import main
from tagscale.descriptors import baseline
from tagscale.descriptors.describe import VERSION
from tagscale.params.load import Params
from tagscale.registry.cost import PLACE, SIZE, TIME
from tagscale.registry.package import load_version
from tagscale.registry.trained import MEMBERS, scorer_of, weights_hash
from tagscale.registry.versions import Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.stages import describe, evaluate, register, train_baseline
from tagscale.store.read import Store
from tagscale.study.tables import read_predictions

RUNS, RESULTS = "candidates/runs", "candidates/results"


@pytest.fixture(scope="module")
def scored(sound_study: SoundStudy, trained: Path) -> SoundStudy:
    """The study of sounds with runs and results of a spectrogram model, and of trees on descriptors of the sounds."""
    root, params = sound_study.root, settings(sound_study, "none", ["ensemble"])
    folders = {name: root / name for name in ("catalog", "partition")}
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(root)
        heard = {"spectrogram-all-0": root / "store", "descriptors-all-0": root / "described"}
        describe.run(params, partition=root / "partition", store=root / "store", descriptors=root / "described")
        shutil.copytree(trained, root / RUNS / trained.name)
        trees = {"model": "descriptors", "size": "all", "seed": 0, "run": root / RUNS / "descriptors-all-0"}
        train_baseline.run(params, **trees, inputs=root / "described", **folders)
        for name, inputs in heard.items():
            places = {"run": root / RUNS / name, "results": root / RESULTS / name}
            evaluate.run(params, inputs=inputs, **places, **folders)
    return sound_study


def settings(study: SoundStudy, name: str, candidates: list[str], **train: Any) -> Params:
    grid = {"models": ["spectrogram"], "baselines": ["descriptors"], "sizes": ["all"], "seeds": [0]}
    registry, tracking = {"name": name, "candidates": candidates}, {"experiment": "candidates"}
    return study.params(train=grid | train, registry=registry, tracking=tracking)


def registered(study: SoundStudy, params: Params, tmp_path: Path) -> dict[str, Any]:
    """registration.json of this study, whose settings are then params.yaml in `tmp_path`."""
    names = [f"{model}-{size}-{seed}" for model, size, seed in params.train.cells]
    folders = {name: study.root / name for name in ("partition", "store", "catalog")}
    runs, results = ([study.root / kind / name for name in names] for kind in (RUNS, RESULTS))
    register.run(params, runs=runs, results=results, registration=tmp_path / "registration", **folders)
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


def test_an_ensemble_scores_as_the_weighted_mean_of_its_members(
    scored: SoundStudy, study: SoundStudy, tmp_path: Path
) -> None:
    runs = {name: study.root / RUNS / name for name in ("spectrogram-all-0", "descriptors-all-0")}
    members = [
        {"run": name, "weight": weight, "sha256": weights_hash(runs[name])}
        for name, weight in (("spectrogram-all-0", 3), ("descriptors-all-0", 1))
    ]
    write_json(tmp_path / MEMBERS, members)
    window = study.params().evaluate
    ensemble = scorer_of(tmp_path, runs, window)
    store = Store.open(study.root / "store")
    _, first = read_predictions(study.root / RESULTS / "spectrogram-all-0")
    _, second = read_predictions(study.root / RESULTS / "descriptors-all-0")
    tracks = [str(track) for track in first.index[-3:]]
    expected = 0.75 * first.loc[tracks] + 0.25 * second.loc[tracks]
    np.testing.assert_allclose(ensemble.predict(store, tracks).to_numpy(), expected.to_numpy(), atol=1e-5)

    write_json(tmp_path / MEMBERS, [members[0] | {"sha256": "0"}])
    with pytest.raises(TagscaleError, match=r"members\.json: its member spectrogram-all-0 was trained again since"):
        scorer_of(tmp_path, runs, window)
    write_json(tmp_path / MEMBERS, [members[0] | {"run": "waveform-all-0"}])
    with pytest.raises(TagscaleError, match=r"its member waveform-all-0 is no run of the study"):
        scorer_of(tmp_path, runs, window)
