"""Both models against a second implementation: NumPy, float64, every sum of the paper's text written out as a loop.

From the waveform to the logits, log-mel spectrogram included; nothing here calls the package but for the model under
test, whose weights are read by name. Tolerances, absolute, on logits of order 1:

- waveform model: 1e-9, both in float64, so that only a different formula shows, not rounding;
- spectrogram model: 1e-4, its log-mel layer works in float32.
"""

import numpy as np
import pytest
import torch
from torch import nn

from tagscale.models.spectrogram import SpectrogramTagger
from tagscale.models.waveform import WaveformTagger

EXACT = 1e-9
SINGLE = 1e-4
EPSILON = 1e-3  # of every batch norm
FLOOR = 1e-5  # of the variance over time that the attention takes a root of
MOMENTUM = 0.01  # share of the newest batch in the running statistics


class Reference:
    """The layers of the paper on NumPy arrays, with the weights of a model's state dict.

    In training, batch norm uses the batch's statistics, and `running` collects what its running ones must become.
    """

    def __init__(self, model: nn.Module, training: bool) -> None:
        self.weights = {name: value.detach().double().numpy().copy() for name, value in model.state_dict().items()}
        self.training = training
        self.running: dict[str, np.ndarray] = {}

    def conv(self, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
        """(B, C, T) -> (B, O, T'): y[o, t] = bias[o] + sum over c and k of w[o, c, k] x[c, stride t + k], valid."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        outputs, inputs, taps = weight.shape
        length = (x.shape[2] - taps) // stride + 1
        y = np.empty((len(x), outputs, length))
        for o in range(outputs):
            y[:, o] = bias[o]
            for c in range(inputs):
                for k in range(taps):
                    y[:, o] += weight[o, c, k] * x[:, c, k : k + stride * (length - 1) + 1 : stride]
        return y

    def norm(self, x: np.ndarray, name: str, axes: tuple[int, ...]) -> np.ndarray:
        """Normalise over `axes`, by batch statistics in training and by running ones otherwise."""
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        weight = {key: self.weights[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
        mean, variance = weight["running_mean"], weight["running_var"]
        if self.training:
            count = np.prod([x.shape[axis] for axis in axes])
            batch_mean = x.sum(axis=axes) / count
            squares = ((x - batch_mean.reshape(shape)) ** 2).sum(axis=axes)
            for key, old, new in (("mean", mean, batch_mean), ("var", variance, squares / (count - 1))):
                self.running[f"{name}.running_{key}"] = (1 - MOMENTUM) * old + MOMENTUM * new
            mean, variance = batch_mean, squares / count
        scaled = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + EPSILON)
        return scaled * weight["weight"].reshape(shape) + weight["bias"].reshape(shape)

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        """(B, I) -> (B, O)."""
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return np.array([[bias[o] + sum(weight[o] * row) for o in range(len(weight))] for row in x])

    def backend(self, x: np.ndarray, pooling: str) -> np.ndarray:
        first = self.norm(relu(self.conv(x, "backend.conv1")), "backend.norm1", (0, 2))
        second = self.norm(relu(self.conv(pad(first, 3, 3), "backend.conv2")), "backend.norm2", (0, 1, 2)) + first
        pooled = pool(second, 2)
        third = self.norm(relu(self.conv(pad(pooled, 3, 3), "backend.conv3")), "backend.norm3", (0, 1, 2)) + pooled
        both = self.attention(third) if pooling == "attention" else max_mean(third)
        hidden = self.norm(relu(self.dense(both, "backend.dense")), "backend.dense_norm", (0,))
        return self.dense(hidden, "backend.output")

    def attention(self, x: np.ndarray) -> np.ndarray:
        """Attentive statistics, track by track: (B, F, T) -> (B, 2 F)."""
        direction = self.weights["backend.pooling.score.weight"][0]
        pooled = []
        for frames in x:
            hidden = np.tanh(self.dense(frames.T, "backend.pooling.hidden"))
            scores = [sum(direction * unit) for unit in hidden]
            weights = [np.exp(score) / sum(np.exp(other) for other in scores) for score in scores]
            mean = sum(weight * frame for weight, frame in zip(weights, frames.T, strict=True))
            square = sum(weight * frame**2 for weight, frame in zip(weights, frames.T, strict=True))
            pooled.append(np.concatenate([mean, np.sqrt(np.maximum(square - mean**2, FLOOR))]))
        return np.array(pooled)

    def waveform(self, wave: np.ndarray, layers: int, pooling: str = "max_mean") -> np.ndarray:
        x = wave[:, None, :]
        for layer in range(layers):
            x = self.norm(relu(self.conv(x, f"convs.{layer}", 3 if layer == 0 else 1)), f"norms.{layer}", (0, 2))
            x = pool(x, 3) if layer else x
        return self.backend(x, pooling)

    def spectrogram(self, wave: np.ndarray, pooling: str = "max_mean") -> np.ndarray:
        spectrogram = np.array([log_mel(track) for track in wave])  # (B, 96, T)
        spectrogram = (spectrogram - self.weights["log_mel.mean"]) / self.weights["log_mel.std"]
        timbral = [self.timbral(spectrogram, f"timbral.{branch}") for branch in range(6)]
        envelope = sum(spectrogram[:, band] for band in range(96))[:, None, :] / 96
        temporal = [self.temporal(envelope, f"temporal.{branch}") for branch in range(4)]
        return self.backend(np.concatenate(timbral + temporal, axis=1), pooling)

    def timbral(self, spectrogram: np.ndarray, name: str) -> np.ndarray:
        """y[o, m, t] = bias[o] + sum over i and k of w[o, i, k] x[m + i, t + k], then the maximum over m."""
        weight, bias = self.weights[f"{name}.conv.weight"], self.weights[f"{name}.conv.bias"]
        outputs, _, bands, frames = weight.shape
        places, length = 96 - bands + 1, spectrogram.shape[2]
        padded = pad(spectrogram, (frames - 1) // 2, frames // 2)
        y = np.empty((len(spectrogram), outputs, places, length))
        for o in range(outputs):
            y[:, o] = bias[o]
            for i in range(bands):
                for k in range(frames):
                    y[:, o] += weight[o, 0, i, k] * padded[:, i : i + places, k : k + length]
        return self.norm(relu(y), f"{name}.norm", (0, 2, 3)).max(axis=2)

    def temporal(self, envelope: np.ndarray, name: str) -> np.ndarray:
        taps = self.weights[f"{name}.conv.weight"].shape[2]
        left = (taps - 1) // 2  # TensorFlow's 'same': the odd zero of an even filter goes to the end
        padded = pad(envelope, left, taps - 1 - left)
        return self.norm(relu(self.conv(padded, f"{name}.conv")), f"{name}.norm", (0, 2))


def log_mel(wave: np.ndarray) -> np.ndarray:
    """(samples,) -> (96, samples // 256): windows of 512 every 256, power, Slaney's bands, log10(1 + 10000 x)."""
    n = np.arange(512)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 512)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(257), n) / 512)  # (257, 512)
    mirrored = np.concatenate([wave[256:0:-1], wave])
    top = 15 + 27 * np.log(8) / np.log(6.4)  # 8 kHz: 15 mel at 1 kHz, then 27 for every factor of 6.4
    mels = np.linspace(0, top, 98)
    corners = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    hertz = np.arange(257) * 16_000 / 512
    result = np.empty((96, len(wave) // 256))
    for frame in range(result.shape[1]):
        excerpt = mirrored[256 * frame : 256 * frame + 512] * window
        power = np.array([abs(np.sum(excerpt * wave_of_bin)) ** 2 for wave_of_bin in waves])
        for band in range(96):
            low, centre, high = corners[band : band + 3]
            triangle = np.maximum(np.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre)), 0)
            result[band, frame] = np.log10(1 + 10_000 * np.sum(power * triangle * 2 / (high - low)))
    return result


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def pad(x: np.ndarray, before: int, after: int) -> np.ndarray:
    return np.pad(x, ((0, 0),) * (x.ndim - 1) + ((before, after),))


def pool(x: np.ndarray, size: int) -> np.ndarray:
    length = x.shape[2] // size
    return np.stack([x[:, :, i * size : (i + 1) * size].max(axis=2) for i in range(length)], axis=2)


def max_mean(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x.max(axis=2), x.sum(axis=2) / x.shape[2]], axis=1)


def unlike_fresh(model: nn.Module) -> None:
    """Biases, gammas, betas and running statistics that are not 0 or 1, so that a missing one shows."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var") or ("norm" in name and name.endswith("weight")):
                value.uniform_(0.5, 1.5)
            elif name.endswith(("bias", "running_mean")):
                value.normal_(0, 0.3)


def assert_same_running_statistics(model: nn.Module, reference: Reference, tolerance: float) -> None:
    state = model.state_dict()
    assert len(reference.running) == sum("running" in name for name in state)
    for name, expected in reference.running.items():
        np.testing.assert_allclose(state[name].numpy(), expected, rtol=tolerance, atol=tolerance, err_msg=name)


training_and_not = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


@training_and_not
@pytest.mark.parametrize(("layers", "pooling"), [(7, "max_mean"), (9, "max_mean"), (7, "attention")])
def test_waveform_model_against_numpy(layers: int, pooling: str, training: bool) -> None:
    torch.manual_seed(layers)
    capacity = {"layers": layers, "width": 1 / 16, "filters": 6, "units": 7, "dropout": 0.0, "pooling": pooling}
    model = WaveformTagger(5, **capacity).double().train(training)
    unlike_fresh(model)
    wave = 0.3 * torch.randn(3, model.shortest_samples + 12_000, dtype=torch.float64)
    reference = Reference(model, training)
    expected = reference.waveform(wave.numpy(), layers, pooling)
    np.testing.assert_allclose(model(wave).detach().numpy(), expected, rtol=0, atol=EXACT)
    if training:
        assert_same_running_statistics(model, reference, EXACT)


@training_and_not
@pytest.mark.parametrize("pooling", ["max_mean", "attention"])
def test_spectrogram_model_against_numpy(pooling: str, training: bool) -> None:
    torch.manual_seed(1)
    capacity = {"width": 1 / 16, "filters": 6, "units": 7, "dropout": 0.0, "pooling": pooling}
    model = SpectrogramTagger(5, **capacity).train(training)
    unlike_fresh(model)
    model.log_mel.fit_normalisation([0.3 * torch.randn(2, 16_000)])
    wave = 0.3 * torch.randn(3, 40 * 256 + 100)
    reference = Reference(model, training)
    expected = reference.spectrogram(wave.double().numpy(), pooling)
    np.testing.assert_allclose(model(wave).detach().numpy(), expected, rtol=0, atol=SINGLE)
    if training:
        assert_same_running_statistics(model, reference, SINGLE)
