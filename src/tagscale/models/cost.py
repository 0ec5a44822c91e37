"""What a model costs: parameters, operations and memory of one patch, counted without computing anything.

The model runs on PyTorch's meta device, where tensors have a shape and no values, so that the largest takes some
hundredths of a second. What is counted, and what is not:

- operations: a multiplication and an addition are two. Convolutions, dense and recurrent layers, attention and mel
  bands, by torch.utils.flop_counter; not biases, activations, norms and pooling, as is usual, nor the Fourier
  transform (0.01 billion for 15 s). Forward only; training takes about three times as many.
- activations: the bytes that autograd keeps of one patch until the backward pass, at float32, layer by layer as on a
  GPU (a CPU keeps less, see `norm_max`). They grow with the batch.
  Of a model that is trained in two steps, those of the larger step. (Its operations are those of all its segments.)
- weights: the bytes of parameters and buffers. They are there once; training with Adam needs four times them.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from tagscale.audio.logmel import LogMel
from tagscale.models.aggregation import MultiscaleTagger
from tagscale.models.build import Architecture, build, parameter_count
from tagscale.models.costs import Cost

BATCH = 2  # batch norm refuses one value per channel


def cost(architecture: Architecture) -> Cost:
    """What one patch of the architecture's length costs. Raises TagscaleError as `build`.

    >>> capacity = {"width": 1.0, "filters": 512, "units": 500, "dropout": 0.5}
    >>> cost(Architecture("spectrogram", capacity, ("jazz",), ("classification",), 3.0)).parameters
    5899605
    """
    with _Undrawn():
        model = build(architecture)
    parameters = parameter_count(model)
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    _without_spectrograms(model)
    model = model.to("meta").train()
    if isinstance(model, MultiscaleTagger):
        return Cost(parameters, *_run_steps(model, architecture.patch_samples), weights)
    return Cost(parameters, *_run(model, (architecture.patch_samples,)), weights)


def _run_steps(model: MultiscaleTagger, samples: int) -> tuple[int, int]:
    """As `_run`, of a model trained in two steps: every part alone, then the head on the frozen parts."""
    parts = [_run(part, (length,)) for part, length in zip(model.parts, model.part_samples, strict=True)]
    head = _run(model.head, (model.head.hidden1.in_features,))
    segments = [-(-samples // length) for length in model.part_samples]
    flops = sum(count * part[0] for count, part in zip(segments, parts, strict=True)) + head[0]
    return flops, max(activations for _, activations in [*parts, head])


def _run(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Operations and bytes of activations of one input of this shape, of a model on the meta device."""
    weights = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = (tensor, storage.nbytes())  # the tensor stays, or its number would be given again
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.empty(BATCH, *shape, device="meta"))
    activations = sum(size for number, (_, size) in kept.items() if number not in weights)
    return counter.get_total_flops() // BATCH, activations // BATCH


class _Undrawn(TorchFunctionMode):
    """While it is on, random initial weights are left as they are: nobody reads them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


class _OnCPU(nn.Module):
    """A log-mel layer on the CPU in a model on the meta device: autocast and the Fourier transform do not know that."""

    def __init__(self, log_mel: LogMel) -> None:
        super().__init__()
        self.hidden = (log_mel,)  # in a tuple it is no part of the model, and stays where it is

    def forward(self, wave: Tensor) -> Tensor:
        (log_mel,) = self.hidden
        return torch.empty_like(log_mel(torch.zeros(wave.shape)), device=wave.device)


def _without_spectrograms(model: nn.Module) -> None:
    """Take all log-mel layers out of a model that goes to the meta device."""
    for name, child in list(model.named_children()):
        if isinstance(child, LogMel):
            setattr(model, name, _OnCPU(child))
        else:
            _without_spectrograms(child)
