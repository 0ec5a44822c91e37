"""Greedy selection of an ensemble: the weighted mean of models that scores best.

Source: Caruana et al. 2004, Ensemble selection from libraries of models, sections 2 and 2.2: the best single model
first, then again and again the model, chosen ones included, with which the mean scores best, until none improves it.
Classification and regression tags have weights of their own, each chosen by a metric of its kind: the mean that ranks
tracks best is not the one whose values are nearest.

A choice fits the tracks that it is made on, the more the fewer they are. So the weights are the mean of choices on
resamples of the artists (`select_bagged`; their section 2.3 resamples the models), which gains more on other artists
(benchmarks/results/ensembles.md), and a track's own score of the ensemble is that of the choices without its artist.
Source: Breiman 1996, Out-of-bag estimation.

The mean is that of log-odds. Models differ in how sure they are: trees on few tracks stay near the prevalence of a tag,
networks go to 0 and 1, and outweigh them in a mean of probabilities whatever their weights are. Log-odds let the scale
of a model's scores matter less (benchmarks/results/ensembles.md). Source: Genest and Zidek 1986, Combining probability
distributions, section 3.3, the logarithmic opinion pool. Values of regression tags are averaged as they are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tagscale.evaluation.metrics import KINDS, METRICS, main_metric, number_of

ROUNDS = 25  # models at most, counted as often as they are chosen
BAGS = 10, 25  # choices on many tracks, and on few
FEW = 1000  # tracks
LEAST = 0.05  # share of a member: less changes the scores little and costs as much
SUREST = 1e-6  # a score nearer to 0 or 1 counts as this near


def pool(scores: Iterable[np.ndarray], weights: np.ndarray, regression: np.ndarray) -> np.ndarray:
    """The weighted mean of models' scores: of log-odds for classification tags, of values for regression tags.

    Shape:
        scores:     (..., tags) in [0, 1], one array a model
        weights:    (models,) or (models, tags), not negative, in any scale
        regression: (tags,) bool
        returns:    (..., tags) float32 in [0, 1]
    """
    summed = sum(weight * _log_odds(one, regression) for weight, one in zip(weights, scores, strict=True))
    return _scores(summed / np.sum(weights, axis=0), regression).astype(np.float32)


def select(
    scores: np.ndarray, labels: np.ndarray, regression: np.ndarray, metric: str, fold: np.ndarray | None = None
) -> np.ndarray:
    """How often each model counts in the mean that scores best: (models,) int, with at least one above 0.

    Among equals the first model counts. A model is added only where it improves the mean. Where no model has the
    metric, as on tracks without positives, all count once.

    Args:
        scores: (models, tracks, tags) in [0, 1]
        labels: (tracks, tags) in [0, 1], NaN = not annotated
        regression: (tags,) bool
        metric: a key of METRICS
        fold: (tracks,), the number of the fold whose models scored each track; without, they scored all
    """
    scored = regression if "regression" in METRICS[metric].kinds else ~regression
    labels, regression = labels[:, scored], regression[scored]
    models = _log_odds(scores[:, :, scored], regression)
    counts, total = np.zeros(len(models), int), np.zeros(labels.shape)
    best, sign = -np.inf, METRICS[metric].sign
    for size in range(1, ROUNDS + 1):
        means = (_scores((total + one) / size, regression) for one in models)
        values = sign * np.array([number_of(metric, labels, mean, regression, fold) for mean in means])
        chosen = int(np.nan_to_num(values, nan=-np.inf).argmax())
        if not values[chosen] > best:
            break
        best = values[chosen]
        counts[chosen] += 1
        total += models[chosen]
    return counts if counts.any() else np.ones_like(counts)


def metrics_by_kind(metric: str) -> dict[str, str]:
    """Kind of tags -> the metric by which its weights are chosen: this one, or the main one of a kind without it.

    Decisions are learned when the weights are known. Scores are decided from 0.5 before, which says more of their scale
    than of what thresholds will make of them: so the main metric stands for a metric that rests on decisions, too.

    >>> metrics_by_kind("roc_auc"), metrics_by_kind("f1")["classification"]
    ({'classification': 'roc_auc', 'regression': 'rmse'}, 'pr_auc')
    """
    chosen = METRICS[metric]
    return {kind: metric if kind in chosen.kinds and not chosen.decided else main_metric(kind).key for kind in KINDS}


def select_by_kind(
    scores: np.ndarray,
    labels: np.ndarray,
    regression: np.ndarray,
    metrics: Mapping[str, str],
    fold: np.ndarray | None = None,
) -> np.ndarray:
    """The weights that `select` gives by the metric of each kind of tags, (models, tags) int, alike in a kind's tags.

    Args:
        scores, labels, regression, fold: as `select` takes them
        metrics: as `metrics_by_kind` gives them
    """
    weights = np.zeros((len(scores), len(regression)), int)
    for kind, metric in metrics.items():
        of_kind = regression == (kind == "regression")
        if of_kind.any():
            weights[:, of_kind] = select(scores, labels, regression, metric, fold)[:, None]
    return weights


def select_bagged(
    scores: np.ndarray,
    labels: np.ndarray,
    regression: np.ndarray,
    metrics: Mapping[str, str],
    artist: np.ndarray,
    seed: int,
    fold: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The mean weights of `select_by_kind` on resamples of the artists, and the scores of tracks without their artist.

    Up to `FEW` tracks have 25 resamples, more tracks ten. A share below `LEAST` is left out. Where an artist is in all
    resamples, as one that is alone, its tracks have the mean of all models.

    Args:
        scores, labels, regression, metrics, fold: as `select_by_kind` takes them
        artist: (tracks,), the number of each track's artist
        seed: of the resamples
    Shape:
        weights: (models, tags), shares of 1
        scores:  (tracks, tags), float32
    """
    artists, own = np.unique(artist, return_inverse=True)
    tracks = [np.flatnonzero(own == number) for number in range(len(artists))]
    count, random = BAGS[len(artist) <= FEW], np.random.default_rng(seed)
    weights, drawn = np.empty((count, len(scores), len(regression))), np.zeros((count, len(artists)), bool)
    for bag in range(count):
        numbers = random.integers(len(artists), size=len(artists)).tolist()
        rows = np.concatenate([tracks[number] for number in numbers])
        of_rows = None if fold is None else fold[rows]
        of_models = select_by_kind(scores[:, rows], labels[rows], regression, metrics, of_rows)
        weights[bag] = of_models / of_models.sum(axis=0)
        drawn[bag, numbers] = True
    without = {
        number: _mean_share(weights[~bags]) if not bags.all() else np.ones(weights.shape[1:])
        for number, bags in enumerate(drawn.T)
    }
    return _mean_share(weights), pool_held_out(scores, without, own, regression)


def _mean_share(weights: np.ndarray) -> np.ndarray:
    """The mean of some choices without what is below `LEAST`: (choices, models, tags) -> (models, tags)."""
    mean = weights.mean(axis=0)
    mean[mean < np.minimum(LEAST, mean.max(axis=0))] = 0
    return np.asarray(mean / mean.sum(axis=0))


def pool_held_out(
    scores: np.ndarray, weights: Mapping[Any, np.ndarray], group: np.ndarray, regression: np.ndarray
) -> np.ndarray:
    """Scores of every track by the weights of its group, (tracks, tags) float32.

    Args:
        scores, regression: as `select` takes them
        weights: (models, tags), by group
        group: (tracks,), the group of each track
    """
    pooled = np.empty(scores.shape[1:], np.float32)
    for name, of_models in weights.items():
        held_out = group == name
        pooled[held_out] = pool(scores[:, held_out], of_models, regression)
    return pooled


def _log_odds(scores: np.ndarray, regression: np.ndarray) -> np.ndarray:
    values = np.asarray(scores, np.float64)
    chances = values.clip(SUREST, 1 - SUREST)
    return np.where(regression, values, np.log(chances / (1 - chances)))


def _scores(values: np.ndarray, regression: np.ndarray) -> np.ndarray:
    return np.where(regression, values.clip(0, 1), 1 / (1 + np.exp(-values)))
