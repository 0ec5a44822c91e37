"""Moving-window scores against a loop over windows."""

import numpy as np
import pytest
import torch

from tagscale.audio.patches import Batch, Windows
from tagscale.evaluation import predict as module
from tagscale.evaluation.predict import predict, scores_of_recordings
from tagscale.models.build import Architecture, build
from tagscale.runtime.errors import TagscaleError

CAPACITY = {"width": 1 / 16, "filters": 4, "units": 5, "dropout": 0.5}
ARCHITECTURE = Architecture("spectrogram", CAPACITY, ("jazz", "energy"), ("classification", "regression"), 0.5)
LENGTHS = {"long": 30_000, "odd": 17_777, "exact": 8_000, "short": 5_000}
HOP = 0.2
TOLERANCE = 1e-5  # of a score: sums of float32 differ in their last bits between batch sizes


class Songs(dict[str, np.ndarray]):
    def samples(self, track_id: str) -> int:
        return len(self[track_id])

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        return self[track_id][start : start + count]


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = build(ARCHITECTURE)
    with torch.no_grad():  # spread the scores, so that an error in their mean shows
        model.get_submodule("backend.output").weight.mul_(20)
    return model


@pytest.fixture(scope="module")
def songs() -> Songs:
    random = np.random.default_rng(0)
    return Songs({name: random.integers(-9000, 9000, length, dtype=np.int16) for name, length in LENGTHS.items()})


@torch.inference_mode()
def brute_force(model: torch.nn.Module, samples: np.ndarray, patch: int = 8_000) -> np.ndarray:
    """One window at a time."""
    hop = round(HOP * 16_000)
    samples = np.resize(samples, max(len(samples), patch))
    starts = [*range(0, len(samples) - patch, hop), len(samples) - patch]
    model.eval()
    windows = [torch.from_numpy(samples[start : start + patch]).float()[None] / 32768 for start in starts]
    return torch.cat([model(window).sigmoid() for window in windows]).mean(dim=0).numpy()


@pytest.mark.parametrize("batch_seconds", [0.5, 1.5, 200])
def test_the_mean_over_the_window_whatever_the_batches(
    model: torch.nn.Module, songs: Songs, batch_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH_SECONDS", batch_seconds)
    found = predict(model.train(), ARCHITECTURE, songs, list(songs), HOP)
    assert found.index.tolist() == list(songs)
    assert found.columns.tolist() == ["jazz", "energy"]
    assert (found.dtypes == np.float32).all()
    assert found["jazz"].std() > 1e-3
    for track in songs:
        np.testing.assert_allclose(found.loc[track], brute_force(model, songs[track]), atol=TOLERANCE)


@pytest.mark.parametrize("seconds", [0.13, 0.4, 1.0, 2.0])
def test_windows_of_another_length_than_the_patches(model: torch.nn.Module, songs: Songs, seconds: float) -> None:
    found = predict(model, ARCHITECTURE, songs, list(songs), HOP, window_seconds=seconds)
    for track in songs:
        expected = brute_force(model, songs[track], round(seconds * 16_000))
        np.testing.assert_allclose(found.loc[track], expected, atol=TOLERANCE)
    alone = scores_of_recordings(model, ARCHITECTURE, [songs["odd"]], HOP, window_seconds=seconds)[0]
    np.testing.assert_allclose(alone, found.loc["odd"], atol=TOLERANCE)


def test_a_window_shorter_than_the_model_can_take_is_refused(model: torch.nn.Module, songs: Songs) -> None:
    told = r"evaluate.window_seconds: found 0.1, .* at least 2048 samples \(0.13 s\).* null for the patches of 0.5 s"
    with pytest.raises(TagscaleError, match=told):
        predict(model, ARCHITECTURE, songs, list(songs), HOP, window_seconds=0.1)


def test_a_device_with_little_memory_gets_smaller_batches(
    model: torch.nn.Module, songs: Songs, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, forward, taken = predict(model, ARCHITECTURE, songs, list(songs), HOP), model.forward, []

    def little(wave: torch.Tensor) -> torch.Tensor:
        if len(wave) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        taken.append(len(wave))
        return forward(wave)

    monkeypatch.setattr(model, "forward", little)
    np.testing.assert_allclose(predict(model, ARCHITECTURE, songs, list(songs), HOP), expected, atol=TOLERANCE)
    assert max(taken) > 1

    def none(wave: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "forward", none)
    with pytest.raises(torch.OutOfMemoryError):
        predict(model, ARCHITECTURE, songs, list(songs), HOP)


def test_no_more_is_read_ahead_than_a_few_batches(songs: Songs, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the catalogue, memory holds the present batch and those that the readers are at."""
    reads: list[int] = []

    class Counted(Windows):
        def __getitems__(self, items: list[int]) -> Batch:
            reads.append(items[0])
            return super().__getitems__(items)

    windows = Counted(songs, list(songs), np.arange(4), 8_000, 100)
    batches = module._read_ahead(windows, 2, pin_memory=False)
    for done in range(1, 6):
        _, rows = next(batches)
        assert rows.tolist() == [0, 0]
        assert len(reads) <= done + module.READERS
    batches.close()
    assert len(reads) <= 5 + module.READERS


def test_an_error_while_reading_ahead_reaches_the_caller(model: torch.nn.Module, songs: Songs) -> None:
    class Cut(Songs):
        def read(self, track_id: str, start: int, count: int) -> np.ndarray:
            raise TagscaleError("shard-00000.bin: the file was cut")

    with pytest.raises(TagscaleError, match="the file was cut"):
        predict(model, ARCHITECTURE, Cut(songs), list(songs), HOP)


@pytest.mark.parametrize("track", LENGTHS)
def test_one_recording_scores_as_it_does_among_others(model: torch.nn.Module, songs: Songs, track: str) -> None:
    scores = scores_of_recordings(model, ARCHITECTURE, [songs[track]], HOP)[0]
    assert scores.shape == (2,)
    np.testing.assert_allclose(scores, predict(model, ARCHITECTURE, songs, list(songs), HOP).loc[track], atol=TOLERANCE)
    as_floats = songs[track].astype(np.float32) / 32768
    np.testing.assert_allclose(scores_of_recordings(model, ARCHITECTURE, [as_floats], HOP)[0], scores, atol=1e-7)


def test_no_tracks_give_an_empty_table(model: torch.nn.Module, songs: Songs) -> None:
    assert predict(model, ARCHITECTURE, songs, [], HOP).shape == (0, 2)


def test_a_track_outside_the_store_is_named(model: torch.nn.Module, songs: Songs) -> None:
    with pytest.raises(TagscaleError, match="1 of 2 tracks are not in the store, the first is 'gone'"):
        predict(model, ARCHITECTURE, songs, ["long", "gone"], HOP)


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros((2, 100)), np.full(100, np.nan)])
def test_what_is_no_recording_is_refused(model: torch.nn.Module, samples: np.ndarray) -> None:
    with pytest.raises(TagscaleError, match="mono recording"):
        scores_of_recordings(model, ARCHITECTURE, [samples], HOP)[0]
