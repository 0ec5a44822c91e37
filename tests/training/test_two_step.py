"""Models of parts: every part is trained alone, then the head over all of them; each can be ended and go on."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sounds import Sounds, architecture, make_sounds, settings
from tagscale.models.backend import Backend, FrontEndTagger
from tagscale.models.tagger import Tagger
from tagscale.training import fit as fitting
from tagscale.training import resume
from tagscale.training.fit import Fitted, fit
from tagscale.training.module import Training
from tagscale.training.resume import Unfinished
from tagscale.training.two_step import Head, only_trained, steps_of

ALIKE = ["epoch", "train_loss", "valid_loss", "learning_rate"]
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
        self.head = TopHead(nn.Linear(8, 5), nn.ReLU(), nn.Dropout(0.2), nn.Linear(5, tags))

    @property
    def output(self) -> nn.Linear:  # type: ignore[override]
        return self.head.output

    def head_input(self, wave: Tensor) -> Tensor:
        return torch.cat([part.front_end(wave).amax(dim=2) for part in self.parts], dim=1)

    def logits(self, wave: Tensor) -> Tensor:
        return self.head(self.head_input(wave))


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return make_sounds()


@pytest.fixture(autouse=True)
def two_scales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "build", lambda architecture: TwoScales(len(architecture.tags)))


def train(sounds: Sounds, unfinished: Unfinished | None = None, told: Any = None) -> Fitted:
    return fit(
        architecture(), sounds, sounds.part(slice(0, 16)), sounds.part(FEW),
        settings(max_epochs=2, patches_per_track=1, batch=4), seed=0, on_epoch=told, unfinished=unfinished,
    )  # fmt: skip


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def test_every_part_then_the_head(sounds: Sounds, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, int, dict[str, Tensor]]] = []
    step = Training.training_step

    def listening(self: Training, batch: Any, index: int) -> Any:
        whole = self.model.whole if isinstance(self.model, Head) else None
        heard.append((type(self.model).__name__, batch[0].shape[1], tensors_of(whole.parts) if whole else {}))
        return step(self, batch, index)

    monkeypatch.setattr(Training, "training_step", listening)
    told: list[tuple[int, set[str]]] = []
    found = train(sounds, told=lambda numbers, epoch: told.append((epoch, set(numbers))))

    assert [(name, samples) for name, samples, _ in heard] == (
        [("Part", 8000)] * 8 + [("Part", 16_000)] * 8 + [("Head", 24_000)] * 8
    )
    for key, tensor in tensors_of(found.model.get_submodule("parts")).items():
        assert torch.equal(tensor, heard[16][2][key]), "the parts are as they were when the head's training began"
    assert all(parameter.requires_grad for parameter in found.model.parameters())
    assert not found.model.training
    assert list(found.earlier) == ["part_1", "part_2"]
    assert [epoch for epoch, _ in told] == [1, 2] * 3
    for (_, names), curve in zip(told[::2], ["part_1/valid_loss", "part_2/valid_loss", "valid_loss"], strict=True):
        assert curve in names


def test_it_goes_on_within_any_of_its_trainings(
    sounds: Sounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resume, "SAVE_SECONDS", 0.0)
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


def test_other_models_are_trained_in_one_step_and_no_parameter_is_held_back() -> None:
    part = Part(3)
    (step,) = steps_of(part, 16_000)
    with only_trained(step):
        assert all(parameter.requires_grad for parameter in part.parameters())


def test_the_head_hears_its_parts_as_they_predict() -> None:
    model = TwoScales(3)
    *_, last = steps_of(model, 16_000)
    last.network.train()
    assert model.head.training
    assert not any(module.training for module in model.parts.modules())
    with only_trained(last):
        last.network(torch.randn(2, 16_000)).sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == {
        "head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias"
    }  # fmt: skip
