"""Greedy selection of an ensemble: the weighted mean of models that scores best.

Source: Caruana et al. 2004, Ensemble selection from libraries of models, sections 2 and 2.2: the best single model
first, then again and again the model, chosen ones included, with which the mean scores best, until none improves it.
The choice fits the tracks that it is made on, so their score of the chosen ensemble is too good. `out_of_fold` gives
every track the score of an ensemble that was chosen without its artist.
"""

from collections.abc import Sequence

import numpy as np

from tagscale.evaluation.metrics import METRICS, evaluate

ROUNDS = 25  # models at most, counted as often as they are chosen
FOLDS = 5


def select(
    scores: np.ndarray, labels: np.ndarray, regression: np.ndarray, metric: str, fold: np.ndarray | None = None
) -> np.ndarray:
    """How often each model counts in the mean that scores best: (models,) int, with at least one above 0.

    Among equals the first model counts. A model is added only where it improves the mean.

    Args:
        scores: (models, tracks, tags) in [0, 1]
        labels: (tracks, tags) in [0, 1], NaN = not annotated
        regression: (tags,) bool
        metric: a key of METRICS
        fold: (tracks,), the number of the fold whose models scored each track; without, they scored all
    Raises:
        ValueError: no model has the metric on these tracks.
    """
    scored = regression if "regression" in METRICS[metric].kinds else ~regression
    scores, labels, regression = scores[:, :, scored].astype(np.float64), labels[:, scored], regression[scored]
    counts, total = np.zeros(len(scores), int), np.zeros(labels.shape)
    best, sign = -np.inf, METRICS[metric].sign
    for size in range(1, ROUNDS + 1):
        means = ((total + one) / size for one in scores)
        metrics = [evaluate(labels, mean.clip(0, 1), regression, fold=fold).overall() for mean in means]
        values = sign * np.array([of_mean[metric] for of_mean in metrics])
        chosen = int(np.nan_to_num(values, nan=-np.inf).argmax())
        if not values[chosen] > best:
            break
        best = values[chosen]
        counts[chosen] += 1
        total += scores[chosen]
    if not counts.any():
        raise ValueError(f"no model has the metric {metric} on these tracks")
    return counts


def out_of_fold(
    scores: np.ndarray,
    labels: np.ndarray,
    regression: np.ndarray,
    metric: str,
    artists: Sequence[str],
    seed: int,
    fold: np.ndarray | None = None,
) -> np.ndarray:
    """Scores of every track by an ensemble that was selected on the tracks of other artists, (tracks, tags).

    The artists are divided into five folds, or as many as there are. With one artist alone no selection is left that
    does not know the tracks: the mean of all models then stands in.

    Args:
        scores, labels, regression, metric, fold: as `select` takes them
        artists: (tracks,) of whom each track is
        seed: of the division into folds
    """
    names, artist = np.unique(np.asarray(artists, object).astype(str), return_inverse=True)
    folds = min(FOLDS, len(names))
    if folds < 2:
        return np.asarray(scores.mean(axis=0))
    place = np.random.default_rng(seed).permutation(np.arange(len(names)) % folds)[artist]
    means = np.empty(scores.shape[1:])
    for number in range(folds):
        held_out = place == number
        of_others = None if fold is None else fold[~held_out]
        try:
            weights = select(scores[:, ~held_out], labels[~held_out], regression, metric, of_others)
        except ValueError:  # too few tracks are left to score any tag
            weights = np.ones(len(scores), int)
        means[held_out] = np.average(scores[:, held_out], axis=0, weights=weights)
    return means
