"""Numbers out of a study: means over seeds with intervals, differences of two models, per-tag and per-group tables,
lines over the training size.

Two things make a score uncertain, and they are kept apart. Other test artists might have been drawn: that the
intervals of `comparison` and `difference` cover, by bootstrap resamples. The training might have begun otherwise: that
the SD over seeds covers, and Student's t-interval of their mean. With several seeds, the artists' intervals are of the
mean over these seeds: its resample is the mean of the seeds' resamples, which hold the same artists.
The lines are the paper's Figure 3 (section 5.1): a straight line through every run's score over the number of training
tracks, one per front-end, and where two of them cross. Straight in tracks or in their logarithm, see `line_scale`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import t as student

from tagscale.evaluation.bootstrap import Difference, interval, paired
from tagscale.evaluation.metrics import METRICS, main_metric
from tagscale.runtime.errors import TagscaleError
from tagscale.study.grid import Study
from tagscale.study.tables import PARTS

SCORES = [f"{part}_{metric}" for part in PARTS for metric in METRICS]
Scale = Literal["linear", "log"]


def comparison(study: Study) -> pd.DataFrame:
    """One row a model and size, mean over seeds: train_tracks, parameters, seeds, every score and its SD, seconds.

    The sample SD (`<score>_sd`) is empty for a single seed, and so are the ends of Student's t-interval of the mean
    (`<score>_seeds_low`, `<score>_seeds_high`): for other random starts on the same tracks, at the study's confidence,
    if the scores of the seeds are about normal. Two or three seeds give wide ones: that is what they tell.
    `test_<metric>_low` and `_high` are the ends of the interval of the mean over seeds for other artists in the test
    part; empty where the results have no resamples. `best` names the test metrics on which the row is the best of its
    size.
    """
    grouped = study.runs.groupby(["model", "size"], sort=False)
    table = grouped[["train_tracks", "parameters"]].max()
    table["seeds"] = grouped["seed"].nunique()
    means, deviations, counts = grouped[SCORES].mean(), grouped[SCORES].std(ddof=1), grouped[SCORES].count()
    reach = deviations * student.ppf((1 + study.confidence) / 2, (counts - 1).where(counts > 1)) / np.sqrt(counts)
    for score in SCORES:
        table[score], table[f"{score}_sd"] = means[score], deviations[score]
        table[f"{score}_seeds_low"] = means[score] - reach[score]
        table[f"{score}_seeds_high"] = means[score] + reach[score]
    table["seconds"] = grouped["seconds"].mean()
    table = _with_intervals(table, study).reset_index()
    table["best"] = _best_of_size(table)
    order = {name: place for place, name in enumerate(study.everyone)}
    return table.sort_values(
        ["train_tracks", "model"], key=lambda column: column.map(order) if column.name == "model" else column
    ).reset_index(drop=True)


def _with_intervals(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The table (indexed by model and size) with the ends of the test scores' intervals, each beside its score."""
    means = _means_of_seeds(study.resamples).groupby(["model", "size"], sort=False)
    for metric in METRICS:
        ends = {cell: interval(rows.to_numpy(float), study.confidence) for cell, rows in means[metric]}
        found = np.array([ends.get(cell, (np.nan, np.nan)) for cell in table.index], float)
        place = table.columns.tolist().index(f"test_{metric}_sd") + 1
        table.insert(place, f"test_{metric}_low", found[:, 0])
        table.insert(place + 1, f"test_{metric}_high", found[:, 1])
    return table


def _means_of_seeds(resamples: pd.DataFrame) -> pd.DataFrame:
    """Metrics of every resample, mean over seeds: model, size, resample and the metrics."""
    grouped = resamples.groupby(["model", "size", "resample"], sort=False, as_index=False)
    means: pd.DataFrame = grouped[list(METRICS)].mean()
    return means


def difference(study: Study, first: str, second: str, metric: str, size: str) -> Difference:
    """The first model minus the second on a metric of the test part at one size, each a mean over its seeds.

    The interval is of this difference for other test artists: both models are held against the same resamples, so
    what makes an artist easy or hard for both is gone from it. `ahead` is the share of resamples in which the first
    is better. Not numbers (NaN) where there is no such score, or no resamples.

    Raises:
        TagscaleError: the study has no such model or size.
    """
    runs = study.runs[study.runs["size"] == size]
    unknown = [model for model in (first, second) if model not in set(runs["model"])]
    if unknown:
        raise TagscaleError(
            f"The study has no runs of {' and '.join(unknown)} at size {size!r}; its models are "
            f"{', '.join(study.everyone)}, its sizes {', '.join(study.runs['size'].unique())}."
        )
    scores = runs.groupby("model")[f"test_{metric}"].mean()
    table = _means_of_seeds(study.resamples[study.resamples["size"] == size])
    by_model = table.pivot(index="resample", columns="model", values=metric).reindex(columns=[first, second])
    return paired(
        by_model[first].to_numpy(float),
        by_model[second].to_numpy(float),
        float(scores[first] - scores[second]),
        study.confidence,
        lower_is_better=METRICS[metric].lower_is_better,
    )


def _best_of_size(table: pd.DataFrame) -> list[str]:
    """For every row of the comparison, the test metrics on which no row of its size is better."""
    best: list[list[str]] = [[] for _ in range(len(table))]
    for metric in METRICS:
        scores = table[f"test_{metric}"] * METRICS[metric].sign
        tops = scores.groupby(table["size"]).transform("max")
        for row in np.flatnonzero(scores == tops):
            best[row].append(metric)
    return [" ".join(metrics) for metrics in best]


def tag_scores(study: Study, size: str, part: str = "test") -> pd.DataFrame:
    """Scores of every tag at one size, mean over seeds: model, tag, group, kind, positives, tracks and the metrics."""
    rows = study.tags[(study.tags["size"] == size) & (study.tags["part"] == part)]
    rows = rows.assign(group=rows["group"].fillna("other"))
    about = ["model", "tag", "group", "kind", "positives", "tracks"]
    return rows.groupby(about, sort=False, dropna=False)[list(METRICS)].mean().reset_index()


def group_scores(tags: pd.DataFrame) -> pd.DataFrame:
    """Mean per tag group and model: group, kind, model, tags (how many were scored), score.

    The score is the main metric of the group's kind of tags.
    """
    of_kind = [row[main_metric(row["kind"]).key] for row in tags.to_dict("records")]
    scored = tags.assign(score=np.array(of_kind, float))
    scored = scored.dropna(subset="score")
    grouped = scored.groupby(["group", "kind", "model"], sort=False)["score"]
    return grouped.agg(tags="size", score="mean").reset_index()


def scored_metrics(study: Study) -> list[str]:
    """The metrics that at least one run has on the test part."""
    return [metric for metric in METRICS if study.runs[f"test_{metric}"].notna().any()]


def tag_groups(tags: pd.DataFrame) -> list[tuple[str, str]]:
    """(group, kind) of every group with at least one scored tag, classification first, in the tags' order."""
    scored = group_scores(tags)[["group", "kind"]].drop_duplicates().sort_values("kind", kind="stable")
    return list(scored.itertuples(index=False, name=None))


def kinds_of(tags: pd.DataFrame) -> list[str]:
    return sorted({kind for _, kind in tag_groups(tags)})


def headline(study: Study) -> dict[str, dict[str, dict[str, float | None]]]:
    """Test scores as {model: {size: {metric: score}}}, four decimals, for `dvc metrics`; None = not scored."""
    numbers: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in study.everyone}
    for row in comparison(study).to_dict("records"):
        scores = {metric: row[f"test_{metric}"] for metric in METRICS}
        numbers[row["model"]][row["size"]] = {m: None if np.isnan(v) else round(v, 4) for m, v in scores.items()}
    return numbers


@dataclass(frozen=True)
class Line:
    """score = slope * position + intercept, where position is tracks (linear) or log10 of tracks (log)."""

    slope: float
    intercept: float
    scale: Scale
    points: int  # how many runs it rests on
    sizes: int  # how many different numbers of training tracks

    def at(self, tracks: float | np.ndarray) -> float | np.ndarray:
        return self.slope * _position(tracks, self.scale) + self.intercept


def line_scale(train_tracks: Sequence[float]) -> Scale:
    """The axis on which the study's sizes are spaced more evenly: the paper's sizes on tracks, doublings on their log.

    >>> line_scale([100_000, 500_000, 1_000_000]), line_scale([100, 200, 400, 800])
    ('linear', 'log')
    """
    sizes = np.unique(np.asarray(train_tracks, dtype=float))
    if len(sizes) < 3:
        return "linear"

    def unevenness(positions: np.ndarray) -> float:
        steps = np.diff(positions)
        return float(steps.std() / steps.mean())

    return "log" if unevenness(np.log10(sizes)) < unevenness(sizes) else "linear"


def fitted_line(study: Study, model: str, metric: str, part: str = "test") -> Line | None:
    """Least-squares line through all runs of a model; None with fewer than three different sizes (no line to speak of).

    Source: section 5.1, figure 3.
    """
    rows = study.runs[study.runs["model"] == model].dropna(subset=f"{part}_{metric}")
    sizes = rows["train_tracks"].nunique()
    if sizes < 3:
        return None
    scale = line_scale(study.runs["train_tracks"].to_list())
    positions = _position(rows["train_tracks"].to_numpy(float), scale)
    slope, intercept = np.polyfit(positions, rows[f"{part}_{metric}"].to_numpy(float), 1)
    return Line(float(slope), float(intercept), scale, len(rows), sizes)


def crossing(first: Line, second: Line) -> float | None:
    """The number of training tracks at which two lines of the same scale meet; None when they are parallel.

    >>> crossing(Line(2.0, 0.0, "linear", 3, 3), Line(1.0, 50.0, "linear", 3, 3))
    50.0
    """
    if np.isclose(first.slope, second.slope, rtol=1e-9, atol=0):
        return None
    position = (second.intercept - first.intercept) / (first.slope - second.slope)
    if first.scale == "linear":
        return float(position)
    return float(10.0**position) if position < 300 else None  # lines that are parallel for all purposes


def _position(tracks: float | np.ndarray, scale: Scale) -> float | np.ndarray:
    return np.log10(tracks) if scale == "log" else tracks
