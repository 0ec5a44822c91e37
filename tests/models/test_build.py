"""What both models promise, and what `build` refuses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tagscale.models.backend import AttentiveStatistics
from tagscale.models.build import Architecture, build, parameter_count, shortest_samples
from tagscale.runtime.errors import TagscaleError

CAPACITY = {
    "waveform": {"layers": 7, "width": 0.125, "filters": 16, "units": 20, "dropout": 0.5},
    "spectrogram": {"width": 0.125, "filters": 16, "units": 20, "dropout": 0.5},
}
FRAMES_OF_3_SECONDS = {"waveform": 20, "spectrogram": 187}
FRAMES_OF_15_SECONDS = {"waveform": 108, "spectrogram": 937}


def described(name: str, /, **changes: object) -> Architecture:
    kinds = ("classification", "classification", "regression")
    return replace(Architecture(name, CAPACITY[name], ("jazz", "rock", "energy"), kinds, 3.0), **changes)


@pytest.fixture(params=["waveform", "spectrogram"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_frames_at_the_papers_patch_lengths(name: str) -> None:
    model = build(described(name)).eval()
    assert model.front_end(torch.randn(1, 48_000)).shape[2] == FRAMES_OF_3_SECONDS[name]
    assert model.front_end(torch.randn(1, 240_000)).shape[2] == FRAMES_OF_15_SECONDS[name]


def test_nine_layers_leave_11_frames_of_15_seconds() -> None:
    capacity = CAPACITY["waveform"] | {"layers": 9}
    model = build(described("waveform", capacity=capacity, patch_seconds=15.0)).eval()
    assert model.front_end(torch.randn(1, 240_000)).shape == (1, 32, 11)


@pytest.mark.parametrize("pooling", ["max_mean", "attention"])
def test_gradient_reaches_every_parameter(name: str, pooling: str) -> None:
    torch.manual_seed(0)
    capacity = CAPACITY[name] | {"dropout": 0.0, "pooling": pooling}
    model = build(described(name, capacity=capacity))
    wave = 0.3 * torch.randn(4, 48_000)
    if name == "spectrogram":
        model.log_mel.fit_normalisation([wave])  # without it all inputs are positive, and some filters are dead
    model(wave).square().mean().backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().sum() > 0, parameter


def test_a_score_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    torch.manual_seed(0)
    model = build(described(name)).eval()
    waves = 0.3 * torch.randn(5, 48_000)
    together = model(waves)
    alone = torch.cat([model(wave[None]) for wave in waves])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("samples", [19_680, 30_000, 48_000, 100_001])
def test_any_length_from_the_shortest_on(name: str, samples: int) -> None:
    assert build(described(name)).eval()(torch.randn(2, samples)).shape == (2, 3)


@pytest.mark.parametrize(
    ("model", "layers", "shortest"), [("waveform", 7, 19_680), ("waveform", 9, 177_144), ("spectrogram", 0, 2_048)]
)
def test_shortest_excerpt(model: str, layers: int, shortest: int) -> None:
    capacity = CAPACITY[model] | ({"layers": layers} if layers else {})
    architecture = described(model, capacity=capacity, patch_seconds=15.0)
    assert shortest_samples(architecture) == shortest
    tagger = build(architecture).eval()
    assert tagger(torch.zeros(1, shortest)).shape == (1, 3)
    with pytest.raises(TagscaleError, match=f"{shortest} samples"):
        tagger(torch.zeros(1, shortest - 1))


def test_patches_too_short_for_nine_layers_are_refused_when_building() -> None:
    capacity = CAPACITY["waveform"] | {"layers": 9}
    with pytest.raises(TagscaleError, match=r"at least 11\.0715 s .* found 3 s\. Raise train\.patch_seconds"):
        build(described("waveform", capacity=capacity, patch_seconds=3.0))
    build(described("waveform", capacity=capacity, patch_seconds=11.1))


def test_weights_and_normalisation_survive_safetensors(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(described(name))
    if name == "spectrogram":
        model.log_mel.fit_normalisation([0.1 * torch.randn(2, 48_000)])
    model(0.3 * torch.randn(4, 48_000))  # moves the running statistics
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    copy = build(described(name))
    copy.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    wave = 0.3 * torch.randn(2, 48_000)
    assert torch.equal(model.eval()(wave), copy.eval()(wave))
    if name == "spectrogram":
        assert copy.log_mel.mean == model.log_mel.mean != 0


def test_same_seed_same_weights(name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(described(name)).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_he_initialisation() -> None:
    torch.manual_seed(0)
    model = build(described("waveform", capacity=CAPACITY["waveform"] | {"width": 1, "filters": 64}))
    weight = model.backend.conv1.weight  # (64, 256, 7)
    assert weight.std().item() == pytest.approx((2 / (256 * 7)) ** 0.5, rel=0.02)
    assert not model.backend.conv1.bias.any()


def test_a_description_from_before_the_choice_of_pooling_is_that_of_the_paper(name: str) -> None:
    states = []
    for capacity in (CAPACITY[name], CAPACITY[name] | {"pooling": "max_mean"}):
        torch.manual_seed(0)
        architecture = Architecture.from_dict(described(name, capacity=capacity).as_dict())
        states.append(build(architecture).state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_attention_adds_only_its_own_parameters(name: str) -> None:
    usual = build(described(name))
    attentive = build(described(name, capacity=CAPACITY[name] | {"pooling": "attention"}))
    filters = CAPACITY[name]["filters"]
    assert parameter_count(attentive) - parameter_count(usual) == 64 * filters + 64 + 64
    assert attentive.backend.dense.weight.shape == usual.backend.dense.weight.shape


def test_attention_takes_a_single_frame_and_a_constant_map() -> None:
    """The standard deviation is zero there, and its gradient would not be a number."""
    pooling = AttentiveStatistics(3)
    features = torch.ones(2, 3, 5, requires_grad=True)
    pooled = pooling(features)
    torch.testing.assert_close(pooled[:, :3], torch.ones(2, 3))
    assert (pooled[:, 3:] < 0.01).all()
    pooled.sum().backward()
    assert torch.isfinite(features.grad).all()
    assert pooling(torch.randn(2, 3, 1)).shape == (2, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "musicbox"}, "Unknown model 'musicbox'; there are waveform, spectrogram"),
        (
            {"capacity": CAPACITY["spectrogram"]},
            r"^Capacity of the waveform model: layers: Field required, found {'width': 0\.125, .*}\.$",
        ),
        ({"capacity": CAPACITY["waveform"] | {"mels": 96}}, "mels: Extra inputs are not permitted, found 96"),
        ({"capacity": CAPACITY["waveform"] | {"layers": 8}}, "layers: Input should be 7 or 9, found 8"),
        ({"capacity": CAPACITY["waveform"] | {"width": 0.001}}, r"model\.waveform\.width: 0\.001 leaves none"),
        (
            {"capacity": CAPACITY["waveform"] | {"pooling": "mean"}},
            "pooling: Input should be 'max_mean' or 'attention', found 'mean'",
        ),
        ({"sample_rate": 44_100}, "16000 Hz, not at 44100 Hz"),
    ],
)
def test_descriptions_that_no_model_fits(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        build(described("waveform", **changes))


def test_description_from_another_version() -> None:
    content = described("waveform").as_dict()
    content["tag_names"] = content.pop("tags")
    with pytest.raises(TagscaleError, match=r"missing keys \['tags'\], unknown keys \['tag_names'\]"):
        Architecture.from_dict(content)
