"""torch.compile where the machine can; training continues without it, with a line, where it cannot."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from tagscale.audio.logmel import keep_from_compiling
from tagscale.training.batch_norm import RunningStatistics


def compiled(
    network: nn.Module, inputs: Tensor, autocast: Callable[[], AbstractContextManager[object]] = nullcontext
) -> nn.Module:
    """A compiled wrapper that shares the network's weights; the network itself where it cannot be compiled.

    Args:
        network: (batch, samples) -> (batch, tags), as it is in training
        inputs: of the shape and device of those of every training step
        autocast: gives the context that they are computed in
    """
    if reason := hindrance(network, inputs, autocast):
        print(f"train.compile: torch.compile does not work here ({reason}); training continues without it.", flush=True)
        return network
    return cast(nn.Module, torch.compile(network))


def hindrance(
    network: nn.Module, inputs: Tensor, autocast: Callable[[], AbstractContextManager[object]] = nullcontext
) -> str:
    """Why a network cannot be compiled on this machine, as a trial on a copy shows; empty where it can.

    The training finds the trial's code and compiles nothing again. On inputs of another shape it would compile for
    inputs of any shape, which takes as long once more and makes slower code.
    """
    keep_from_compiling()
    trial = copy.deepcopy(network)
    try:
        with RunningStatistics(trial, compiled=True), autocast():
            torch.compile(trial)(inputs).sum().backward()
    except Exception as error:  # compilers, drivers and missing headers fail in many ways
        return (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
    return ""
