"""A linear head on features of tracks: one regularised logistic regression a tag, fitted in seconds.

Each tag is a convex problem of its own: the cross-entropy of its annotated tracks, plus |w|^2 / (2 C) over standardised
features. A regression tag is learned in the same way, its values as fractions: every output is sigmoidal (Pons et al.
2018, footnote 7), and the cross-entropy of a fraction is least where the sigmoid is the mean. All tags are fitted side
by side, and C is the one of `STRENGTHS` with the least loss on the validation part, one for each kind of tags.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy  # loads scipy.optimize and scipy.special where they are used
import torch
from torch import Tensor
from torch.nn import functional as F

from tagscale.training.recipe import balanced_weights

STRENGTHS = tuple(10.0 ** (power / 2) for power in range(-8, 3))  # C, from strongly regularised to weakly
OPTIONS = {"maxiter": 500, "maxcor": 20, "ftol": 1e-15, "gtol": 1e-7}  # of L-BFGS; a hundred steps suffice
LEAST_DEVIATION = 1e-6  # of a feature: one that hardly varies is left as it is
HALF = 0.5  # of a track, which a tag that never varies is imagined to have on the other side


@dataclass(frozen=True)
class Head:
    """A fitted head, for features as they are: the standardisation is folded in.

    weight, bias: (tags, features) and (tags,) float32; logits = features @ weight.T + bias
    strengths: kind of tags -> the C that was chosen
    valid_loss: mean cross-entropy of the annotated labels of the validation part
    """

    weight: Tensor
    bias: Tensor
    strengths: dict[str, float]
    valid_loss: float


def fit_head(
    features: np.ndarray,
    labels: np.ndarray,
    valid_features: np.ndarray,
    valid_labels: np.ndarray,
    kinds: list[str],
    class_weights: Literal["none", "balanced"] = "none",
) -> Head:
    """Fit a head to the training part at every strength, and keep what the validation part favours.

    Without any annotated label of a kind in the validation part, the middle strength is taken.

    Shape:
        features: (tracks, features) float32, of the training part
        labels:   (tracks, tags) in [0, 1], NaN = not annotated
    """
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    deviation = np.where(deviation < LEAST_DEVIATION, 1.0, deviation)
    known, valid = ((torch.from_numpy((part - mean) / deviation)) for part in (features, valid_features))
    directions = None
    if len(known) < known.shape[1]:  # the penalty keeps the weights in the span of the tracks: search in it alone
        directions, _ = torch.linalg.qr(known.T)  # (features, tracks), orthonormal, so the penalty stays what it is
        known, valid = known @ directions, valid @ directions
    targets, valid_targets = torch.tensor(labels).double(), torch.tensor(valid_labels).double()
    regression = torch.tensor([kind == "regression" for kind in kinds])
    weights = torch.ones(2, len(kinds), dtype=torch.float64)
    if class_weights == "balanced":
        weights = balanced_weights(labels, regression.numpy()).double()
    fits: list[Tensor] = []
    for strength in STRENGTHS:  # each begins where the last one ended
        fits.append(_fit(known, targets, weights, strength, fits[-1] if fits else None))
    losses = torch.stack([_losses(valid, fit, valid_targets, weights) for fit in fits])  # (strengths, tracks, tags)
    annotated = ~valid_targets.isnan()
    chosen = torch.zeros(len(kinds), dtype=torch.long)
    strengths = {}
    for kind in dict.fromkeys(kinds):
        tags = torch.tensor([one == kind for one in kinds])
        any_label = bool(annotated[:, tags].any())
        best = int(losses[:, :, tags].sum(dim=(1, 2)).argmin()) if any_label else len(STRENGTHS) // 2
        chosen[tags], strengths[kind] = best, STRENGTHS[best]
    fitted = torch.stack(fits)[chosen, torch.arange(len(kinds))]  # (tags, features + 1)
    of_tags = losses[chosen, :, torch.arange(len(kinds))].sum() / max(1, int(annotated.sum()))
    weight = fitted[:, :-1] if directions is None else fitted[:, :-1] @ directions.T
    weight = weight / torch.from_numpy(deviation)
    bias = fitted[:, -1] - weight @ torch.from_numpy(mean)
    return Head(weight.float(), bias.float(), strengths, float(of_tags))


def _fit(features: Tensor, targets: Tensor, weights: Tensor, strength: float, start: Tensor | None) -> Tensor:
    """Weights and bias of every tag, (tags, features + 1) float64, at one strength; by L-BFGS, the same every time."""
    constant, level = _constant(targets)
    known, values = features.numpy(), targets.nan_to_num(0.0)
    weight = torch.lerp(weights[0], weights[1], values).where(~(targets.isnan() | constant), 0.0).numpy()
    shape, labels = (targets.shape[1], features.shape[1] + 1), values.numpy()

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss of all tags, and its gradient."""
        theta = theta.reshape(shape)
        logits = known @ theta[:, :-1].T + theta[:, -1]
        errors = weight * (scipy.special.expit(logits) - labels)
        gradient = np.column_stack([errors.T @ known + theta[:, :-1] / strength, errors.sum(axis=0)])
        entropy = (weight * (np.logaddexp(0, logits) - labels * logits)).sum()
        return entropy + np.square(theta[:, :-1]).sum() / (2 * strength), gradient.ravel()

    begin = np.zeros(shape) if start is None else start.numpy()
    result = scipy.optimize.minimize(loss, begin.ravel(), jac=True, method="L-BFGS-B", options=OPTIONS)
    fitted = torch.from_numpy(result.x.reshape(shape))
    fitted[constant] = 0.0
    fitted[constant, -1] = level[constant]
    return fitted


def _losses(features: Tensor, theta: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """(tracks, tags): the weighted cross-entropy of every label, 0 where there is none."""
    logits = features @ theta[:, :-1].T + theta[:, -1]
    values = targets.nan_to_num(0.0)
    losses = F.binary_cross_entropy_with_logits(logits, values, reduction="none")
    return torch.where(targets.isnan(), losses.new_zeros(()), losses * torch.lerp(weights[0], weights[1], values))


def _constant(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Which tags have one value in all training tracks, or none, so that nothing can be learned; and their logit."""
    annotated = ~targets.isnan()
    tracks, total = annotated.sum(dim=0), targets.nan_to_num(0.0).sum(dim=0)
    least = targets.nan_to_num(torch.inf).amin(dim=0)
    most = targets.nan_to_num(-torch.inf).amax(dim=0)
    return (tracks == 0) | (least == most), torch.logit((total + HALF) / (tracks + 2 * HALF))
