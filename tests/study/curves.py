"""Studies in memory, whose scores over the training size a test chooses."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tagscale.evaluation.metrics import METRICS, PARTS
from tagscale.study.grid import Study

Scores = Mapping[str, Mapping[int, float]]  # by model and training tracks


def study_of_curves(
    scores: Mapping[str, Scores],
    *,
    error: float | None = 0.005,
    seeds: Sequence[float] = (0.0,),
    artists: int = 30,
    resamples: int = 200,
    parameters: Mapping[str, int] | None = None,
) -> Study:
    """A study of some metrics.

    Args:
        scores: by metric, of the test part; those of validation are the same
        error: the SD of a score's resamples, independent of every other one's; None: the results have no intervals
        seeds: what each seed's scores differ by
        parameters: of the models, 1 where not given
    """
    random = np.random.default_rng(5)
    runs, rows = [], []
    for model, sizes in next(iter(scores.values())).items():
        for tracks in sizes:
            of_artists = {key: random.standard_normal(resamples) * (error or 0.0) for key in METRICS}
            for seed, shift in enumerate(seeds):
                cell = {"model": model, "size": str(tracks), "seed": seed}
                told = {key: scores[key][model][tracks] + shift if key in scores else np.nan for key in METRICS}
                facts = {"train_tracks": tracks, "parameters": (parameters or {}).get(model, 1), "seconds": 60.0}
                runs.append(cell | facts | {f"{part}_{key}": told[key] for part in PARTS for key in METRICS})
                resampled = {key: told[key] + of_artists[key] for key in METRICS}
                rows.append(pd.DataFrame({**cell, "resample": np.arange(resamples), **resampled}))
    table = pd.concat(rows, ignore_index=True)
    empty = pd.DataFrame()
    return Study(
        everyone=[*next(iter(scores.values()))],
        dataset_hash="d" * 12,
        partition_hash="p" * 12,
        runs=pd.DataFrame(runs),
        tags=empty,
        groups=empty,
        curves=empty,
        unscored=empty,
        unlearned=empty,
        notes=[],
        resamples=table if error is not None else table[:0],
        artists=artists if error is not None else 0,
    )
