"""Batch norm with what stands before and after it: a ReLU and a maximum.

Two reasons for a path of its own, for training on a CPU. PyTorch's norm of a map with channels last adds up float32
numbers one after the other: over the 256,000 places of a batch the gradients of the waveform model are off by a tenth.
Here the sums are of about a thousand each, and put together in float64 (Chan, Golub & LeVeque 1979).

And a norm whose gammas are not negative keeps the order of values. So the maximum can come first, and scale and shift
apply to what is left: the normalised map is never written, read or kept. The gradient at the map is a straight line of
its own values, and at the maxima that of the maximum too:

    d loss / d x = s g [x is the maximum] - s / count * (sum of g + (x - mean) / variance * sum of g (maximum - mean))

with s = gamma / deviation (Ioffe & Szegedy 2015, "Batch normalization", section 3, put together). A GPU goes layer by
layer: there the kernels are exact and fast, and torch.compile fuses them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from tagscale.models.kernels.convolutions import channels_last
from tagscale.models.kernels.switch import fast, fast_on_cpu

aten = torch.ops.aten
Size = tuple[int, int]  # height and width
NO_POOL = (1, 1)
MANY = 10_000  # values of a channel from which on the path of its own is faster
ROWS = 1024  # numbers that are added up in float32 ...
COLUMNS = 1024  # ... in so many sums beside each other, which a core's nearest memory holds


class NormPool(nn.BatchNorm2d):
    """Batch norm and max-pooling: `max_pool2d(norm(x), pool)`, or with `relu` `max_pool2d(norm(relu(x)), pool)`.

    Args:
        pool: height and width of what is pooled, and its step
        relu: rectify first, the order of the paper
        eps, momentum, affine: as of nn.BatchNorm2d
    Shape:
        x:       (batch, channels, height, width), or (batch, channels, length)
        returns: (batch, channels, height // pool[0], width // pool[1]), or (batch, channels, length // pool[1])
    """

    def __init__(
        self,
        channels: int,
        pool: Size = NO_POOL,
        *,
        relu: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
    ) -> None:
        super().__init__(channels, eps, momentum, affine)
        self.pool, self.relu = pool, relu

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 3:
            return self.forward(x.unsqueeze(2)).squeeze(2)
        # No subclass that normalises in its own way. The size comes last: an export would hold its answer to be a fact.
        if type(self) is NormPool and fast_on_cpu(x) and x.numel() >= MANY * x.shape[1]:
            if shortcut(self, x, ordered=self.pool != NO_POOL):
                return norm_max(x, self, self.pool, relu=self.relu)
            if shortcut(self, x):
                return F.max_pool2d(norm_max(x, self, NO_POOL, relu=self.relu), self.pool)
        x = self.normalise(F.relu(x) if self.relu else x)
        return x if self.pool == NO_POOL else F.max_pool2d(x, self.pool)

    def normalise(self, x: Tensor) -> Tensor:
        """PyTorch's own batch norm of (batch, channels, height, width)."""
        return super().forward(x)


class SingleChannelNorm(nn.BatchNorm1d):
    """Batch norm of a whole map by one mean, one variance, one gamma and one beta. Running statistics are kept.

    Shape:
        x, returned: (batch, channels, frames)
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, eps: float, momentum: float) -> None:
        super().__init__(1, eps, momentum)

    def forward(self, x: Tensor) -> Tensor:
        if fast() and x.is_cuda and self.training and type(self) is SingleChannelNorm:
            return self.over_all(x)
        values = x.transpose(1, 2) if fast() else x  # as they lie in memory: their order does not matter
        values = super().forward(values.flatten(1).unsqueeze(1)).view_as(values)
        return values.transpose(1, 2) if fast() else values

    def over_all(self, x: Tensor) -> Tensor:
        """The same in training, by reductions that all of a GPU works on: its batch norm gives a channel one block."""
        wide = x.to(self.running_mean.dtype)
        variance, mean = torch.var_mean(wide, correction=0)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (x.numel() / (x.numel() - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (wide * scale + (self.bias - mean * scale)).to(x.dtype)


def shortcut(norm: nn.BatchNorm2d, x: Tensor, ordered: bool = False) -> bool:
    """Whether `norm_max` may take the place of this norm: on a CPU, and not for gradients in evaluation.

    Args:
        ordered: a maximum is taken, so no gamma may be negative
    """
    return (
        fast_on_cpu(x)
        and (norm.momentum is not None if norm.training else not torch.is_grad_enabled())
        and not (ordered and norm.affine and bool((norm.weight < 0).any()))
    )


def norm_max(x: Tensor, norm: nn.BatchNorm2d, pool: Size, *, relu: bool, sets: int = 1, left_out: int = 0) -> Tensor:
    """What `NormPool` computes, of a norm that allows the `shortcut`.

    Args:
        sets: a map may hold the norm's channels so many times, one set after the other
        left_out: so many of the last sets end one row earlier, and what the map holds there does not count; only with a
            ReLU and a maximum over all rows. Evaluation overwrites it.
    """
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    x = channels_last(x)
    if norm.training:
        assert norm.num_batches_tracked is not None
        norm.num_batches_tracked.add_(1)
        constants = norm.momentum, norm.eps, pool, relu, sets, left_out
        result: Tensor = _NormMax.apply(x, norm.weight, norm.bias, mean, variance, *constants)
        return result
    fill_left_out(x, sets, left_out, 0)
    largest = of_rows(x, torch.amax) if pool == (x.shape[2], 1) else _largest(x, pool)[0]
    largest = largest.clamp_min(0) if relu else largest  # the same, with less to rectify
    scale = _times(torch.rsqrt(variance + norm.eps), norm.weight)
    return _line(largest, scale, _shift(mean, scale, norm.bias))


def fill_left_out(x: Tensor, sets: int, left_out: int, value: float) -> None:
    """Write a value where the last sets of channels end one row earlier than the map."""
    if left_out:
        x[:, -left_out * (x.shape[1] // sets) :, -1] = value


def of_rows(x: Tensor, extreme: Callable[..., Tensor]) -> Tensor:
    """torch.amax or torch.amin of all rows of a map with channels last: (batch, channels, 1, frames).

    A row is one run of numbers in memory. PyTorch's reduction of the map itself steps over the rows for every number.
    """
    batch, channels, height, frames = x.shape
    rows = channels_last(x).permute(0, 2, 3, 1).reshape(batch, height, -1)
    return extreme(rows, dim=1).view(batch, 1, frames, channels).permute(0, 3, 1, 2)


def largest_of_sets(x: Tensor, sets: int) -> Tensor:
    """(batch, sets * channels, 1, frames) -> (batch, channels, frames): for every channel its largest set."""
    return x.squeeze(2).unflatten(1, (sets, -1)).amax(dim=1)


class _NormMax(torch.autograd.Function):
    """Training's forward and backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor | None,
        beta: Tensor | None,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
        pool: Size,
        relu: bool,
        sets: int,
        left_out: int,
    ) -> Tensor:
        if relu:
            x = x.clamp_min(0)
            fill_left_out(x, sets, left_out, 0)  # no larger than the maximum, and without a gradient
        mean, variance, count = _moments(x, sets, left_out)
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((variance * count / max(count - 1, 1)).to(running_var), momentum)
        wide = running_mean.dtype
        mean, inverse = mean.to(wide), torch.rsqrt(variance + eps).to(wide)  # of the deviation
        largest, places = _largest(x, pool)
        scale = _times(inverse, gamma)
        ctx.save_for_backward(x, largest, places, mean, inverse, scale)
        ctx.pool, ctx.relu, ctx.count = pool, relu, count
        ctx.affine = gamma is not None, beta is not None
        return _line(largest, scale, _shift(mean, scale, beta))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, largest, places, mean, inverse, scale = ctx.saved_tensors
        gradient = channels_last(gradients[0])
        total, along = _sums(gradient, largest, mean, inverse)  # the gradients of beta and gamma
        slope = -scale * inverse * along / ctx.count
        back = _line(x, slope, -scale * total / ctx.count - slope * mean)
        if ctx.pool == NO_POOL:
            back.addcmul_(gradient, scale.to(x.dtype).view(1, -1, 1, 1))
        else:
            at_maxima = _line(gradient, scale, torch.zeros_like(scale))
            options = ctx.pool, ctx.pool, (0, 0), (1, 1), False
            back += aten.max_pool2d_with_indices_backward(at_maxima, x, *options, places)
        if ctx.relu:
            aten.threshold_backward.grad_input(back, x, 0, grad_input=back)
        has_gamma, has_beta = ctx.affine
        return (back, along if has_gamma else None, total if has_beta else None, *[None] * 8)


def _largest(x: Tensor, pool: Size) -> tuple[Tensor, Tensor | None]:
    """The maxima, and where they are."""
    return (x, None) if pool == NO_POOL else aten.max_pool2d_with_indices(x, pool)


def _times(scale: Tensor, gamma: Tensor | None) -> Tensor:
    return scale if gamma is None else scale * gamma


def _shift(mean: Tensor, scale: Tensor, beta: Tensor | None) -> Tensor:
    return -mean * scale if beta is None else beta - mean * scale


def _moments(x: Tensor, sets: int, left_out: int) -> tuple[Tensor, Tensor, int]:
    """Mean, biased variance (float64) and number of values for each of the norm's channels."""
    channels = x.shape[1] // sets
    means, variances, counts = [], [], []
    for part in _tables(x):
        unused = torch.zeros(2, part.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))  # for its type
        mean, variance = aten.batch_norm_update_stats(part, unused[0], unused[1], 0.0)
        means.append(mean.double().view(-1, channels))
        variances.append(variance.double().view(-1, channels))
        counts += [len(part)] * len(means[-1])
    weights, mean, variance = torch.tensor(counts)[:, None], torch.cat(means), torch.cat(variances)
    zeros = left_out * len(x) * x.shape[3]  # places that do not count, where x is 0
    count = int(weights.sum()) - zeros
    whole = (mean * weights).sum(dim=0) / count
    squares = ((variance + (mean - whole).square()) * weights).sum(dim=0)
    return whole, (squares - zeros * whole.square()) / count, count


def _sums(gradient: Tensor, x: Tensor, mean: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of the gradient, and that of its products with (x - mean) * inverse, for each of the norm's channels."""
    channels = len(mean)
    totals = torch.zeros(2, channels, dtype=torch.float64)
    for ours, theirs in zip(_tables(gradient), _tables(x), strict=True):
        sets = ours.shape[1] // channels
        statistics = mean.repeat(sets), inverse.repeat(sets)
        gamma, asked = torch.ones_like(statistics[0]), [False, True, True]  # the gradients of gamma and beta alone
        _, along, total = aten.native_batch_norm_backward(
            ours, theirs, gamma, None, None, *statistics, True, 0.0, asked
        )
        totals += torch.stack([total, along]).double().view(2, sets, channels).sum(dim=1)
    total, along = totals.to(mean.dtype)
    return total, along


def _tables(x: Tensor) -> list[Tensor]:
    """A map (batch, channels, height, width), channels last, as tables whose columns are short: views, no copies.

    A row has the channels of many places one after the other.
    """
    values = x.permute(0, 2, 3, 1).flatten(0, 2)  # (places, channels)
    beside = max(1, min(COLUMNS // x.shape[1], len(values)))
    whole = len(values) // beside * beside
    tables = list(values[:whole].view(-1, beside * x.shape[1]).split(ROWS))
    return [*tables, values[whole:]] if whole < len(values) else tables


def _line(x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """slope * x + offset by the norm's channels. Batch norm with given statistics is the fastest kernel for it."""
    groups = x.shape[1] // len(slope)
    zeros, ones = (torch.full_like(slope, value).repeat(groups) for value in (0.0, 1.0))
    return torch.batch_norm(x, slope.repeat(groups), offset.repeat(groups), zeros, ones, False, 0.0, 0.0, False)
