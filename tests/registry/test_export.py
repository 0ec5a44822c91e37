"""`tagscale export` writes files that programs without tagscale tag with."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import soundfile
import torch

from registry.tiny import HOP_SECONDS, KINDS, PATCH_SECONDS, ROOT, song, tiny_network, tiny_tagger
from tagscale.cli import main
from tagscale.descriptors.baseline import DescriptorTrees
from tagscale.descriptors.describe import names
from tagscale.evaluation.decisions import Decisions, Sigmoid, TagDecision
from tagscale.models.build import Architecture, build
from tagscale.models.pretrained import LICENCE
from tagscale.params.load import load
from tagscale.registry.export import facts_of, members_of
from tagscale.registry.published import published_tagger
from tagscale.registry.scorers import Scorer
from tagscale.registry.scorers.ensemble import EnsembleScorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.registry.scorers.network import NetworkScorer
from tagscale.registry.scorers.trees import TreesScorer
from tagscale.registry.tagger import AudioTagger
from tagscale.serving.tagger import load as load_tagger

SCRIPT = re.search(r"^```python\n(.*?)^```", (ROOT / "docs" / "export.md").read_text(), re.MULTILINE | re.DOTALL)
ALONE = "import sys; sys.modules |= dict.fromkeys(('torch', 'tagscale', 'onnx', 'scipy'))\n"  # not to be imported


def run(*words: str) -> None:
    """The command, which must succeed."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert ended.value.code == 0


def light_network(seed: int = 0) -> NetworkScorer:
    """Of the networks, the quickest to export."""
    capacity = {"width": 0.125, "filters": [32, 64, 64, 32], "time_pools": [2, 2, 2, 2], "dropout": 0.5}
    architecture = Architecture("vgg", capacity, tuple(KINDS), tuple(KINDS.values()), PATCH_SECONDS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return NetworkScorer(build(architecture).eval(), architecture, HOP_SECONDS)


def trees() -> TreesScorer:
    """Trees on noise."""
    random, params = np.random.default_rng(0), load(ROOT / "params.yaml").baseline
    features = pd.DataFrame(random.random((30, len(names()))), columns=list(names()))
    labels = (random.random((30, 3)) > 0.5).astype(np.float32)
    return TreesScorer(DescriptorTrees.fit(features, labels, list(KINDS), list(KINDS.values()), params, seed=0))


def saved(folder: Path, scorer: Scorer) -> str:
    """A tagger's folder, whose first tag is decided from 0.25 on."""
    decision = TagDecision(calibration=Sigmoid(slope=2, offset=-1), threshold=0.25, positives=3, tracks=9)
    AudioTagger(scorer, dict.fromkeys(KINDS, "genre"), decisions=Decisions(tags={"rock": decision})).save(folder)
    return str(folder)


def ensemble(**members: Scorer) -> EnsembleScorer:
    weights: list[Mapping[str, float]] = [dict.fromkeys(("classification", "regression"), 1.0) for _ in members]
    return EnsembleScorer(members, weights)


@pytest.mark.slow
def test_a_program_with_onnxruntime_alone_tags_a_song_as_the_tagger_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = saved(tmp_path / "tagger", light_network()), tmp_path / "exported"  # any name, without a suffix, too
    run("export", "--model", folder, "--out", str(file))
    assert f"{file} (0." in capsys.readouterr().out
    onnx.checker.check_model(file, full_check=True)
    assert SCRIPT
    tagger = load_tagger(folder)
    for seconds in (4.3, 1.0):  # several windows; less than one
        soundfile.write(tmp_path / "song.wav", song(1, seconds), 16_000)
        words = [sys.executable, "-c", ALONE + SCRIPT[1], str(file), str(tmp_path / "song.wav")]
        printed = subprocess.run(words, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
        rows = re.findall(r"^(\S+)  (\w+)( \*)?$", printed, re.MULTILINE)
        expected = tagger.tag(tmp_path / "song.wav").scores
        assert {tag: float(score) for score, tag, _ in rows} == pytest.approx(expected, abs=1e-4)
        assert [tag for _, tag, star in rows if star] == ["rock"] * (expected["rock"] >= 0.25)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert facts == facts_of(tagger.audio) | {"model": "tagger", "version": "folder"}
    assert (facts["tags"], facts["kinds"], facts["sha256"]) == (list(KINDS), list(KINDS.values()), tagger.sha256)
    assert (facts["window_samples"], facts["hop_samples"]) == (PATCH_SECONDS * 16_000, HOP_SECONDS * 16_000)
    assert (facts["thresholds"], facts["calibrations"]) == ({"rock": 0.25}, {"rock": {"slope": 2, "offset": -1}})


def test_what_cannot_be_exported_is_refused_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(scorer: Scorer, *words: str) -> str:
        with pytest.raises(SystemExit):
            main(["export", "--model", saved(tmp_path / "tagger", scorer), "--out", str(tmp_path / "x.onnx"), *words])
        assert not (tmp_path / "x.onnx").exists()
        return capsys.readouterr().err

    both = ensemble(first=tiny_network(), second=trees())
    told = refused(both)
    assert "This tagger is an ensemble of first (network), second (trees). Trees are not exported" in told
    assert "`--member NAME` exports one network: first." in told
    assert "The member second is made of trees." in refused(both, "--member", "second")
    assert "--member: found 'third'. `--member NAME` exports one network: first." in refused(both, "--member", "third")
    assert "This tagger is made of trees." in refused(trees())
    assert "--member: found 'x'. This tagger is no ensemble" in refused(tiny_network(), "--member", "x")


@pytest.mark.slow
def test_networks_of_an_ensemble_are_exported_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folds = MeanScorer({"fold-1": light_network(seed=1), "fold-2": light_network(seed=2)}, [1, 3])
    scorer = ensemble(alone=light_network(), folds=folds)
    assert list(members_of(scorer)) == ["alone", "folds/fold-1", "folds/fold-2"]
    run("export", "--model", saved(tmp_path / "tagger", scorer), "--out", str(tmp_path / "x.onnx"))
    assert "its member folds/fold-2" in capsys.readouterr().out
    files = ["x.alone.onnx", "x.folds.fold-1.onnx", "x.folds.fold-2.onnx"]
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == files
    wave = song(1, PATCH_SECONDS)
    scores = []
    for name in files:
        session = onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"])
        scores += session.run(None, {"wave": wave[None].astype(np.float32) / 32768})
        facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
        assert facts["thresholds"] == {}  # those of the ensemble are of pooled scores
        assert [one["weight"] for one in facts["pooling"]["within"]["folds"]["members"]] == [0.25, 0.75]
    alone, mean = scores[0][0], (scores[1] + 3 * scores[2])[0] / 4
    assert "log((score + 1e-06) / (1 - score + 1e-06))" in facts["pooling"]["rule"]
    odds = sum(np.log((score + 1e-6) / (1 - score + 1e-6)) for score in (alone, mean)) / 2
    pooled = np.where([kind == "regression" for kind in scorer.kinds], (alone + mean) / 2, 1 / (1 + np.exp(-odds)))
    np.testing.assert_allclose(pooled, scorer.scores(wave), atol=1e-4)


@pytest.mark.slow
def test_published_weights_carry_their_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from encoders import write_encoder

    monkeypatch.setenv("TAGSCALE_PRETRAINED", str(tmp_path))
    write_encoder(tmp_path, "msd_vgg")
    run("export", "--model", "msd-vgg", "--out", str(tmp_path / "vgg.onnx"))
    facts = {prop.key: json.loads(prop.value) for prop in onnx.load(tmp_path / "vgg.onnx").metadata_props}
    assert (facts["licence"], facts["model"], facts["version"]) == (LICENCE, "msd-vgg", "published")
    session, wave = onnxruntime.InferenceSession(tmp_path / "vgg.onnx"), song(1, 3.0)
    (scores,) = session.run(None, {"wave": wave[None].astype(np.float32) / 32768})
    np.testing.assert_allclose(scores[0], published_tagger("msd-vgg").scorer.scores(wave), atol=1e-4)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tagscale.registry import export
    from tagscale.runtime.errors import TagscaleError

    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(TagscaleError, match=r"needs onnx: pip install 'tagscale\[export\]'"):
        export.export(tiny_tagger(), tmp_path / "x.onnx", {})
