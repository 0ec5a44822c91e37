"""Training for real, on sounds that a small model tells apart: it learns, it repeats, it keeps the best."""

import re
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pydantic import ValidationError
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sounds import KINDS, TAGS, TRAINING, VALIDATION, Sounds, architecture, make_sounds, settings
from tagscale.audio.patches import SpacedPatches, to_wave
from tagscale.evaluation.metrics import evaluate
from tagscale.evaluation.predict import predict
from tagscale.models.backend import BN_MOMENTUM
from tagscale.models.build import build
from tagscale.models.spectrogram import SpectrogramTagger
from tagscale.runtime.errors import TagscaleError
from tagscale.training import compilation, running_loss
from tagscale.training.fit import VALIDATION_PATCHES, Fitted, Labelled, fit, start_at_prevalence
from tagscale.training.loop import micro_batches, step_loss
from tagscale.training.recipe import PLACE, annotated, deciding, masked_loss, optimizer_of

ROOT = Path(__file__).parents[2]
OFF = {"gain": 0, "polarity": False, "speed": 0, "noise": 0, "mix": 0, "band_mask": 0, "time_mask": 0}
AUGMENTATIONS: list[dict[str, object]] = [
    {"gain": 6}, {"polarity": True}, {"speed": 0.03}, {"noise": 0.1}, {"mix": 0.4}, {"band_mask": 0.2},
    {"time_mask": 0.2},
]  # fmt: skip


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return make_sounds()


def fitted(sounds: Sounds, model: str = "spectrogram", seed: int = 0, **different: object) -> Fitted:
    return fit(architecture(model), sounds, sounds.part(TRAINING), sounds.part(VALIDATION), settings(**different), seed)


def bytes_of(model: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "loss", "epochs"),
    [("waveform", "cross_entropy", 12), ("waveform", "mse", 12), ("spectrogram", "cross_entropy", 8)],
)
def test_a_model_learns_to_tell_sounds_apart(sounds: Sounds, model: str, loss: str, epochs: int) -> None:
    found = fitted(sounds, model, loss=loss, max_steps=f"{epochs} epochs")
    test = slice(VALIDATION.stop, None)
    scores = predict(found.model, architecture(model), sounds, sounds.tracks[test], hop_seconds=0.5)
    metrics = evaluate(sounds.labels[test], scores.to_numpy(), np.array([kind == "regression" for kind in KINDS]))
    pr_auc = dict(zip(TAGS, metrics["pr_auc"], strict=True))
    assert pr_auc["tone"] > 0.9, "half of the sounds are tones"


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(sounds: Sounds) -> None:
    first, again, other = (fitted(sounds, "waveform", seed) for seed in (3, 3, 4))
    assert bytes_of(first.model) == bytes_of(again.model)
    assert bytes_of(first.model) != bytes_of(other.model)
    losses = ["train_loss", "valid_loss"]
    assert first.history[losses].equals(again.history[losses])


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["best", "last"])
def test_training_ends_early_and_the_best_or_the_last_weights_stay(sounds: Sounds, keep: str) -> None:
    """Against inverted validation labels, learning makes the validation loss worse."""
    valid = sounds.part(VALIDATION)
    inverted = Labelled(valid.tracks, 1 - valid.labels)
    course = settings(max_steps="30 epochs", patience="3 epochs", schedule="constant", keep=keep)
    found = fit(architecture(), sounds, sounds.part(TRAINING), inverted, course, seed=0)
    steps, losses = found.history["step"], found.history["valid_loss"]
    assert steps[losses.argmin()] == steps.iloc[-1] - 36 < 324, "an epoch has twelve steps"
    kept = losses.argmin() if keep == "best" else -1
    assert found.kept_step == steps.iloc[kept]
    assert validation_loss(found.model, sounds, inverted) == pytest.approx(losses.iloc[kept], rel=1e-4)


def validation_loss(model: nn.Module, sounds: Sounds, valid: Labelled) -> float:
    patches = SpacedPatches(sounds, valid.tracks, valid.labels, architecture().patch_samples, VALIDATION_PATCHES)
    waves, labels = patches.__getitems__(list(range(len(patches))))
    regression = torch.tensor([kind == "regression" for kind in KINDS])
    with torch.inference_mode():
        return float(masked_loss(model(to_wave(waves)), labels, regression, "cross_entropy"))


def test_a_fit_tells_of_its_validations_and_leaves_nothing_behind(
    sounds: Sounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running_loss, "SECONDS", 0.0)  # a point of the loss after every step
    monkeypatch.setattr(running_loss, "SHARE", 0.0)
    every: list[tuple[int, dict[str, float]]] = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        found = fit(
            architecture("waveform"),
            sounds,
            sounds.part(TRAINING),
            sounds.part(VALIDATION),
            settings(),
            seed=0,
            report=lambda numbers, step: every.append((step, numbers)),
        )
    assert not warned
    assert [step for step, _ in every] == list(range(1, 25))
    told = [(step, numbers) for step, numbers in every if "valid_loss" in numbers]
    points = [numbers for _, numbers in every if "valid_loss" not in numbers]
    assert all(numbers.keys() == {"train_loss", "learning_rate"} for numbers in points)
    first = [numbers["train_loss"] for numbers in points[:11]]
    last = 12 * told[0][1]["train_loss"] - sum(first)  # the row is the mean over all steps, the points are the others
    assert 0.5 * min(first) < last < 2 * max(first)
    assert not list(tmp_path.iterdir())
    assert [step for step, _ in told] == found.history["step"].tolist() == [12, 24]
    names = {"train_loss", "valid_loss", "learning_rate", "patches_per_second"}
    names |= {"seconds", "data_wait", "peak_memory_mb"}
    assert set(told[0][1]) == names
    assert 0 <= told[1][1]["data_wait"] < 1
    assert 100 < told[1][1]["peak_memory_mb"] < 1e5
    assert told[1][1]["learning_rate"] == pytest.approx(0), "it falls to zero at the end"
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(
        r"step 12/24  train loss 0\.\d{4}  valid loss 0\.\d{4}\*  [\d,]+ patches/s  \d+\.\d s", lines[0]
    )
    assert err == ""


def test_the_model_comes_back_ready_to_predict(sounds: Sounds) -> None:
    model = fitted(sounds, max_steps="1 epoch").model
    assert not model.training
    log_mel = model.get_submodule("log_mel")
    assert log_mel.mean != 0, "statistics of the training tracks"
    assert {norm.momentum for norm in model.modules() if isinstance(norm, _BatchNorm)} == {BN_MOMENTUM}


@pytest.mark.parametrize(
    "different",
    [
        {"class_weights": "balanced"},
        {"optimizer": "adamw"},
        {"optimizer": "sgd", "learning_rate": 0.05},
        {"schedule": "cosine"},
        {"ema": None},
        {"label_smoothing": 0.1},
        {"clip_norm": 0.01},
        {"accumulate": 2},
        *({"augment": OFF | part} for part in AUGMENTATIONS),
    ],
)
def test_every_setting_trains_something_else(
    sounds: Sounds, first_epochs: Fitted, different: dict[str, object]
) -> None:
    found = few_epochs(sounds, **different)
    assert np.isfinite(found.history["valid_loss"]).all()
    assert bytes_of(found.model) != bytes_of(first_epochs.model)


def few_epochs(sounds: Sounds, **different: object) -> Fitted:
    different = {"weight_decay": 0.01, "patches_per_track": 1} | different
    return fit(architecture(), sounds, sounds.part(slice(0, 16)), sounds.part(slice(48, 52)), settings(**different), 0)


@pytest.fixture(scope="module")
def first_epochs(sounds: Sounds) -> Fitted:
    return few_epochs(sounds)


def test_the_rate_stays_where_it_is_said_to_stay(sounds: Sounds) -> None:
    assert few_epochs(sounds, schedule="constant").history["learning_rate"].tolist() == [0.005, 0.005]


def test_a_fitted_model_hides_nothing_of_its_spectrogram(sounds: Sounds) -> None:
    model = few_epochs(sounds, augment=OFF | {"band_mask": 1, "time_mask": 1}).model
    wave = torch.randn(2, 24_000, generator=torch.Generator().manual_seed(0))
    assert isinstance(model.get_submodule("log_mel.mask"), nn.Identity)
    spectrogram = model.train().get_submodule("log_mel")(wave)
    assert (spectrogram != 0).all()


def test_micro_batches_have_the_gradients_of_the_whole() -> None:
    """Of a network without batch norm, with missing labels that are not spread evenly."""
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(7, 5, generator=generator), torch.rand(7, 3, generator=generator)
    labels[:3, 1:] = np.nan
    objective = {"loss": "cross_entropy", "regression": torch.tensor([False, False, True])}
    gradients = []
    for count in (1, 3):
        network = nn.Linear(5, 3)
        nn.init.constant_(network.weight, 0.1), nn.init.zeros_(network.bias)
        parts = list(micro_batches(inputs, labels, count))
        assert [last for _, last in parts] == [False] * (count - 1) + [True]
        for part, _ in parts:
            step_loss(None, network, part, objective, annotated(labels)).backward()  # type: ignore[arg-type]
        gradients.append(network.weight.grad)
    torch.testing.assert_close(*gradients)


def test_a_micro_batch_has_two_patches_at_least() -> None:
    inputs = torch.zeros(5, 1)
    assert [len(part) for (part, _), _ in micro_batches(inputs, inputs, 4)] == [3, 2]
    with pytest.raises(ValidationError, match="accumulate 5 leaves less than 2 of the 8 patches"):
        settings(accumulate=5, batch=8)


def test_processes_that_read_change_nothing(sounds: Sounds, first_epochs: Fitted) -> None:
    found = few_epochs(sounds, workers=1)
    assert bytes_of(found.model) == bytes_of(first_epochs.model)


@pytest.mark.slow
def test_a_compiled_network_has_the_same_statistics_and_is_compiled_once(
    sounds: Sounds, first_epochs: Fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its last, slow stage; rounding apart, the running statistics are averaged as they are without.

    By plain descent: Adam takes a step of the same length whatever the gradient, which makes a weight of rounding.
    """
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    plain = {"patches_per_track": 2, "optimizer": "sgd"}

    def graphs(**more: object) -> tuple[Fitted, int]:
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        fitted = few_epochs(sounds, compile=True, **plain, **more)
        return fitted, torch._dynamo.utils.counters["stats"]["unique_graphs"]

    found, count = graphs(max_steps="4 epochs")
    with monkeypatch.context() as without_trial:
        without_trial.setattr(compilation, "hindrance", lambda *_: "")
        least = graphs()[1]
    assert count == least > 0, "neither twice the steps and validations nor a trial before them compile anything more"
    expected = few_epochs(sounds, max_steps="4 epochs", **plain)
    for key, tensor in expected.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[key], tensor, rtol=1e-4, atol=1e-5)
    assert isinstance(found.model, SpectrogramTagger), "no wrapper is left"
    assert {norm.momentum for norm in found.model.modules() if isinstance(norm, _BatchNorm)} == {BN_MOMENTUM}


def test_a_machine_that_cannot_compile_trains_without(
    sounds: Sounds, first_epochs: Fitted, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler\nand more")

    monkeypatch.setattr(torch, "compile", refuse)
    found = few_epochs(sounds, compile=True)
    assert "torch.compile does not work here (no compiler); training continues without it." in capsys.readouterr().out
    assert bytes_of(found.model) == bytes_of(first_epochs.model)


def test_bf16_trains_on_a_cpu_too(sounds: Sounds) -> None:
    found = fitted(sounds, max_steps="1 epoch", precision="bf16-mixed")
    assert np.isfinite(found.history["valid_loss"]).all()
    assert {tensor.dtype for tensor in found.model.parameters()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="16-mixed is fine on this machine's GPU")
def test_16_mixed_asks_for_a_gpu(sounds: Sounds) -> None:
    with pytest.raises(TagscaleError, match="16-mixed needs a GPU"):
        fitted(sounds, precision="16-mixed")


def test_a_training_that_diverges_is_explained(sounds: Sounds) -> None:
    with pytest.raises(TagscaleError, match=r"the loss is (nan|inf) at step \d+ \(train.learning_rate 1e\+30"):
        fitted(sounds, "waveform", learning_rate=1e30, max_steps="3 epochs")


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_part_without_labels_is_refused(sounds: Sounds, part: str) -> None:
    parts = {"training": sounds.part(TRAINING), "validation": sounds.part(VALIDATION)}
    parts[part] = replace(parts[part], labels=np.full_like(parts[part].labels, np.nan))
    with pytest.raises(TagscaleError, match=f"The {part} part has .* no annotated label"):
        fit(architecture(), sounds, parts["training"], parts["validation"], settings(), seed=0)


def test_a_single_patch_is_refused(sounds: Sounds) -> None:
    with pytest.raises(TagscaleError, match="Raise train"):
        fit(
            architecture(), sounds, sounds.part(slice(1, 2)), sounds.part(VALIDATION),
            settings(patches_per_track=1), seed=0,
        )  # fmt: skip


def test_a_fresh_model_scores_every_tag_with_its_mean_label() -> None:
    output = nn.Linear(4, 5)
    labels = np.array([[1, 0, 0.25, np.nan, 1]] * 9 + [[0, 0, 0.75, np.nan, 1]] * 3, np.float32)
    start_at_prevalence(output, labels)
    scores = output(torch.randn(2, 4)).sigmoid()
    assert torch.equal(scores[0], scores[1])
    assert scores[0].tolist() == pytest.approx([9.5 / 13, 0.5 / 13, 5 / 13, 0.5, 12.5 / 13])


def test_only_kernels_decay() -> None:
    model = build(architecture("waveform"))
    kernels, others = optimizer_of(model, settings()).param_groups
    assert (kernels["weight_decay"], others["weight_decay"]) == (1e-5, 0)
    assert {parameter.ndim for parameter in kernels["params"]} == {2, 3}
    assert {parameter.ndim for parameter in others["params"]} == {1}


def test_the_settings_that_decide_a_run_are_those_that_dvc_watches() -> None:
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["train"]
    watched = {name.removeprefix("train.") for name in stage["params"] if name.startswith("train.")}
    assert set(deciding(settings(), patch_seconds=7.5)) == watched - PLACE, "where weights lie decides nothing"
    assert deciding(settings(), patch_seconds=7.5) == deciding(settings(compile=True, workers=3, devices=2), 7.5)
    assert deciding(settings(), 7.5)["patch_seconds"] == 7.5, "the model's own"
