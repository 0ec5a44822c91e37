"""Two processes train as one: the same patches in a step, the same statistics, the same loss, within rounding."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tasks
from killed import start
from sounds import Sounds, architecture, make_sounds, settings
from tagscale.audio.patches import SpacedPatches
from tagscale.models.kernels import NormPool, SingleChannelNorm
from tagscale.runtime.errors import TagscaleError
from tagscale.training import loop, resume, steps
from tagscale.training.batch_norm import synchronised
from tagscale.training.distributed import World, launch, processes_wanted
from tagscale.training.fit import Fitted, fit
from tagscale.training.resume import Unfinished
from tagscale.training.steps import Step, features_of

FEW = slice(48, 53)  # validation tracks, in unequal shares


def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)


def in_two(work: Any, *arguments: Any) -> list[int | None]:
    """Exit codes of two processes with the environment that torchrun gives them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [start(as_rank, rank, port, work, *arguments) for rank in range(2)]
    for process in processes:
        process.join(240)
    return [process.exitcode for process in processes]


def as_rank(rank: int, port: int, work: Any, *arguments: Any) -> None:
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    work(rank, *arguments)


class Norms(nn.Module):
    """Every kind of batch norm that a model has, each with something before it that learns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(1, 3, 5)
        self.norm = nn.BatchNorm1d(3, momentum=0.3)
        self.single = SingleChannelNorm(1e-3, 0.01)
        self.plane = NormPool(3, affine=False)
        self.dense = nn.Linear(3, 4)
        self.flat = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.relu(self.conv(x)))
        x = self.single(x) + x
        x = self.plane(x.unsqueeze(2)).squeeze(2)
        return self.flat(self.dense(x.amax(dim=2)))


def batch_of_norms() -> Tensor:
    return torch.randn(6, 1, 40, generator=torch.Generator().manual_seed(1)) + 3


def forward_and_backward(model: Norms, x: Tensor) -> dict[str, Tensor]:
    """What comes out of a step, in training and then in prediction."""
    out = model(x)
    (out * torch.linspace(-1, 1, 4) + out.square() * torch.linspace(1, 2, 4)).sum().backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in model.named_parameters()}
    with torch.no_grad():
        predicted = model.eval()(x)
    return {"out": out.detach(), "predicted": predicted} | gradients | dict(model.state_dict())


def norms_of_a_share(rank: int, folder: Path) -> None:
    World.current().connect()
    model = Norms()
    kinds = [type(module) for module in model.modules()]
    with synchronised(model):
        found = forward_and_backward(model, batch_of_norms()[:4] if rank == 0 else batch_of_norms()[4:])
    assert [type(module) for module in model.modules()] == kinds
    torch.save(found, folder / f"{rank}.pt")


@pytest.mark.slow
def test_batch_norm_sees_the_whole_batch(tmp_path: Path) -> None:
    """Shares of four and two: outputs, running statistics and gradients, against torch's own on the six."""
    expected = forward_and_backward(Norms(), batch_of_norms())
    assert in_two(norms_of_a_share, tmp_path) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, tensor in expected.items():
        if name in ("out", "predicted"):
            found = torch.cat([first[name], second[name]])
        elif name.startswith("gradient"):
            found = first[name] + second[name]
        else:
            assert torch.equal(first[name], second[name])
            found = first[name]
        torch.testing.assert_close(found, tensor, rtol=2e-5, atol=2e-5)


def trained(sounds: Sounds, model: str, unfinished: Unfinished | None = None, **different: Any) -> Fitted:
    plan = architecture(model)
    plan.capacity["dropout"] = 0.0
    return fit(
        plan, sounds, sounds.part(slice(0, 24)), sounds.part(FEW),
        settings(**{"max_steps": "2 epochs", "patches_per_track": 1, "optimizer": "sgd"} | different),
        seed=0, unfinished=unfinished,
    )  # fmt: skip


def train_a_share(rank: int, folder: Path, model: str) -> None:
    unfinished = Unfinished(folder / "left", {}) if (folder / "left").exists() else None
    found = trained(make_sounds(), model, unfinished)
    torch.save(found.model.state_dict(), folder / f"{rank}.pt")
    found.history.to_csv(folder / f"{rank}.csv", index=False)


def check_alike(found: Path, expected: Fitted) -> None:
    """Both ranks hold the same weights; those of one process to 1e-3 of a tensor's largest value, or to 1e-4.

    Other draws of the augmentation, as where each process draws for itself, make .6 of it.
    """
    first, second = (torch.load(found / f"{rank}.pt") for rank in range(2))
    for name, tensor in expected.model.state_dict().items():
        assert torch.equal(first[name], second[name])
        largest = float(tensor.abs().max())
        torch.testing.assert_close(first[name], tensor, rtol=0, atol=1e-3 * max(largest, 0.1), msg=name)
    losses = np.loadtxt(found / "0.csv", delimiter=",", skiprows=1)[:, 1:3]
    np.testing.assert_allclose(losses, expected.history[["train_loss", "valid_loss"]], rtol=1e-5)


@pytest.mark.parametrize("model", ["waveform", "spectrogram"])
def test_two_processes_train_what_one_does(tmp_path: Path, model: str) -> None:
    assert in_two(train_a_share, tmp_path, model) == [0, 0]
    check_alike(tmp_path, trained(make_sounds(), model))


def test_two_go_on_where_one_was_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In mid-epoch: the number of processes is no part of the training's state."""
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(resume, "KEPT", 100)
    expected = trained(make_sounds(), "waveform", Unfinished(tmp_path / "left", {}))
    for file in sorted((tmp_path / "left" / "model").glob("*.state"))[4:]:
        file.unlink()
    assert in_two(train_a_share, tmp_path, "waveform") == [0, 0]
    check_alike(tmp_path, expected)


def test_half_of_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(TagscaleError, match="WORLD_SIZE is 2, but LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not set"):
        World.current()


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TagscaleError, match=r"train\.batch 16 cannot be divided evenly over 3 processes\. Take 15"):
        processes_wanted(3, batch=16)
    assert processes_wanted(None, 16) == processes_wanted(1, 16) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_devices_are_processes() -> None:
    assert processes_wanted(2, batch=16) == 2


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others_with_a_word(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"on 2 processes ended: process 1 failed \(exit status 3\)"):
        launch(2, tasks.fail_in_the_second)


@pytest.mark.slow
def test_a_signal_ends_all_processes_without_a_traceback() -> None:
    work = "import time; print('up', flush=True); time.sleep(60)"
    program = f"from tagscale.training.distributed import launch\nlaunch(2, exec, {work!r})"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["up\n", "up\n"]
        process.terminate()
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in messages


class Means(nn.Module):
    """Stands for a model of parts: what its parts hear in a patch is its mean, and its size."""

    features = 2

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList()

    def head_input(self, wave: Tensor) -> Tensor:
        return torch.stack([wave.mean(dim=1), wave.abs().mean(dim=1)], dim=1)


def features() -> Tensor:
    sounds, means = make_sounds(), Means()
    part = sounds.part(FEW)
    step = Step("", nn.Identity(), 8000, encoder=means)
    return features_of(step, SpacedPatches(sounds, part.tracks, part.labels, 8000, 3), batch=4, workers=0, half=None)


def hear_a_share(rank: int, folder: Path) -> None:
    steps.EXCHANGED = 6  # three patches at a time
    World.current().connect()
    torch.save(features(), folder / f"{rank}.pt")


def test_two_processes_hear_for_a_head_what_one_hears(tmp_path: Path) -> None:
    expected = features()
    assert in_two(hear_a_share, tmp_path) == [0, 0]
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), expected)
