"""Models of parts: every part is trained alone, then the head over all of them; each can be ended and go on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sounds import Sounds, architecture, make_sounds, settings
from tagscale.audio.patches import RandomPatches, SpacedPatches, to_wave
from tagscale.models.backend import Backend, FrontEndTagger
from tagscale.models.tagger import Tagger
from tagscale.training import fit as fitting
from tagscale.training import loop, resume
from tagscale.training.fit import Fitted, fit
from tagscale.training.resume import Unfinished
from tagscale.training.state import State
from tagscale.training.steps import feature_patches, features_of, steps_of

ALIKE = ["step", "train_loss", "valid_loss", "learning_rate"]
FEW = slice(48, 52)


class Part(FrontEndTagger):
    """Frames of 1,000 samples, four filters."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.shortest_samples = 8000
        self.conv = nn.Conv1d(1, 4, 1000, stride=1000)
        self.backend = Backend(4, tags, filters=4, units=6, dropout=0.2)

    def front_end(self, wave: Tensor) -> Tensor:
        return self.conv(wave.unsqueeze(1))


class TopHead(nn.Sequential):
    @property
    def output(self) -> nn.Linear:
        return self[-1]  # type: ignore[return-value]


class TwoScales(Tagger):
    """Two parts that hear 0.5 s and 1 s, and a head on the means of their frames."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.shortest_samples = 16_000
        self.parts = nn.ModuleList([Part(tags), Part(tags)])
        self.part_samples = (8000, 16_000)
        self.features = 8
        self.head = TopHead(nn.Linear(8, 5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, tags))

    @property
    def output(self) -> nn.Linear:  # type: ignore[override]
        return self.head.output

    def head_input(self, wave: Tensor) -> Tensor:
        return torch.cat([part.front_end(wave).amax(dim=2) for part in self.parts], dim=1)

    def encode(self, wave: Tensor) -> Tensor:
        return self.head[:-1](self.head_input(wave))


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return make_sounds()


@pytest.fixture(autouse=True)
def two_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "build", lambda architecture: TwoScales(len(architecture.tags)))


def train(sounds: Sounds, unfinished: Unfinished | None = None, told: Any = None) -> Fitted:
    return fit(
        architecture(), sounds, sounds.part(slice(0, 16)), sounds.part(FEW),
        settings(max_steps="2 epochs", patches_per_track=1, batch=4), seed=0, report=told, unfinished=unfinished,
    )  # fmt: skip


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def test_every_part_then_the_head(sounds: Sounds, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, int, Tensor]] = []
    parts: list[dict[str, Tensor]] = []  # as they were when features were asked of them
    step_loss, head_input = loop.step_loss, TwoScales.head_input

    def listening(state: State, model: Any, batch: Any, *arguments: Any) -> Any:
        trained.append((type(state.network).__name__, batch[0].shape[1], batch[0]))
        return step_loss(state, model, batch, *arguments)

    def hearing(self: TwoScales, wave: Tensor) -> Tensor:
        assert not any(module.training for module in self.parts.modules())
        parts.append(tensors_of(self.parts))
        return head_input(self, wave)

    monkeypatch.setattr(loop, "step_loss", listening)
    monkeypatch.setattr(TwoScales, "head_input", hearing)
    told: list[tuple[int, set[str]]] = []
    found = train(sounds, told=lambda numbers, step: told.append((step, set(numbers))))

    assert [(name, inputs) for name, inputs, _ in trained] == (
        [("Part", 8000)] * 8 + [("Part", 16_000)] * 8 + [("TopHead", 8)] * 8
    )
    assert len(parts) == 4 + 3, "the 16 training and 12 validation patches are heard once, whatever the epochs"
    for key, tensor in tensors_of(found.model.get_submodule("parts")).items():
        assert all(torch.equal(tensor, then[key]) for then in parts), "the parts are as they were when they were heard"
    first, second = (torch.cat([batch for _, _, batch in trained[begin : begin + 4]]) for begin in (16, 20))
    assert not torch.equal(first, second)
    assert torch.equal(torch.unique(first, dim=0), torch.unique(second, dim=0)), "the same, in another order"
    assert not found.model.training
    assert list(found.earlier) == ["part_1", "part_2"]
    assert [step for step, _ in told] == [4, 8] * 3
    for (_, names), curve in zip(told[::2], ["part_1/valid_loss", "part_2/valid_loss", "valid_loss"], strict=True):
        assert curve in names


def test_it_goes_on_within_any_of_its_trainings(
    sounds: Sounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(resume, "KEPT", 100)
    whole = train(sounds, Unfinished(tmp_path / "whole", {}))
    for step, states in (("part_1", 3), ("part_2", 8), ("model", 2)):
        left = tmp_path / f"{step}{states}"
        shutil.copytree(tmp_path / "whole", left)
        for later in {"part_1": ["part_2", "model"], "part_2": ["model"], "model": []}[step]:
            shutil.rmtree(left / later)
        for file in sorted((left / step).glob("*.state"))[states:]:
            file.unlink()
        found = train(sounds, Unfinished(left, {}))
        for key, tensor in tensors_of(found.model).items():
            assert torch.equal(tensor, whole.model.state_dict()[key])
        assert found.history[ALIKE].equals(whole.history[ALIKE])
        assert found.earlier["part_1"][ALIKE].equals(whole.earlier["part_1"][ALIKE])


def test_other_models_are_trained_in_one_step() -> None:
    part = Part(3)
    (step,) = steps_of(part, 16_000)
    assert (step.network, step.inputs, step.encoder) == (part, 16_000, None)


def test_features_are_those_of_the_patches_with_their_labels(sounds: Sounds) -> None:
    model = TwoScales(3)
    *_, last = steps_of(model, 20_000)
    part = sounds.part(FEW)
    patches = SpacedPatches(sounds, part.tracks, part.labels, 20_000, 3)
    features = features_of(last, patches, batch=5, workers=0, half=None)
    waves, labels = patches.__getitems__(list(range(12)))
    torch.testing.assert_close(features, model.head_input(to_wave(waves)), rtol=1e-5, atol=1e-6)
    random = RandomPatches(sounds, part.tracks, part.labels, 20_000, 3, seed=0)
    shuffled, in_order = feature_patches(last, random, patches, batch=5, workers=0, half=None)
    for dataset, items in ((in_order, [7, 2, 11]), (shuffled, [12 + 7, 24 + 2, 11])):
        found, theirs = dataset.__getitems__(items)
        assert torch.equal(found, features[[7, 2, 11]])
        assert torch.equal(theirs.nan_to_num(-1), labels[[7, 2, 11]].nan_to_num(-1))
