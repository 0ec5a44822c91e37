"""The way of one recording: decoded in a process beside, scored in a batch with others, and forgotten.

A long one is scored in turns, and waits in the queue anew before each, so others have theirs between them.
"""

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
from tagscale.runtime.processes import ATTEMPTS, Crew, Lost
from tagscale.serving.server.lineup import State
from tagscale.serving.server.metrics import Metrics

LOOK_SECONDS = 1.0  # between two looks whether a process of models is another
Answer = dict[str, Any]
MORE: Answer = {"more": True}  # of a recording that is heard in several turns: it has to be asked again
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
    scored: seconds from asking the models to their answer
    """

    name: str
    file: Path | None = None
    error: str | None = None
    samples: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    scored: float | None = None


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


class Scoring:
    """Asks a process of models, and asks again where it dies.

    Args:
        score: asks it once
        state: of the server; tells when another process has taken the place
        process: its name there
        count: takes the size of each batch
    """

    def __init__(
        self, score: Score, state: State, process: str, count: Callable[[int], Any] = lambda size: None
    ) -> None:
        self.score, self.state, self.process, self.count = score, state, process, count
        self.asked: dict[asyncio.Task[Answer], float] = {}

    @property
    def oldest(self) -> float:
        """Seconds for which an answer has been owed."""
        now = time.monotonic()
        return now - min(self.asked.values(), default=now)

    async def watch(self) -> None:
        """Notice, for ever, when a new process has taken the place of one that died, which answers no more."""
        present = None
        while True:
            number = self.state.process(self.process)
            if number != present and present is not None:
                for task in self.asked:
                    task.cancel()
            present = number
            await asyncio.sleep(LOOK_SECONDS)

    async def ask(self, recording: Recording, slot: str, wanted: Wanted) -> Answer:
        """Have a decoded recording scored, in as many turns as the models give it.

        What was asked stays asked, even when whoever waits gives up.
        """
        request = {"samples": str(recording.samples), "facts": recording.facts, "slot": slot} | vars(wanted)
        attempts = 0
        while attempts < ATTEMPTS:
            task = asyncio.ensure_future(self.score(request))
            self.asked[task] = time.monotonic()
            task.add_done_callback(self._answered)
            await asyncio.wait([task])
            if task.cancelled():  # by `watch`; the next process begins anew
                attempts += 1
            elif "more" not in (answer := task.result()):
                return answer
        return {"error": "the process of the models ended while it was scored"}

    def _answered(self, task: asyncio.Task[Answer]) -> None:
        del self.asked[task]
        if not task.cancelled() and task.exception() is None and (size := task.result().pop("batch", None)):
            self.count(size)


class Work:
    """Decodes recordings, and has them scored.

    Args:
        decoders: processes that decode; they start when they are needed
        longest: seconds of a recording, at most
        patience: seconds after which a decoder counts as hanging
    """

    def __init__(self, scoring: Scoring, metrics: Metrics, decoders: int, longest: float, patience: float) -> None:
        self.scoring, self.metrics, self.longest, self.patience = scoring, metrics, longest, patience
        self.crew = Crew(decode_to_file, decoders, prepare=silence)
        self.threads = ThreadPoolExecutor(decoders, thread_name_prefix="decode")  # one waits for each process

    def stop(self) -> None:
        self.crew.stop()
        self.threads.shutdown(wait=False, cancel_futures=True)

    async def hear(self, recording: Recording, slot: str, wanted: Wanted) -> Answer:
        """What the slot's version says of a recording; an error has its reason, and no other recording suffers."""
        self.metrics.waiting.inc()
        try:
            if recording.error is None and recording.samples is None:
                await self._decode(recording)
            if recording.error is not None:
                answer: Answer = {"error": recording.error}
            else:
                began = time.perf_counter()
                answer = await self.scoring.ask(recording, slot, wanted)
                recording.scored = time.perf_counter() - began
            self.metrics.answered(answer)
            return answer
        finally:
            self.metrics.waiting.dec()

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
