"""The rows of a study side by side: means over seeds, and their intervals.

Two things make a score uncertain. Other artists might have been in the test part, and the training might have started
otherwise. The intervals hold both: a resample of a mean draws the artists and the seeds anew (`means_of_seeds`). Every
seed is scored on the same artists, so the two are drawn independently of each other. With a single seed the intervals
hold the artists alone. The spread over two or three seeds is itself uncertain, and Satterthwaite's degrees of freedom
widen the intervals for it; with two seeds of one size that differ more than artists do, they still hold less than they
say (`benchmarks/coverage.py`). The SD over seeds and Student's t-interval of their mean show the second part by itself.
Sources: Davison and Hinkley 1997, "Bootstrap methods and their application", section 3.8; Bouthillier et al. 2021,
"Accounting for variance in machine learning benchmarks".
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from tagscale.evaluation.bootstrap import (
    Difference,
    OfSeeds,
    difference_interval,
    effective_artists,
    holm,
    interval,
    paired,
    standard_error,
    t_of,
)
from tagscale.evaluation.metrics import METRICS, PARTS

SCORES = [f"{part}_{metric}" for part in PARTS for metric in METRICS]
FEW_SEEDS = 5  # with fewer, the spread over seeds is that of all sizes of a model together


def comparison(
    runs: pd.DataFrame, means: pd.DataFrame, models: Sequence[str], artists: int, confidence: float
) -> pd.DataFrame:
    """One row a model and size, mean over seeds: train_tracks, parameters, seeds, every score and its SD, seconds.

    `<score>_sd` is the sample SD over seeds; `<score>_seeds_low` and `_seeds_high` are the ends of Student's t-interval
    of the mean, for other random starts on the same tracks, if the scores of the seeds are about normal. All three are
    empty for a single seed, and two or three seeds give wide intervals.
    `test_<metric>_low` and `_high` are the ends of the interval of the mean over seeds, for other artists in the test
    part and, where there are several seeds, other random starts; empty where there are no resamples.

    Args:
        runs: the table of a `Study`
        means: as `means_of_seeds` returns them
        models: the order of the rows of one size
        artists: of the test part
        confidence: of the intervals
    """
    grouped = runs.groupby(["model", "size"], sort=False)
    columns = [grouped[["train_tracks", "parameters"]].max(), grouped["seed"].nunique().rename("seeds")]
    scores, deviations, counts = grouped[SCORES].mean(), grouped[SCORES].std(ddof=1), grouped[SCORES].count()
    reach = deviations * (t_of((1 + confidence) / 2, counts.to_numpy()) / np.sqrt(counts.to_numpy()))
    ends = _intervals(scores, means, over_seeds(runs), artists, confidence)
    for score in SCORES:
        columns += [scores[score], deviations[score].rename(f"{score}_sd"), *ends.get(score, ())]
        columns.append((scores[score] - reach[score]).rename(f"{score}_seeds_low"))
        columns.append((scores[score] + reach[score]).rename(f"{score}_seeds_high"))
    table = pd.concat([*columns, grouped["seconds"].mean()], axis=1).copy()  # one block of memory
    table = table.reset_index()
    order = {name: place for place, name in enumerate(models)}
    return table.sort_values(
        ["train_tracks", "model"], key=lambda column: column.map(order) if column.name == "model" else column
    ).reset_index(drop=True)


def _intervals(
    scores: pd.DataFrame,
    means: pd.DataFrame,
    seeds: Mapping[tuple[str, str], Mapping[str, OfSeeds]],
    artists: int,
    confidence: float,
) -> dict[str, list[pd.Series]]:
    """Columns with the lower and upper ends of the test scores' intervals, by score; a row a model and size."""
    by_cell = means.groupby(["model", "size"], sort=False)
    columns = {}
    for key, metric in METRICS.items():
        errors = pd.Series({cell: float(standard_error(rows.to_numpy(float), artists)) for cell, rows in by_cell[key]})
        error = errors.reindex(scores.index).to_numpy(float) if len(errors) else np.full(len(scores), np.nan)
        behind = [
            effective_artists(float(one), artists, [seeds[cell][key]])
            for cell, one in zip(scores.index, error, strict=True)
        ]
        both = interval(scores[f"test_{key}"].to_numpy(float), error, np.array(behind), confidence, metric.bounds)
        columns[f"test_{key}"] = [
            pd.Series(values, scores.index, name=f"test_{key}_{end}")
            for values, end in zip(both, ("low", "high"), strict=True)
        ]
    return columns


def means_of_seeds(runs: pd.DataFrame, resamples: pd.DataFrame) -> pd.DataFrame:
    """The metrics in every resample of artists and seeds, mean over seeds: model, size, resample and the metrics.

    A resample is the mean of the seeds' rows of that resample, which hold the same artists, plus the mean deviation of
    as many seeds, drawn with replacement (`_deviations`). The artists are the same for every model and size, the seeds
    are not: another model's seed 0 has nothing in common with this one's.

    Args:
        runs, resamples: the tables of a `Study`; all its sizes
    """
    grouped = resamples.groupby(["model", "size", "resample"], sort=False, as_index=False)
    means: pd.DataFrame = grouped[list(METRICS)].mean()
    deviations = _deviations(runs)
    for name, rows in means.groupby(means["model"] + " " + means["size"], sort=False):
        seeds, pool = deviations[str(name)]
        draws = np.random.default_rng([*str(name).encode()]).integers(len(pool), size=(len(rows), seeds))
        means.loc[rows.index, list(METRICS)] += pool[draws].mean(axis=1)
    return means


def _deviations(runs: pd.DataFrame) -> dict[str, tuple[int, np.ndarray]]:
    """By "model size": the number of seeds, and the deviations from the mean that these are drawn from, (n, metrics).

    k deviations from their own mean are too small by √((k - 1) / k), which is made up for. With fewer than `FEW_SEEDS`
    seeds they are those of all sizes of the model: two or three scores say little about their spread. Those of a single
    seed are 0.
    """
    keys, columns = ["model", "size"], [f"test_{metric}" for metric in METRICS]
    cells = runs.groupby(keys, sort=False)
    count = cells["seed"].transform("size")
    deviations = (runs[columns] - cells[columns].transform("mean")).mul(
        np.sqrt(count / (count - 1).clip(lower=1)), axis=0
    )
    pools = {}
    for (model, size), rows in cells:
        of_model = (runs["model"] == model) & (count > 1)
        pool = rows.index if len(rows) >= FEW_SEEDS or len(rows) == 1 else runs.index[of_model]
        pools[f"{model} {size}"] = len(rows), deviations.loc[pool].fillna(0.0).to_numpy(float)
    return pools


def over_seeds(runs: pd.DataFrame) -> dict[tuple[str, str], dict[str, OfSeeds]]:
    """By model and size, and by metric: the variance of the mean over seeds, and its degrees of freedom; 0 for one."""
    pools, variances = _deviations(runs), {}
    for (model, size), rows in runs.groupby(["model", "size"], sort=False):
        seeds, pool = pools[f"{model} {size}"]
        alike = rows if len(pool) == seeds else runs[runs["model"] == model]
        degrees = len(alike) - alike["size"].nunique()  # each size's mean takes one
        mean = (pool**2).mean(axis=0) / seeds
        variances[str(model), str(size)] = {key: (float(mean[place]), degrees) for place, key in enumerate(METRICS)}
    return variances


def against(
    scores: pd.Series,
    means: pd.DataFrame,
    seeds: Mapping[str, OfSeeds],
    reference: str,
    artists: int,
    confidence: float,
) -> dict[str, Difference]:
    """A model minus each other one on a metric, as one family of comparisons, by the other one's name.

    Their p-values are Holm's, and so are the intervals: an interval leaves out 0 where the adjusted p-value is below
    1 - confidence. NaN where there are no resamples.

    Args:
        scores: of each model, all of one size
        means: (resamples, models), as columns by name
        seeds: what the seeds of each model add to its error
    """
    others = [model for model in scores.index if model != reference]
    gaps = {
        model: paired(
            means[reference].to_numpy(float),
            means[model].to_numpy(float),
            float(scores[reference] - scores[model]),
            artists,
            confidence,
            [seeds[reference], seeds[model]],
        )
        for model in others
    }
    for model, p in zip(others, holm([gap.p for gap in gaps.values()]), strict=True):
        gap = gaps[model]
        share = gap.p / p if p > 0 else 1 / len(others)  # of the error that is allowed to this comparison
        level = 1 - (1 - confidence) * share
        low, high = difference_interval(gap.difference, gap.error, gap.artists, level)
        gaps[model] = replace(gap, p=p, low=low, high=high)
    return gaps
