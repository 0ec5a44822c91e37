"""What is computed in another order than it is written, against the layers as they are written, in float64."""

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.models import spectrogram as spectrogram_module
from tagscale.models.backend import SingleChannelNorm
from tagscale.models.kernels import norm_max as norm_max_module
from tagscale.models.kernels.maps import channels_last, conv1d, conv_of_windows
from tagscale.models.kernels.norm_max import Groups, at_once, norm_max, shortcut
from tagscale.models.kernels.tall_filters import band_windows
from tagscale.models.spectrogram import MELS, SpectrogramTagger, TimbralBranch

EXACT = 1e-9  # of values and gradients of order 1, in float64
CAPACITY = {"width": 0.25, "filters": 6, "units": 7, "dropout": 0.0}


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def same(found: list[Tensor], expected: list[Tensor], tolerance: float = EXACT) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def gradients(output: Tensor, module: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """Of a loss that weighs every output differently."""
    weights = torch.sin(torch.arange(output.numel(), dtype=output.dtype)).view(output.shape)
    return list(torch.autograd.grad((weights * output).sum(), [*module.parameters(), *inputs]))


@pytest.mark.parametrize(
    ("inputs", "taps", "stride", "padding"), [(1, 3, 3, 0), (5, 3, 1, 0), (4, 7, 1, 3), (3, 1, 1, 0)]
)
def test_a_convolution_with_channels_last(inputs: int, taps: int, stride: int, padding: int) -> None:
    layer = nn.Conv1d(inputs, 6, taps, stride=stride, padding=padding)
    x = torch.randn(2, inputs, 50, requires_grad=True)
    found, expected = conv1d(layer, x.unsqueeze(2)), layer(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    same([found.squeeze(2), *gradients(found, layer, x)], [expected, *gradients(expected, layer, x)])


def test_a_convolution_of_windows() -> None:
    layer = nn.Conv1d(1, 6, 31)
    x = torch.randn(2, 80, requires_grad=True)
    found, expected = conv_of_windows(layer, x), layer(x.unsqueeze(1))
    same([found.squeeze(2), *gradients(found, layer, x)], [expected, *gradients(expected, layer, x)])


def norms(channels: int, training: bool, affine: bool = True) -> tuple[nn.BatchNorm2d, nn.BatchNorm2d]:
    """The same norm twice, with random statistics, gammas from 0 up and betas."""
    first, second = (nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1, affine=affine).train(training) for _ in range(2))
    with torch.no_grad():
        first.running_mean.normal_()
        first.running_var.uniform_(0.5, 2)
        if affine:
            first.weight.uniform_(0, 2)
            first.bias.normal_()
    second.load_state_dict(first.state_dict())
    return first, second


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 3), st.integers(1, 4), st.integers(1, 9), st.integers(2, 9)),
    pool=st.sampled_from([(1, 1), (1, 3), (2, 2), (3, 1)]),
    rectify=st.booleans(),
    affine=st.booleans(),
    negative=st.booleans(),
    training=st.booleans(),
    tables=st.sampled_from([(2, 3), (5, 4), (1000, 1000)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_norm_and_maximum(
    shape: tuple[int, int, int, int],
    pool: tuple[int, int],
    rectify: bool,
    affine: bool,
    negative: bool,
    training: bool,
    tables: tuple[int, int],
    seed: int,
) -> None:
    """Whatever is pooled, with and without gammas, negative ones too, whatever the sums are cut into."""
    torch.manual_seed(seed)
    norm, reference = norms(shape[1], training, affine)
    if affine and negative:
        with torch.no_grad():
            norm.weight[0] = reference.weight[0] = -0.5
    shape = (*shape[:2], max(shape[2], pool[0]), max(shape[3], pool[1]))
    x = torch.randn(shape, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch, torch.set_grad_enabled(training):
        for name, value in zip(("ROWS", "COLUMNS", "MANY"), (*tables, 0), strict=True):
            patch.setattr(norm_max_module, name, value)
        found = norm_max(channels_last(x), norm, pool, rectify=rectify)
    with torch.set_grad_enabled(training):
        expected = F.max_pool2d(reference(F.relu(x) if rectify else x), pool)
    same([found, *norm.buffers()], [expected, *reference.buffers()])
    if training:
        same(gradients(found, norm, x), gradients(expected, reference, x))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    times=st.integers(1, 4),
    rows=st.integers(2, 5),
    frames=st.integers(2, 6),
    left_out=st.integers(0, 3),
    training=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_norm_and_maximum_of_sets_of_channels(
    batch: int, channels: int, times: int, rows: int, frames: int, left_out: int, training: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    left_out = min(left_out, times - 1)
    norm, reference = norms(channels, training)
    x = torch.randn(batch, times * channels, rows, frames, requires_grad=True)

    def layers() -> Tensor:
        """As it is written, on a map of every place's own: (B, channels, times * rows - left_out, frames)."""
        sets = x.unflatten(1, (times, channels))
        whole = torch.cat([sets[:, k, :, : rows - 1 if k >= times - left_out else rows] for k in range(times)], dim=2)
        return reference(F.relu(whole)).amax(dim=2)

    with torch.set_grad_enabled(training):
        assert shortcut(norm, x, ordered=True)
        found = at_once(x, norm, (rows, 1), True, Groups(times, left_out))
        found = found.unflatten(1, (times, channels)).amax(dim=1).squeeze(2)
        expected = layers()
    same([found, *norm.buffers()], [expected, *reference.buffers()])
    if training:
        same(gradients(found, norm, x), gradients(expected, reference, x))


@pytest.mark.parametrize("pool", [(1, 1), (1, 3)])
def test_float32_over_many_places(pool: tuple[int, int]) -> None:
    """As exact as PyTorch's norm of a map in the usual layout; its norm with channels last is off a hundred times more.

    The gradients are all nearly the same here, as in the first layers of a model that listens to samples.
    """
    x = 3 + torch.randn(8, 4, 1, 60_000)
    slope = 1 + 0.01 * torch.randn(8, 4, 1, 60_000 // pool[1])

    def found(layers: Callable[[Tensor, nn.Module], Tensor], kind: torch.dtype) -> list[Tensor]:
        inputs, norm = x.to(kind).requires_grad_(), nn.BatchNorm2d(4).to(kind)
        return list(torch.autograd.grad((slope.to(kind) * layers(inputs, norm)).sum(), [inputs, *norm.parameters()]))

    def usual(x: Tensor, norm: nn.Module) -> Tensor:
        return F.max_pool2d(norm(F.relu(x)), pool)

    exact, single = found(usual, torch.float64), found(usual, torch.float32)
    ours = found(lambda x, norm: norm_max(channels_last(x), norm, pool, rectify=True), torch.float32)
    for wanted, theirs, own in zip(exact, single, ours, strict=True):
        assert (own - wanted).norm() < 3 * (theirs - wanted).norm() + 1e-6 * wanted.norm()


def test_the_short_way_is_closed_where_it_would_be_wrong() -> None:
    class Shared(nn.BatchNorm2d):
        """What processes that share a batch put in a norm's place."""

    x, norm = torch.randn(2, 3, 4, 5), nn.BatchNorm2d(3)
    assert shortcut(norm, x)
    assert not shortcut(Shared(3), x)
    assert not shortcut(norm, x.to("meta"))
    assert not shortcut(norm.eval(), x)  # gradients of a model that is not trained
    with torch.no_grad():
        assert shortcut(norm, x, ordered=True)
        norm.weight[1] = -0.1  # turns the order of values around
        assert shortcut(norm, x)
        assert not shortcut(norm, x, ordered=True)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("turned", [False, True])
def test_the_spectrogram_model(training: bool, turned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits, gradients and running statistics of the short way, and layer by layer; also where a gamma is negative."""
    model, reference = (SpectrogramTagger(3, **CAPACITY).train(training) for _ in range(2))
    reference.load_state_dict(model.state_dict())
    wave = 0.3 * torch.randn(3, 16_000)
    model.log_mel.fit_normalisation([wave])
    if turned:
        with torch.no_grad():
            model.timbral[4].norm.weight[:3] *= -1
    reference.load_state_dict(model.state_dict())
    with torch.set_grad_enabled(training):
        found = model(wave)
        for module in (spectrogram_module, norm_max_module):
            monkeypatch.setattr(module, "shortcut", lambda *_, ordered=False: False)
        expected = reference(wave)
    same([found, *model.buffers()], [expected, *reference.buffers()])
    if training:
        same(gradients(found, model), gradients(expected, reference))


@pytest.mark.parametrize(("frames", "bands"), [(7, 86), (1, 38)])
def test_windows_of_bands_as_an_accelerator_gets_them(frames: int, bands: int) -> None:
    """One place to a window, and a height that is a multiple of eight."""
    branch = TimbralBranch(frames, bands, 4)
    spectrogram = torch.randn(2, MELS, 30)
    windows = band_windows(spectrogram, bands, 1, 8)
    assert windows.shape == (2, -(-bands // 8) * 8, MELS - bands + 1, 30)
    found, expected = branch(windows, 1), branch(spectrogram.unsqueeze(1), 1)
    same([found, *gradients(found, branch)], [expected, *gradients(expected, branch)])


def test_the_norm_of_a_whole_map_as_a_gpu_computes_it() -> None:
    ours, theirs = SingleChannelNorm(), SingleChannelNorm()
    with torch.no_grad():
        ours.weight.fill_(1.5)
        ours.bias.fill_(-0.3)
    theirs.load_state_dict(ours.state_dict())
    x = (2 + 3 * torch.randn(3, 5, 1, 7)).requires_grad_()
    found, expected = ours.over_all(x), theirs(x)
    same([found, *gradients(found, ours, x)], [expected, *gradients(expected, theirs, x)])
    same(list(ours.buffers()), list(theirs.buffers()))
