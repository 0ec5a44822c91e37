"""`tagscale learn`: from tracks of a user's own to a tagger that tags."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from encoders import write_encoder
from registry.tiny import empty_store
from tagscale.catalog.tables import Catalog
from tagscale.cli import main, stages
from tagscale.params.load import laid_over, load, read_yaml
from tagscale.stages import summary
from tagscale.training.encoders import PLACE
from user_folder import rows, write_table

ROOT = Path(__file__).parents[2]
RATE = 8000
QUICK = {
    "model": {"probe": {"encoder": "msd_vgg"}},
    "validation": {"min_positives": 3},
    "partition": {"folds": 3},
    "baseline": {"trees": 5},
    "evaluate": {"resamples": 20},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without weights of encoders; its preset `quick` is that of `learn` with less to compute."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "presets").mkdir()
    own = read_yaml(ROOT / "presets" / "own.yaml")
    (tmp_path / "presets" / "own.yaml").write_text(yaml.safe_dump(own))
    (tmp_path / "presets" / "quick.yaml").write_text(yaml.safe_dump(laid_over(own, QUICK)))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv(PLACE, str(tmp_path / "pretrained"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No stage runs after `catalog`, and there is nothing to summarise."""
    monkeypatch.setattr(stages, "in_order", lambda _: [])
    monkeypatch.setattr(summary, "show", lambda *_, **__: None)


def learn(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["learn", *words])
    assert ended.value.code == 0


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["learn", *words])
    assert ended.value.code == 1
    return capsys.readouterr().err


def write_sound(file: Path, number: int) -> None:
    """3.1 s of a tone, or of noise where the file is in a folder of that name."""
    random, time = np.random.default_rng(number), np.arange(round(3.1 * RATE)) / RATE
    wave = random.normal(size=len(time)) if "noise" in file.parts else np.sin(2 * np.pi * 30 * (10 + number) * time)
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, 0.2 * wave, RATE)


@pytest.mark.slow
def test_a_folder_a_class_becomes_a_tagger_and_grows(
    request: pytest.FixtureRequest, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First without weights of the encoder: trees alone. Then with more tracks, and the weights."""
    empty_store(request.config, project)
    for kind in ("tone", "noise"):
        for number in range(9):
            write_sound(project / "music" / kind / f"{number}.wav", number)
    (project / "music" / "tone" / "broken.wav").write_text("words")
    (project / "music" / "tone" / "cover.jpg").write_text("no audio")
    learn("music", "--name", "sounds", "--preset", "quick")
    said = capsys.readouterr().out
    assert "Probe is left out: the weights of its encoder msd_vgg are not in pretrained/" in said
    assert "descriptors-all-0 is now version 1 of sounds: champion" in said
    assert "1 file(s) are left out:\n  tone/broken.wav: " in said
    assert "Fewer than 10 positive tracks, so scores say little: noise (9) and tone (9)." in said
    tagging, versions = said.splitlines()[-2:]
    assert tagging == "Tag files: tagscale tag FILE... --model sounds"
    assert versions.split("tagscale ")[1].startswith("history --params tagger/sounds/params.yaml")
    assert (project / "tagger" / "sounds" / "reports" / "report.html").is_file()
    assert not (project / "tagger" / "sounds" / "mlflow.db").exists(), "the registry is the project's"

    write_encoder(project / "pretrained", "msd_vgg")
    write_sound(project / "music" / "noise" / "9.wav", 9)
    learn("music", "--name", "sounds")
    said = capsys.readouterr().out
    assert "1 decoded, 18 reused" in said
    assert "1 computed, 18 reused" in said
    assert "19 tracks encoded by msd_vgg" in said
    assert "version 2 of sounds" in said
    with pytest.raises(SystemExit):
        main(["tag", "music/noise/0.wav", "--model", "sounds"])
    assert "noise" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["history", "--params", "tagger/sounds/params.yaml"])
    assert "sounds" in capsys.readouterr().out


def test_a_table_is_taken_with_its_own_kinds_split_and_settings(project: Path, tables_alone: None) -> None:
    table = [row | {"split": ("train", "train", "valid", "test")[i % 4]} for i, row in enumerate(rows())]
    write_table(project / "music", table, {"columns": {"rock": {"kind": "ignore"}, "energy": {"kind": "regression"}}})
    learn("music", "--name", "mine")
    work = project / "tagger" / "mine"
    settings = load(work / "params.yaml")
    assert Catalog.load(work / "data" / "catalog").tags.index.tolist() == ["energy"]
    assert settings.dataset.root == str(project / "music")
    assert (settings.registry.name, settings.tracking.experiment, settings.dataset.name) == ("mine", "mine", "mine")
    assert (settings.train.models, settings.train.probes) == ([], ["probe"])
    assert settings.partition.folds is None, "the table has a split"
    assert settings.registry.metric == "rmse", "no tag has a PR-AUC"
    assert "# share of wrong classification labels" in (work / "params.yaml").read_text(), "comments stay"


def test_outside_a_project_the_settings_are_those_that_tagscale_comes_with(project: Path, tables_alone: None) -> None:
    (project / "params.yaml").unlink()
    shutil.rmtree(project / "presets")
    write_table(project / "music", rows())
    learn("music/tracks.csv", "--name", "mine")
    shipped = laid_over(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "presets" / "own.yaml"))
    assert read_yaml(project / "tagger" / "mine" / "params.yaml")["train"] == shipped["train"]


def test_settings_of_the_tagger_stay_as_the_user_changed_them(project: Path, tables_alone: None) -> None:
    write_table(project / "music", rows())
    learn("music/tracks.csv", "--name", "mine", "--work", "here")
    file = project / "here" / "params.yaml"
    changed = file.read_text().replace("models: []", "models: [spectrogram]  # mine")
    file.write_text(changed.replace("  version: null", "  # version: null").replace("  clip_norm:", "  # clip_norm:"))
    (project / "music").rename(project / "moved")
    learn("moved", "--name", "other", "--work", "here")
    settings = load(file)
    assert settings.train.models == ["spectrogram"]
    assert settings.dataset.root == str(project / "moved")
    assert settings.registry.name == "other"
    assert settings.train.clip_norm == load(project / "params.yaml").train.clip_norm, "a missing key is added"
    assert "[spectrogram]  # mine" in file.read_text(), "comments stay"


def test_folders_of_classes_are_exclusive_tags_and_their_folders_artists(project: Path, tables_alone: None) -> None:
    for file in ("jazz [live]/1.wav", "jazz [live]/Ann/2.wav", "jazz [live]/Ann/b/3.wav", "rock*/4.wav"):
        write_sound(project / "music" / file, 0)
    (project / "music" / ".hidden").mkdir()
    learn("music", "--name", "mine")
    catalog = Catalog.load(project / "tagger" / "mine" / "data" / "catalog")
    assert catalog.tags["exclusive"].to_dict() == {"jazz [live]": "class", "rock*": "class"}
    assert catalog.labels.to_numpy().tolist() == [[1, 0], [1, 0], [1, 0], [0, 1]]
    paths = ["jazz [live]/1.wav", "jazz [live]/Ann/2.wav", "jazz [live]/Ann/b/3.wav", "rock*/4.wav"]
    assert catalog.tracks["path"].tolist() == paths
    assert catalog.tracks["artist"].tolist() == ["", "jazz [live]/Ann", "jazz [live]/Ann", ""]


def make_table(project: Path) -> None:
    write_table(project / "music", [{key: cell for key, cell in row.items() if key != "artist"} for row in rows()])


def make_one_class(project: Path) -> None:
    write_sound(project / "music" / "jazz" / "1.wav", 0)


def make_reserved(project: Path) -> None:
    for kind in ("jazz", "title "):
        write_sound(project / "music" / kind / "1.wav", 0)


@pytest.mark.parametrize(
    ("make", "words", "message"),
    [
        (make_table, ["nowhere.csv", "--name", "x"], "nowhere.csv: no such table or folder"),
        (make_table, ["music", "--name", "msd-musicnn"], "--name msd-musicnn: a published encoder has this name"),
        (make_table, ["music", "--name", "a b"], "dataset.name: expected letters, digits"),
        (make_table, ["music", "--name", "x", "--preset", "owm"], "presets/owm.yaml: no such preset. In presets/: own"),
        (make_table, ["music", "--name", "x"], "tracks.csv: missing column `artist`"),
        (make_one_class, ["music", "--name", "x"], "neither a tracks.csv nor a folder of audio for each of two"),
        (make_reserved, ["music", "--name", "x"], "music/title : no class can have this name. Rename the folder."),
    ],
)
def test_errors(project: Path, capsys: pytest.CaptureFixture[str], make: Any, words: list[str], message: str) -> None:
    make(project)
    assert message in refused(capsys, *words)


def test_weak_tags_are_named() -> None:
    tags = pd.DataFrame(
        {"tag": ["a", "b", "c"], "kind": ["classification"] * 2 + ["regression"], "positives": [9, 30, 0]}
    ).assign(roc_auc_low=[0.6, 0.45, np.nan])
    assert summary.weak_tags(tags) == [
        "Fewer than 10 positive tracks, so scores say little: a (9).",
        "Perhaps no better than guessing (the interval of ROC-AUC reaches 0.5): b.",
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["e\u0301tude", "\u00e9tude"], "music/e\u0301tude: another class has this name, if spaces, Unicode forms"),
        (["\u200b", "rock"], "music/\u200b: no class can have this name"),
    ],
)
def test_two_classes_of_one_name_are_named(
    project: Path, capsys: pytest.CaptureFixture[str], names: list[str], message: str
) -> None:
    for number, name in enumerate(names):
        write_sound(project / "music" / name / "1.wav", number)
    assert message in refused(capsys, "music", "--name", "x")
