"""Losses over labels of which some are missing.

Source: Pons et al. 2018, section 4, "Parameters" (cross-entropy, or mean squared error for the 1.2M songs), and
section 5.1, footnote 7: every output is sigmoidal, that of a regression tag too.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Literal["cross_entropy", "mse"]


def entry_losses(logits: Tensor, labels: Tensor, regression: Tensor, loss: Loss) -> Tensor:
    """The loss of every entry; 0, with no gradient, where a label is missing.

    `cross_entropy` takes classification tags by cross-entropy (labels may be fractions) and regression tags by the
    squared error of the sigmoid; `mse` takes every tag by the squared error.

    Shape:
        logits, labels: (batch, tags), labels in [0, 1] or NaN
        regression:     (tags,) bool
        returns:        (batch, tags) float32
    """
    logits = logits.float()  # from half precision, where small losses would vanish
    known = ~labels.isnan()
    targets = labels.nan_to_num(0.0)
    losses = (logits.sigmoid() - targets).square()
    if loss == "cross_entropy":
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        losses = torch.where(regression, losses, entropy)
    return torch.where(known, losses, losses.new_zeros(()))


def masked_loss(logits: Tensor, labels: Tensor, regression: Tensor, loss: Loss) -> Tensor:
    """Mean of `entry_losses` over the annotated entries of a batch; 0 (still differentiable) without any.

    >>> labels = torch.tensor([[1.0, float("nan")]])
    >>> masked_loss(torch.zeros(1, 2), labels, torch.tensor([False, False]), "cross_entropy")
    tensor(0.6931)
    """
    known = (~labels.isnan()).sum().clamp(min=1)
    return entry_losses(logits, labels, regression, loss).sum() / known
