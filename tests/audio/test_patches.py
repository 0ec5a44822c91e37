"""Patches: right places, right sounds, the same for any number of workers."""

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tagscale.audio.loading import StepOrder, TrainingLoader, epoch_steps, loader
from tagscale.audio.patches import Patches, RandomPatches, SpacedPatches, Windows, to_wave, window_count
from tagscale.runtime.errors import TagscaleError


class Ramps:
    """A store whose sample i of track r has the value 1000 r + i: every patch says where it comes from."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = {f"t{row}": length for row, length in enumerate(lengths)}
        self.most_read = 0

    def samples(self, track_id: str) -> int:
        return self.lengths[track_id]

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        assert start >= 0
        assert start + count <= self.lengths[track_id]
        self.most_read = max(self.most_read, count)
        return (1000 * int(track_id[1:]) + np.arange(start, start + count)).astype(np.int16)

    @property
    def tracks(self) -> list[str]:
        return list(self.lengths)


def labels_of(count: int) -> np.ndarray:
    return np.arange(count * 2, dtype=np.float32).reshape(count, 2)


def random_patches(store: Ramps, patch: int = 10, per_track: int = 2, seed: int = 0) -> RandomPatches:
    return RandomPatches(store, store.tracks, labels_of(len(store.tracks)), patch, per_track, seed)


def epoch_of(patches: RandomPatches, epoch: int, workers: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    batches = loader(patches, batch=4, workers=workers, pin_memory=False)
    assert isinstance(batches, TrainingLoader)
    steps = epoch_steps(len(patches), 4)
    return list(islice(batches.steps_from(epoch * steps), steps))


def test_a_batch_has_its_tracks_labels_and_neighbouring_samples() -> None:
    store = Ramps([50, 60, 70, 80])
    (waves, labels), (more, _) = epoch_of(random_patches(store), epoch=0)
    assert waves.dtype == torch.int16
    assert waves.shape == more.shape == (4, 10)
    assert labels.dtype == torch.float32
    rows = waves[:, 0].long() // 1000
    assert torch.equal(labels, torch.from_numpy(labels_of(4))[rows])
    assert torch.equal(waves - waves[:, :1], torch.arange(10).expand(4, 10).short())
    assert store.most_read == 10, "no more than the patch is read"


def test_every_track_gives_its_patches_once_an_epoch() -> None:
    patches = random_patches(Ramps([50] * 6), per_track=2)
    rows = torch.cat([waves[:, 0] // 1000 for waves, _ in epoch_of(patches, epoch=3)])
    assert sorted(rows.tolist()) == sorted(list(range(6)) * 2)


def test_places_follow_from_seed_and_epoch_and_nothing_else() -> None:
    def places(seed: int, epoch: int, workers: int = 0) -> list[list[int]]:
        return [
            waves[:, 0].tolist() for waves, _ in epoch_of(random_patches(Ramps([900] * 8), seed=seed), epoch, workers)
        ]

    assert places(1, 5) == places(1, 5) == places(1, 5, workers=2)
    assert places(1, 5) != places(1, 6)
    assert places(1, 5) != places(2, 5)


def test_a_tracks_places_do_not_depend_on_the_tracks_after_it() -> None:
    """Nested training subsets: the smaller one's patches are among the larger one's."""
    few, many = random_patches(Ramps([900] * 4)), random_patches(Ramps([900] * 9))
    items = np.arange(8)
    np.testing.assert_array_equal(few.places(items)[1], many.places(items)[1])


def test_random_places_reach_both_ends() -> None:
    patches = random_patches(Ramps([13] * 200), per_track=1)
    assert set(patches.places(np.arange(200))[1].tolist()) == {0, 1, 2, 3}


def test_a_short_track_is_repeated() -> None:
    wave, _ = random_patches(Ramps([4]), patch=10, per_track=1).__getitems__([0])
    assert wave[0].tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_training_leaves_out_a_smaller_last_batch_but_not_an_only_one() -> None:
    nine, three = random_patches(Ramps([50] * 9), per_track=1), random_patches(Ramps([50] * 3), per_track=1)
    assert [len(waves) for waves, _ in epoch_of(nine, 0)] == [4, 4]
    assert [len(waves) for waves, _ in epoch_of(three, 0)] == [3]


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    patch=st.integers(1, 20),
    hop=st.integers(1, 30),
)
def test_windows_cover_every_track_from_start_to_end(lengths: list[int], patch: int, hop: int) -> None:
    store = Ramps(lengths)
    windows = Windows(store, store.tracks, np.arange(len(lengths)), patch, hop)
    rows, starts = windows.places(np.arange(len(windows)))
    for row, length in enumerate(lengths):
        expected = [*range(0, max(length - patch, 0), hop), max(length - patch, 0)]
        assert starts[rows == row].tolist() == expected
    assert len(windows) == window_count(np.array(lengths), patch, hop).sum()


def test_windows_carry_their_tracks_row_across_batches() -> None:
    store = Ramps([25, 10, 4, 31])
    windows = Windows(store, store.tracks, np.arange(4), 10, 10)
    batches = list(loader(windows, batch=3, workers=0, pin_memory=False))
    assert torch.cat([rows for _, rows in batches]).tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 3]
    assert all(torch.equal(waves[:, 0] // 1000, rows.short()) for waves, rows in batches)


def test_spaced_patches_are_the_middles_of_equal_sections() -> None:
    store = Ramps([70, 10, 5])
    patches = SpacedPatches(store, store.tracks, labels_of(3), 10, per_track=3)
    rows, starts = patches.places(np.arange(len(patches)))
    assert rows.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert starts.tolist() == [10, 30, 50, 0, 0, 0, 0, 0, 0]
    assert [len(waves) for waves, _ in loader(patches, batch=4, workers=0, pin_memory=False)] == [4, 4, 1]


def test_to_wave_is_in_minus_one_to_one() -> None:
    wave = to_wave(torch.tensor([-32768, 0, 16384, 32767], dtype=torch.int16))
    assert wave.dtype == torch.float32
    assert wave.tolist() == [-1.0, 0.0, 0.5, 32767 / 32768]


def test_a_track_that_the_store_lacks_is_named() -> None:
    with pytest.raises(TagscaleError, match="1 of 2 tracks are not in the store, the first is 't9'"):
        Windows(Ramps([5]), ["t0", "t9"], np.arange(2), 5, 5)


def training(rank: int = 0, world: int = 1, workers: int = 0, batch: int = 4) -> TrainingLoader:
    patches = random_patches(Ramps([900] * 13), per_track=2, seed=3)
    batches = loader(patches, batch, workers, False, rank, world)
    assert isinstance(batches, TrainingLoader)
    return batches


def bytes_from(batches: TrainingLoader, step: int = 0) -> list[bytes]:
    """The batches from a step on, to the end of three epochs."""
    assert isinstance(batches.batch_sampler, StepOrder)
    steps = islice(batches.steps_from(step), 3 * batches.batch_sampler.epoch_steps - step)
    return [waves.numpy().tobytes() + labels.numpy().tobytes() for waves, labels in steps]


@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_training_resumes_with_the_batches_that_would_have_come(workers: int, world: int) -> None:
    for rank in range(world):
        batches = training(rank, world, workers)
        expected, per_epoch = bytes_from(training(rank, world)), epoch_steps(26, 4 * world)
        assert len(set(expected)) == 3 * per_epoch
        for stop in (0, 1, per_epoch - 1, per_epoch, per_epoch + 1, 2 * per_epoch + 2):
            assert bytes_from(batches, stop) == expected[stop:]


def test_shares_are_disjoint_equal_and_together_one_large_batch() -> None:
    """Six batches of four in an epoch of 26: one process's, and those of four processes with a patch each."""
    patches = random_patches(Ramps([900] * 13), per_track=2)
    whole, shares = StepOrder(patches, 4), [StepOrder(patches, 1, rank, 4) for rank in range(4)]
    for order in (whole, *shares):
        assert order.epoch_steps == 6
        order.first = 5 * 6
    steps, parts = list(islice(whole, 6)), [list(islice(share, 6)) for share in shares]
    for step, *own in zip(steps, *parts, strict=True):
        assert step == [item for items in own for item in items]
    expected = np.random.default_rng([0, 5, 1]).permutation(26) + 5 * 26  # as ever for one process
    assert [item for step in steps for item in step] == expected[:24].tolist()


def test_fewer_patches_than_a_batch_are_one_step_of_an_epoch() -> None:
    order = StepOrder(random_patches(Ramps([900] * 3), per_track=1), 4)
    assert [sorted(item % 3 for item in step) for step in islice(order, 3)] == [[0, 1, 2]] * 3


def test_shares_of_windows_leave_nothing_out() -> None:
    store = Ramps([25, 10, 4, 31])
    windows = Windows(store, store.tracks, np.arange(4), 10, 10)
    shares = [loader(windows, batch=2, workers=0, pin_memory=False, rank=rank, world=4) for rank in range(4)]
    assert torch.cat([rows for share in shares for _, rows in share]).tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 3]


def test_too_many_processes() -> None:
    with pytest.raises(TagscaleError, match="2 training patches for 3 processes"):
        loader(random_patches(Ramps([50]), per_track=2), 1, 0, False, 0, 3)


def test_targets_of_another_number_of_tracks_are_refused() -> None:
    with pytest.raises(ValueError, match="1 tracks, but 2 rows"):
        Patches(Ramps([5]), ["t0"], labels_of(2), 5)
