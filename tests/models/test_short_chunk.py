"""The short-chunk residual CNN: published size, any length, and a block against loops in float64."""

import numpy as np
import pytest
import torch

from tagscale.models.build import parameter_count
from tagscale.models.short_chunk import ResidualBlock, ShortChunkTagger
from tagscale.runtime.errors import TagscaleError


def small() -> ShortChunkTagger:
    torch.manual_seed(0)
    return ShortChunkTagger(3, width=1 / 32, dropout=0.5)


def test_parameters_are_those_of_the_release_without_its_batch_norm_of_the_input() -> None:
    def block(inputs: int, outputs: int) -> int:
        convolutions = 2 * (9 * inputs * outputs + outputs) + 9 * outputs * outputs + outputs
        return convolutions + 3 * 2 * outputs

    sizes = [(1, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 256), (256, 512)]
    dense = 512 * 512 + 512 + 2 * 512 + 512 * 50 + 50
    expected = sum(block(*size) for size in sizes) + dense
    assert parameter_count(ShortChunkTagger(50, width=1, dropout=0.5)) == expected == 12_104_242


@pytest.mark.parametrize("samples", [512, 16_000, 48_000, 59_049, 240_000])
def test_any_length_from_one_window_on(samples: int) -> None:
    assert small().eval()(0.1 * torch.randn(2, samples)).shape == (2, 3)


def test_published_length_gives_230_frames_and_two_places_to_pool() -> None:
    model = small().eval()
    assert ShortChunkTagger.NATURAL_SAMPLES == 59_049
    spectrogram = model.log_mel(0.1 * torch.randn(1, 59_049))
    assert spectrogram.shape == (1, 128, 230)
    assert model.blocks(spectrogram.unsqueeze(1)).shape == (1, 16, 1, 2)


def test_too_short_is_refused() -> None:
    assert ShortChunkTagger.shortest(width=1.0, dropout=0.5) == 512
    with pytest.raises(TagscaleError, match="512 samples"):
        small()(torch.zeros(1, 511))


def test_no_filter_left() -> None:
    with pytest.raises(TagscaleError, match=r"model\.short_chunk\.width: 0\.001 leaves none of the 128 filters"):
        ShortChunkTagger(3, width=0.001, dropout=0.5)


def test_gradient_reaches_every_parameter() -> None:
    model = small()
    wave = 0.3 * torch.randn(4, 16_000)
    model.log_mel.fit_normalisation([wave])
    model.dropout.p = 0.0
    model(wave).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_block_against_loops() -> None:
    """Tolerance 1e-10, in float64; every output is written out as a sum over its patch of the padded input."""
    torch.manual_seed(0)
    block = ResidualBlock(2, 3).double().eval()
    for norm in (block.norm1, block.norm2, block.shortcut_norm):
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
        torch.nn.init.normal_(norm.running_mean)
    x = np.random.default_rng(0).normal(size=(2, 6, 5))

    def convolved(x: np.ndarray, conv: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d, stride: int) -> np.ndarray:
        weight, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        y = np.empty((len(weight), -(-x.shape[1] // stride), -(-x.shape[2] // stride)))
        for o, i, j in np.ndindex(y.shape):
            patch = padded[:, stride * i : stride * i + 3, stride * j : stride * j + 3]
            y[o, i, j] = bias[o] + (weight[o] * patch).sum()
            y[o, i, j] = (y[o, i, j] - norm.running_mean[o].item()) / (norm.running_var[o].item() + 1e-5) ** 0.5
        return y

    inner = np.maximum(convolved(x, block.conv1, block.norm1, 2), 0)
    total = convolved(inner, block.conv2, block.norm2, 1) + convolved(x, block.shortcut, block.shortcut_norm, 2)
    found = block(torch.from_numpy(x[None]))[0].detach().numpy()
    np.testing.assert_allclose(found, np.maximum(total, 0), rtol=0, atol=1e-10)
