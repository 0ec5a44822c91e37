"""How much two samples of one number differ: the chance that a value of the second is the greater one.

The chance is the area under the ROC curve of telling the samples apart by that number, and Mann and Whitney's U divided
by the number of pairs: 0.5 where neither sample lies higher, 1 where every value of the second lies above all of the
first, ties counted as half. It is a size that does not grow with the number of rows. Between two bells of equal width,
0.56, 0.64 and 0.71 are shifts of 0.2, 0.5 and 0.8 standard deviations, which Cohen calls small, medium and large.

Rows come in clusters, as the tracks of an artist. The error is therefore that of the mean of the rows' placements
(how high a row lies in the other sample), taken over whole clusters. With clusters of one row the test is Brunner and
Munzel's, `scipy.stats.brunnermunzel`. Tests that take rows for independent (Kolmogorov-Smirnov, Cramer-von Mises, Mann
and Whitney) find a shift between two random halves of the artists of MagnaTagATune nearly every time:
`benchmarks/drift.py` compares them.
Sources: Brunner and Munzel 2000, "The nonparametric Behrens-Fisher problem", Biometrical Journal 42; Obuchowski 1997,
"Nonparametric analysis of clustered ROC curve data", Biometrics 53; Cohen 1988, "Statistical power
analysis", chapter 2.
"""

from dataclasses import dataclass

import numpy as np

from tagscale.evaluation.bootstrap import interval, one_sided, two_sided

BOUNDS = (0.0, 1.0)


@dataclass(frozen=True)
class Shift:
    """How one number differs between two samples.

    chance: that a value of the second sample is greater than one of the first, ties counted as half; 0.5: no shift
    error: its standard error
    clusters: as many clusters of one sample as would know the error as well; its degrees of freedom and 1
    """

    chance: float
    error: float
    clusters: float

    def p(self, margin: float = 0.0) -> float:
        """The chance to see so large a shift, or a larger one, where there is none beyond the margin.

        Args:
            margin: by which `chance` may be off 0.5; 0: any shift counts, in either direction
        """
        beyond = abs(self.chance - 0.5) - margin
        test = one_sided if margin else two_sided
        return test(beyond, self.error, self.clusters)

    def interval(self, confidence: float) -> tuple[float, float]:
        """The ends of the interval of `chance`; NaN where a sample has one cluster only."""
        low, high = interval(self.chance, self.error, self.clusters, confidence, BOUNDS, log_odds=True)
        return float(low), float(high)


def shift(
    first: np.ndarray, second: np.ndarray, first_cluster: np.ndarray, second_cluster: np.ndarray | None = None
) -> Shift:
    """The shift from the first sample to the second.

    Shape:
        first, second: (rows,) each, of one or more rows; no NaN
        first_cluster, second_cluster: the number of each row's cluster, in each sample for itself; None: nobody knows
            those of the second, and they are taken to be as the first one's
    Raises:
        ValueError: an empty sample, or NaN.

    >>> round(shift(np.array([1, 2, 3]), np.array([2, 3, 4]), np.arange(3), np.arange(3)).chance, 3)
    0.778
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if not len(first) or not len(second) or np.isnan(first).any() or np.isnan(second).any():
        raise ValueError(f"expected numbers in both samples, found {len(first)} and {len(second)} rows, or NaN")
    above, below = _placements(second, first), 1 - _placements(first, second)
    chance = float(above.mean())
    of_first, clusters = variance_of_mean(below - chance, first_cluster)
    if second_cluster is not None:
        of_second, others = variance_of_mean(above - chance, second_cluster)
    else:
        alone, _ = variance_of_mean(below - chance, np.arange(len(first)))
        of_second, _ = variance_of_mean(above - chance, np.arange(len(second)))
        of_second *= max(of_first / alone, 1.0) if alone else 1.0  # the design effect
        others = max(round(len(second) * clusters / len(first)), 2)
    return Shift(chance, float(np.sqrt(of_first + of_second)), 1 + _degrees(of_first, clusters, of_second, others))


def _degrees(first: float, clusters: int, second: float, others: int) -> float:
    """Degrees of freedom of a sum of two variances. Source: Satterthwaite 1946, Biometrics Bulletin 2."""
    if min(clusters, others) < 2:
        return 0.0
    squares = first**2 / (clusters - 1) + second**2 / (others - 1)
    return (first + second) ** 2 / squares if squares else float(clusters + others - 2)


def _placements(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each value, the share of `among` that lies below it, equal ones counted as half."""
    ordered = np.sort(among)
    below, not_above = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return np.asarray((below + not_above) / (2 * len(among)))


def variance_of_mean(deviations: np.ndarray, cluster: np.ndarray) -> tuple[float, int]:
    """The variance of a mean over rows in clusters, from the rows' deviations from it, and the number of clusters."""
    _, number = np.unique(cluster, return_inverse=True)
    totals = np.bincount(number, deviations)
    count = len(totals)
    return float((totals**2).sum() / len(deviations) ** 2 * count / max(count - 1, 1)), count
