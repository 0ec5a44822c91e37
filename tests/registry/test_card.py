"""The model card: what it says is what the study's files say, and it lies where its readers look."""

import re
from pathlib import Path

import mlflow.artifacts
import pytest

from registry.test_published import encoders
from registry.tiny import TinyStudy, empty_store, make_study, tiny_tagger
from tagscale import tracking
from tagscale.cli import main
from tagscale.models.pretrained import CITATION, ENCODERS, LICENCE
from tagscale.registry.card import CARD, LONGEST, Card, card_of_encoder
from tagscale.registry.cost import CPU, Cost
from tagscale.registry.imported import import_encoder
from tagscale.registry.package import register as package
from tagscale.registry.versions import Registry, Version
from tagscale.runtime.identity import RunIdentity
from tagscale.stages import register

__all__ = ["encoders"]
NAME = "tagscale-tagger"


@pytest.fixture
def study(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyStudy:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TAGSCALE_GIT_COMMIT", "c0ffee")
    monkeypatch.setattr(register, "cost_of", lambda _: Cost(12.3, 0.4, CPU))
    monkeypatch.chdir(tmp_path)
    empty_store(request.config, tmp_path)
    return make_study(tmp_path / "study", tracks=24)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["card", *words])
    output = capsys.readouterr()
    return output.out if ended.value.code == 0 else output.err


@pytest.mark.slow
def test_a_registered_version_has_a_card(study: TinyStudy, capsys: pytest.CaptureFixture[str]) -> None:
    register.run(study.params, **study.paths())
    client, registry = tracking.connect(), Registry.open(NAME)
    version = client.get_model_version(NAME, "1")
    text = printed(capsys)
    assert text.startswith(f"# Model card: {NAME} version 1\n\n## Intended use\n")
    identity = study.registration("candidate.json")["identity"]
    for fact in (
        "- Gives each of 3 tags (2 classification and 1 regression) a score in [0, 1]",
        "| PR-AUC | 0.600 | 0.550 | – |",  # this study has no intervals
        "The baseline descriptors-all-0: PR-AUC 0.350.",
        "- 2 tags have fewer than 10 positive test tracks: rock, jazz.",
        f"passed: {study.registration('gate.json')['reason']}.",
        f"- **tiny**: {'a corpus that tagscale composes and renders'}; data {identity['dataset_hash']}",
        "- 24 tracks by 24 artists.",
        "| train | 8 | 8 |\n| valid | 8 | 8 |\n| test | 8 | 8 |",
        "- 0 of 8 artists of the test part are in the training part too.\n- Artist-filtered: yes.",
        "12.3 ms per 30 s of audio on one CPU thread, 0.4 MB.",
        "- spectrogram (width 0.125, filters 8, units 8, dropout 0.5), patches of 1.5 s",
        "| git commit | `c0ffee` |",
        f"| settings | `{identity['settings_hash']}` |",
        f'tagger = tagscale.load("{NAME}/1")',
        "| rock | genre | 4 | PR-AUC |",
    ):
        assert fact in text, fact
    (folder,) = Path("mlartifacts/models").glob("*/artifacts")
    assert (folder / CARD).read_text() == text
    downloaded = mlflow.artifacts.download_artifacts(f"models:/{NAME}/1/{CARD}")
    assert Path(downloaded).read_text() == text
    assert version.description.startswith("spectrogram front-end trained on 8 tracks of tiny")
    assert "\n\n## Intended use\n\n- Gives each of 3 tags" in version.description
    assert len(version.description) <= LONGEST

    registry.client.delete_model_version_tag(NAME, "1", "tagscale.card")  # as after a kill
    assert "has no model card: its registration was interrupted." in printed(capsys, "--version", "1")
    register.run(study.params, **study.paths())
    assert "study: this is a folder" in printed(capsys, "--out", "study")
    assert (study.root / "store").is_dir()
    assert printed(capsys, "--out", "card.md") == "card.md: the model card\n"
    assert Path("card.md").read_text() == text
    assert client.get_model_version(NAME, "1").description == version.description


def test_what_crosses_the_split_is_said(study: TinyStudy, capsys: pytest.CaptureFixture[str]) -> None:
    from tagscale.catalog.tables import Catalog
    from tagscale.partition.divide import Partition
    from tagscale.registry.candidate import choose
    from tagscale.registry.card import card_of_run
    from tagscale.registry.trial import Trial

    chosen, read = choose(study.params, study.paths()["runs"], study.paths()["results"])
    trial = Trial(study.params, *(study.root / name for name in ("catalog", "partition", "store")), chosen, read)
    trial.catalog.tracks["artist"] = "one"
    trial.parts.table["artist"] = "one"
    card = card_of_run(trial, tiny_tagger(), Version(NAME, "1", "", {}))
    assert "- 1 of 1 artists of the test part are in the training part too, with 8 of 8 test" in card.sections["Split"]
    assert "- Artist-filtered: **no**, so the scores are too good." in card.sections["Split"]
    assert "- 2 tags have all positive test tracks from one artist: rock, jazz." in card.sections["Limits"]
    assert card.sections["Decision of the gate"] == "not judged yet."
    assert card.sections["Thresholds and calibration"].startswith("None: scores rank the tags")
    assert isinstance(trial.catalog, Catalog)
    assert isinstance(trial.parts, Partition)


def test_a_description_holds_whole_sections_and_names_the_others() -> None:
    card = Card("x", {"First": "1" * 50, "Second": "2" * 50, "Third": "3" * 90})
    short = card.beginning(200)
    assert short.startswith(f"## First\n\n{'1' * 50}")
    assert short.endswith(f"**{CARD}** among the files of the model also has: third.")
    assert len(short) <= 200
    assert "also has" not in card.beginning(1000)
    for longest in range(70, 400):
        assert len(card.beginning(longest)) <= max(longest, 78)  # names them all, at least


def test_a_published_encoder_has_the_card_of_published_facts(
    encoders: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = printed(capsys, "--model", "msd-vgg")
    assert text.startswith("# Model card: msd-vgg published\n")
    assert "| ROC-AUC | 0.8768 |" in text
    assert f"\n\n{LICENCE.strip()}\n\n## How to load" in text
    listed = re.findall(r"^- \w+ \(\d+\): (.*)\.$", text, re.MULTILINE)
    assert sum(len(names.split(", ")) for names in listed) == 50, "no other section names them"
    assert CITATION in text
    assert 'tagscale.load("msd-vgg")' in text


@pytest.mark.slow
def test_an_imported_encoder_has_it_in_the_registry(
    encoders: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version, _ = import_encoder("msd-vgg")
    text = printed(capsys, "--model", "msd-vgg", "--version", "1")
    tagger = tiny_tagger()
    assert re.search(r'tagscale\.load\("msd-vgg/1"\)', text)
    assert card_of_encoder(ENCODERS["msd_vgg"], tagger, version).sections["Licence"] in text
    assert "## Licence" in tracking.connect().get_model_version("msd-vgg", "1").description


def test_a_version_whose_registration_was_interrupted_has_none(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry.open_or_create("older", "for tests")
    identity = RunIdentity("spectrogram", "all", 0, "tiny", "dddddddddddd", "pppppppppppp", "ssssssssssss")
    with tracking.find_run("study", identity) as run:
        package(registry, run, tiny_tagger(), identity.name, {}, "a description")
    assert "Version 1 of 'older' has no model card" in printed(capsys, "--model", "older", "--version", "1")
