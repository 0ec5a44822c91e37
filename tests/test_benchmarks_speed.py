"""The two sides of the speed benchmarks compute the same. How fast they are is no matter of a test."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tagscale.models.spec import NETWORKS

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # last: benchmarks have names that tests have too
straightforward: Any = import_module("straightforward")
turns: Any = import_module("turns")


@pytest.mark.parametrize("model", [name for name in NETWORKS if not name.endswith("multiscale")])
def test_both_sides_give_the_same_logits_for_the_same_weights(model: str) -> None:
    built = turns.architecture(model, 3.0, full=False)
    ours: nn.Module = turns.prepared(built).eval()
    network, transform = straightforward.reference(ours)
    waves: Tensor = turns.waves_of(2, built.patch_samples)
    inputs = torch.stack([transform(wave) for wave in waves]) if transform else waves
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(inputs), ours(waves), atol=1e-3, rtol=1e-3)


def test_a_way_that_fails_is_named() -> None:
    def run(way: Any, turn: Any) -> None:
        turn({"number": 1})
        if way.ours:
            raise ValueError("the reason")

    with pytest.raises(RuntimeError, match=r"(?s)fast failed:.*the reason"):
        turns.compare([turns.Way("slow", ours=False), turns.Way("fast", ours=True)], run)


def test_ratios_are_taken_within_a_round() -> None:
    assert turns.ratio([2.0, 20.0, 3.0], [1.0, 10.0, 3.0]) == 2.0
