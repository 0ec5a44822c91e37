"""What a shadow and the lead said of the same recordings, side by side: from the folder of `tagscale serve --record`.

Without labels nobody knows which is better. Then it shows where they differ: the share of recordings for which each
decides a tag, the correlation of their scores, and the time each took. With labels the difference in the gate's
metric is added, with the gate's error over artists (`registry.paired`); a recording without a known artist counts as
an artist of its own.

Intervals are of 95 %. Of a share: Wilson 1927. Of a difference of paired shares: Agresti and Min 2005, half a recording
added to each of the four cells. Of a correlation: Fisher's z. Of a quantile of times: by order statistics (Conover
1999, as scipy.stats.quantile_test).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tagscale.evaluation.bootstrap import interval_of_share
from tagscale.evaluation.metrics import METRICS
from tagscale.registry.gate import compared
from tagscale.registry.paired import Gap, Paired, Tracks
from tagscale.report.templates import templates
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, replacing
from tagscale.runtime.words import counted
from tagscale.serving.rows import Rows, read_rows
from tagscale.serving.server.lineup import LEAD, SHADOW
from tagscale.serving.server.record import MODELS

CONFIDENCE = 0.95
Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
FEWEST = 5  # recordings that a comparison needs
QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OfTag:
    """A tag of both versions.

    lead, shadow: share of the recordings for which each decides it
    difference: of these shares, shadow - lead
    agree: share of the recordings for which both decide alike
    correlation: of the scores, Pearson's; None where a version gives all recordings the same score
    """

    tag: str
    group: str
    kind: str
    lead: float | None
    shadow: float | None
    difference: Interval | None
    agree: Interval | None
    correlation: Interval | None


@dataclass(frozen=True)
class Comparison:
    """The lead and the shadow on the recordings that both have heard.

    lead, shadow: model and version
    recordings: that both have heard; unheard: that the lead alone has tagged
    seconds: quantile -> times of the lead and of the shadow, from asking to the answer; None where none are recorded
    gaps: where labels are known: of what, and the difference; labelled: recordings, artists
    """

    lead: str
    shadow: str
    recordings: int
    unheard: int
    tags: list[OfTag]
    seconds: dict[str, tuple[Interval | None, Interval | None]]
    gaps: dict[str, Gap]
    labelled: tuple[int, int]

    @property
    def verdict(self) -> str:
        """What the labels say, in a sentence; where there are none, how alike the decisions are."""
        if not self.labelled[0]:
            known = [one.agree.value for one in self.tags if one.agree]
            alike = f"{np.mean(known):.1%} of the decisions are alike" if known else "neither has decisions"
            return f"Without labels nobody knows which is better: {alike}."
        if "all tags" not in self.gaps:
            return f"The labels of {self.labelled[0]} recordings are too few to compare: no tag has both values."
        gap = self.gaps["all tags"]
        low, high = gap.interval(CONFIDENCE)
        better = "better" if low > 0 else "worse" if high < 0 else None
        outcome = f"the shadow is {better}" if better else "which is better stays open"
        base = f"on {self.labelled[0]} labelled recordings ({low:+.4f} to {high:+.4f})"
        return f"{compared(gap, 'the lead')} {base}: {outcome}."


def compare(
    folder: Path,
    labels: Path | None = None,
    metric: str = "pr_auc",
    lead_version: str | None = None,
    shadow_version: str | None = None,
) -> Comparison:
    """Compare a version of each, on the recordings that both have heard.

    Args:
        lead_version, shadow_version: VERSION or MODEL/VERSION; by default the highest number
        labels: CSV with the columns path (or file), tag, value and perhaps artist; paths as the clients named the files
        metric: key of an entry of METRICS
    Raises:
        TagscaleError: a folder without a shadow's rows, no such version in them, too few recordings, labels of none
            of them, or no such metric.
    """
    if metric not in METRICS:
        raise TagscaleError(f"--metric: found {metric!r}, expected one of {', '.join(METRICS)}.")
    for role in (LEAD, SHADOW):
        if not (folder / role).is_dir():
            fills = f"`tagscale serve --shadow VERSION --record {folder}` fills it"
            raise TagscaleError(f"{folder / role}: no such folder. {fills}.")
    lead = _version(read_rows(folder / LEAD), lead_version)
    shadow = _version(read_rows(folder / SHADOW), shadow_version)
    both = [path for path in shadow.scores.index if path in lead.scores.index]
    if len(both) < FEWEST:
        raise TagscaleError(
            f"{folder}: {lead.name} and {shadow.name} have both heard {counted(len(both), 'recording')}; expected "
            f"{FEWEST} at least. Wait for more, or name other versions with --lead and --shadow."
        )
    about = _about(folder, shadow.sha256, lead.sha256)
    tags = [str(tag) for tag in lead.scores if tag in shadow.scores]
    truth, gaps = (0, 0), dict[str, Gap]()
    if labels:
        truth, gaps = _judged(labels, metric, both, tags, about, lead.scores, shadow.scores)
    return Comparison(
        lead.name,
        shadow.name,
        len(both),
        len(lead.scores) - len(both),
        [_of_tag(tag, about.get(tag, {}), lead, shadow, both) for tag in tags],
        _seconds(_times(folder / "times"), both),
        gaps,
        truth,
    )


@dataclass(frozen=True)
class _Version:
    """Rows with scores of one version, by path. decided: None where it has no decisions."""

    name: str
    sha256: str
    scores: pd.DataFrame
    decided: pd.DataFrame
    has: frozenset[str]


def _version(rows: Rows, named: str | None) -> _Version:
    """The named version in the rows; else, of the model that most rows are of, the one with the highest number.

    A clock may be set back, a number not. Where two have one number, the one with more rows is taken.
    """
    known = rows.files[rows.tagged]
    counts = known.value_counts(["model", "version", "sha256"]).reset_index()
    if counts.empty:
        raise TagscaleError(f"{rows.origin}: no recording in it has scores, so nothing can be compared.")
    names = counts["model"] + "/" + counts["version"]
    if named is not None:
        fitting = counts[(names == named) | (counts["version"] == named)]
        if fitting.empty:
            raise TagscaleError(
                f"{rows.origin}: no row is of version {named!r}; found {', '.join(sorted(set(names)))}."
            )
        counts = fitting
    counts = counts[counts["model"] == counts.groupby("model", sort=False)["count"].sum().idxmax()]
    numbers = pd.to_numeric(counts["version"], errors="coerce").fillna(0)
    digest = counts.loc[numbers.sort_values(kind="stable", ascending=False).index[0], "sha256"]
    own = known[known["sha256"] == digest].drop_duplicates("path")
    scores = rows.scores.loc[own.index].set_axis(own["path"]).dropna(axis=1, how="all")
    decided = pd.DataFrame({tag: [tag in decided for decided in own["tags"]] for tag in scores}, index=scores.index)
    has = frozenset(rows.probabilities.loc[own.index].dropna(axis=1, how="all").columns)
    return _Version(f"{own['model'].iloc[0]}/{own['version'].iloc[0]}", digest, scores, decided, has)


def _of_tag(tag: str, about: dict[str, Any], lead: _Version, shadow: _Version, both: list[str]) -> OfTag:
    correlation = _correlation(lead.scores.loc[both, tag].to_numpy(), shadow.scores.loc[both, tag].to_numpy())
    names = tag, about.get("group", ""), about.get("kind", "")
    if tag not in lead.has & shadow.has:
        return OfTag(*names, None, None, None, None, correlation)
    one, other = (version.decided.loc[both, tag].to_numpy(bool) for version in (lead, shadow))
    alike = int((one == other).sum())
    agree = Interval(alike / len(both), *interval_of_share(alike, len(both), CONFIDENCE))
    return OfTag(*names, float(one.mean()), float(other.mean()), paired_difference(one, other), agree, correlation)


def paired_difference(one: np.ndarray, other: np.ndarray) -> Interval:
    """Difference of two shares of the same recordings, other - one: Agresti and Min 2005, with N + 2.

    >>> paired_difference(np.array([True] * 10), np.array([True] * 10)).value
    0.0
    """
    n = len(one) + 2.0
    gained, lost = float((other & ~one).sum()) + 0.5, float((one & ~other).sum()) + 0.5
    middle = (gained - lost) / n
    reach = Z * float(np.sqrt((gained + lost) - (gained - lost) ** 2 / n)) / n
    value = float(other.mean() - one.mean())
    return Interval(value, max(middle - reach, -1.0), min(middle + reach, 1.0))


def _correlation(one: np.ndarray, other: np.ndarray) -> Interval | None:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    result = stats.pearsonr(one.astype(np.float64), other.astype(np.float64))
    interval = result.confidence_interval(CONFIDENCE)
    return Interval(float(result.statistic), float(interval.low), float(interval.high))


def _seconds(times: pd.DataFrame, both: list[str]) -> dict[str, tuple[Interval | None, Interval | None]]:
    known = times[times["path"].isin(both)].dropna(subset="seconds")
    of_role = {role: known[known["role"] == role]["seconds"] for role in (LEAD, SHADOW)}
    return {
        f"p{100 * q:g}": (_quantile(of_role[LEAD].to_numpy(), q), _quantile(of_role[SHADOW].to_numpy(), q))
        for q in QUANTILES
    }


def _quantile(seconds: np.ndarray, q: float) -> Interval | None:
    """A quantile, None of no times; an end of the interval is NaN where too few recordings bound it."""
    if not len(seconds):
        return None
    interval = stats.quantile_test(seconds, p=q).confidence_interval(CONFIDENCE)
    return Interval(float(np.quantile(seconds, q)), float(interval.low), float(interval.high))


def _judged(
    labels: Path,
    metric: str,
    both: list[str],
    tags: Sequence[str],
    about: dict[str, dict[str, Any]],
    lead: pd.DataFrame,
    shadow: pd.DataFrame,
) -> tuple[tuple[int, int], dict[str, Gap]]:
    """Recordings and artists with labels, and the differences: over all tags, and in each group."""
    table, artists = _labels(labels)
    names = pd.Series({path: path.partition("/")[2] for path in both})
    known = names[names.isin(table.index)]
    if known.empty:
        raise TagscaleError(f"{labels}: no path in it is that of a served recording, as {names.iloc[0]!r} is.")
    truth = table.reindex(index=known, columns=list(tags)).to_numpy(np.float64)
    artist = pd.factorize(known.map(artists).fillna(known))[0]
    regression = np.array([about.get(tag, {}).get("kind") == "regression" for tag in tags])
    groups = [about.get(tag, {}).get("group", "") for tag in tags]
    tracks = Tracks(truth, list(tags), groups, regression, artist, np.zeros(len(known), int))
    scored = [tracks.score(scores.loc[known.index, list(tags)].to_numpy(np.float64), None) for scores in (shadow, lead)]
    paired = Paired(tracks, *scored)
    overall = paired.overall(metric)
    return (len(known), tracks.artists), ({"all tags": overall} if overall else {}) | paired.groups(metric)


def _labels(file: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    """Labels as (paths, tags), and the artists that are known."""
    try:
        table = pd.read_csv(file, dtype={"tag": str, "path": str, "file": str, "artist": str}, keep_default_na=False)
        table = table.rename(columns={"file": "path"}) if "path" not in table else table
        table["value"] = pd.to_numeric(table["value"])
        if not table["value"].between(0, 1).all():
            raise ValueError("a value outside 0 to 1")
        wide = table.drop_duplicates(["path", "tag"], keep="last").pivot(index="path", columns="tag", values="value")
    except (OSError, ValueError, KeyError) as error:
        raise TagscaleError(
            f"{file}: no labels in it ({error}). Expected a CSV with the columns path (or file), tag, value "
            "(0 to 1), and perhaps artist."
        ) from None
    artists = table[table["artist"] != ""].set_index("path")["artist"] if "artist" in table else pd.Series(dtype=str)
    return wide, {str(path): str(artist) for path, artist in artists.items()}


def _times(folder: Path) -> pd.DataFrame:
    try:
        return pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("*.parquet"))], ignore_index=True)
    except (OSError, ValueError) as error:
        raise TagscaleError(f"{folder}: no times of what was served, or damaged ({error}).") from None


def _about(folder: Path, *digests: str) -> dict[str, dict[str, Any]]:
    """Group and kind by tag, as GET /models had them."""
    tags = dict[str, dict[str, Any]]()
    for digest in digests:
        file = folder / MODELS / f"{digest}.json"
        try:
            tags |= {tag["tag"]: tag for tag in read_json(file)["tags"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TagscaleError(
                f"{file}: missing or damaged ({error!r}). A server that has this version loaded and records into this "
                "folder writes it with its next rows."
            ) from None
    return tags


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison for JSON."""
    content = asdict(comparison) | {"verdict": comparison.verdict}
    content["gaps"] = {name: gap.record() for name, gap in comparison.gaps.items()}
    return content


def write_page(comparison: Comparison, file: Path) -> None:
    """Write the comparison as a page, without a reference to anything outside it."""
    tags = sorted(comparison.tags, key=lambda one: -abs(one.difference.value) if one.difference else 1)
    ends = [abs(end) for tag in tags if tag.difference for end in (tag.difference.low, tag.difference.high)]
    reach = next(step for step in (0.05, 0.1, 0.2, 0.5, 1.0) if max(ends, default=0) <= step)
    template = templates().get_template("comparison.html")
    page = template.render(one=comparison, tags=tags, confidence=CONFIDENCE, reach=reach)
    with replacing(file) as fresh:
        fresh.write_text(page, encoding="utf-8")
