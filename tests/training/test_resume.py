"""From every state that a training saves it goes on to the same end; what cannot be read or written is said."""

import errno
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sounds import Sounds, architecture, make_sounds, settings
from tagscale.runtime.errors import TagscaleError
from tagscale.training import loop, resume
from tagscale.training.fit import Fitted, fit
from tagscale.training.resume import States, Unfinished
from tagscale.training.state import State

ALIKE = ["step", "train_loss", "valid_loss", "learning_rate"]
FEW = slice(48, 52)
ABOUT = {"identity": "of these tests"}


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    return make_sounds()


def train(sounds: Sounds, folder: Path, about: dict[str, Any] = ABOUT, told: Any = None, **different: Any) -> Fitted:
    """Two epochs of four steps, with dropout; a state after every step but an epoch's last, and after every epoch."""
    unfinished = Unfinished(folder, about)
    different = {"max_steps": "2 epochs", "patches_per_track": 1, "batch": 4} | different
    with unfinished.held():
        return fit(
            architecture("waveform"), sounds, sounds.part(slice(0, 16)), sounds.part(FEW),
            settings(**different), seed=1, report=told, unfinished=unfinished,
        )  # fmt: skip


def bytes_of(model: nn.Module) -> bytes:
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


@pytest.fixture(scope="module")
def whole(sounds: Sounds, tmp_path_factory: pytest.TempPathFactory) -> tuple[Fitted, Path]:
    """A training left alone, and the folder with all of its states."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", 0.0)
        patch.setattr(resume, "KEPT", 100)
        return train(sounds, folder), folder


def ended_after(whole: Path, folder: Path, states: int) -> list[Path]:
    """The folder of a training that was ended when it had saved so many states."""
    shutil.copytree(whole, folder)
    files = sorted((folder / "model").glob("*.state"))
    for file in files[states:]:
        file.unlink()
    return files[:states]


def test_states_are_saved_within_epochs_and_at_their_ends(whole: tuple[Fitted, Path]) -> None:
    assert len(list((whole[1] / "model").glob("*.state"))) == 2 * 4


@pytest.mark.parametrize("states", [1, 3, 4, 5, 7, 8])
def test_from_any_state_it_ends_alike(sounds: Sounds, whole: tuple[Fitted, Path], tmp_path: Path, states: int) -> None:
    ended_after(whole[1], tmp_path / "left", states)
    told: list[int] = []
    found = train(sounds, tmp_path / "left", told=lambda numbers, step: told.append(step))
    assert bytes_of(found.model) == bytes_of(whole[0].model)
    assert found.history[ALIKE].equals(whole[0].history[ALIKE])
    assert found.kept_step == whole[0].kept_step
    assert told == [4, 8], "of those before it is told again, for whoever missed one"
    assert states == 8 or len(list((tmp_path / "left" / "model").glob("*.state"))) == 2
    assert found.seconds > 0


def test_without_a_folder_it_ends_alike_too(sounds: Sounds, whole: tuple[Fitted, Path]) -> None:
    found = fit(
        architecture("waveform"), sounds, sounds.part(slice(0, 16)), sounds.part(FEW),
        settings(max_steps="2 epochs", patches_per_track=1, batch=4), seed=1,
    )  # fmt: skip
    assert bytes_of(found.model) == bytes_of(whole[0].model)


def test_early_ending_and_halving_go_on(sounds: Sounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a rate that learns nothing the loss stands still: halved once, ended after the patience."""
    course: dict[str, Any] = {
        "schedule": "halving", "learning_rate": 1e-12, "patience": 8, "max_steps": 36, "optimizer": "sgd",
        "keep": "best",
    }  # fmt: skip
    monkeypatch.setattr(resume, "KEPT", 100)
    found = train(sounds, tmp_path / "whole", **course)
    epochs = len(found.history)
    assert 4 * epochs == found.kept_step + 8 < 36
    for states in (epochs - 1, epochs):
        ended_after(tmp_path / "whole", tmp_path / f"left{states}", states)
        again = train(sounds, tmp_path / f"left{states}", **course)
        assert again.history[ALIKE].equals(found.history[ALIKE])
        assert again.kept_step == found.kept_step


@pytest.mark.parametrize("states", [2, 6])
def test_a_recipe_with_every_part_ends_alike_too(
    sounds: Sounds, tmp_path: Path, states: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = {"gain": 6, "polarity": True, "speed": 0.05, "noise": 0.1, "mix": 0.4, "band_mask": 0.2, "time_mask": 0.2}
    recipe: dict[str, Any] = {
        "augment": augment, "label_smoothing": 0.1, "clip_norm": 1.0, "accumulate": 2, "schedule": "trapezoid"
    }  # fmt: skip
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(resume, "KEPT", 100)
    whole = train(sounds, tmp_path / "whole", **recipe)
    ended_after(tmp_path / "whole", tmp_path / "left", states)
    found = train(sounds, tmp_path / "left", **recipe)
    assert bytes_of(found.model) == bytes_of(whole.model)
    assert found.history[ALIKE].equals(whole.history[ALIKE])


@pytest.mark.parametrize("harm", ["cut", "bit", "all"])
def test_a_damaged_state_gives_way_to_the_one_before(
    sounds: Sounds, whole: tuple[Fitted, Path], tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, before, last = ended_after(whole[1], tmp_path / "left", 6)
    if harm == "cut":
        last.write_bytes(last.read_bytes()[:1000])
    elif harm == "bit":
        content = bytearray(last.read_bytes())
        content[len(content) // 2] ^= 1
        last.write_bytes(content)
    else:
        for file in (tmp_path / "left" / "model").iterdir():
            file.write_bytes(b"")
    found = train(sounds, tmp_path / "left")
    assert bytes_of(found.model) == bytes_of(whole[0].model)
    out = capsys.readouterr().out
    assert f"warning: {last} is damaged" in out
    assert (f"warning: {before} is damaged" in out) == (harm == "all")


def test_a_state_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "run",)

    states = States(tmp_path / "model")
    states.save({"evil": Evil()})
    assert states.newest() is None
    assert not (tmp_path / "run").exists()


def test_the_state_of_another_training_is_discarded(
    sounds: Sounds, whole: tuple[Fitted, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended_after(whole[1], tmp_path / "left", 6)
    told: list[int] = []
    train(sounds, tmp_path / "left", {"identity": "another"}, lambda *_: told.append(1), max_steps="1 epoch")
    assert told == [1]
    assert "discarded the states of an unfinished training with other data or settings" in capsys.readouterr().out


def test_two_processes_do_not_train_one_run(tmp_path: Path) -> None:
    with (
        Unfinished(tmp_path, ABOUT).held(),
        pytest.raises(TagscaleError, match=r"process \d+ on \S+ is training this run"),
        Unfinished(tmp_path, ABOUT).held(),
    ):
        pass


@pytest.fixture
def in_the_second_epoch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let something happen in the training's sixth step."""

    def happen(event: Any) -> None:
        step_loss = loop.step_loss

        def struck(state: State, *arguments: Any) -> Any:
            return event(step_loss(state, *arguments)) if state.step == 5 else step_loss(state, *arguments)

        monkeypatch.setattr(loop, "step_loss", struck)

    return happen


def test_a_loss_that_is_no_number_leaves_the_last_good_state(
    sounds: Sounds, whole: tuple[Fitted, Path], tmp_path: Path, in_the_second_epoch: Any, monkeypatch: Any
) -> None:
    """Found before the next state is written, not only at the next look at the loss."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", 0.0)
        in_the_second_epoch(lambda loss: loss * float("nan"))
        with pytest.raises(TagscaleError, match=r"diverged: .* at step 6 .* state is kept in .*model; started again"):
            train(sounds, tmp_path / "left")
    monkeypatch.undo()
    assert bytes_of(train(sounds, tmp_path / "left").model) == bytes_of(whole[0].model)


def out_of_gpu_memory(loss: torch.Tensor) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def out_of_cpu_memory(loss: torch.Tensor) -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize(("event", "place"), [(out_of_gpu_memory, "GPU"), (out_of_cpu_memory, "machine")])
def test_a_lack_of_memory_is_explained(
    sounds: Sounds, tmp_path: Path, in_the_second_epoch: Any, event: Any, place: str
) -> None:
    in_the_second_epoch(event)
    lowered = r"batches of 4 patches of 1.5 s \(train.batch, train.patch_seconds\). Halve train.batch"
    with pytest.raises(TagscaleError, match=rf"The {place} has not enough memory for {lowered}.* state is kept in"):
        train(sounds, tmp_path / "left")


def test_a_full_disk_keeps_the_state_before(
    sounds: Sounds, whole: tuple[Fitted, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        written.append(path.suffix == ".state")
        if written[-1] and sum(written) == 2:
            write(path, content[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TagscaleError, match=r"The disk is full: .*2\.state could not .* state is kept in .* Free"):
        train(sounds, tmp_path / "left")
    assert [path.name for path in (tmp_path / "left" / "model").iterdir()] == ["00000001.state"]
    assert bytes_of(train(sounds, tmp_path / "left").model) == bytes_of(whole[0].model)


def test_ctrl_c_is_ctrl_c_and_says_what_is_kept(
    sounds: Sounds, tmp_path: Path, in_the_second_epoch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(loss: torch.Tensor) -> None:
        raise KeyboardInterrupt

    in_the_second_epoch(pressed)
    with pytest.raises(KeyboardInterrupt):
        train(sounds, tmp_path / "left")
    assert States(tmp_path / "left" / "model").newest() is not None
    assert f"Training was interrupted. The last good state is kept in {tmp_path}" in capsys.readouterr().err


@pytest.mark.parametrize(("moment", "step", "validated"), [("step", 6, 4), ("validation", 4, 0)])
def test_sigterm_ends_the_process_when_the_state_is_saved(
    sounds: Sounds, whole: tuple[Fitted, Path], tmp_path: Path, in_the_second_epoch: Any,
    moment: str, step: int, validated: int, monkeypatch: Any, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In the second epoch's second step, or in the validation after the first epoch, the state of which is not lost."""
    before = signal.getsignal(signal.SIGTERM)

    def terminate(loss: torch.Tensor) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return loss

    if moment == "step":
        in_the_second_epoch(terminate)
    else:
        entry_losses = loop.entry_losses
        monkeypatch.setattr(
            loop, "entry_losses", lambda *given, **objective: terminate(entry_losses(*given, **objective))
        )
    with pytest.raises(SystemExit) as ended:
        train(sounds, tmp_path / "left")
    assert ended.value.code == 128 + signal.SIGTERM
    assert "Training was interrupted. The last good state is kept in" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before
    saved = States(tmp_path / "left" / "model").newest()
    assert saved is not None
    assert saved["step"] == step
    assert [row["step"] for row in saved["rows"]] == [validated] * bool(validated)
    monkeypatch.undo()
    assert bytes_of(train(sounds, tmp_path / "left").model) == bytes_of(whole[0].model)
