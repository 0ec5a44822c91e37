"""Drift: what a version says of served files, compared with the profile of its own data.

Each tag's scores are compared by the chance that a served file scores higher than a track of the profile
(`evaluation.two_samples`). A classifier that tells served files from the profile's tracks by all scores together gives
one such number over all: it sees what no tag shows by itself. Another does so by the embeddings, where the rows have
them, and sees what the tags have no word for. What was measured of the files (loudness, length, rate, format ...) is
compared as the tags are. It explains a drift of the scores and decides nothing, unless it is asked to: a catalogue of
MP3s is no reason to train again.

A shift is a drift where it is significantly larger than a margin, by a test against the margin. So a hundred thousand
rows, in which the smallest difference from 0.5 is significant, are no drift, and neither is a difference that a few
artists make. Each table that decides (the classifiers, the tags, the files) has an equal part of the chance of a false
alarm, which its rows share by Holm's method.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from tagscale.decoding.formats import format_named
from tagscale.evaluation.bootstrap import holm, interval_of_share
from tagscale.evaluation.decisions import Decisions, decide, logit
from tagscale.evaluation.two_samples import Shift, shift
from tagscale.registry.profile import MEASURES, Profile
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.runtime.words import listed
from tagscale.serving.rows import Rows
from tagscale.serving.tagger import FOLDER, Tagger, load

LEVEL = 0.05  # the chance of a false alarm
CONFIDENCE = 0.95  # of the intervals
FEWEST_ROWS, FEWEST_CLUSTERS = 20, 5
FEWEST_FOLDERS = 10  # of which folders count as the files' artists
MOST_ROWS = 2000  # of each side that the classifier sees
PARTS = 5  # the classifier scores each fifth of the clusters after it learned from the others
SEED = 1
TOGETHER, SOUND = "all tags together", "sound (embedding)"


OF_TAGS = (  # gauge -> number of a tag's comparison, and its words
    ("chance", "chance", "Chance that a served file scores higher than a track of the profile"),
    ("chance_low", "low", "Lower end of the interval of the chance"),
    ("chance_high", "high", "Upper end of the interval of the chance"),
    ("median_score", "now", "Median of the served scores"),
    ("profile_median_score", "before", "Median of the profile's scores"),
    ("decided_ratio", "decided_now", "Share of tagged files for which the tag is decided"),
    ("profile_decided_ratio", "decided_before", "Share of the profile's tracks for which the tag is decided"),
    ("drifting", "drifts", "1 where the tag drifts, else 0"),
)


@dataclass(frozen=True)
class Comparison:
    """One number of the served files beside the same of the profile's tracks.

    chance: that a served file has more of it; 0.5: no shift; low, high: its interval
    p: the chance to see so large a shift where none is beyond the margin, corrected over the table; None, as the
        interval, where too few artists have the number
    drifts: whether the shift is significantly larger than the margin
    before, now: the number in the profile and in the served rows: median, or share of files; None over all
    decided_before, decided_now: the share of tracks and files for which the tag is decided; None without decisions
    """

    name: str
    chance: float
    low: float | None
    high: float | None
    p: float | None
    drifts: bool
    before: float | None = None
    now: float | None = None
    decided_before: float | None = None
    decided_now: float | None = None


def watch(rows: Rows, model: str | None, margin: float, files: bool) -> dict[str, Any]:
    """Compare served rows with the profile of the version that gave them.

    Args:
        model: the version, as `tagscale.load` takes it; None: the one that gave most of the rows
        margin: a shift of a chance from 0.5 that is no drift
        files: whether a drift of what was measured of the files counts as one
    Returns:
        the record, which the page, the metrics and `--json` show; `drift` is the verdict
    Raises:
        TagscaleError: fewer than 20 rows with scores of the version, or a version that is gone, has other files, or
            carries no profile.
    """
    versions = versions_of(rows)
    tagger = _given_by(versions, rows.origin) if model is None else load(model)
    about = {"model": tagger.model, "version": tagger.version, "sha256": tagger.sha256, "versions": versions}
    return about | compare(_own(rows, tagger, versions), _profile(tagger), tagger.decisions, margin, files)


def compare(rows: Rows, profile: Profile, decisions: Decisions | None, margin: float, files: bool) -> dict[str, Any]:
    """The record of one version's rows, without what identifies the version. Raises TagscaleError, see `watch`."""
    served, scores = rows.files[rows.tagged], rows.scores[rows.tagged]
    artists = len(set(profile.artists))
    if len(served) < FEWEST_ROWS or artists < FEWEST_CLUSTERS:
        raise TagscaleError(
            f"{rows.origin}: found {len(served)} rows with scores and {artists} artists in the version's profile, "
            f"expected at least {FEWEST_ROWS} and {FEWEST_CLUSTERS}: fewer cannot tell a drift. Tag more files, or all "
            "test tracks."
        )
    if wrong := [tag for tag in profile.scores if tag not in scores or not scores[tag].between(0, 1).all()]:
        raise TagscaleError(
            f"{rows.origin}: a row without an error has no score in [0, 1] for {listed(wrong, most=3)}; expected one "
            "for each tag of the version, as `tagscale tag --out` and the server write it. Tag the files again."
        )
    clusters = clusters_of(served["path"].tolist())
    of_tags = pd.DataFrame(profile.scores, dtype=np.float32), scores[list(profile.scores)].reset_index(drop=True)
    before, now = (logit(frame.to_numpy()) for frame in of_tags)
    together = {TOGETHER: _separated(before, now, profile.artists, clusters)}
    shifts = _shifts(*of_tags, profile.artists, clusters)
    shares = _decided_shares(decisions, *of_tags)
    if sound := _separated_by_sound(profile, rows, clusters):
        together[SOUND] = sound
    deciding = 3 if files else 2
    (whole, *more), tags = (_comparisons(both, margin, of_tags, shares, deciding) for both in (together, shifts))
    of_files = _files(profile, served)
    measures = _comparisons(_shifts(*of_files, profile.artists, clusters), margin, of_files, {}, deciding)
    drifting = [whole, *more, *tags, *(measures if files else [])]
    return {
        "drift": any(one.drifts for one in drifting),
        "margin": margin,
        "level": LEVEL,
        "confidence": CONFIDENCE,
        "files_count": files,
        "rows": len(rows),
        "tagged": len(served),
        "folders": None if clusters is None else len(np.unique(clusters)),
        "errors": _share(int((~rows.tagged).sum()), len(rows)),
        "warned": _share(int(served["warnings"].map(len).gt(0).sum()), len(served)),
        "warned_before": float(np.mean(profile.warned)),
        "profile": {"tracks": profile.tracks, "kept": len(profile), "artists": artists, "folds": profile.folds},
        "together": asdict(whole),
        "sound": asdict(more[0]) if more else None,
        "tags": [asdict(one) for one in _most_first(tags)],
        "files": [asdict(one) for one in _most_first(measures)],
    }


def versions_of(rows: Rows) -> list[dict[str, Any]]:
    """Every version in the rows and the number of its rows; the most first."""
    names = ["model", "version", "sha256"]
    counts = rows.files[names].value_counts()
    return [
        dict(zip(names, version, strict=True)) | {"rows": int(count)}
        for version, count in zip(counts.index, counts, strict=True)
    ]


def clusters_of(paths: Sequence[str]) -> np.ndarray | None:
    """The number of each file's folder, which in music libraries is an album's; None where folders tell nothing.

    They tell nothing where they are few, and where each holds one file, as in what the server records.

    >>> clusters_of([f"artist {number // 2}/{number}.mp3" for number in range(20)])[:4].tolist()
    [0, 0, 1, 1]
    >>> clusters_of([f"3f2a91c04d7e-{number}/song.mp3" for number in range(20)]) is None
    True
    """
    folders = [str(PurePosixPath(path).parent) for path in paths]
    names, number = np.unique(np.array(folders, object), return_inverse=True)
    return number if FEWEST_FOLDERS <= len(names) < len(paths) else None


def reason_of(record: Mapping[str, Any]) -> str:
    """The verdict in a sentence."""
    tags, together = record["tags"], record["together"]
    drifting = [one for one in tags if one["drifts"]]
    measures = [one["name"] for one in record["files"] if one["drifts"]]
    files = f" The files differ in: {', '.join(measures)}." if measures else ""
    if drifting:
        first, verb = drifting[0], "drifts" if len(drifting) == 1 else "drift"
        way = "higher" if first["chance"] > 0.5 else "lower"
        chance = max(first["chance"], 1 - first["chance"])
        return (
            f"{len(drifting)} of {len(tags)} tags {verb}, {first['name']} the most: in {chance:.0%} of pairs of a "
            f"served file and a track of the profile, the file scores {way}.{files}"
        )
    if together["drifts"]:
        return (
            "No tag drifts by itself, but all together tell which of a served file and a track of the profile is "
            f"which, in {together['chance']:.0%} of pairs.{files}"
        )
    if record["sound"] and record["sound"]["drifts"]:
        return (
            "The scores do not drift, but the embeddings tell which of a served file and a track of the profile is "
            f"which, in {record['sound']['chance']:.0%} of pairs: music that the tags have no word for.{files}"
        )
    if record["drift"]:
        return f"The scores do not drift, but the files do: {', '.join(measures)}."
    return f"No tag's shift is significantly larger than the margin of {record['margin']:g}.{files}"


def _given_by(versions: Sequence[Mapping[str, Any]], origin: str) -> Tagger:
    if not versions:
        raise TagscaleError(f"{origin}: no row in it, expected rows that `tagscale tag --out` or the server wrote.")
    most = versions[0]
    if most["version"] == FOLDER:
        raise TagscaleError(
            f"{origin}: its rows are of a tagger from the folder {most['model']!r}: name that folder with --model, or "
            "tag with a registered version."
        )
    return load(f"{most['model']}/{most['version']}" if most["version"].isdigit() else most["model"])


def _own(rows: Rows, tagger: Tagger, versions: Sequence[Mapping[str, Any]]) -> Rows:
    """The rows that this tagger gave."""
    files = rows.files
    own = (files["sha256"] == tagger.sha256).to_numpy()
    if not own.any():
        there = ", ".join(f"{one['model']}/{one['version']} ({one['sha256'][:12]})" for one in versions) or "none"
        raise TagscaleError(
            f"{rows.origin}: no row is of {tagger.model}/{tagger.version} with files of SHA-256 {tagger.sha256[:12]}; "
            f"found rows of {there}. Name the version of the rows with --model, where the registry has it."
        )
    embeddings = None if rows.embeddings is None else rows.embeddings[own]
    files, scores, probabilities = (
        table[own].reset_index(drop=True) for table in (files, rows.scores, rows.probabilities)
    )
    return Rows(files, scores, probabilities, embeddings, rows.origin)


def _profile(tagger: Tagger) -> Profile:
    if tagger.audio.profile is None:
        raise TagscaleError(
            f"{tagger.model}/{tagger.version} carries no profile of its data: it is a published encoder, or an earlier "
            "tagscale registered it. Train and register a version, which then carries one."
        )
    return tagger.audio.profile


def _shifts(
    before: pd.DataFrame, now: pd.DataFrame, artists: Sequence[int], clusters: np.ndarray | None
) -> dict[str, Shift]:
    """The shift of every column, over the rows that have it; a column that one side lacks is left out."""
    shifts = {}
    for name in before:
        first, second = (frame[name].to_numpy(float) for frame in (before, now))
        known, served = ~np.isnan(first), ~np.isnan(second)
        if known.any() and served.any():
            own = None if clusters is None else clusters[served]
            shifts[str(name)] = shift(first[known], second[served], np.asarray(artists)[known], own)
    return shifts


def _separated(before: np.ndarray, now: np.ndarray, artists: Sequence[int], clusters: np.ndarray | None) -> Shift:
    """How well a classifier tells served files from tracks of the profile, learned on other clusters.

    Source: Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests".

    Args:
        before, now: (tracks, numbers), (files, numbers)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.sort(np.random.default_rng(SEED).permutation(len(now))[:MOST_ROWS])
    own = None if clusters is None else clusters[rows]
    served = np.repeat([False, True], [len(before), len(rows)])
    groups = np.concatenate([artists, (rows if own is None else own) + max(artists) + 1])
    height = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000)),
        np.concatenate([before, now[rows]]),
        served,
        groups=groups,
        cv=StratifiedGroupKFold(PARTS),
        method="decision_function",
    )
    return shift(height[~served], height[served], np.asarray(artists), own)


def _separated_by_sound(profile: Profile, rows: Rows, clusters: np.ndarray | None) -> Shift | None:
    """The same by embeddings; None where the profile or the rows have too few of them."""
    if rows.embeddings is None or not profile.embeddings:
        return None
    now = rows.embeddings[rows.tagged]
    known = ~np.isnan(now).any(axis=1)
    artists = [profile.artists[place] for place in profile.embedded]
    own = None if clusters is None else clusters[known]
    folders = FEWEST_FOLDERS if own is None else len(set(own.tolist()))
    if known.sum() < FEWEST_ROWS or folders < FEWEST_FOLDERS or len(set(artists)) < FEWEST_CLUSTERS:
        return None
    return _separated(np.array(profile.embeddings), now[known], artists, own)


def _comparisons(
    shifts: Mapping[str, Shift],
    margin: float,
    values: Sequence[pd.DataFrame],
    shares: Mapping[str, tuple[float, float]],
    tables: int,
) -> list[Comparison]:
    """The shifts of a table, tested together; it is one of `tables` that decide."""
    wrong = {name for name in (TOGETHER, SOUND) if name in shifts and shifts[name].chance <= 0.5}  # nothing is learned
    adjusted = holm([1.0 if name in wrong else one.p(margin) for name, one in shifts.items()])
    before, now = _middles(values)
    comparisons = []
    for (name, one), p in zip(shifts.items(), adjusted, strict=True):
        p = min(tables * p, 1)
        low, high, level = (None if np.isnan(number) else float(number) for number in (*one.interval(CONFIDENCE), p))
        middle, decided = (before.get(name), now.get(name)), shares.get(name, (None, None))
        comparisons.append(Comparison(name, one.chance, low, high, level, p < LEVEL, *middle, *decided))
    return comparisons


def _middles(values: Sequence[pd.DataFrame]) -> list[dict[str, float]]:
    """What a chance is of, before and now: medians, which like it know ranks alone; of 0 and 1 the shares of ones."""
    shares = pd.concat(values).isin([0, 1]).all().to_dict()
    return [
        {str(name): float(of.mean() if shares[str(name)] else of.median()) for name, of in frame.items()}
        for frame in values
    ]


def _decided_shares(
    decisions: Decisions | None, before: pd.DataFrame, now: pd.DataFrame
) -> dict[str, tuple[float, float]]:
    """The shares of tracks and of files for which each tag with a decision is decided."""
    of_tags = decisions.of([str(tag) for tag in before]) if decisions else []
    first, second = (decide(frame.to_numpy(), of_tags)[1].mean(axis=0) for frame in (before, now))
    both = zip(before, of_tags, first, second, strict=False)
    return {str(tag): (float(share), float(other)) for tag, decision, share, other in both if decision}


def _files(profile: Profile, files: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was measured of the profile's tracks and of served files, and whether each is of a format: a column each."""
    known = [format_named(name) if isinstance(name, str) else None for name in files["format"]]
    of_files = [entry.names[0] if entry else "" for entry in known]
    names = sorted({*profile.formats, *of_files})
    warned = files["warnings"].map(len).gt(0)
    both = (
        (pd.DataFrame(profile.measures, dtype=float), profile.formats, profile.warned),
        (files[list(MEASURES)].astype(float).reset_index(drop=True), of_files, warned),
    )
    before, now = (
        measures.assign(
            **{f"format {name or 'unknown'}": [float(one == name) for one in formats] for name in names},
            warned=np.array(warned, float),
        )
        for measures, formats, warned in both
    )
    return before, now


def _share(count: int, of: int) -> dict[str, float]:
    low, high = interval_of_share(count, of, CONFIDENCE)
    return {"count": count, "share": count / of, "low": low, "high": high}


def _most_first(comparisons: Sequence[Comparison]) -> list[Comparison]:
    return sorted(comparisons, key=lambda one: -abs(one.chance - 0.5))


def write_metrics(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record as gauges in Prometheus' text format, for the node exporter's textfile collector."""
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry, version = CollectorRegistry(), {"model": record["model"], "version": record["version"]}

    def gauge(name: str, words: str, values: Mapping[str, float | None], label: str = "") -> None:
        labels = [*version, label] if label else [*version]
        made = Gauge(f"tagscale_watch_{name}", words, labels, registry=registry)
        for key, value in values.items():
            if value is None:
                continue
            made.labels(**version, **({label: key} if label else {})).set(value)

    gauge("drift", "1 where the served scores drift, else 0", {"": record["drift"]})
    gauge("timestamp_seconds", "When the rows were compared", {"": time.time()})
    gauge("rows", "Rows of the version", {"": record["rows"]})
    others = sum(one["rows"] for one in record["versions"] if one["sha256"] != record["sha256"])
    gauge("other_rows", "Rows of other versions, which are left out", {"": others})
    gauge("error_ratio", "Share of rows without scores", {"": record["errors"]["share"]})
    gauge("warning_ratio", "Share of tagged files with a warning", {"": record["warned"]["share"]})
    gauge(
        "together", "Chance that a classifier tells a served file from the profile", {"": record["together"]["chance"]}
    )
    tags, files = record["tags"], record["files"]
    for name, key, words in OF_TAGS:
        gauge(name, words, {one["name"]: one[key] for one in tags}, "tag")
    more = {one["name"]: one["chance"] for one in files}
    gauge("file_chance", "Chance that a served file has more than a track of the profile", more, "measure")
    with replacing(path) as fresh:
        write_to_textfile(str(fresh), registry)
