"""The log-mel layer against a second implementation: NumPy, float64, Slaney's formulas written out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from tagscale.audio.logmel import LogMel, Resampler, keep_from_compiling, samples_of
from tagscale.runtime.errors import TagscaleError

TOLERANCE = 1e-4  # absolute, on values from 0 to about 6: float32 against float64


def slaney_hertz(mel: np.ndarray) -> np.ndarray:
    """Slaney's scale: 3 mel per 200 Hz up to 1 kHz (mel 15), then 27 steps for every factor of 6.4."""
    return np.where(mel < 15, 200 / 3 * mel, 1000 * 6.4 ** ((mel - 15) / 27))


def reference(
    wave: np.ndarray,
    *,
    rate: int = 16_000,
    n_fft: int = 512,
    hop: int = 256,
    mels: int = 96,
    power: int = 2,
    compression: float | None = 10_000,
) -> np.ndarray:
    """(samples,) at `rate` -> (mels, samples // hop), not normalised."""
    top = 15 + 27 * np.log(rate / 2000) / np.log(6.4)  # half the rate in mel
    corners = slaney_hertz(np.linspace(0, top, mels + 2))
    frequencies = np.arange(n_fft // 2 + 1) * rate / n_fft
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) / n_fft)
    padded = np.concatenate([wave[n_fft // 2 : 0 : -1], wave])
    result = np.empty((mels, len(wave) // hop))
    for frame in range(result.shape[1]):
        magnitude = abs(fourier @ (padded[hop * frame : hop * frame + n_fft] * window))
        for band in range(mels):
            low, centre, high = corners[band : band + 3]
            triangle = np.clip(
                np.minimum((frequencies - low) / (centre - low), (high - frequencies) / (high - centre)), 0, 1
            )
            result[band, frame] = np.sum(magnitude**power * triangle) * 2 / (high - low)
    if compression is None:
        return 10 * np.log10(np.maximum(result, 1e-10))
    return np.log10(1 + compression * result)


PUBLISHED: list[dict[str, object]] = [
    {},  # Pons et al. 2018
    {"mels": 128},  # Pons et al. 2017
    {"n_fft": 744, "hop": 372, "mels": 128, "power": 1, "compression": 10.0},  # Lee & Nam 2017, at 16 kHz
    {"mels": 128, "compression": None},  # decibels
]


def chirp(samples: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    seconds = np.arange(samples) / 16_000
    return 0.5 * np.sin(2 * np.pi * 440 * seconds) + 0.1 * generator.standard_normal(samples) * np.exp(-8 * seconds)


@pytest.mark.parametrize("design", PUBLISHED, ids=str)
def test_against_numpy(design: dict[str, object]) -> None:
    wave = chirp(5_000)
    found = LogMel(**design)(torch.tensor(wave[None], dtype=torch.float32))[0].numpy()
    tolerance = TOLERANCE if design.get("compression", 1) else 0.05  # decibels: of bands down to -60
    np.testing.assert_allclose(found, reference(wave, **design), atol=tolerance)


@pytest.mark.slow
def test_another_rate_against_numpy() -> None:
    """Choi et al.: decibels at 12 kHz."""
    wave = torch.tensor(chirp(5_000), dtype=torch.float32)
    at_12_khz = resampled(wave.double().numpy(), 12_000)
    found = LogMel(rate=12_000, compression=None)(wave[None])[0].numpy()
    expected = reference(at_12_khz, rate=12_000, compression=None)
    assert found.shape == (96, 14)
    np.testing.assert_allclose(found, expected, atol=0.05)


def resampled(wave: np.ndarray, rate: int) -> np.ndarray:
    """A sinc of 12 zero crossings to each side under a squared cosine, cut off at 0.95 of the lower Nyquist."""
    cutoff = 0.95 * min(16_000, rate)  # twice, Hz
    seconds = np.arange(int(np.ceil(len(wave) * rate / 16_000)))[:, None] / rate - np.arange(len(wave)) / 16_000
    window = np.where(abs(seconds * cutoff) < 12, np.cos(np.pi * seconds * cutoff / 24) ** 2, 0)
    return (np.sinc(seconds * cutoff) * window * cutoff / 16_000) @ wave


@pytest.mark.parametrize("samples", [1_000, 1_001, 1_002, 1_003])
@pytest.mark.parametrize("rate", [12_000, 22_050])
def test_resampling_against_its_formula(rate: int, samples: int) -> None:
    torch.manual_seed(0)
    wave = torch.randn(samples)
    expected = resampled(wave.double().numpy(), rate)
    np.testing.assert_allclose(Resampler(rate)(wave[None])[0].numpy(), expected, atol=1e-4 if rate > 16_000 else 1e-5)


def test_resampling_keeps_what_the_lower_rate_can_hold_and_nothing_above() -> None:
    layer = Resampler(12_000)

    def inside(hertz: float) -> np.ndarray:
        """Without the ends, where the tone begins and stops."""
        tone = np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000)
        return layer(torch.tensor(tone[None], dtype=torch.float32))[0, 50:-50].numpy()

    expected = np.sin(2 * np.pi * 1_000 * np.arange(12_000) / 12_000)[50:-50]
    np.testing.assert_allclose(inside(1_000), expected, atol=1e-3)
    assert abs(inside(6_500)).max() < 3e-3  # -50 dB
    assert abs(inside(7_500)).max() < 1e-3  # -60 dB


def test_defaults_are_bit_for_bit_what_they_were() -> None:
    """The layer as it was when it had no arguments, written out: old checkpoints must not hear anything else."""
    torch.manual_seed(0)
    layer, wave = LogMel(), 0.3 * torch.randn(2, 16_000)
    spectrum = torch.stft(wave, 512, 256, window=torch.hann_window(512), center=True, return_complex=True)
    power = torch.view_as_real(spectrum[..., :62]).square().sum(dim=-1)
    assert torch.equal(layer.unnormalised(wave), torch.log10(1 + 10_000 * (layer.filters @ power)))


@pytest.mark.parametrize(("frames", "hop", "rate"), [(1, 256, 16_000), (9, 372, 16_000), (22, 256, 12_000)])
def test_fewest_samples_of_frames(frames: int, hop: int, rate: int) -> None:
    samples = samples_of(frames, hop=hop, rate=rate)
    length = [Resampler(rate)(torch.zeros(1, n)).shape[1] if rate != 16_000 else n for n in (samples, samples - 1)]
    assert [n // hop for n in length] == [frames, frames - 1]


@pytest.mark.parametrize(("seconds", "frames"), [(3, 187), (15, 937)])
def test_frames_of_the_paper(seconds: int, frames: int) -> None:
    assert LogMel()(torch.zeros(1, 16_000 * seconds)).shape == (1, 96, frames)


@pytest.mark.parametrize("design", [*PUBLISHED, {"rate": 12_000}], ids=str)
def test_every_band_hears_something(design: dict[str, object]) -> None:
    assert (LogMel(**design).filters.sum(dim=1) > 0).all()


def test_normalisation_to_zero_mean_and_unit_variance() -> None:
    torch.manual_seed(0)
    layer = LogMel()
    waves = [0.1 * torch.randn(3, 16_000), 0.5 * torch.randn(2, 24_000)]  # batches of different lengths
    layer.fit_normalisation(iter(waves))
    values = torch.cat([layer(wave).flatten() for wave in waves])
    assert values.mean().item() == pytest.approx(0, abs=1e-4)
    assert values.std().item() == pytest.approx(1, abs=1e-3)
    layer.fit_normalisation(iter(waves))  # starts from the raw values, not from what it normalised before
    assert torch.allclose(torch.cat([layer(wave).flatten() for wave in waves]), values)


def test_only_the_normalisation_is_saved() -> None:
    assert set(LogMel().state_dict()) == set(LogMel(rate=12_000).state_dict()) == {"mean", "std"}


def test_half_precision_training_leaves_it_exact() -> None:
    torch.manual_seed(0)
    layer, wave = LogMel(), 0.1 * torch.randn(2, 8_000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer.unnormalised(wave), LogMel().unnormalised(wave))


class Precisions(TorchFunctionMode):
    """Notes, for every function of torch that a block calls, the precision that is in force."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[str, bool, bool]] = {}

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        matmul, half = torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")
        self.seen[function.__name__] = (matmul, torch.backends.cudnn.allow_tf32, half)
        return function(*args, **kwargs or {})


@pytest.fixture
def reduced() -> Iterator[None]:
    """TF32 and bf16 allowed, as in a training on a GPU."""
    torch.set_float32_matmul_precision("high")
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.usefixtures("reduced")
def test_every_product_and_convolution_is_in_full_precision() -> None:
    with Precisions() as precisions:
        LogMel(rate=12_000)(torch.zeros(1, 16_000))
        torch.zeros(1, 1) @ torch.zeros(1, 1)
    layer = {"stft", "conv1d"}  # the resampling is a convolution
    assert layer <= set(precisions.seen)
    assert {precisions.seen[name] for name in layer} == {("highest", False, False)}
    assert precisions.seen["matmul"] == ("high", True, True)  # that of the last line: the block is over
    with Precisions() as precisions:
        LogMel()(torch.zeros(1, 16_000))
    assert precisions.seen["matmul"] == ("highest", False, False)


@pytest.mark.usefixtures("reduced")
def test_an_error_inside_gives_the_precision_back() -> None:
    with pytest.raises(RuntimeError):
        LogMel()(torch.zeros(1, 10))  # too short for a window
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.slow
def test_a_compiled_network_leaves_it_out() -> None:
    """Inductor would give the mel product the precision of the process: it must be in no graph."""
    calls: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        calls.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_mel, self.layer = LogMel(), nn.Conv1d(96, 2, 1)

        def forward(self, wave: torch.Tensor) -> torch.Tensor:
            return self.layer(self.log_mel(wave))

    network = Network()
    wave = torch.randn(2, 16_000)
    keep_from_compiling()
    assert torch.equal(torch.compile(network, backend=backend)(wave), network(wave))
    assert any("conv1d" in call for call in calls), calls
    assert not any("stft" in call or "matmul" in call for call in calls), calls


def test_silence_is_finite() -> None:
    assert not LogMel()(torch.zeros(1, 8_000)).any()


@pytest.mark.parametrize(("waves", "message"), [([], "no training excerpts"), ([torch.zeros(1, 8_000)], "silent")])
def test_nothing_to_normalise_by(waves: list[torch.Tensor], message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        LogMel().fit_normalisation(waves)
