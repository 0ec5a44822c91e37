"""Drift: scores that shift are seen, whatever else differs is not, and a scheduler learns it by the exit status."""

import json
import re
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from registry.test_package import IDENTITY, decisions_of
from registry.tiny import LIMITS, empty_store, tiny_tagger
from tagscale import tracking
from tagscale.cli import main
from tagscale.registry.package import load_version, register
from tagscale.registry.profile import MEASURES, profile_of
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.versions import Registry
from tagscale.report.drift import draw, render
from tagscale.runtime.errors import TagscaleError
from tagscale.serving.rows import Row, Rows, read_records, write_rows
from tagscale.serving.watch import compare, reason_of, watch

ROOT = Path(__file__).parents[2]
TAGS = ("rock", "jazz", "energy")
ARTISTS, OF_EACH = 40, 4
MARGIN = 0.06


def music(seed: int, artists: int = ARTISTS, of_each: int = OF_EACH, **moved: float) -> pd.DataFrame:
    """Scores of tracks, half of whose variance is their artist's; tags of `moved` shift by standard deviations."""
    random, shape = np.random.default_rng(seed), (artists * of_each, len(TAGS))
    height = np.repeat(random.normal(size=(artists, len(TAGS))), of_each, axis=0) + random.normal(size=shape)
    height = height / np.sqrt(2) + [moved.get(tag, 0.0) for tag in TAGS]
    return pd.DataFrame(1 / (1 + np.exp(-height)), columns=list(TAGS)).astype(np.float32)


def facts(tracks: int, **others: float) -> pd.DataFrame:
    values = {"seconds": 30.0, "rate": 44_100, "channels": 2, "rms_dbfs": -18.0, "peak": 0.9, "clipped": 0.0}
    random = np.random.default_rng(tracks)
    return pd.DataFrame({name: value + random.random(tracks) for name, value in (values | others).items()})


def with_profile(scores: pd.DataFrame, embeddings: np.ndarray | None = None) -> AudioTagger:
    tagger = tiny_tagger(tags=TAGS)
    tagger.limits, tagger.decisions = LIMITS, decisions_of(tagger)
    of_store = facts(len(scores)).rename(columns=MEASURES)
    paths = [f"{number}.flac" for number in range(len(scores))]
    artists = np.repeat(np.arange(ARTISTS), OF_EACH)
    embed = None if embeddings is None else lambda tracks: embeddings[: len(tracks)]
    tagger.profile = profile_of(scores, of_store, artists, paths, lambda _: [], embed=embed)
    return tagger


def rows_of(scores: pd.DataFrame, of_each: int = OF_EACH, errors: int = 0, **others: Any) -> Rows:
    about = facts(len(scores), **{name: value for name, value in others.items() if name in MEASURES})
    files = about.assign(
        path=[others.get("path", "{0}/{1}.flac").format(row // of_each, row) for row in range(len(scores))],
        error=None,
        warnings=[["short"] if others.get("warned") else []] * len(scores),
        format=others.get("format", "FLAC"),
        **{"model": "tagger", "version": "1", "sha256": "abc"},
    )
    failed = files.iloc[:errors].assign(error="damaged", format=None, **dict.fromkeys(MEASURES, np.nan))
    files = pd.concat([files, failed], ignore_index=True)
    return Rows(files, scores.reindex(range(len(files))), scores.iloc[:0].reindex(range(len(files))), None)


@pytest.fixture(scope="module")
def tagger() -> AudioTagger:
    return with_profile(music(0))


def found(tagger: AudioTagger, rows: Rows, margin: float = MARGIN, files: bool = False) -> dict[str, Any]:
    assert tagger.profile is not None
    return compare(rows, tagger.profile, tagger.decisions, margin, files)


def drifting(record: dict[str, Any], table: str = "tags") -> set[str]:
    return {one["name"] for one in record[table] if one["drifts"]}


def test_other_artists_of_the_same_music_are_no_drift(tagger: AudioTagger) -> None:
    record = found(tagger, rows_of(music(1), errors=4))
    assert not record["drift"]
    assert not drifting(record, "files")
    assert (record["rows"], record["tagged"], record["folders"]) == (164, 160, ARTISTS)
    assert record["errors"]["count"] == 4
    assert record["errors"]["low"] < 4 / 164 < record["errors"]["high"]
    assert reason_of(record) == "No tag's shift is significantly larger than the margin of 0.06."


def test_the_profiles_own_tracks_are_no_drift(tagger: AudioTagger) -> None:
    """A classifier that meets tracks under both names, in turn, takes each for the other: nothing is learned."""
    record = found(tagger, rows_of(music(0)))
    assert not record["drift"]
    assert record["together"]["chance"] < 0.4
    assert record["together"]["p"] == 1


def test_a_tag_that_shifts_is_named_with_its_size(tagger: AudioTagger) -> None:
    record = found(tagger, rows_of(music(1, jazz=-1.5)))
    assert record["drift"]
    assert drifting(record) == {"jazz"}
    first = record["tags"][0]
    assert first["name"] == "jazz"
    assert first["low"] < first["chance"] < first["high"] < 0.35
    assert first["now"] < first["before"]
    assert first["decided_before"] == first["decided_now"] == 0, "its threshold is None: never"
    assert reason_of(record).startswith("1 of 3 tags drifts, jazz the most: in 90% of pairs")
    assert "the file scores lower" in reason_of(record)


def test_beside_a_chance_stand_medians_which_know_ranks_alone() -> None:
    """A few tracks with scores near 1 raise the profile's mean, though most served files score higher."""
    before, now = music(0), music(1, rock=1.0)
    before["rock"] = np.where(np.arange(len(before)) % 4, before["rock"] / 10, 1.0)
    now["rock"] /= 10
    record = found(with_profile(before), rows_of(now))
    rock = next(one for one in record["tags"] if one["name"] == "rock")
    assert before["rock"].mean() > now["rock"].mean()
    assert rock["chance"] > 0.5
    assert (rock["before"], rock["now"]) == pytest.approx((before["rock"].median(), now["rock"].median()), abs=1e-6)


def test_a_certain_but_small_shift_is_no_drift_and_the_margin_decides(tagger: AudioTagger) -> None:
    many = rows_of(music(1, artists=5000, rock=0.25), errors=1)
    record = found(tagger, many)
    assert not record["drift"]
    rock = next(one for one in record["tags"] if one["name"] == "rock")
    assert 0.5 < rock["chance"] < 0.65
    assert drifting(found(with_profile(music(3)), rows_of(music(1, rock=2.0)), margin=0.06)) == {"rock"}
    assert not found(with_profile(music(3)), rows_of(music(1, rock=2.0)), margin=0.45)["drift"]


def test_a_large_shift_of_few_artists_is_no_drift(tagger: AudioTagger) -> None:
    few = music(1, artists=3, of_each=40, rock=1.2)
    assert "rock" in drifting(found(tagger, rows_of(few, of_each=2))), "were each two files by another artist"
    few_of_many = pd.concat([few, music(2)], ignore_index=True)
    paths = rows_of(few_of_many, of_each=40).files["path"]
    rows = rows_of(few_of_many)
    rows.files["path"] = [paths[row] if row < len(few) else f"{row // 4}/{row}.flac" for row in range(len(rows))]
    assert "rock" not in drifting(found(tagger, rows))


@pytest.mark.parametrize("path", ["uploads/{1}.flac", "{1}/song.flac"])
def test_where_folders_tell_no_artists_files_are_as_alike_as_the_profiles(tagger: AudioTagger, path: str) -> None:
    record = found(tagger, rows_of(music(1, rock=2.0), path=path))
    assert record["folders"] is None
    assert drifting(record) == {"rock"}


def test_all_tags_together_tell_what_none_shows_by_itself() -> None:
    """Two tags that rise and fall together shift apart, each by a little."""

    def tied(seed: int, apart: float) -> pd.DataFrame:
        scores, random = music(seed), np.random.default_rng(seed)
        height = np.log(scores["rock"] / (1 - scores["rock"]))
        values = [height - apart, height + apart + random.normal(0, 0.1, len(scores)), random.normal(size=len(scores))]
        return pd.DataFrame(1 / (1 + np.exp(-np.array(values).T)), columns=list(TAGS)).astype(np.float32)

    record = found(with_profile(tied(0, 0.0)), rows_of(tied(1, 0.15)))
    assert not drifting(record)
    assert record["together"]["drifts"]
    assert record["drift"]
    assert reason_of(record).startswith("No tag drifts by itself, but all together")


def test_files_explain_and_decide_where_they_are_asked_to(tagger: AudioTagger) -> None:
    rows = rows_of(music(1), rate=8000, format="MP3", warned=True)
    record = found(tagger, rows)
    assert not record["drift"]
    assert drifting(record, "files") == {"rate", "format flac", "format mp3", "warned"}
    rate = next(one for one in record["files"] if one["name"] == "rate")
    assert rate["chance"] == 0
    assert rate["p"] < 1e-20, "a sign test of all files"
    assert rate["before"] == pytest.approx(44_100, abs=1)
    assert rate["now"] == pytest.approx(8_000, abs=1)
    mp3 = next(one for one in record["files"] if one["name"] == "format mp3")
    assert (mp3["before"], mp3["now"]) == (0, 1), "shares"
    decided = found(tagger, rows, files=True)
    assert decided["drift"]
    assert reason_of(decided).startswith("The scores do not drift, but the files do: ")


def test_embeddings_tell_music_that_the_tags_have_no_word_for() -> None:
    def embeddings(seed: int, files: int, moved: float) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(files, 8)) + np.eye(8)[0] * moved

    heard = with_profile(music(0), embeddings(1, ARTISTS * OF_EACH, 0))
    rows = rows_of(music(1), errors=1)
    for moved, drift in ((0, False), (3, True)):
        known = np.full((len(rows), 8), np.nan, np.float32)
        known[:100] = embeddings(2, 100, moved)
        record = found(heard, replace(rows, embeddings=known))
        assert not drifting(record)
        assert not record["together"]["drifts"]
        assert record["sound"]["drifts"] == record["drift"] == drift
    assert reason_of(record).startswith("The scores do not drift, but the embeddings tell")
    about = {"model": "tagger", "version": "1", "sha256": "abc", "versions": []}
    page = render(record | about, reason_of(record), "rows.parquet")
    assert '<tr class="drifts"><td>sound (embedding)</td>' in page
    assert page.index("all tags together</td>") < page.index("sound (embedding)</td>") < page.index("rock</td>")
    assert found(heard, rows)["sound"] is None


def test_on_a_phone_the_names_stand_above_the_bars(tagger: AudioTagger) -> None:
    figure = draw(found(tagger, rows_of(music(1, jazz=-1.5))), narrow=True)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts][-2:] == ["jazz", "all tags together"]
    assert not any(label.get_text() for label in axes.get_yticklabels())
    assert figure.get_size_inches()[0] * 72 < 360, "points, which are a phone's pixels"


def test_too_little_to_tell(tagger: AudioTagger) -> None:
    with pytest.raises(TagscaleError, match=r"^rows: found 19 rows with scores and 40 artists .* at least 20 and 5"):
        found(tagger, rows_of(music(1).head(19)))


def test_rows_that_lack_scores_are_named(tagger: AudioTagger) -> None:
    """As a spreadsheet, or a program that rewrites the rows, may leave them."""
    whole = music(1)
    holed, large = whole.copy(), whole.copy()
    holed.iloc[3, 1], large.iloc[3, 1] = np.nan, 7
    for scores in (whole.iloc[:, [0]], holed, large):
        with pytest.raises(TagscaleError, match=rf"^rows: a row .* no score in \[0, 1\] for .*{whole.columns[1]}"):
            found(tagger, rows_of(scores))


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose version 1 has a profile and whose version 2 has none, and rows of both."""
    folder = empty_store(request.config, tmp_path_factory.mktemp("watched"))
    shutil.copy(ROOT / "params.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        registry, other = Registry.open_or_create("tagscale-tagger", "for tests"), with_profile(music(0))
        with tracking.find_run("study", IDENTITY) as run:
            register(registry, run, other, IDENTITY.name, {}, "a description")
            other.profile = None
            register(registry, run, other, IDENTITY.name, {}, "a description")
        digests = {number: load_version("tagscale-tagger", number)[0].sha256 for number in ("1", "2")}
    for name, version, scores in (("none", "1", music(1)), ("drift", "1", music(1, jazz=-1.5)), ("old", "2", music(1))):
        records = [
            Row(f"{row // OF_EACH}/{row}.flac", "tagscale-tagger", version, digests[version], seconds=30.0, rate=44_100,
                channels=2, format="FLAC", rms_dbfs=-18.0, peak=0.9, clipped=0.0, scores=values).record()
            for row, values in enumerate(scores.to_dict("records"))
        ]  # fmt: skip
        write_rows(folder / f"{name}.parquet", records, TAGS)
    write_rows(folder / "few.parquet", islice(read_records(folder / "none.parquet"), 10), TAGS)
    write_rows(folder / "no.parquet", [], TAGS)
    (folder / "mixed").mkdir()
    shutil.copy(folder / "drift.parquet", folder / "mixed")
    write_rows(folder / "mixed" / "b.jsonl", records[:30], TAGS)
    return folder


def run(project: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Exit status of `tagscale watch` with these words."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit) as ended:
        main(["watch", *words])
    return int(ended.value.code or 0)


def test_exit_status_page_and_gauges(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project, monkeypatch, "none.parquet") == 0
    out = capsys.readouterr().out
    assert "tagscale-tagger version 1: no drift" in out
    assert "the page: drift.html" in out
    assert run(project, monkeypatch, "mixed", "--metrics", "node/drift.prom", "--page", "pages/drift.html") == 3
    out = capsys.readouterr().out
    assert "1 of 3 tags drifts, jazz the most" in out
    assert "30 rows of other versions are left out" in out
    page = (project / "pages" / "drift.html").read_text()
    assert "tagscale-tagger, version 1: drift" in page
    assert "tagscale-tagger version 2 (30 rows)" in page
    assert "http" not in page.replace("data:image", ""), "nothing outside the page"
    assert re.search(r"<td>jazz</td>.*<td>0\.\d{3} → 0\.\d{3}</td><td>0\.0% → 0\.0%</td></tr>", page)
    families = list(text_string_to_metric_families((project / "node" / "drift.prom").read_text()))
    samples = {
        (one.name, one.labels.get("tag", "")): one.value
        for family in families
        for one in family.samples
        if one.labels["model"] == "tagscale-tagger" and one.labels["version"] == "1"
    }
    assert samples["tagscale_watch_drift", ""] == 1
    assert samples["tagscale_watch_drifting", "jazz"] == 1
    assert samples["tagscale_watch_drifting", "rock"] == 0
    assert samples["tagscale_watch_chance_high", "jazz"] < 0.35
    assert samples["tagscale_watch_chance_low", "jazz"] < samples["tagscale_watch_chance", "jazz"] < 0.3
    assert samples["tagscale_watch_median_score", "jazz"] < samples["tagscale_watch_profile_median_score", "jazz"]
    assert samples["tagscale_watch_decided_ratio", "jazz"] == samples["tagscale_watch_profile_decided_ratio", "jazz"]
    assert (samples["tagscale_watch_rows", ""], samples["tagscale_watch_other_rows", ""]) == (160, 30)


def test_json_is_the_record(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project, monkeypatch, "drift.parquet", "--model", "1", "--json") == 3
    record = json.loads(capsys.readouterr().out)
    assert record["drift"] is True
    assert record["reason"].startswith("1 of 3 tags drifts")
    assert record["tags"][0]["name"] == "jazz"
    assert record["versions"] == [{"model": "tagscale-tagger", "version": "1", "sha256": record["sha256"], "rows": 160}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["old.parquet"], "tagscale-tagger/2 carries no profile of its data"),
        (["none.parquet", "--model", "2"], "none.parquet: no row is of tagscale-tagger/2 with files of SHA-256"),
        (["few.parquet"], "few.parquet: found 10 rows with scores and 40 artists"),
        (["no.parquet"], "no.parquet: no row in it"),
        (["none.parquet", "--model", "9"], "has no version '9'"),
        (["absent.parquet"], "no such file"),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert run(project, monkeypatch, *words) == 1
    assert message in capsys.readouterr().err


def test_rows_of_a_folder_name_their_folder() -> None:
    rows = rows_of(music(1))
    rows.files["version"] = "folder"
    with pytest.raises(TagscaleError, match="name that folder with --model"):
        watch(rows, None, MARGIN, files=False)
