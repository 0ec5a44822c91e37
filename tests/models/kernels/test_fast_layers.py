"""Every fast path against the layer as it is written, in float64: values, gradients and running statistics.

Layers first, then whole models with `plain()` as the reference. Tolerance 1e-9, absolute and relative, on values and
gradients of order 1; models that hear a spectrogram get it in float32 on both sides.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import LogMel
from tagscale.models import crnn
from tagscale.models.build import class_of
from tagscale.models.kernels import (
    Bands,
    MapConv,
    NormMax,
    NormPool,
    SingleChannelNorm,
    TallConv,
    TimeConv,
    convolutions,
    norms,
    plain,
    pool_time,
    tall,
)
from tagscale.models.kernels.norms import norm_max, shortcut
from tagscale.models.kernels.tall import band_windows
from tagscale.models.spec import ENCODER_NETWORKS, NETWORKS

EXACT = 1e-9


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
    wanted = [*(p for p in module.parameters() if p.requires_grad), *inputs]
    return list(torch.autograd.grad((weights * output).sum(), wanted))


# --- convolutions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "taps", "stride", "same_length"),
    [
        *[(1, 3, 3, False), (5, 3, 1, False), (4, 7, 1, True), (4, 2, 1, True), (3, 1, 1, True)],
        *[(1, 31, 1, False), (1, 32, 1, True), (1, 33, 1, True), (1, 16, 16, False)],  # windows of the signal
    ],
)
def test_convolution_over_time(inputs: int, taps: int, stride: int, same_length: bool) -> None:
    layer = TimeConv(inputs, 6, taps, stride=stride, same=same_length)
    x = torch.randn(2, inputs, 70, requires_grad=True)
    padded = F.pad(x, ((taps - 1) // 2, taps // 2)) if same_length else x
    expected = F.conv1d(padded, layer.weight, layer.bias, stride)
    expected = [expected, *gradients(expected, layer, x)]
    found = layer(x)
    assert found.transpose(1, 2).is_contiguous()  # channels last
    same([found, *gradients(found, layer, x)], expected)
    with plain():
        found = layer(x)
        same([found, *gradients(found, layer, x)], expected)


def test_convolution_over_a_map() -> None:
    layer = MapConv(3, 5, 3, stride=2, padding=1)
    x = torch.randn(2, 3, 8, 9, requires_grad=True)
    found = layer(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    with plain():
        expected = layer(x)
    assert expected.is_contiguous()
    same([found, *gradients(found, layer, x)], [expected, *gradients(expected, layer, x)])


def test_pooling_over_time() -> None:
    x = torch.randn(2, 3, 20)
    assert torch.equal(pool_time(x, 3), F.max_pool1d(x, 3))


# --- norms ---------------------------------------------------------------------------------------------------------


def random_norm(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """With random statistics, gammas from 0 up and betas."""
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        if norm.affine:
            norm.weight.uniform_(0, 2)
            norm.bias.normal_()
    return norm


def torchs_own(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    copy = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine).train(norm.training)
    copy.load_state_dict(norm.state_dict())
    return copy


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 3), st.integers(1, 4), st.integers(1, 9), st.integers(2, 9)),
    pool=st.sampled_from([(1, 1), (1, 3), (2, 2), (3, 1)]),
    relu=st.booleans(),
    affine=st.booleans(),
    negative=st.booleans(),
    training=st.booleans(),
    tables=st.sampled_from([(2, 3), (5, 4), (1000, 1000)]),
    seed=st.integers(0, 2**32 - 1),
)
def test_norm_and_maximum(
    shape: tuple[int, int, int, int],
    pool: tuple[int, int],
    relu: bool,
    affine: bool,
    negative: bool,
    training: bool,
    tables: tuple[int, int],
    seed: int,
) -> None:
    """Whatever is pooled, with and without gammas, negative ones too, whatever the sums are cut into."""
    torch.manual_seed(seed)
    norm = random_norm(NormPool(shape[1], pool, relu=relu, eps=1e-3, affine=affine).train(training))
    if affine and negative:
        with torch.no_grad():
            norm.weight[0] = -0.5
    reference = torchs_own(norm)
    x = torch.randn(*shape[:2], max(shape[2], pool[0]), max(shape[3], pool[1]), requires_grad=True)
    with pytest.MonkeyPatch.context() as patch, torch.set_grad_enabled(training):
        for name, value in zip(("ROWS", "COLUMNS", "MANY"), (*tables, 0), strict=True):
            patch.setattr(norms, name, value)
        found = norm(x)
    with torch.set_grad_enabled(training):
        expected = F.max_pool2d(reference(F.relu(x) if relu else x), pool)
    same([found, *norm.buffers()], [expected, *reference.buffers()])
    if training:
        same(gradients(found, norm, x), gradients(expected, reference, x))


@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    sets=st.integers(1, 4),
    rows=st.integers(2, 5),
    frames=st.integers(2, 6),
    left_out=st.integers(0, 3),
    training=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_norm_and_maximum_of_sets_of_channels(
    batch: int, channels: int, sets: int, rows: int, frames: int, left_out: int, training: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    left_out = min(left_out, sets - 1)
    norm = random_norm(NormMax(channels, eps=1e-3).train(training))
    reference = torchs_own(norm)
    x = torch.randn(batch, sets * channels, rows, frames, requires_grad=True)

    def layers() -> Tensor:
        """As it is written, on a map of every place's own: (B, channels, sets * rows - left_out, frames)."""
        by_set = x.unflatten(1, (sets, channels))
        whole = torch.cat([by_set[:, k, :, : rows - 1 if k >= sets - left_out else rows] for k in range(sets)], dim=2)
        return reference(F.relu(whole)).amax(dim=2)

    with torch.set_grad_enabled(training):
        assert shortcut(norm, x, ordered=True)
        found = norm_max(x, norm, (rows, 1), relu=True, sets=sets, left_out=left_out)
        found = found.unflatten(1, (sets, channels)).amax(dim=1).squeeze(2)
        expected = layers()
    same([found, *norm.buffers()], [expected, *reference.buffers()])
    if training:
        same(gradients(found, norm, x), gradients(expected, reference, x))


@pytest.mark.parametrize("pool", [(1, 1), (1, 3)])
def test_float32_over_many_places(pool: tuple[int, int]) -> None:
    """As exact as PyTorch's norm of a map in the usual layout; its norm with channels last errs a hundred times more.

    The gradients are all nearly the same here, as in the first layers of a model that listens to samples.
    """
    x = 3 + torch.randn(8, 4, 1, 60_000)
    slope = 1 + 0.01 * torch.randn(8, 4, 1, 60_000 // pool[1])

    def found(layers: Callable[[Tensor, nn.Module], Tensor], kind: torch.dtype) -> list[Tensor]:
        inputs, norm = x.to(kind).requires_grad_(), NormPool(4, pool, relu=True).to(kind)
        return list(torch.autograd.grad((slope.to(kind) * layers(inputs, norm)).sum(), [inputs, *norm.parameters()]))

    def usual(x: Tensor, norm: nn.Module) -> Tensor:
        with plain():
            return norm(x)

    exact, single = found(usual, torch.float64), found(usual, torch.float32)
    ours = found(lambda x, norm: norm(x), torch.float32)
    for wanted, theirs, own in zip(exact, single, ours, strict=True):
        assert (own - wanted).norm() < 3 * (theirs - wanted).norm() + 1e-6 * wanted.norm()


def test_the_shortcut_is_closed_where_it_would_be_wrong() -> None:
    x, norm = torch.randn(2, 3, 4, 5), NormPool(3)
    assert shortcut(norm, x)
    assert not shortcut(norm, x.to("meta"))
    assert not shortcut(norm.eval(), x)  # gradients of a model that is not trained
    with plain():
        assert not shortcut(norm.train(), x)
    with torch.no_grad():
        assert shortcut(norm, x, ordered=True)
        norm.weight[1] = -0.1  # turns the order of values around
        assert shortcut(norm, x)
        assert not shortcut(norm, x, ordered=True)


@pytest.mark.parametrize("kind", [NormPool, NormMax])
def test_a_norm_that_normalises_in_its_own_way_keeps_it(kind: type[NormPool], monkeypatch: pytest.MonkeyPatch) -> None:
    """As processes do that share a batch: their way comes behind the layer's class among the bases."""

    class Own(nn.modules.batchnorm._BatchNorm):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full_like(x, 7.0)

    monkeypatch.setattr(norms, "MANY", 0)
    norm = type("Own", (kind, Own), {})(3, relu=True)
    x = tall.Places(torch.randn(2, 3, 4, 5), 1, 0) if kind is NormMax else torch.randn(2, 3, 4, 5)
    assert (norm(x) == 7).all()


def test_the_norm_of_a_whole_map() -> None:
    ours, theirs = SingleChannelNorm(1e-3, 0.01), nn.BatchNorm1d(1, 1e-3, 0.01)
    with torch.no_grad():
        ours.weight.fill_(1.5)
        ours.bias.fill_(-0.3)
    theirs.load_state_dict(ours.state_dict())
    x = (2 + 3 * torch.randn(3, 5, 7)).requires_grad_()
    expected = theirs(x.flatten(1).unsqueeze(1)).view_as(x)
    expected = [expected, *gradients(expected, theirs, x)]
    for forward in (ours.over_all, ours, plain()(ours.forward)):  # as a GPU, as a CPU, and as a CPU without fast paths
        ours.reset_running_stats()
        found = forward(x)
        same([found, *gradients(found, ours, x), *ours.buffers()], [*expected, *theirs.buffers()])


# --- tall filters --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "bands"), [(7, 86), (1, 38), (3, 19), (1, 91), (1, 96)])
@pytest.mark.parametrize("norm", [True, False])
def test_tall_filters(frames: int, bands: int, norm: bool) -> None:
    """With a norm and a maximum, and with a maximum alone; whether or not the windows hold all places exactly."""
    conv, last = TallConv(4, bands, frames), NormMax(4)
    spectrogram = torch.randn(2, 96, 30, requires_grad=True)

    def computed() -> list[Tensor]:
        last.reset_running_stats()
        places = conv(Bands(spectrogram))
        x = last(places) if norm else places.max()
        module = nn.ModuleList([conv, last] if norm else [conv])
        return [x, *gradients(x, module, spectrogram), *(buffer.clone() for buffer in last.buffers())]

    written = F.conv2d(spectrogram.unsqueeze(1), conv.weight, conv.bias, padding=(0, frames // 2))
    same([conv(Bands(spectrogram)).in_order()], [written])
    found = computed()
    with plain():
        same(found, computed())


@pytest.mark.parametrize(("frames", "bands"), [(7, 86), (1, 38)])
def test_windows_of_bands_as_a_gpu_gets_them(frames: int, bands: int) -> None:
    """One place to a window, and a height that is a multiple of eight."""
    conv, spectrogram = TallConv(4, bands, frames), torch.randn(2, 96, 30)
    windows = band_windows(spectrogram, bands, 1, 8)
    assert windows.shape == (2, -(-bands // 8) * 8, 97 - bands, 30)
    weight = tall.at_bands(conv.weight.squeeze(1), 1, windows.shape[1]).unsqueeze(2)
    found = F.conv2d(windows, weight, conv.bias, padding=(0, frames // 2))
    with plain():
        expected = conv(Bands(spectrogram)).values
    same([found, *gradients(found, conv)], [expected, *gradients(expected, conv)])


# --- models --------------------------------------------------------------------------------------------------------

CAPACITIES: dict[str, dict[str, Any]] = {
    "waveform": {"layers": 7, "width": 1 / 16, "filters": 6, "units": 7, "dropout": 0.0},
    "spectrogram": {"width": 1 / 4, "filters": 6, "units": 7, "dropout": 0.0, "pooling": "attention"},
    "short_chunk": {"width": 1 / 32, "dropout": 0.0},
    "transformer": {"width": 1 / 16, "layers": 1, "dropout": 0.0},
    "samplecnn": {"width": 1 / 32, "pools": [2, 3, 2, 3, 5], "dropout": 0.0},
    "dieleman": {"width": 1 / 8, "frames": 2},
    "vgg": {"width": 1 / 32, "conv_dropout": 0.0, "dropout": 0.0},
    "timbre_cnn": {"width": 1 / 3, "dropout": 0.0},
    "crnn": {"width": 1 / 32, "conv_dropout": 0.0, "dropout": 0.0},
    "multiscale": {"width": 1 / 16, "frames": [18, 54], "units": 8, "dropout": 0.0, "part_dropout": 0.0},
    "samplecnn_multiscale": {"width": 1 / 32, "samples": [243, 576], "units": 8, "dropout": 0.0, "part_dropout": 0.0},
    "musicnn": {"width": 1 / 20, "units": 7, "dropout": 0.0},
    "musicnn_vgg": {"width": 1 / 32, "pooling": "separate", "conv_dropout": 0.0, "dropout": 0.0},
}


@pytest.fixture
def fast_paths(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the fast paths taken, which small maps take, too."""
    taken: list[str] = []

    def watch(module: Any, name: str) -> None:
        path = getattr(module, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            taken.append(name)
            return path(*arguments, **options)

        monkeypatch.setattr(module, name, watched)

    monkeypatch.setattr(norms, "MANY", 0)
    for module, name in [(norms, "norm_max"), (tall, "norm_max"), (tall, "band_windows"), (tall, "at_bands")]:
        watch(module, name)
    for module in (convolutions, norms):
        watch(module, "channels_last")
    return taken


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", [*(n for n, entry in NETWORKS.items() if not entry.on_encoder), *ENCODER_NETWORKS])
def test_models(
    name: str, negative: bool, training: bool, fast_paths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits, gradients and running statistics; also where a gamma is negative. Of several parts, those of each part.

    Without the CRNN's zeros around the spectrogram: where values tie for a maximum, rounding decides which one gets the
    gradient.
    """
    monkeypatch.setattr(crnn, "PADDING", 0)
    model = class_of(name)(3, **CAPACITIES[name])
    step = crnn.samples_of(crnn.STEP, rate=crnn.RATE) if name == "crnn" else 0
    for part in getattr(model, "parts", [model]):
        wave = 0.3 * torch.randn(3, max(16_000, step, part.shortest_samples))
        for layer in part.train(training).modules():
            if isinstance(layer, LogMel):
                layer.fit_normalisation([wave])
            if isinstance(layer, nn.BatchNorm2d) and layer.affine and negative:
                with torch.no_grad():
                    layer.weight[::2] *= -1
        reference = copy.deepcopy(part)
        with torch.set_grad_enabled(training):
            found = [part(wave)]
            assert fast_paths
            fast_paths.clear()
            with plain():
                expected = [reference(wave)]
            assert not fast_paths
        if training:
            found, expected = found + gradients(found[0], part), expected + gradients(expected[0], reference)
        same([*found, *part.buffers()], [*expected, *reference.buffers()])


def test_plain_ends_with_its_block() -> None:
    conv, x = MapConv(2, 3, 3), torch.randn(1, 2, 5, 5)
    with pytest.raises(ValueError, match="the reason"), plain(), plain():
        raise ValueError("the reason")
    assert conv(x).is_contiguous(memory_format=torch.channels_last)
