"""torch.compile where the machine can; training continues without it, with a line, where it cannot."""

import copy
from typing import cast

import torch
from torch import nn

from tagscale.audio.logmel import keep_from_compiling


def compiled(network: nn.Module, samples: int) -> nn.Module:
    """A compiled wrapper that shares the network's weights; the network itself where it cannot be compiled.

    Args:
        network: (batch, samples) -> (batch, tags), on the training's device
    """
    if reason := hindrance(network, samples):
        print(f"train.compile: torch.compile does not work here ({reason}); training continues without it.", flush=True)
        return network
    return cast(nn.Module, torch.compile(network))


def hindrance(network: nn.Module, samples: int) -> str:
    """Why a network cannot be compiled on this machine, as a trial on a copy shows; empty where it can."""
    device = next(network.parameters()).device
    keep_from_compiling()
    try:
        trial = torch.compile(copy.deepcopy(network).train())
        trial(torch.zeros(2, samples, device=device)).sum().backward()
    except Exception as error:  # compilers, drivers and missing headers fail in many ways
        return (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
    return ""
