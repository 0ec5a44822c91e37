"""The recipe of a training: its loss over labels of which some are missing, and its optimiser.

Source: Pons et al. 2018, section 4, "Parameters" (cross-entropy, or mean squared error for the 1.2M songs; Adam at
0.001), and section 5.1: footnote 7 (every output is sigmoidal, that of a regression tag too), and its end, which leaves
the data's imbalance to future work.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD, Adam, AdamW, Optimizer

from tagscale.models.spec import GROUPS
from tagscale.params.blocks import TrainParams

OPTIMIZERS: dict[str, Any] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
SGD_MOMENTUM = 0.9

GRID = {*GROUPS, "members", "sizes", "seeds"}  # settings that name the runs of a study
SPEED = {"compile", "workers", "devices", "nodes"}  # settings that change how fast a run trains
PLACE = {"start_from"}  # where weights lie; the weights decide


def deciding(settings: TrainParams, patch_seconds: float) -> dict[str, Any]:
    """The settings that decide the weights of a run, beside its place in the grid: for its identity.

    The precision is that of this machine where `train.precision` leaves it open.

    Args:
        patch_seconds: the model's own, which may differ from `train.patch_seconds`
    """
    return with_precision(settings).model_dump(exclude=GRID | SPEED | PLACE) | {"patch_seconds": patch_seconds}


def with_precision(settings: TrainParams) -> TrainParams:
    """The settings with a stated precision: bf16-mixed where this machine computes in bfloat16, else 32-true.

    Elsewhere torch emulates bfloat16, which takes longer than float32.
    """
    if settings.precision is not None:
        return settings
    if torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16"))
    return settings.model_copy(update={"precision": "bf16-mixed" if able else "32-true"})


# --- loss --------------------------------------------------------------------------------------------------------


def entry_losses(
    logits: Tensor, labels: Tensor, regression: Tensor, loss: str, weights: Tensor | None = None
) -> Tensor:
    """The loss of every entry; 0, with no gradient, where a label is missing.

    `cross_entropy` takes classification tags by cross-entropy (labels may be fractions) and regression tags by the
    squared error of the sigmoid; `mse` takes every tag by the squared error.

    Shape:
        logits, labels: (batch, tags), labels in [0, 1] or NaN
        regression:     (tags,) bool
        weights:        (2, tags), of a label 0 and a label 1; a fraction has one in between
        returns:        (batch, tags) float32
    """
    logits = logits.float()  # from half precision, where small losses would vanish
    known = ~labels.isnan()
    targets = labels.nan_to_num(0.0)
    losses = (logits.sigmoid() - targets).square()
    if loss == "cross_entropy":
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        losses = torch.where(regression, losses, entropy)
    if weights is not None:
        losses = losses * torch.lerp(weights[0], weights[1], targets)
    return torch.where(known, losses, losses.new_zeros(()))


def masked_loss(
    logits: Tensor,
    labels: Tensor,
    regression: Tensor,
    loss: str,
    weights: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Mean of `entry_losses` over the annotated entries of a batch; 0 (still differentiable) without any.

    Args:
        known: number of annotated entries of the whole batch, where these are a share of it

    >>> labels = torch.tensor([[1.0, float("nan")]])
    >>> masked_loss(torch.zeros(1, 2), labels, torch.tensor([False, False]), "cross_entropy")
    tensor(0.6931)
    """
    known = annotated(labels) if known is None else known
    return entry_losses(logits, labels, regression, loss, weights).sum() / known.clamp(min=1)


def smoothed(labels: Tensor, regression: Tensor, amount: float) -> Tensor:
    """Labels of classification tags, moved towards 0.5: a label of 1 becomes 1 - amount / 2.

    >>> smoothed(torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([False, False, True]), 0.1)
    tensor([[0.9500, 0.0500, 1.0000]])
    """
    return torch.where(regression, labels, labels + amount * (0.5 - labels))


def annotated(labels: Tensor) -> Tensor:
    """Number of labels that are not missing."""
    return (~labels.isnan()).sum()


def balanced_weights(labels: np.ndarray, regression: np.ndarray) -> Tensor:
    """Weights with which a classification tag's positives count as much as its negatives, and 1 on average.

    A tag's labels of 1 get n / 2p and its labels of 0 get n / 2(n - p), for p positives among n annotated tracks. Tags
    that are regressed get 1.

    >>> balanced_weights(np.array([[1, 0.5], [0, 0.5], [0, 0.5], [0, 0.5]]), np.array([False, True]))
    tensor([[0.7143, 1.0000],
            [1.6667, 1.0000]])

    Shape:
        labels:     (tracks, tags) in [0, 1], NaN = not annotated
        regression: (tags,) bool
        returns:    (2, tags) float32, of a label 0 and a label 1
    """
    known = (~np.isnan(labels)).sum(axis=0) + 1  # one imagined track at 0.5 more: no tag without positives
    positive = np.nansum(labels, axis=0) + 0.5
    weights = known / 2 / np.stack([known - positive, positive])
    weights[:, regression] = 1
    return torch.tensor(weights, dtype=torch.float32)


# --- optimiser ---------------------------------------------------------------------------------------------------


def optimizer_of(network: Any, settings: TrainParams, body_rate: float = 1.0) -> Optimizer:
    """The optimiser of a network, on its device; weight decay acts on kernels alone, as in the authors' later code.

    Args:
        network: module with `output`, its last layer
        body_rate: rate of all other layers, as a share of the output's; each group states its own under `share`
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    last = {id(parameter) for parameter in network.output.parameters()}
    shares = {id(parameter): 1.0 if id(parameter) in last else body_rate for parameter in trained}
    groups: list[dict[str, Any]] = []
    for share in dict.fromkeys([1.0, body_rate]):
        some = [parameter for parameter in trained if shares[id(parameter)] == share]
        for kernels, decay in ((True, settings.weight_decay), (False, 0.0)):
            params = [parameter for parameter in some if (parameter.ndim > 1) is kernels]
            groups.append({"params": params, "weight_decay": decay, "share": share})
    options = optimizer_options(settings, on_gpu=trained[0].is_cuda)
    optimizer: Optimizer = OPTIMIZERS[settings.optimizer](groups, lr=settings.learning_rate, **options)
    return optimizer


def optimizer_options(settings: TrainParams, on_gpu: bool) -> dict[str, Any]:
    """What an optimiser takes beside rate and parameters.

    On a GPU one kernel updates all parameters. In half precision it also unscales the gradients, which is too late to
    clip them.
    """
    late = settings.precision == "16-mixed" and settings.clip_norm is not None
    options: dict[str, Any] = {"fused": True} if on_gpu and not late else {}
    return options | ({"momentum": SGD_MOMENTUM} if settings.optimizer == "sgd" else {})
