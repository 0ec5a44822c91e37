"""The way of one recording: decoded in a process beside, scored in a batch with others, and forgotten."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tagscale.decoding.batch import reason_of, silence
from tagscale.decoding.decode import decode
from tagscale.decoding.opened import AudioError
from tagscale.runtime.machine import cores
from tagscale.runtime.processes import Crew, Lost
from tagscale.serving.server.metrics import Metrics

Answer = dict[str, Any]
Score = Callable[[dict[str, Any]], Awaitable[Answer]]  # asks the process of the models


@dataclass(frozen=True)
class Wanted:
    """What an answer holds beside scores."""

    taggram: bool = False
    embedding: bool = False
    spectrogram: bool = False


@dataclass
class Recording:
    """A recording of a request, on its way.

    name: as the client calls it
    file: its bytes as they came; None where they could not be taken
    error: why it has no scores
    samples, facts: once it is decoded: a file of int16, and what was measured
    """

    name: str
    file: Path | None = None
    error: str | None = None
    samples: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decode:
    """A task of a decoder's process."""

    file: Path
    samples: Path
    longest: float


def decode_to_file(task: Decode) -> dict[str, Any] | str:
    """Decode a file and write its samples; in a process of its own. Returns what was measured, or why there is none."""
    try:
        decoded = decode(task.file, task.longest)
    except AudioError as error:
        return error.reason
    except Exception as error:  # of a library
        return f"could not be decoded ({type(error).__name__}: {error})"
    decoded.samples.tofile(task.samples)
    return {name: value for name, value in vars(decoded).items() if name != "samples"}


class Work:
    """Decodes and scores recordings.

    Args:
        score: asks the models; a slot's name is in its argument
        longest: seconds of a recording, at most
        patience: seconds after which a decoder counts as hanging
    """

    def __init__(self, score: Score, metrics: Metrics, longest: float, patience: float) -> None:
        self.score, self.metrics, self.longest, self.patience = score, metrics, longest, patience
        self.crew = Crew(decode_to_file, cores(), prepare=silence)
        self.threads = ThreadPoolExecutor(cores(), thread_name_prefix="decode")  # one waits for each process
        self.asked: dict[asyncio.Task[Answer], float] = {}

    def stop(self) -> None:
        self.crew.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)

    @property
    def oldest(self) -> float:
        """Seconds for which the models have owed an answer."""
        return time.monotonic() - min(self.asked.values(), default=time.monotonic())

    async def hear(self, recording: Recording, slot: str, wanted: Wanted) -> Answer:
        """What the slot's version says of a recording; an error has its reason, and no other recording suffers."""
        self.metrics.waiting.inc()
        try:
            if recording.error is None and recording.samples is None:
                await self._decode(recording)
            if recording.error is not None:
                self.metrics.items.labels("error").inc()
                return {"error": recording.error}
            answer = await self.ask(recording, slot, wanted)
            self.metrics.scored(answer)
            return answer
        finally:
            self.metrics.waiting.dec()

    async def ask(self, recording: Recording, slot: str, wanted: Wanted) -> Answer:
        """Have a decoded recording scored. What was asked stays asked, even when whoever waits gives up."""
        request = {"samples": str(recording.samples), "facts": recording.facts, "slot": slot} | vars(wanted)
        task = asyncio.ensure_future(self.score(request))
        self.asked[task] = time.monotonic()
        task.add_done_callback(self._answered)
        return dict(await asyncio.shield(task))

    def _answered(self, task: asyncio.Task[Answer]) -> None:
        del self.asked[task]
        if not task.cancelled() and task.exception() is None and (batch := task.result().pop("batch", None)):
            self.metrics.batches.observe(batch)

    async def _decode(self, recording: Recording) -> None:
        assert recording.file is not None
        samples = recording.file.with_suffix(".pcm")
        ask = partial(self.crew.ask, Decode(recording.file, samples, self.longest), self.patience)
        answer = await asyncio.get_running_loop().run_in_executor(self.threads, ask)
        if isinstance(answer, Lost):
            recording.error = reason_of(answer)
        elif isinstance(answer, str):
            recording.error = answer
        else:
            recording.samples, recording.facts = samples, answer
