"""Every published baseline against a second implementation: NumPy, float64, loops and padding written out.

Log-mel spectrograms are taken from the model: tests/audio/test_logmel.py compares them with another implementation.
Tolerance 1e-4 (absolute, on logits of order 1): float32 against float64 through a dozen layers.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn

from tagscale.models.aggregation import segments
from tagscale.models.crnn import CRNN
from tagscale.models.dieleman import Dieleman
from tagscale.models.multiscale import MelCNN, Multiscale, SampleCNNMultiscale
from tagscale.models.samplecnn import SampleCNN
from tagscale.models.timbre_cnn import TimbreCNN
from tagscale.models.vgg import VGG

TOLERANCE = 1e-4


class Layers:
    """Layers on NumPy arrays, with the weights of a model's state dict; in eval mode."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}

    def conv(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        """(B, C, T) -> (B, O, T'), valid."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        taps = weight.shape[2]
        starts = range(0, x.shape[2] - taps + 1, stride)
        columns = [np.einsum("bct,oct->bo", x[:, :, s : s + taps], weight) for s in starts]
        return np.stack(columns, axis=2) + bias[:, None]

    def conv2d(self, x: np.ndarray, name: str, padding: tuple[int, int]) -> np.ndarray:
        """(B, C, H, W) -> (B, O, H', W'), zeros to both sides."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        padded = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
        windows = sliding_window_view(padded, weight.shape[2:], axis=(2, 3))  # (B, C, H', W', h, w)
        return np.einsum("bcyxhw,ochw->boyx", windows, weight, optimize=True) + bias[:, None, None]

    def norm(self, x: np.ndarray, name: str, eps: float) -> np.ndarray:
        shape = (1, -1, *[1] * (x.ndim - 2))
        mean, variance = self.weights[f"{name}.running_mean"], self.weights[f"{name}.running_var"]
        result = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + eps)
        if f"{name}.weight" in self.weights:
            result = result * self.weights[f"{name}.weight"].reshape(shape)
            result = result + self.weights[f"{name}.bias"].reshape(shape)
        return result

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def block(self, x: np.ndarray, name: str) -> np.ndarray:
        """'Same' convolution, batch norm, ReLU; an even filter gets the odd zero at the end."""
        taps = self.weights[f"{name}.conv.weight"].shape[2]
        padded = np.pad(x, ((0, 0), (0, 0), ((taps - 1) // 2, taps - 1 - (taps - 1) // 2)))
        return relu(self.norm(self.conv(padded, f"{name}.conv"), f"{name}.norm", 1e-5))

    def stack(self, x: np.ndarray, pools: list[int], name: str = "stack") -> list[np.ndarray]:
        """Activations of all layers, before pooling."""
        levels = []
        for depth, pool in enumerate(pools):
            levels.append(self.block(x, f"{name}.blocks.{depth}"))
            x = pooled(levels[-1], pool)
        return [*levels, self.block(x, f"{name}.last")]

    def gru(self, x: np.ndarray, layer: int) -> np.ndarray:
        """(B, steps, inputs) -> (B, steps, units), gate by gate."""
        names = [f"recurrent.{kind}_{side}_l{layer}" for kind in ("weight", "bias") for side in ("ih", "hh")]
        w_in, w_state, b_in, b_state = (self.weights[name] for name in names)
        units = w_state.shape[1]
        state, states = np.zeros((len(x), units)), []
        for step in range(x.shape[1]):
            heard, kept = x[:, step] @ w_in.T + b_in, state @ w_state.T + b_state
            reset = sigmoid(heard[:, :units] + kept[:, :units])
            update = sigmoid(heard[:, units : 2 * units] + kept[:, units : 2 * units])
            new = np.tanh(heard[:, 2 * units :] + reset * kept[:, 2 * units :])
            state = (1 - update) * new + update * state
            states.append(state)
        return np.stack(states, axis=1)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def pooled(x: np.ndarray, size: int, axis: int = 2) -> np.ndarray:
    places = range(x.shape[axis] // size)
    return np.stack([x.take(range(i * size, (i + 1) * size), axis).max(axis) for i in places], axis)


def unlike_fresh(model: nn.Module) -> Any:
    """Biases, gammas, betas and running statistics that are not 0 or 1, so that a missing one shows."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
                value.uniform_(0.5, 1.5)
            elif "bias" in name or name.endswith("running_mean"):
                value.normal_(0, 0.3)
            elif name.endswith("log_mel.mean"):
                value.fill_(1.0)
    return model.eval()


def assert_same(model: nn.Module, wave: torch.Tensor, expected: np.ndarray) -> None:
    found = model(wave).detach().numpy()
    assert found.std() > 0.01  # not the output's biases alone
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("extra", [0, 500], ids=["natural", "longer"])
@pytest.mark.parametrize(
    ("pools", "last_taps"), [([3, 3, 3, 3], 3), ([2, 2, 2, 3, 3], 1), ([5, 5, 5], 3), ([4, 4, 4], 3)], ids=str
)
def test_samplecnn(pools: list[int], last_taps: int, extra: int) -> None:
    torch.manual_seed(0)
    model = unlike_fresh(SampleCNN(5, width=1 / 32, pools=pools, last_taps=last_taps, dropout=0.5))
    wave = 0.5 * torch.randn(2, model.shortest_samples + extra)
    layers = Layers(model)
    x = layers.conv(wave[:, None].double().numpy(), "strided.conv", pools[0])
    levels = layers.stack(relu(layers.norm(x, "strided.norm", 1e-5)), pools)
    assert_same(model, wave, layers.dense(levels[-1].mean(axis=2), "output"))
    for found, expected in zip(model.levels(wave), levels[-3:], strict=True):
        np.testing.assert_allclose(found.detach().numpy(), expected, atol=TOLERANCE)


@pytest.mark.parametrize("samples", [45_824, 60_000], ids=["one place", "several"])
def test_dieleman(samples: int) -> None:
    torch.manual_seed(0)
    model = unlike_fresh(Dieleman(5, width=1 / 8, units=10, frames=9))
    wave = 0.5 * torch.randn(2, samples)
    layers = Layers(model)
    x = relu(layers.conv(wave[:, None].double().numpy(), "strided", 256))
    x = pooled(relu(layers.conv(x, "conv1")), 4)
    x = pooled(relu(layers.conv(x, "conv2")), 4)  # (B, 4, frames)
    windows = [x[:, :, start : start + 9].reshape(2, -1) for start in range(x.shape[2] - 8)]
    assert len(windows) == (1 if samples == 45_824 else 4)
    hidden = [relu(layers.dense(window, "dense.dense")) for window in windows]
    assert_same(model, wave, np.mean([layers.dense(units, "output") for units in hidden], axis=0))


def test_vgg() -> None:
    torch.manual_seed(0)
    model = unlike_fresh(VGG(5, width=1 / 32))
    wave = 0.3 * torch.randn(2, 2 * 46_080 + 300)
    layers = Layers(model)
    x = model.log_mel(wave).double().numpy()[:, None]
    for depth, (bands, frames) in enumerate([(2, 4), (4, 5), (3, 3), (4, 3)]):
        x = layers.norm(relu(layers.conv2d(x, f"convs.{depth}", (1, 1))), f"norms.{depth}", 1e-3)
        x = pooled(pooled(x, bands, 2), frames, 3)
    assert x.shape == (2, 4, 1, 2)
    assert_same(model, wave, layers.dense(x[:, :, 0].mean(axis=2), "output"))


@pytest.mark.parametrize("samples", [44_032, 49_000], ids=["one place", "several"])
def test_timbre_cnn(samples: int) -> None:
    torch.manual_seed(0)
    model = unlike_fresh(TimbreCNN(5, width=1 / 6, units=10))
    wave = 0.3 * torch.randn(2, samples)
    layers = Layers(model)
    spectrogram = model.log_mel(wave).double().numpy()[:, None]  # (B, 1, 128, T)
    timbres = []
    for place, shape in enumerate([(h, w) for h in (100, 75, 25) for w in (1, 3, 5, 7)]):
        assert layers.weights[f"shapes.{place}.weight"].shape[2:] == shape
        maps = elu(layers.conv2d(spectrogram, f"shapes.{place}", (0, shape[1] // 2)))
        timbres.append(pooled(maps.max(axis=2), 4))
    x = pooled(elu(layers.conv(np.concatenate(timbres, axis=1), "conv")), 4)
    hidden = [
        elu(layers.dense(x[:, :, start : start + 9].reshape(2, -1), "dense.dense")) for start in range(x.shape[2] - 8)
    ]
    assert len(hidden) == (1 if samples == 44_032 else 2)
    assert_same(model, wave, layers.dense(np.mean(hidden, axis=0), "output"))


def test_crnn() -> None:
    torch.manual_seed(0)
    model = unlike_fresh(CRNN(5, width=1 / 32))
    wave = 0.3 * torch.randn(2, 80_000)
    layers = Layers(model)
    logmel = model.log_mel(wave).double().numpy()
    assert logmel.shape == (2, 96, 234)  # 5 s at 12 kHz
    x = layers.norm(np.pad(logmel, ((0, 0), (0, 0), (37, 37)))[:, None], "input_norm", 1e-5)
    for depth, size in enumerate([2, 3, 4, 4]):
        x = elu(layers.norm(layers.conv2d(x, f"convs.{depth}", (1, 1)), f"norms.{depth}", 1e-5))
        x = pooled(pooled(x, size, 2), size, 3)
    assert x.shape == (2, 11, 1, 3)
    states = layers.gru(layers.gru(x[:, :, 0].transpose(0, 2, 1), 0), 1)
    assert_same(model, wave, layers.dense(states[:, -1], "output"))


def test_fifteen_steps_of_the_published_input() -> None:
    steps: list[tuple[int, ...]] = []
    model = CRNN(5, width=1 / 32).eval()
    model.recurrent.register_forward_hook(lambda _, inputs, __: steps.append(tuple(inputs[0].shape)))
    model(torch.zeros(1, CRNN.NATURAL_SAMPLES))
    assert steps == [(1, 15, 11)]


def test_part_of_multiscale() -> None:
    torch.manual_seed(0)
    model = unlike_fresh(MelCNN(5, width=1 / 16, frames=54, dropout=0.5))
    wave = 0.3 * torch.randn(2, 2 * model.shortest_samples)
    layers = Layers(model)
    logmel = model.log_mel(wave).double().numpy()
    assert logmel.shape == (2, 128, 108)
    levels = layers.stack(logmel, [2, 3, 3, 3])
    assert_same(model, wave, layers.dense(levels[-1].mean(axis=2), "output"))


@pytest.fixture(params=["spectrogram", "waveform"])
def several(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    if request.param == "spectrogram":
        return unlike_fresh(Multiscale(5, width=1 / 16, frames=[18, 27, 54], units=12))
    return unlike_fresh(SampleCNNMultiscale(5, width=1 / 32, samples=[128, 243, 576, 625], units=12))


@pytest.mark.parametrize("extra", [0, 1_111], ids=["shortest", "longer"])
def test_features_of_several_scales(several: Any, extra: int) -> None:
    """Segment by segment, level by level, as the publication describes it."""
    model = several
    wave = 0.5 * torch.randn(2, model.shortest_samples + extra)
    features = []
    for part, samples in zip(model.parts, model.part_samples, strict=True):
        count = int(np.ceil(wave.shape[1] / samples))
        starts = [(wave.shape[1] - samples) * i // (count - 1) if count > 1 else 0 for i in range(count)]
        assert starts[-1] + samples == wave.shape[1]
        assert all(second - first <= samples for first, second in pairwise(starts))
        of_segments = [part.levels(wave[:, start : start + samples]) for start in starts]
        for level in range(3):
            maxima = [levels[level].detach().double().numpy().max(axis=2) for levels in of_segments]
            features.append(np.mean(maxima, axis=0))
    expected = np.concatenate(features, axis=1)
    np.testing.assert_allclose(model.head_input(wave).detach().numpy(), expected, atol=TOLERANCE)
    layers = Layers(model.head)
    hidden = relu(layers.dense(relu(layers.dense(expected, "hidden1")), "hidden2"))
    assert_same(model, wave, layers.dense(hidden, "output"))


def test_parts_are_taggers_of_their_own_length(several: Any) -> None:
    model = several
    for part, samples in zip(model.parts, model.part_samples, strict=True):
        assert part.shortest_samples == samples
        assert part(torch.randn(3, samples)).shape == (3, 5)
        assert [level.shape[2] for level in part.levels(torch.randn(1, samples))][-1] == 1
    assert sum(sum(part.level_filters) for part in model.parts) == model.head.hidden1.in_features
    assert max(model.part_samples) == model.shortest_samples


@pytest.mark.parametrize(("length", "samples", "count"), [(10, 10, 1), (11, 10, 2), (20, 10, 2), (21, 10, 3)])
def test_as_few_segments_as_cover_the_patch(length: int, samples: int, count: int) -> None:
    pieces = segments(torch.arange(length)[None], samples)
    assert pieces.shape == (1, count, samples)
    assert set(pieces.flatten().tolist()) == set(range(length))
