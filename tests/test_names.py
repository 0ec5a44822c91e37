"""Names are data: whatever people call their tags, artists and files, every stage keeps the name as it is."""

import io
import json
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from registry.tiny import empty_store, tiny_tagger
from stages.conftest import SETTINGS
from tagscale.catalog.sources.columns import RESERVED
from tagscale.catalog.sources.folder import read
from tagscale.catalog.tables import Catalog
from tagscale.cli import main, stages
from tagscale.params.load import Params, laid_over, read_yaml
from tagscale.partition.divide import Partition, divide
from tagscale.registry.package import load_version
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.tags import Tags
from tagscale.runtime.files import write_json
from tagscale.runtime.identity import RunIdentity, run_name
from tagscale.runtime.names import normalised
from tagscale.serving.tagger import Tagger
from tagscale.serving.tagging import as_json, print_tags
from tagscale.stages import evaluate
from tagscale.study.compare import tag_scores
from tagscale.study.grid import Study, read_study
from tagscale.study.qualitative import qualitative
from tagscale.study.tables import read_predictions
from user_folder import ROOT, tone, write_table
from user_folder import settings as user_settings

TAGS = ["part", "split_", "tag", "index", "level_0", "1980", "007", "True", "nan", "NA", "None", "1e5", "rock [live]"]
TAGS += ["*", "a?b", "a/b\\c", "a: b", "'q' \"u\"", "one, two; three", "<b>bold</b>", r"$\frac$", "😀", "x" * 300]
TAGS += [
    "nai\u0308ve",
    "caf\u00e9\u00a0 noir",
    "zero\u200bwidth",
    "__index_level_0__",
    "@tag",
    "=1+1",
    "rock, [bold]live",
]
SEEN = [" ".join(unicodedata.normalize("NFC", tag).replace("\u200b", "").split()) for tag in TAGS]
ARTISTS = [
    "Bjo\u0308rk",
    "Bj\u00f6rk",
    "Bj\u00f6rk\u200b",
    "\u00a0Bj\u00f6rk",
    "NA",
    "007",
    "7",
    "1e5",
    "True",
    "nan",
    "track_id",
    "a, b",
]
ARTISTS += ["index", "<i>x</i>", "Rock", "rock"]


def write_dataset(root: Path) -> None:
    """48 tones by 16 spellings of 13 artists, with a column for each of TAGS and a category whose tag is `track_id`."""
    root.mkdir()
    rows: list[dict[str, Any]] = []
    for i in range(48):
        row: dict[str, Any] = {"track_id": f"{i:03}", "path": f"so\u0308ng {i}.wav", "artist": ARTISTS[i % 16]}
        soundfile.write(root / unicodedata.normalize("NFC", row["path"]), tone(1.6, 8000, 200 + 40 * i), 8000)
        row |= {tag: str((i // 3 + place) % 5 % 2) for place, tag in enumerate(TAGS)}
        rows.append(row | {"track": ("id", "I\u0307D", "")[i % 3]})
    rows[7]["track_id"], rows[8]["track_id"] = "1e5", "NA"
    tags = {tag: {"kind": "classification", "group": "1980" if tag in TAGS[:9] else "nan"} for tag in TAGS}
    write_table(root, rows, {"columns": tags | {"track": {"kind": "category", "group": "part", "exclusive": "True"}}})


def text_of(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype=str, keep_default_na=False)


@pytest.fixture(scope="module")
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every stage, by the command line's functions, over the dataset."""
    folder = empty_store(request.config, tmp_path_factory.mktemp("names"))
    write_dataset(folder / "music")
    more: dict[str, Any] = {
        "dataset": {"source": "folder", "root": "music", "name": "names"},
        "validation": {"min_seconds": 1, "min_positives": 2, "max_quarantined": 0.1},
        "partition": {"train": 0.6, "valid": 0.2, "test": 0.2},
        "train": {"models": ["spectrogram"], "sizes": ["all"], "max_steps": "1 epoch"},
        "registry": {"name": "names"},
    }
    content = laid_over(laid_over(read_yaml(ROOT / "params.yaml"), SETTINGS), more)
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name in ("catalog", "preprocess", "validate", "partition", "describe"):
            getattr(stages, name)()
        for model in ("spectrogram", "descriptors"):
            stages.train(model=model, size="all")
            stages.evaluate(model=model, size="all")
        stages.ensemble()
        stages.compare()
        stages.register()
    return folder


@pytest.mark.slow
def test_every_name_comes_through_all_stages(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    expected = [*SEEN, "track_id", "track_\u0130D"]
    catalog = Catalog.load(study / "data" / "catalog")
    assert list(catalog.labels) == list(catalog.tags.index) == expected
    assert set(catalog.tracks["artist"]) == set(ARTISTS) - {"Bjo\u0308rk", "Bj\u00f6rk\u200b", "\u00a0Bj\u00f6rk"}
    assert text_of(study / "data" / "validation" / "quarantine.csv").empty, "a path in another form is found"
    parts = Partition.load(study / "data" / "partition")
    assert parts.tags == expected
    assert parts.table.groupby("artist")["part"].nunique().max() == 1
    for run in ("spectrogram-all-0", "descriptors-all-0"):
        per_tag = text_of(study / "results" / run / "per_tag.csv")
        assert per_tag["tag"].tolist() == 2 * expected
        of_track, scores = read_predictions(study / "results" / run)
        assert list(scores) == expected
        assert set(of_track) == {"valid", "test"}
    assert set(text_of(study / "reports" / "plots" / "per_tag.csv")["tag"]) == set(expected)
    report = (study / "reports" / "report.html").read_text(encoding="utf-8")
    assert "<b>bold</b>" not in report
    tagger, _ = load_version("names")
    assert list(tagger.tags) == expected
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["tag", "music/s\u00f6ng 0.wav", "--json"])
    assert not ended.value.code
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert set(file["scores"]) == set(expected)
    pyfunc = tagger.predict(pd.DataFrame({"audio": [(study / "music" / "s\u00f6ng 0.wav").read_bytes()]}))
    assert pyfunc.iloc[0].to_dict() == pytest.approx(file["scores"])


def different(hostile: list[str], least: int, most: int) -> st.SearchStrategy[list[str]]:
    """Names that are different in their one form and can be columns of a user's table."""
    anything = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)
    usable = st.one_of(st.sampled_from(hostile), anything).filter(lambda name: normalised(name) not in ("", *RESERVED))
    return st.lists(usable, min_size=least, max_size=most, unique_by=normalised)


TRACKS = 24
DATASETS = st.tuples(different(TAGS, 2, 6), different([*ARTISTS, *TAGS], 4, 12), different(TAGS, TRACKS, TRACKS))


def write_random(root: Path, tags: list[str], artists: list[str], ids: list[str]) -> Catalog:
    """A table of these names, as the catalog reads it: labels that tell the tags apart, without audio."""
    rows = [
        {"track_id": track, "path": f"{number}.wav", "artist": artists[number % len(artists)]}
        | {tag: str((number // len(artists) + number + place) % 2) for place, tag in enumerate(tags)}
        for number, track in enumerate(ids)
    ]
    write_table(root, rows, {"columns": {tag: {"kind": "classification", "group": tag} for tag in tags}})
    return read(root, user_settings(dataset={"name": "random", "tags": "tags.yaml"}).dataset)


def divided(catalog: Catalog) -> Partition:
    shares = {"train": 0.5, "valid": 0.25, "test": 0.25}
    return divide(catalog.tracks, catalog.labels, catalog.tags["kind"].tolist(), shares, seed=0)[0]


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(names=DATASETS)
def test_any_names_come_through_the_files(names: tuple[list[str], list[str], list[str]]) -> None:
    tags, artists, ids = ([normalised(name) for name in kind] for kind in names)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        catalog = write_random(root / "music", *names)
        catalog.save(root / "catalog")
        divided(catalog).save(root / "partition")
        loaded, parts = Catalog.load(root / "catalog"), Partition.load(root / "partition")
        tagger = tiny_tagger(tags=tuple(tags))
        tagger.save(root / "tagger")
        again = AudioTagger.load(root / "tagger")
    assert loaded.hash == catalog.hash
    assert list(loaded.tags.index) == list(loaded.labels) == parts.tags == tags
    assert sorted(ids) == loaded.labels.index.tolist() == parts.table["track_id"].tolist()
    assert set(loaded.tracks["artist"]) == set(artists)
    assert parts.table.groupby("artist")["part"].nunique().max() == 1
    assert list(again.tags) == tags
    scores = dict(zip(tags, np.linspace(0, 1, len(tags)).tolist(), strict=True))
    printed = io.StringIO()
    file = Tags(ids[0], scores)
    print_tags(Console(file=printed, width=1000), file, again, top=len(tags))
    assert all(tag in printed.getvalue() for tag in tags)
    (found,) = json.loads(json.dumps(as_json(Tagger("m", "1", again), [file])))["files"]
    assert found["scores"] == scores


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(names=DATASETS)
def test_any_names_come_through_evaluation_comparison_and_mlflow(
    names: tuple[list[str], list[str], list[str]], request: pytest.FixtureRequest
) -> None:
    """Scores are given; everything that the stages do with them is real."""
    params = user_settings(evaluate={"resamples": 20}, tracking={"experiment": "names"})
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = empty_store(request.config, Path(folder))
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        catalog = write_random(root / "music", *names)
        catalog.save(root / "catalog")
        parts = divided(catalog)
        parts.save(root / "partition")
        study = evaluated(root, catalog, parts, params, patch)
        assert list(dict.fromkeys(tag_scores(study, "all")["tag"])) == parts.tags
        heard = qualitative(study, parts, catalog, [root / "results" / run_name("spectrogram", "all", 0)])
        assert heard is not None
        assert heard.tags["tag"].tolist() == parts.tags
        _, scores = read_predictions(root / "results" / "spectrogram-all-0")
        assert list(scores) == parts.tags


def evaluated(root: Path, catalog: Catalog, parts: Partition, params: Params, patch: pytest.MonkeyPatch) -> Study:
    """The study of one run, whose scores are its labels under noise."""
    name = run_name("spectrogram", "all", 0)
    identity = RunIdentity("spectrogram", "all", 0, "random", parts.data_hash, parts.hash, "settings")
    facts = {
        "identity": identity.as_dict(),
        "train_tracks": len(parts.tracks("train")),
        "parameters": 1,
        "seconds": 1.0,
    }
    write_json(root / "runs" / name / "run.json", facts)
    (root / "runs" / name / "history.csv").write_text("step,train_loss,valid_loss\n1,0.7,0.7\n")
    noise = np.random.default_rng(0).random(catalog.labels.shape)
    scores = (0.5 * catalog.labels.fillna(0.5) + 0.5 * noise).astype(np.float32)
    patch.setattr(evaluate, "_scores", lambda *given: scores.loc[given[3]])
    folders = {"catalog": root / "catalog", "partition": root / "partition", "inputs": root / "store"}
    evaluate.run(params, run=root / "runs" / name, results=root / "results" / name, **folders)
    grid: dict[str, Any] = {"models": ["spectrogram"], "sizes": ["all"], "seeds": [0]}
    return read_study([root / "runs" / name], [root / "results" / name], **grid)
