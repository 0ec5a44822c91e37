"""The process that holds the models: its batches, and the versions that it takes up."""

import base64
import queue
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from registry.tiny import song, tiny_tagger
from tagscale.decoding.decode import decode_samples
from tagscale.registry.scorers import result_of
from tagscale.registry.tags import Tags
from tagscale.runtime.errors import TagscaleError
from tagscale.serving.server.held import Held, spectrogram
from tagscale.serving.server.lineup import BESIDE, LEAD, Slot, State
from tagscale.serving.server.model import Models, WaitingLoop
from tagscale.serving.server.work import MORE


class Queue:
    """LitServe's queue of requests: every look at it costs a message to another process. looks: how many there were."""

    def __init__(self) -> None:
        self.inner, self.looks = queue.Queue[Any](), 0

    def get(self, timeout: float) -> Any:
        self.looks += 1
        return self.inner.get(timeout=timeout)

    def get_nowait(self) -> Any:
        self.looks += 1
        return self.inner.get_nowait()


class Api:
    max_batch_size, batch_timeout, request_timeout, stream = 4, 0, 60, False


@dataclass
class Tagger:
    slot: Slot

    def __post_init__(self) -> None:
        if self.slot.version == "damaged":
            raise TagscaleError("its weights are damaged")

    def about(self) -> dict[str, str]:
        return asdict(self.slot)


def test_a_version_that_cannot_be_loaded_holds_up_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def slots(lead: str, beside: str) -> list[Slot]:
        roles = {"champion": (LEAD, lead), "challenger": (BESIDE, beside)}
        return [Slot(name, role, "tagger", version, "") for name, (role, version) in roles.items()]

    models = Models(tmp_path, "models", (LEAD, BESIDE), 2)
    models.state, models.hold = State(tmp_path), Tagger
    models.taggers = {slot.name: Tagger(slot) for slot in slots("1", "2")}
    models.state.set_slots(slots("damaged", "3"))
    assert not models._take_up()
    assert [one["version"] for one in State(tmp_path).loaded()] == ["1", "3"]
    assert "tagger/damaged could not be loaded; the one before stays: its weights are damaged" in caplog.text
    models.state.set_slots(slots("4", "3"))
    assert models._take_up()
    assert [one["version"] for one in State(tmp_path).loaded()] == ["4", "3"]


def test_an_idle_loop_sleeps_and_a_batch_is_what_waits() -> None:
    loop, requests = WaitingLoop(), Queue()
    assert loop.get_batch_requests(Api(), requests, None) == ([], [])
    assert requests.looks == 1
    for number in range(6):
        requests.inner.put((0, f"{number}", time.monotonic(), number))
    batches = [loop.get_batch_requests(Api(), requests, None)[0] for _ in range(2)]
    assert [[content for _, _, content in batch] for batch in batches] == [[0, 1, 2, 3], [4, 5]]
    requests.inner.put((0, "late", time.monotonic() - 61, 6))
    assert loop.get_batch_requests(Api(), requests, None) == ([], [(0, "late")])


def test_a_long_recording_is_heard_in_turns_between_which_others_have_theirs(tmp_path: Path) -> None:
    tagger = tiny_tagger()
    tagger.save(tmp_path / "tagger")
    held = Held(Slot("champion", LEAD, "tagger", "1", str(tmp_path / "tagger")))
    held.turn_seconds = 4
    decoded = {"long": decode_samples(song(1, 9.0), 16_000), "short": decode_samples(song(2), 16_000)}

    def request(name: str, **more: bool) -> dict[str, Any]:
        decoded[name].samples.tofile(tmp_path / name)
        facts = {key: value for key, value in vars(decoded[name]).items() if key != "samples"}
        wanted = {"taggram": False, "embedding": False, "spectrogram": False} | more
        return {"samples": str(tmp_path / name), "facts": facts, "slot": "champion"} | wanted

    for course in (False, True):
        long, short = request("long", taggram=course, embedding=True), request("short")
        first, other = held.answer([long, short])
        assert (first, list(other["scores"].values())) == (MORE, tagged(tagger.hear([decoded["short"]])))
        turns = 1
        while (answer := held.answer([long])[0]) == MORE:
            turns += 1
        assert turns >= 4
        assert list(answer["scores"].values()) == tagged(tagger.hear([decoded["long"]]))
        assert answer["embedding"] == pytest.approx(tagger.scorer.embed(decoded["long"].samples), abs=1e-4)
        assert ("taggram" in answer) == course
    times, scores = tagger.scorer.windows(decoded["long"].samples)
    assert answer["taggram"]["times"] == times.tolist()
    np.testing.assert_allclose(list(answer["taggram"]["scores"].values()), scores.T, atol=1e-5)

    assert held.answer([long]) == [MORE]
    (tmp_path / "long").unlink()  # whoever asked has left
    held.answer([short])
    assert not held.begun
    silence = decode_samples(np.zeros(160_000, np.int16), 16_000)
    decoded["long"] = silence
    assert "silent" in held.answer([request("long", taggram=True)])[0]["error"]
    (failed,) = held.answer([request("long", taggram=True) | {"facts": {"source_seconds": 10.0}}])
    assert "could not be scored" in failed["error"]


def test_a_spectrogram_comes_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = song(1, 9.0)
    whole = result_of(spectrogram(samples))
    assert whole["columns"] == 9 * 16_000 // 256
    monkeypatch.setattr("tagscale.serving.server.held.PICTURE_SECONDS", 2)
    assert len(list(spectrogram(samples))) == 5
    parts = result_of(spectrogram(samples))
    levels, others = (np.frombuffer(base64.b64decode(one.pop("data")), np.uint8).astype(int) for one in (whole, parts))
    assert parts == whole
    np.testing.assert_allclose(others, levels, atol=1)
    assert np.ptp(levels) == 255


def tagged(tags: list[Tags]) -> list[Any]:
    return [pytest.approx(score, abs=1e-5) for score in tags[0].scores.values()]
