"""What every published baseline promises: its exact size, the lengths that it takes, gradients, determinism, widths."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from tagscale.models.build import parameter_count
from tagscale.models.crnn import CRNN
from tagscale.models.dieleman import Dieleman
from tagscale.models.multiscale import Multiscale, SampleCNNMultiscale
from tagscale.models.paper import printed
from tagscale.models.samplecnn import SampleCNN
from tagscale.models.tagger import Tagger
from tagscale.models.timbre_cnn import TimbreCNN
from tagscale.models.vgg import VGG
from tagscale.runtime.errors import TagscaleError


@dataclass(frozen=True)
class Design:
    """One published design: what its class is given, and what is known of it."""

    model: type[Tagger]
    capacity: dict[str, Any]
    exact: int  # parameters at width 1 and 50 tags
    printed: str | None  # as the paper prints them; None where it does not
    shortest: int
    natural: int
    small: dict[str, Any] = field(default_factory=lambda: {"width": 1 / 16})  # what makes it quick to test

    def __str__(self) -> str:
        return " ".join([self.model.__name__, *(f"{key}={value}" for key, value in self.capacity.items())])

    def build(self, tags: int = 5, **changes: Any) -> Any:
        torch.manual_seed(0)
        return self.model(tags, **self.capacity | self.small | changes)


FEW_SCALES = {"width": 1 / 32, "units": 8, "samples": [8_192, 78_125]}  # the first and the last of eight
DESIGNS = [
    Design(SampleCNN, {}, 2_394_162, None, 59_049, 59_049),  # printed as 2.4M, rounded for once
    Design(SampleCNN, {"last_taps": 1}, 1_869_874, None, 59_049, 59_049),
    Design(SampleCNN, {"pools": [2] * 13}, 2_397_106, None, 16_384, 16_384),
    Design(SampleCNN, {"pools": [5] * 6}, 2_457_650, None, 78_125, 78_125),
    Design(Dieleman, {}, 194_270, "194k", 156_416, 160_000),
    Design(Dieleman, {"frames": 9}, 107_870, None, 45_824, 48_000),
    Design(VGG, {}, 450_482, "450k", 46_080, 48_000),
    Design(TimbreCNN, {"mels": 128}, 191_006, "191k", 44_032, 48_000, {"width": 1 / 6}),
    Design(TimbreCNN, {"mels": 96}, 220_870, "220k", 236_544, 240_000, {"width": 1 / 3}),
    Design(CRNN, {}, 3_028_728, "3M", 7_509, 466_261),
    Design(Multiscale, {}, 4_880_812, None, 80_352, 464_000, {"width": 1 / 16, "units": 8}),
    Design(SampleCNNMultiscale, {}, 30_619_458, None, 78_125, 464_000, FEW_SCALES),
]
OTHER_LAYERS = {"filters": [128, 384, 768, 2048], "time_pools": [4, 5, 8, 8]}
ORIGINAL_VGG = Design(VGG, OTHER_LAYERS, 17_359_282, None, 327_680, 327_680, {"width": 1 / 64})


@pytest.fixture(params=DESIGNS, ids=str)
def design(request: pytest.FixtureRequest) -> Design:
    return request.param


@pytest.mark.parametrize("design", [*DESIGNS, ORIGINAL_VGG], ids=str)
def test_exact_parameters_at_50_tags(design: Design) -> None:
    model = design.model(50, **design.capacity)
    assert parameter_count(model) == design.exact
    assert design.printed in (None, printed(design.exact))


def test_one_published_input_length(design: Design) -> None:
    assert design.model.natural(**design.capacity) == design.natural
    assert design.model.natural() == design.model.NATURAL_SAMPLES


@pytest.mark.parametrize("design", [*DESIGNS, ORIGINAL_VGG], ids=str)
def test_natural_length(design: Design) -> None:
    assert design.build().eval()(0.1 * torch.randn(1, design.natural)).shape == (1, 5)


@torch.no_grad()
def test_15_seconds(design: Design) -> None:
    """Longer than the natural length of most: what remains is pooled. Shorter for those that hear whole clips."""
    assert design.build().eval()(0.1 * torch.randn(2, 240_000)).shape == (2, 5)


@torch.no_grad()
def test_the_shortest_patch_and_one_sample_less(design: Design) -> None:
    model = design.build().eval()
    assert model.shortest_samples == design.model.shortest(**design.capacity | design.small) == design.shortest
    scores = model(0.1 * torch.randn(2, design.shortest))
    assert scores.shape == (2, 5)
    assert scores.isfinite().all()
    with pytest.raises(TagscaleError, match=rf"\({design.shortest} samples\), found .* Raise train\.patch_seconds"):
        model(torch.zeros(2, design.shortest - 1))


def test_gradient_reaches_every_parameter(design: Design) -> None:
    """In eval mode: by the statistics of a batch, the mean that a bias adds before a batch norm would cancel."""
    model = design.build().eval()
    wave = 0.3 * torch.randn(2, max(design.shortest, 48_000))  # one step of a recurrent layer is not enough
    loss = model(wave).square().sum()
    for part in getattr(model, "parts", []):
        loss = loss + part(wave[:, : part.shortest_samples]).square().sum()  # each is a tagger of its own
    loss.backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().sum() > 0, parameter


@torch.no_grad()
def test_same_seed_same_scores_to_the_bit(design: Design) -> None:
    wave = 0.1 * torch.randn(2, design.shortest, generator=torch.Generator().manual_seed(1))
    assert torch.equal(design.build().eval()(wave), design.build().eval()(wave))


@torch.no_grad()
def test_a_score_does_not_depend_on_the_rest_of_the_batch(design: Design) -> None:
    model = design.build().eval()
    waves = 0.3 * torch.randn(3, design.shortest)
    torch.testing.assert_close(model(waves), torch.cat([model(wave[None]) for wave in waves]), atol=1e-5, rtol=1e-4)


def test_a_quarter_of_the_filters(design: Design) -> None:
    quarter = design.model(50, **design.capacity, width=1 / 4)
    assert parameter_count(quarter) < design.exact
    with pytest.raises(TagscaleError, match=r"model\.\w+\.width: 0\.0001 leaves none of the"):
        design.model(50, **design.capacity, width=0.0001)


def test_the_last_layer_is_the_output(design: Design) -> None:
    """Training starts it at the tags' prevalence: zero weights and a bias, whatever is heard."""
    model = design.build().eval()
    assert isinstance(model.output, torch.nn.Linear)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.arange(5.0))
        scores = model(torch.randn(1, design.shortest))
    torch.testing.assert_close(scores, torch.arange(5.0)[None])


@torch.no_grad()
def test_weights_survive(design: Design) -> None:
    model, copy = design.build(), design.build()
    for parameter in model.parameters():
        parameter.add_(0.01)
    copy.load_state_dict(model.state_dict())
    wave = 0.1 * torch.randn(1, design.shortest)
    assert torch.equal(copy.eval()(wave), model.eval()(wave))


@torch.no_grad()
def test_silence_is_finite(design: Design) -> None:
    assert design.build().eval()(torch.zeros(1, design.shortest)).isfinite().all()


@pytest.mark.parametrize(
    ("model", "capacity", "message"),
    [
        (SampleCNN, {"pools": [3, 3]}, r"model\.samplecnn\.pools: found \[3, 3\]; expected at least three factors"),
        (SampleCNN, {"pools": [3, 3, 1]}, "each at least 2"),
        (VGG, {"filters": [128, 128]}, r"model\.vgg\.filters: found \[128, 128\]; expected one number for each of 4"),
        (VGG, {"time_pools": [4, 5, 3]}, r"model\.vgg\.time_pools: found \[4, 5, 3\]; expected one factor"),
        (TimbreCNN, {"mels": 64}, r"model\.timbre_cnn\.mels: expected 96 or 128, found 64"),
        (Multiscale, {"frames": []}, r"model\.multiscale\.frames: there are no scales\. Give for example \[18, 27"),
        (Multiscale, {"frames": [27, 22]}, "22 has fewer than 3 prime factors"),
        (SampleCNNMultiscale, {"samples": [27]}, r"samplecnn_multiscale\.samples: 27 has fewer than 4 prime factors"),
        (SampleCNNMultiscale, {"samples": [2 * 3**9]}, "39366 has its smallest prime factor, 2, only once"),
    ],
)
def test_capacities_that_make_no_model(model: type[Tagger], capacity: dict[str, Any], message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        model(5, **capacity)  # type: ignore[call-arg]
