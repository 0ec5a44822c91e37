"""What a model costs, against formulas and against a real run on the CPU; and that docs/models.md is up to date."""

import math
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from tagscale.models.build import Architecture, build, parameter_count
from tagscale.models.kernels import plain
from tagscale.models.samplecnn import SampleCNN
from tagscale.models.waveform import FILTERS

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # last: benchmarks have names that tests have too
costs: Any = import_module("costs")

TINY: dict[str, dict[str, object]] = {
    "waveform": {"layers": 7, "width": 1 / 16, "filters": 6, "units": 7, "dropout": 0.5, "pooling": "attention"},
    "spectrogram": {"width": 1 / 16, "filters": 6, "units": 7, "dropout": 0.5},
    "short_chunk": {"width": 1 / 32, "dropout": 0.5},
    "transformer": {"width": 1 / 16, "layers": 1, "dropout": 0.1},
}


def described(model: str, capacity: dict[str, object], seconds: float = 3.0, tags: int = 5) -> Architecture:
    return Architecture(model, capacity, tuple(map(str, range(tags))), ("classification",) * tags, seconds)


@pytest.mark.slow
def test_the_page_is_up_to_date() -> None:
    text = costs.PAGE.read_text(encoding="utf-8")
    assert costs.page(text) == text, "run `python benchmarks/costs.py` and commit docs/models.md"


def test_operations_of_the_waveform_model_by_its_formula() -> None:
    """Two for each weight at each place; 3 s, the capacity of the paper."""
    counts = FILTERS[7]
    length, total = 48_000, 0
    for depth, (inputs, outputs) in enumerate(zip((1, *counts), counts, strict=False)):
        length = (length - 3) // (3 if depth == 0 else 1) + 1
        total += 2 * 3 * inputs * outputs * length
        length = length // 3 if depth else length
    places = length - 6
    total += 2 * 7 * 512 * (256 * places + 512 * places + 512 * (places // 2))
    total += 2 * (1024 * 500 + 500 * 50)
    capacity = {"layers": 7, "width": 1.0, "filters": 512, "units": 500, "dropout": 0.5}
    assert costs.cost_of(described("waveform", capacity, tags=50)).flops == total == 810_492_752


@pytest.mark.parametrize("name", TINY)
@plain()
def test_against_a_real_run(name: str) -> None:
    """The meta device computes nothing, and must count what the CPU counts and keep what the CPU keeps."""
    architecture = described(name, TINY[name])
    model = build(architecture).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        model(0.1 * torch.randn(2, architecture.patch_samples))
    real = sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own) // 2
    found = costs.cost_of(architecture)
    assert found.parameters == parameter_count(model)
    assert found.weights == sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    if name != "transformer":  # whose attention another kernel computes on the CPU
        assert found.flops == counter.get_total_flops() // 2
    assert found.activations == pytest.approx(real, rel=0.02)


def test_attention_is_counted() -> None:
    """Queries by keys and weights by values: 2 x 2 x tokens^2 x size in every layer."""
    one, two = (costs.cost_of(described("transformer", TINY["transformer"] | {"layers": layers})) for layers in (1, 2))
    tokens, size = 1 + 48_000 // 512 // 4, 16
    assert two.flops - one.flops == 2 * tokens * 12 * size**2 + 4 * tokens**2 * size


def test_a_model_of_two_steps_keeps_what_its_larger_step_keeps() -> None:
    capacity = {"width": 1 / 16, "samples": [81, 243], "units": 8, "dropout": 0.5}
    found = costs.cost_of(described("samplecnn_multiscale", capacity))
    parts = [costs.cost(SampleCNN(5, width=1 / 16, pools=[3] * n), 3 ** (n + 1)) for n in (3, 4)]
    assert found.activations == max(part.activations for part in parts)
    segments = [math.ceil(48_000 / length) for length in (81, 243)]
    features = 2 * (16 + 32 + 32) - 8  # of the last three layers; the shorter part has one of 8 among them
    head = 2 * (features * 8 + 8 * 8 + 8 * 5)
    assert found.flops == sum(count * part.flops for count, part in zip(segments, parts, strict=True)) + head
