"""Both models against a second implementation: NumPy, float64, loops over positions, padding written out.

Tolerance 1e-4 (absolute, on logits of order 1): float32 against float64 through a dozen layers.
"""

import numpy as np
import pytest
import torch
from torch import nn

from tagscale.models.spectrogram import SpectrogramTagger
from tagscale.models.waveform import WaveformTagger

TOLERANCE = 1e-4


class Reference:
    """The layers of the paper on NumPy arrays, with the weights of a model's state dict."""

    def __init__(self, model: nn.Module, training: bool) -> None:
        self.weights = {name: value.detach().double().numpy() for name, value in model.state_dict().items()}
        self.training = training

    def conv(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        """(B, C, T) -> (B, O, T'), valid."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        taps = weight.shape[2]
        starts = range(0, x.shape[2] - taps + 1, stride)
        columns = [np.einsum("bct,oct->bo", x[:, :, s : s + taps], weight) for s in starts]
        return np.stack(columns, axis=2) + bias[:, None]

    def norm(self, x: np.ndarray, name: str, axes: tuple[int, ...]) -> np.ndarray:
        """Normalise over `axes`, by batch statistics in training and by running ones otherwise."""
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        if self.training:
            mean, variance = x.mean(axis=axes), x.var(axis=axes)
        else:
            mean, variance = self.weights[f"{name}.running_mean"], self.weights[f"{name}.running_var"]
        scaled = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-3)
        return scaled * self.weights[f"{name}.weight"].reshape(shape) + self.weights[f"{name}.bias"].reshape(shape)

    def backend(self, x: np.ndarray) -> np.ndarray:
        first = self.norm(relu(self.conv(x, "backend.conv1")), "backend.norm1", (0, 2))
        second = self.norm(relu(self.conv(pad(first, 3, 3), "backend.conv2")), "backend.norm2", (0, 1, 2)) + first
        pooled = pool(second, 2)
        third = self.norm(relu(self.conv(pad(pooled, 3, 3), "backend.conv3")), "backend.norm3", (0, 1, 2)) + pooled
        both = np.concatenate([third.max(axis=2), third.mean(axis=2)], axis=1)
        hidden = self.norm(relu(self.dense(both, "backend.dense")), "backend.dense_norm", (0,))
        return self.dense(hidden, "backend.output")

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def waveform(self, wave: np.ndarray, layers: int) -> np.ndarray:
        x = wave[:, None, :]
        for layer in range(layers):
            x = self.norm(relu(self.conv(x, f"convs.{layer}", 3 if layer == 0 else 1)), f"norms.{layer}", (0, 2))
            x = pool(x, 3) if layer else x
        return self.backend(x)

    def spectrogram(self, logmel: np.ndarray) -> np.ndarray:
        """From the log-mel spectrogram (B, 96, T) on: its own test compares that with another implementation."""
        timbral = [self.timbral(logmel, f"timbral.{branch}") for branch in range(6)]
        envelope = logmel.mean(axis=1)[:, None, :]
        temporal = [self.temporal(envelope, f"temporal.{branch}") for branch in range(4)]
        return self.backend(np.concatenate(timbral + temporal, axis=1))

    def timbral(self, logmel: np.ndarray, name: str) -> np.ndarray:
        weight, bias = self.weights[f"{name}.conv.weight"], self.weights[f"{name}.conv.bias"]
        bands, frames = weight.shape[2:]
        padded = pad(logmel, (frames - 1) // 2, frames // 2)
        maps = np.empty((len(logmel), len(weight), 96 - bands + 1, logmel.shape[2]))
        for band in range(maps.shape[2]):
            for frame in range(maps.shape[3]):
                excerpt = padded[:, band : band + bands, frame : frame + frames]
                maps[:, :, band, frame] = np.einsum("bmt,omt->bo", excerpt, weight[:, 0]) + bias
        return self.norm(relu(maps), f"{name}.norm", (0, 2, 3)).max(axis=2)

    def temporal(self, envelope: np.ndarray, name: str) -> np.ndarray:
        taps = self.weights[f"{name}.conv.weight"].shape[2]
        left = (taps - 1) // 2  # TensorFlow's 'same': the odd zero of an even filter goes to the end
        padded = pad(envelope, left, taps - 1 - left)
        return self.norm(relu(self.conv(padded, f"{name}.conv")), f"{name}.norm", (0, 2))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def pad(x: np.ndarray, before: int, after: int) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (before, after)))


def pool(x: np.ndarray, size: int) -> np.ndarray:
    length = x.shape[2] // size
    return np.stack([x[:, :, i * size : (i + 1) * size].max(axis=2) for i in range(length)], axis=2)


def unlike_fresh(model: nn.Module) -> None:
    """Biases, gammas, betas and running statistics that are not 0 or 1, so that a missing one shows."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
                value.uniform_(0.5, 1.5)
            elif name.endswith(("bias", "running_mean")):
                value.normal_(0, 0.3)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("layers", [7, 9])
def test_waveform_model_against_numpy(layers: int, training: bool) -> None:
    torch.manual_seed(layers)
    model = WaveformTagger(5, layers=layers, width=1 / 16, filters=6, units=7, dropout=0.0).train(training)
    unlike_fresh(model)
    wave = 0.3 * torch.randn(2, model.shortest_samples + 4000)
    expected = Reference(model, training).waveform(wave.double().numpy(), layers)
    np.testing.assert_allclose(model(wave).detach().numpy(), expected, atol=TOLERANCE)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_spectrogram_model_against_numpy(training: bool) -> None:
    torch.manual_seed(1)
    model = SpectrogramTagger(5, width=1 / 16, filters=6, units=7, dropout=0.0).train(training)
    unlike_fresh(model)
    wave = 0.3 * torch.randn(2, 40 * 256 + 100)
    logmel = model.log_mel(wave).double().numpy()
    assert logmel.shape == (2, 96, 40)
    expected = Reference(model, training).spectrogram(logmel)
    np.testing.assert_allclose(model(wave).detach().numpy(), expected, atol=TOLERANCE)
