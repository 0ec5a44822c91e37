"""What the checks lead to: who is quarantined and why, which tags are dropped, when the pipeline stops."""

import re

import numpy as np
import pandas as pd
import pytest

from tagscale.catalog.tables import Catalog, Split, catalog_of
from tagscale.partition.divide import Partition
from tagscale.validation.page import page as page_of
from tagscale.validation.soundness import check_partition
from tagscale.validation.validate import Findings, validate
from user_folder import settings

SETTINGS = settings(validation={"max_quarantined": 0.5, "min_positives": 2}).validation
NONE_REJECTED = pd.DataFrame(columns=["track_id", "reason"])


def catalog(tracks: int = 10) -> Catalog:
    ids = pd.Index([f"t{i}" for i in range(tracks)], name="track_id")
    table = pd.DataFrame({"track_id": ids, "path": ids + ".wav", "artist": ids})
    labels = pd.DataFrame({"rock": np.arange(tracks) % 2, "energy": np.linspace(0, 1, tracks)}, ids).astype(np.float32)
    tags = {"group": ["style", "mood"], "kind": ["classification", "regression"], "exclusive": ["", ""]}
    return catalog_of("songs", table, labels, pd.DataFrame(tags, pd.Index(labels.columns, name="tag")), None)


def facts(dataset: Catalog) -> pd.DataFrame:
    tracks = dataset.tracks["track_id"].tolist()
    audio = {"source_rate": 44100, "source_seconds": 30.0, "rms_dbfs": -20.0, "clipped": 0.0, "dc": 0.0}
    audio["only_channel"] = 0
    return pd.DataFrame(audio | {"audio_sha256": tracks}, pd.Index(tracks, name="track_id"))


def reasons(findings: Findings) -> dict[str, str]:
    return dict(zip(findings.quarantine["track_id"], findings.quarantine["reason"], strict=True))


def test_a_good_dataset_passes() -> None:
    dataset = catalog()
    findings = validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS)
    assert findings.stops == []
    assert findings.tags == ["rock", "energy"]
    assert findings.quarantine.empty
    assert findings.dropped == []
    assert findings.as_dict()["passed"] is True


def test_quarantine_with_reasons() -> None:
    dataset = catalog()
    dataset.tracks.loc[[1, 2], "seconds"] = [31.5, 30.9]
    measured = facts(dataset)
    measured.loc["t0", "source_seconds"] = 2.5
    measured.loc["t3", "rms_dbfs"] = -75.25
    measured.loc[["t5", "t6"], "audio_sha256"] = "t4"
    rejected = pd.DataFrame({"track_id": ["t9"], "reason": ["empty file (0 bytes)"]})
    found = validate(dataset, measured.drop(index="t9"), rejected, SETTINGS)
    assert reasons(found) == {
        "t0": "2.50 s long, shorter than 3 s",
        "t1": "30.00 s long, but annotated as 31.50 s",
        "t3": "silent: -75.2 dBFS, below -60",
        "t5": "same audio as t4, with other labels",
        "t6": "same audio as t4, with other labels",
        "t9": "empty file (0 bytes)",
    }
    assert found.quarantine["path"].tolist() == [f"{track}.wav" for track in reasons(found)]


def test_a_copy_with_other_labels_is_named_as_one() -> None:
    dataset = catalog()
    dataset.labels.loc[["t4", "t5"]] = 0.0
    dataset.labels.loc["t6"] = np.nan
    measured = facts(dataset)
    measured.loc[["t5", "t6"], "audio_sha256"] = "t4"
    found = validate(dataset, measured, NONE_REJECTED, SETTINGS)
    assert reasons(found) == {"t5": "same audio as t4", "t6": "same audio as t4, with other labels"}


def test_every_reason_is_given() -> None:
    dataset = catalog()
    measured = facts(dataset)
    measured.loc["t2", ["source_seconds", "rms_dbfs"]] = [1.0, -120.0]
    findings = validate(dataset, measured, NONE_REJECTED, SETTINGS)
    assert reasons(findings) == {"t2": "1.00 s long, shorter than 3 s; silent: -120.0 dBFS, below -60"}


def test_of_equal_files_the_one_as_long_as_annotated_is_kept() -> None:
    dataset = catalog()
    dataset.tracks.loc[2, "seconds"] = 50.0
    measured = facts(dataset)
    measured.loc[["t2", "t6", "t7"], "audio_sha256"] = "same"
    found = reasons(validate(dataset, measured, NONE_REJECTED, SETTINGS))
    assert set(found) == {"t2", "t7"}
    assert found["t7"] == "same audio as t6, with other labels"


def test_dropped_tags() -> None:
    dataset = catalog()
    dataset.labels = dataset.labels.assign(
        one=np.eye(10)[0], fraction=0.4, all=1.0, same=0.5, never=np.nan, lost=[1.0, 1.0, *[0.0] * 8]
    ).astype(np.float32)
    kinds = ["classification", "regression", *["classification"] * 3, "regression", "regression", "classification"]
    tags = {"group": "g", "kind": kinds, "exclusive": ""}
    dataset.tags = pd.DataFrame(tags, pd.Index(dataset.labels.columns, name="tag"))
    rejected = pd.DataFrame({"track_id": ["t0"], "reason": ["no such file"]})
    findings = validate(dataset, facts(dataset).drop(index="t0"), rejected, SETTINGS)
    assert findings.tags == ["rock", "energy"]
    assert {entry["tag"]: entry["reason"] for entry in findings.dropped} == {
        "one": "0 positive tracks, fewer than 2",  # its only track is quarantined
        "fraction": "0 positive tracks, fewer than 2",
        "all": "positive on every annotated track",
        "same": "labelled 0.5 on every annotated track",
        "never": "not annotated on any track",
        "lost": "1 positive tracks, fewer than 2",
    }


def test_too_many_quarantined_tracks_stop() -> None:
    dataset = catalog()
    rejected = pd.DataFrame({"track_id": [f"t{i}" for i in range(6)], "reason": "no such file"})
    (stop,) = validate(dataset, facts(dataset).iloc[6:], rejected, SETTINGS).stops
    assert stop.startswith("6 of 10 tracks (60.0%) are quarantined, more than validation.max_quarantined (50.0%).")
    assert stop.count("no such file") == 5
    just_enough = validate(dataset, facts(dataset).iloc[5:], rejected.iloc[:5], SETTINGS)
    assert just_enough.stops == []


def test_nothing_left_stops_whatever_the_limit() -> None:
    dataset = catalog()
    all_allowed = settings(validation={"max_quarantined": 1.0}).validation
    rejected = pd.DataFrame({"track_id": dataset.tracks["track_id"], "reason": "no such file"})
    findings = validate(dataset, facts(dataset).iloc[:0], rejected, all_allowed)
    assert findings.stops[0].startswith("10 of 10 tracks")
    assert "no tag can be learnt" in findings.stops[1]


def test_a_store_of_another_catalog_stops() -> None:
    dataset = catalog()
    (stop,) = validate(dataset, facts(dataset).iloc[:8], NONE_REJECTED, SETTINGS).stops
    assert stop == "audio: expected that every track was decoded or rejected, found: 2 of 10 fail (first: t8, t9)"


def test_contradicting_tables_stop() -> None:
    dataset = catalog()
    dataset.labels = dataset.labels.iloc[::-1]
    dataset.labels.iloc[0, 0] = 7
    found = validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS)
    assert [stop.split(",")[0] for stop in found.stops] == [
        "tracks: expected that labels and tracks are in the same order",
        "labels: expected that no label is above 1",
    ]
    assert found.as_dict()["passed"] is False
    assert found.tags == []


def test_exclusive_tags_together_are_mentioned() -> None:
    dataset = catalog()
    dataset.labels["folk"] = np.float32(1)
    dataset.tags.loc["folk"] = ["style", "classification", "style"]
    dataset.tags.loc["rock", "exclusive"] = "style"
    findings = validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS)
    (failed,) = [result for result in findings.results if not result.success and result.consequence == "mention"]
    assert failed.failing == ["rock", "folk"]
    assert findings.stops == []


@pytest.mark.parametrize("passes", [True, False])
def test_page_says_everything_and_needs_nothing(passes: bool) -> None:
    dataset = catalog()
    dataset.name = "<script>alert(1)</script>"
    dataset.labels["rare"] = np.float32(0)
    dataset.tags.loc["rare"] = ["style", "classification", ""]
    rejected = pd.DataFrame({"track_id": ["t4"], "reason": ["truncated: 3.2 s of the 30.0 s that it announces"]})
    measured = facts(dataset).drop(index="t4")
    page = page_of(validate(dataset, measured if passes else measured.iloc[1:], rejected, SETTINGS))
    assert "<script" not in page
    assert re.findall(r"(?:src|href)=|https?://|@import", page) == []
    assert ("Passed." in page, "Stopped." in page) == (passes, not passes)
    assert "every track was decoded or rejected" in page
    if passes:
        for expected in ("t4.wav", "truncated: 3.2 s of the 30.0 s", "0 positive tracks", "rare (dropped)"):
            assert expected in page


def test_an_empty_catalog_stops() -> None:
    dataset = catalog(0)
    found = validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS)
    assert found.stops == ["tracks: expected that there are tracks, found: 0"]
    assert "Stopped" in page_of(found)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("track_id", "t3", "no two tracks share an id"),
        ("path", "/music/t4.wav", "every path is relative"),
        ("path", "../t4.wav", "every path is relative"),
    ],
)
def test_tables_that_contradict_themselves_stop(column: str, value: str, expected: str) -> None:
    dataset = catalog()
    measured = facts(dataset)
    dataset.tracks.loc[4, column] = value
    dataset.labels.index = pd.Index(dataset.tracks["track_id"], name="track_id")
    assert expected in validate(dataset, measured, NONE_REJECTED, SETTINGS).stops[0]


@pytest.mark.parametrize("label", [-0.1, 1.1, np.inf])
def test_labels_out_of_range_stop(label: float) -> None:
    dataset = catalog()
    dataset.labels.iloc[3, 1] = label
    (stop,) = validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS).stops
    assert stop.startswith("labels: expected that no label is")
    assert stop.endswith("(first: energy)")


def test_labels_of_other_tags_or_fewer_tracks_stop() -> None:
    dataset = catalog()
    dataset.labels = dataset.labels.drop(columns="rock").iloc[:9]
    stops = " ".join(validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS).stops)
    assert "labels and tracks are in the same order, found: 1 of 10 fail (first: t9)" in stops
    assert "labels and tags are in the same order, found: 2 of 2 fail (first: rock, energy)" in stops


def test_clipping_offset_and_low_rates_are_mentioned_with_the_worst() -> None:
    dataset = catalog()
    measured = facts(dataset)
    measured.loc[["t1", "t2"], "clipped"] = [0.06, 0.31]
    measured.loc["t3", "dc"] = -0.2
    measured["source_rate"] = measured["source_rate"].where(measured.index != "t4", 8000)
    measured.loc[["t5", "t7"], "only_channel"] = [2, 1]
    found = validate(dataset, measured, NONE_REJECTED, SETTINGS)
    assert found.quarantine.empty
    assert found.stops == []
    assert found.mentions == [
        "clipped, more than 5.0% of the values at full scale: 2 tracks; the worst: t2 (31.0%)",
        "DC offset, a mean beyond 0.05 of full scale: 1 track; the worst: t3 (0.20)",
        "sampled below 16,000 Hz, so nothing above half the rate: 1 track; the lowest: t4 (8,000 Hz)",
        "channels that cancel each other out, so that one is heard alone: 2 tracks; for example: t5 (channel 2)",
    ]


def test_implausible_rates_and_values_that_are_no_numbers_are_quarantined() -> None:
    dataset = catalog()
    measured = facts(dataset)
    measured.loc["t1", "source_rate"] = 3000
    rejected = pd.DataFrame({"track_id": ["t2"], "reason": ["holds values that are no numbers (NaN or infinite)"]})
    found = validate(dataset, measured.drop(index="t2"), rejected, SETTINGS)
    assert reasons(found) == {"t1": "implausible sample rate: 3000 Hz", "t2": rejected["reason"][0]}
    assert found.reasons == {"implausible sample rate": 1, "values that are no numbers": 1}


def test_facts_that_are_no_numbers_stop() -> None:
    dataset = catalog()
    measured = facts(dataset)
    measured.loc["t1", "rms_dbfs"] = np.nan
    (stop,) = validate(dataset, measured, NONE_REJECTED, SETTINGS).stops
    assert stop == "audio: expected that all measurements are finite numbers, found: 1 of 10 fail (first: t1)"


def test_a_store_that_knows_nothing_of_channels_passes() -> None:
    """Stores of earlier decoders, in which every track is the mean of its channels."""
    dataset = catalog()
    older = facts(dataset).assign(only_channel=np.nan)
    found = validate(dataset, older, NONE_REJECTED, SETTINGS)
    assert (found.stops, found.mentions, found.quarantine.empty) == ([], [], True)


def test_known_faults_are_quarantined_and_do_not_count() -> None:
    dataset = catalog()
    dataset.tracks.loc[[0, 1], "fault"] = "cut off"
    measured = facts(dataset).drop(index="t1")
    measured.loc["t2", "audio_sha256"] = "t0"  # a sound copy of a faulty file is kept
    rejected = pd.DataFrame({"track_id": ["t1"], "reason": ["empty file (0 bytes)"]})
    none_allowed = settings(validation={"max_quarantined": 0.0, "min_positives": 2}).validation
    found = validate(dataset, measured, rejected, none_allowed)
    assert found.stops == []
    assert reasons(found) == {
        "t0": "known to be broken: cut off; same audio as t2, with other labels",
        "t1": "known to be broken: cut off; empty file (0 bytes)",
    }
    one_more = validate(dataset, measured.assign(source_seconds=[1.0, *[30.0] * 7, 1.0]), rejected, none_allowed)
    assert one_more.stops[0].startswith("1 of 8 tracks (12.5%) are quarantined")
    assert one_more.stops[0].endswith("The first: t9.wav: 1.00 s long, shorter than 3 s")


@pytest.mark.parametrize("claims", [True, False])
def test_a_split_that_claims_to_be_artist_filtered_must_be(claims: bool) -> None:
    dataset = catalog()
    dataset.tracks["split"] = [*["train"] * 6, "valid", "test", "test", None]
    dataset.tracks["artist"] = ["", *"bcdefghb", "b"]
    dataset.split = Split("official", artist_filtered=claims)
    found = validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS)
    artist = next(leak for leak in found.leaks if leak["kind"] == "artist")
    assert (artist["test_keys"], artist["test_keys_in_train"], artist["test_tracks_by_train"]) == (2, 1, 1)
    assert len(found.stops) == claims
    if claims:
        assert "`official` claims to be artist-filtered, but 1 artist(s)" in found.stops[0]
        assert "b (1 train, 1 test)" in found.stops[0]
    assert found.mentions[0].startswith("1 of 10 tracks have no artist")
    dataset.tracks.loc[8, "artist"] = "i"
    assert validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS).stops == []


def test_without_a_split_the_page_says_what_the_partition_will_be() -> None:
    dataset = catalog()
    found = validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS)
    assert found.leaks == []
    assert "the partition will be artist-filtered" in page_of(found)


def partition() -> Partition:
    table = pd.DataFrame({"track_id": list("abcde"), "artist": list("vwxyz")})
    table = table.assign(part=["train", "valid", "train", "test", "train"], rank=[2, -1, 0, -1, 1])
    return Partition(table, ["rock"])


@pytest.mark.parametrize(
    ("row", "column", "value", "reason"),
    [
        (1, "track_id", "a", "no track occurs twice"),
        (1, "part", "dev", "a part is train, valid or test"),
        (3, "part", "valid", "no part is empty"),
        (4, "rank", 0, "ranks are 0, 1, 2"),
        (4, "rank", 7, "ranks are 0, 1, 2"),
        (4, "rank", -1, "ranks are 0, 1, 2"),
        (3, "rank", 3, "ranks are 0, 1, 2"),
        (3, "artist", "v", "no artist is in two parts"),
    ],
)
def test_a_partition_that_must_not_be_used(row: int, column: str, value: str | int, reason: str) -> None:
    assert check_partition(partition(), crossing_allowed=False) == []
    broken = partition()
    broken.table.loc[row, column] = value
    assert reason in " ".join(check_partition(broken, crossing_allowed=False))
    allowed = check_partition(broken, crossing_allowed=True)
    assert bool(allowed) == (column != "artist")


def test_the_page_of_a_large_dataset_stays_small() -> None:
    dataset = catalog(20_000)
    measured = facts(dataset).assign(source_seconds=1.0)
    found = validate(dataset, measured, NONE_REJECTED, SETTINGS)
    text = page_of(found)
    assert len(text) < 200_000
    assert "The first 500 of 20,000; all are in quarantine.csv" in text


def test_near_equal_tags_and_artists_are_mentioned() -> None:
    dataset = catalog()
    dataset.labels = dataset.labels.assign(**{"Rock": dataset.labels["rock"], "<b>hip-hop": 0.5, "<b>hip hop": 0.25})
    extra = pd.concat([dataset.tags.loc[["rock"]], *[dataset.tags.loc[["energy"]]] * 2])
    dataset.tags = pd.concat([dataset.tags, extra.set_axis(["Rock", "<b>hip-hop", "<b>hip hop"])])
    dataset.tracks.loc[[1, 2, 3], "artist"] = ["The Beatles", "the beatles", "Beyoncé"]
    tags, artists = (found := validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS)).mentions
    assert tags.startswith(
        "tags that may be one tag in several spellings: `rock` / `Rock`; `<b>hip-hop` / `<b>hip hop`."
    )
    assert artists.startswith(
        "artists that may be one artist in several spellings: `The Beatles` / `the beatles`. If they"
    )
    assert "each spelling counts as an artist of its own, so one artist may be in train and in test" in artists
    page = page_of(found)
    assert "`The Beatles` / `the beatles`" in page
    assert "<b>hip-hop" not in page
    assert "&lt;b&gt;hip-hop" in page
    dataset.split, dataset.tracks["split"] = Split("own", False), ["train", "train", "test", *["valid"] * 7]
    assert "1 of these 1 have tracks in several parts of the split" in " ".join(
        validate(dataset, facts(dataset), NONE_REJECTED, SETTINGS).mentions
    )
