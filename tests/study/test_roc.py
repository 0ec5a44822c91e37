"""The micro-averaged ROC curve against scikit-learn, and what it does where there is none."""

import json

import numpy as np
from sklearn.metrics import roc_auc_score

from tagscale.study.roc import POINTS, micro_curve


def test_the_area_is_that_of_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    labels = (draw.random((400, 7)) < 0.2).astype(float)
    scores = np.clip(0.3 * labels + draw.random((400, 7)) * 0.7, 0, 1)
    labels[draw.random(labels.shape) < 0.1] = np.nan
    regression = np.array([False] * 6 + [True])
    wrong, right, thresholds = micro_curve(labels, scores, regression)
    known = ~np.isnan(labels) & ~regression
    expected = roc_auc_score(labels[known], scores[known])
    assert abs(np.trapezoid(right, wrong) - expected) < 2e-3  # 101 points in place of all
    assert len(wrong) == len(right) == len(thresholds) == POINTS
    assert (wrong[0], wrong[-1], right[-1]) == (0.0, 1.0, 1.0)
    assert json.loads(json.dumps(thresholds, allow_nan=False)) == thresholds, "infinity would not be JSON"


def test_with_one_label_alone_there_is_no_curve() -> None:
    scores = np.array([[0.1, 0.2], [0.3, 0.4]])
    assert micro_curve(np.ones((2, 2)), scores, np.array([False, False])) == ([], [], [])
    assert micro_curve(np.eye(2), scores, np.array([True, True])) == ([], [], [])
