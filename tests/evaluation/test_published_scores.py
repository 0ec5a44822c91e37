"""Metrics of published scores: a network's, of MagnaTagATune's clean test split, with the ROC-AUC of its authors' tool.

The scores and labels are not in the repository; `TAGSCALE_SHARED_DATA` names the folder that holds them.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from tagscale.evaluation.bootstrap import draw, paired, resampled_metrics, standard_error
from tagscale.evaluation.metrics import evaluate

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # last: benchmarks have names that tests have too
from published import Published, load, noisy

FOLDER = Path(os.environ.get("TAGSCALE_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")) / "mtt"
ROC_AUC, PR_AUC = 0.910897708562001, 0.4508741076307893  # of the authors' tool; of scikit-learn, mean over 50 tags


@pytest.fixture(scope="module")
def published() -> Published:
    if not (FOLDER / "published").is_dir():
        pytest.skip(f"the published scores of MagnaTagATune are not on this machine (looked in {FOLDER / 'published'})")
    return load(FOLDER)


def test_the_means_are_the_published_ones(published: Published) -> None:
    assert published.scores.shape == (4332, 50)
    assert len(set(published.artists)) == 75
    found = evaluate(published.labels, published.scores, published.regression, artist=published.artist)
    numbers = found.overall()
    assert numbers["roc_auc"] == pytest.approx(ROC_AUC, abs=1e-12)
    assert numbers["pr_auc"] == pytest.approx(PR_AUC, abs=1e-12)
    truth = published.labels == 1
    for tag, (positive, scores) in enumerate(zip(truth.T, published.scores.T, strict=True)):
        assert found["roc_auc"][tag] == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
        assert found["pr_auc"][tag] == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    assert found.positives.tolist() == truth.sum(axis=0).tolist()
    assert found.artists.tolist() == [len(set(published.artist[rows])) for rows in truth.T]
    frequent = [len(set(published.artist[rows])) >= 3 and rows.sum() >= 10 for rows in truth.T]
    assert numbers["frequent_pr_auc"] == pytest.approx(found["pr_auc"][frequent].mean(), abs=1e-12)
    assert numbers["micro_roc_auc"] == pytest.approx(roc_auc_score(truth.ravel(), published.scores.ravel()), abs=1e-12)
    micro = average_precision_score(truth.ravel(), published.scores.ravel())
    assert numbers["micro_pr_auc"] == pytest.approx(micro, abs=1e-12)
    assert numbers["f1"] == pytest.approx(
        np.mean([f1_score(p, s >= 0.5, zero_division=0) for p, s in zip(truth.T, published.scores.T, strict=True)])
    )
    top = np.argsort(-published.scores, axis=1)[:, :3]
    assert numbers["precision_at_3"] == pytest.approx(np.take_along_axis(truth, top, axis=1).mean(), abs=1e-12)


def test_the_errors_of_areas_are_obuchowskis(published: Published) -> None:
    """Each tag's standard error over resamples against Obuchowski 1997, for tags by many artists."""
    artist, clips = published.artist, slice(None)
    drawn = draw(published.artists, 200, "golden")
    found = resampled_metrics(published.labels, published.scores, published.regression, drawn)
    ratios = []
    for tag in np.flatnonzero(found.artists >= 20):
        positive, scores = published.labels[clips, tag] == 1, published.scores[clips, tag]
        order = np.sort(scores[~positive])
        below = (np.searchsorted(order, scores, "left") + np.searchsorted(order, scores, "right")) / 2 / len(order)
        order = np.sort(scores[positive])
        under = (np.searchsorted(order, scores, "left") + np.searchsorted(order, scores, "right")) / 2 / len(order)
        area = below[positive].mean()
        x = np.bincount(artist[positive], below[positive] - area, 75) / positive.sum()
        y = np.bincount(artist[~positive], 1 - under[~positive] - area, 75) / (~positive).sum()
        formula = np.sqrt(75 / 74 * ((x + y) ** 2).sum())
        ratios.append(standard_error(found["roc_auc"][tag], 75) / formula)
    assert len(ratios) > 20
    assert np.median(ratios) == pytest.approx(1, abs=0.1)
    assert np.std(ratios) < 0.15


def test_a_copy_with_noise_is_told_apart(published: Published) -> None:
    drawn, regression = draw(published.artists, 100, "golden"), published.regression
    models = [published.scores, noisy(published.scores, published.artist, 0.3, seed=5)]
    macros = [evaluate(published.labels, scores, regression).overall()["pr_auc"] for scores in models]
    rows = [resampled_metrics(published.labels, scores, regression, drawn).overall()["pr_auc"] for scores in models]
    gap = paired(*rows, macros[0] - macros[1], 75, 0.95)
    assert 0.005 < gap.low < gap.difference < gap.high < 0.05
    assert gap.p < 0.001
    alone = standard_error(rows[0], 75)
    assert gap.error < alone / 3, "the artists are the same"
