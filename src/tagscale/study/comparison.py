"""The rows of a study side by side: means over seeds, and two kinds of intervals around them.

Two things make a score uncertain, and they are kept apart. Other artists might have been in the test part: the
intervals over bootstrap resamples cover that. The training might have started otherwise: the SD over seeds and
Student's t-interval of their mean cover that. With several seeds, the intervals over artists are of the mean over these
seeds: its resample is the mean of the seeds' resamples, which hold the same artists.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy

from tagscale.evaluation.bootstrap import interval
from tagscale.evaluation.metrics import METRICS, PARTS

SCORES = [f"{part}_{metric}" for part in PARTS for metric in METRICS]


def comparison(runs: pd.DataFrame, resamples: pd.DataFrame, models: Sequence[str], confidence: float) -> pd.DataFrame:
    """One row a model and size, mean over seeds: train_tracks, parameters, seeds, every score and its SD, seconds.

    `<score>_sd` is the sample SD over seeds; `<score>_seeds_low` and `_seeds_high` are the ends of Student's t-interval
    of the mean, for other random starts on the same tracks, if the scores of the seeds are about normal. All three are
    empty for a single seed, and two or three seeds give wide intervals.
    `test_<metric>_low` and `_high` are the ends of the interval of the mean over seeds for other artists in the test
    part; empty where there are no resamples. `best` names the test metrics on which the row is the best of its size.

    Args:
        runs, resamples: the tables of a `Study`
        models: the order of the rows of one size
        confidence: of the intervals
    """
    grouped = runs.groupby(["model", "size"], sort=False)
    columns = [grouped[["train_tracks", "parameters"]].max(), grouped["seed"].nunique().rename("seeds")]
    means, deviations, counts = grouped[SCORES].mean(), grouped[SCORES].std(ddof=1), grouped[SCORES].count()
    reach = deviations * scipy.special.stdtrit((counts - 1).where(counts > 1), (1 + confidence) / 2) / np.sqrt(counts)
    ends = _intervals(means.index, resamples, confidence)
    for score in SCORES:
        columns += [means[score], deviations[score].rename(f"{score}_sd"), *ends.get(score, ())]
        columns.append((means[score] - reach[score]).rename(f"{score}_seeds_low"))
        columns.append((means[score] + reach[score]).rename(f"{score}_seeds_high"))
    table = pd.concat([*columns, grouped["seconds"].mean()], axis=1).copy()  # one block of memory
    table = table.reset_index()
    table["best"] = _best_of_size(table)
    order = {name: place for place, name in enumerate(models)}
    return table.sort_values(
        ["train_tracks", "model"], key=lambda column: column.map(order) if column.name == "model" else column
    ).reset_index(drop=True)


def _intervals(cells: pd.Index, resamples: pd.DataFrame, confidence: float) -> dict[str, list[pd.Series]]:
    """Columns with the lower and upper ends of the test scores' intervals, by score; a row a model and size."""
    means = means_of_seeds(resamples).groupby(["model", "size"], sort=False)
    columns = {}
    for metric in METRICS:
        ends = {cell: interval(rows.to_numpy(float), confidence) for cell, rows in means[metric]}
        both = np.array([ends.get(cell, (np.nan, np.nan)) for cell in cells], float).T
        columns[f"test_{metric}"] = [
            pd.Series(values, cells, name=f"test_{metric}_{end}")
            for values, end in zip(both, ("low", "high"), strict=True)
        ]
    return columns


def means_of_seeds(resamples: pd.DataFrame) -> pd.DataFrame:
    """The metrics in every resample, mean over seeds: model, size, resample and the metrics."""
    grouped = resamples.groupby(["model", "size", "resample"], sort=False, as_index=False)
    means: pd.DataFrame = grouped[list(METRICS)].mean()
    return means


def _best_of_size(table: pd.DataFrame) -> list[str]:
    """For every row of the comparison, the test metrics on which no row of its size is better."""
    best: list[list[str]] = [[] for _ in range(len(table))]
    for metric in METRICS:
        scores = table[f"test_{metric}"] * METRICS[metric].sign
        tops = scores.groupby(table["size"]).transform("max")
        for row in np.flatnonzero(scores == tops):
            best[row].append(metric)
    return [" ".join(metrics) for metrics in best]
