"""torch.compile where the machine can; a line says so where it cannot, and training goes on without."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from torch import nn


@contextmanager
def compiled(network: nn.Module, samples: int, wanted: bool, console: Console | None = None) -> Iterator[None]:
    """Let a network run compiled while the block runs, if that is wanted; parameters and their names stay.

    Args:
        network: wave (batch, samples) -> logits (batch, tags)
    """
    if wanted and (reason := hindrance(network, samples)):
        (console or Console()).print(
            f"train.compile: torch.compile does not work here ({reason}); training goes on without it.",
            highlight=False,
            soft_wrap=True,
        )
    elif wanted:
        network.compile()
    try:
        yield
    finally:
        network._compiled_call_impl = None


def hindrance(network: nn.Module, samples: int) -> str:
    """Why a network cannot be compiled on this machine, as a copy of it shows; empty where it can."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trial = copy.deepcopy(network).to(device).train()
    try:
        trial.compile()
        trial(torch.zeros(2, samples, device=device)).sum().backward()
    except Exception as error:  # compilers, drivers and missing headers fail in many ways
        return (str(error).strip().splitlines() or [""])[0][:200] or type(error).__name__
    return ""
