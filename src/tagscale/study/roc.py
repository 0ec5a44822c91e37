"""One ROC curve over all tags of a run, for people who look at a pipeline's page.

Micro-average: every pair of a track and a classification tag is one decision. The metrics of the study are means over
tags (metrics.py); this curve decides nothing.
"""

from pathlib import Path

import numpy as np

from tagscale import POSITIVE
from tagscale.catalog.tables import Catalog
from tagscale.study.tables import read_predictions

POINTS = 101  # enough for a picture

Curve = tuple[list[float], list[float], list[float]]


def micro_curve(labels: np.ndarray, scores: np.ndarray, regression: np.ndarray) -> Curve:
    """False-positive rates, true-positive rates and thresholds at POINTS false-positive rates from 0 to 1.

    Args:
        labels: (tracks, tags) in [0, 1] or NaN
        scores: (tracks, tags) in [0, 1]
        regression: (tags,) bool: tags that are left out

    Returns:
        Three lists of equal length; empty where all decisions have the same label.
    """
    from sklearn.metrics import roc_curve  # half a second, and only a pipeline shows curves

    known = ~np.isnan(labels) & ~regression
    positive = labels[known] >= POSITIVE
    if positive.all() or not positive.any():
        return [], [], []
    wrong, right, thresholds = roc_curve(positive, scores[known])
    thresholds[0] = 1.0  # scikit-learn's infinity is not in JSON, and no score is above 1
    at = np.linspace(0, 1, POINTS)
    return at.tolist(), np.interp(at, wrong, right).tolist(), np.interp(at, wrong, thresholds).tolist()


def curve_of_results(results: Path, catalog: Catalog) -> Curve:
    """The curve of the test part of an evaluated run, whose folder is `results`."""
    parts, scores = read_predictions(results)
    scores = scores[parts == "test"]
    labels = catalog.labels.loc[scores.index, scores.columns].to_numpy()
    regression = (catalog.tags.loc[scores.columns, "kind"] == "regression").to_numpy()
    return micro_curve(labels, scores.to_numpy(), regression)
