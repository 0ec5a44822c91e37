"""Published encoders in the registry and without one, with random weights; models/test_encoders.py has theirs."""

import shutil
from pathlib import Path

import pytest
import soundfile
import torch

import tagscale
from registry.tiny import song
from tagscale.models.build import build
from tagscale.models.pretrained import CITATION, ENCODERS
from tagscale.models.pretrained.encoder import architecture_of_published
from tagscale.registry.imported import import_encoder
from tagscale.registry.published import published_tagger
from tagscale.registry.versions import CHAMPION, Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.training import checkpoint


@pytest.fixture
def encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of encoders that has one."""
    folder = tmp_path / "encoders"
    folder.mkdir()
    monkeypatch.setenv("TAGSCALE_PRETRAINED", str(folder))
    architecture = architecture_of_published(ENCODERS["msd_vgg"])
    torch.manual_seed(0)
    checkpoint.write(folder / "msd_vgg", build(architecture).eval(), architecture)
    return folder


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "song.wav"
    soundfile.write(path, song(1, 7.0), 16_000)
    return path


def test_tagging_needs_no_registry(
    encoders: Path, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    tagger = tagscale.load("msd-vgg")
    assert (tagger.model, tagger.version) == ("msd-vgg", "published")
    assert tagger.tag(recording).scores.keys() == set(ENCODERS["msd_vgg"].tags)
    assert tagger.groups["female vocalists"] == "vocal"
    with pytest.raises(TagscaleError, match=r"mtt_vgg/model\.json: no such file\. Run `tagscale fetch-encoders` first"):
        tagscale.load("mtt_vgg")
    with pytest.raises(TagscaleError, match="No model 'msd-vgg' in the registry"):
        tagscale.load("msd-vgg/1")
    assert not (tmp_path / "mlflow.db").exists()


@pytest.mark.slow
def test_an_import_is_one_version_that_scores_as_the_folder(encoders: Path, recording: Path, store: Path) -> None:
    version, is_new = import_encoder("msd-vgg")
    assert (version.name, version.number, is_new) == ("msd-vgg", "1", True)
    assert import_encoder("msd_vgg") == (version, False)
    registry = Registry.open("msd-vgg")
    assert registry.aliases() == {CHAMPION: "1"}
    assert version.tags["tagscale.licence"] == "ISC"
    assert version.tags["tagscale.citation"] == CITATION
    assert float(version.tags["tagscale.published.roc_auc"]) == ENCODERS["msd_vgg"].scores["roc_auc"]
    local, published = published_tagger("msd-vgg").tag(recording).scores, published_tagger("msd-vgg").sha256
    assert tagscale.load("msd-vgg/1").tag(recording).scores == local
    shutil.rmtree(encoders / "msd_vgg")
    tagger = tagscale.load("msd-vgg")  # a machine that has the registry alone
    assert tagger.version == "1"
    assert tagger.sha256 == published
    assert tagger.tag(recording).scores == local


def test_an_unknown_name_is_no_encoder(encoders: Path) -> None:
    with pytest.raises(TagscaleError, match="`msd_vg` is no published encoder; did you mean `msd_vgg`"):
        import_encoder("msd-vg")
