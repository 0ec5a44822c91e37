"""What was served, as rows in a folder; and the shadow, which hears the same recordings afterwards.

    FOLDER/lead/*.parquet    rows of the versions that answered (`serving.rows`), also of what could not be tagged
    FOLDER/shadow/*.parquet  rows of the shadow, of the same recordings under the same paths
    FOLDER/models/*.json     what GET /models says of these versions, each in a file named by its sha256
    FOLDER/times/*.parquet   path, role, when (UTC) and seconds from asking the models to their answer

Several servers may record into one folder: no file is written by two of them.

The shadow neither delays nor changes an answer: its process steps back for others, and where too many recordings wait
for it, the next ones are dropped and counted.
"""

import asyncio
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tagscale.runtime.files import link_or_copy, read_json, replacing, write_json
from tagscale.serving.server.lineup import LEAD, SHADOW, State
from tagscale.serving.server.metrics import Metrics
from tagscale.serving.server.work import Answer, Recording, Scoring, Wanted

logger = logging.getLogger(__name__)

PART_ROWS, PART_SECONDS = 500, 30.0  # a part is written when it has so many rows, or after so long
WAITING = 64  # recordings that may wait for the shadow; 8 minutes of samples take 15 MB
MODELS = "models"
AT_ONCE = 4  # of them are in work
Rows = dict[tuple[str, str], list[dict[str, Any]]]  # by role and version


class Log:
    """Collects rows, and writes them as parts of Parquet into a folder."""

    def __init__(self, folder: Path, state: State) -> None:
        self.folder, self.state, self.since = folder, state, time.monotonic()
        self.rows: Rows = defaultdict(list)
        self.times: list[dict[str, Any]] = []
        self.models: dict[str, dict[str, Any]] = {}  # by sha256: all that were loaded when something was answered

    def add(self, role: str, path: str, answer: Answer, seconds: float | None) -> None:
        """Add what was answered for a recording."""
        self.models |= {model["sha256"]: model for model in self.state.loaded()}
        self.rows[role, answer["sha256"]].append({"path": path} | answer)
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.times.append({"path": path, "role": role, "when": when, "seconds": seconds})

    @property
    def is_due(self) -> bool:
        return len(self.times) >= PART_ROWS or bool(self.times and time.monotonic() - self.since > PART_SECONDS)

    def flush(self) -> None:
        """Write what is there."""
        self.write(*self.take())

    def take(self) -> tuple[Rows, list[dict[str, Any]]]:
        """The rows and times of the next part, in the thread that adds them."""
        rows, times = self.rows, self.times
        self.rows, self.times, self.since = defaultdict(list), [], time.monotonic()
        return rows, times

    def write(self, rows: Rows, times: list[dict[str, Any]]) -> None:
        """Write a part, in any thread. One that cannot be written is lost, and the log says so."""
        try:
            self._write(rows, times)
        except Exception:  # of the disk, or of a library
            logger.exception("%s: %d rows of what was served are lost", self.folder, len(times))

    def _write(self, rows: Rows, times: list[dict[str, Any]]) -> None:
        import pandas as pd

        from tagscale.serving.rows import write_rows

        for (role, _), answers in rows.items():
            records = [_row(answer).record() for answer in answers]
            tags: list[str] = next((list(answer["scores"]) for answer in answers if "scores" in answer), [])
            write_rows(self._part(role), records, tags)
        if times:
            for digest, model in self.models.items():
                self._write_model(self.folder / MODELS / f"{digest}.json", model)
            with replacing(self._part("times")) as fresh:
                pd.DataFrame(times).astype({"seconds": float}).to_parquet(fresh, index=False)

    def _write_model(self, file: Path, model: dict[str, Any]) -> None:
        """Write what is known of a version, unless it stands there; equal of all servers that write it."""
        with suppress(OSError, ValueError):
            if read_json(file)["tags"] == model["tags"]:
                return
        write_json(file, model, durable=False)

    def _part(self, kind: str) -> Path:
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{time.time_ns()}-{uuid.uuid4().hex[:12]}.parquet"


def _row(answer: Answer) -> Any:
    from tagscale.serving.rows import FACTS, Row

    decisions, facts = answer.get("decisions", {}), answer.get("facts", {})
    return Row(
        **{name: answer[name] for name in ("path", "model", "version", "sha256")},
        **{name: facts.get(fact) for name, fact in FACTS.items()},
        error=answer.get("error"),
        warnings=answer.get("warnings", []),
        tags=[tag for tag, decision in decisions.items() if decision["decided"]],
        scores=answer.get("scores", {}),
        probabilities={tag: decision["probability"] for tag, decision in decisions.items()},
    )


@dataclass(frozen=True)
class _Heard:
    """A recording for the shadow; its samples are a file of its own."""

    path: str
    recording: Recording


class Served:
    """What follows an answer: it is recorded, and the shadow hears the recording.

    Args:
        log: None: nothing is recorded
        shadow: asks the shadow's process; None: there is none
        slot: the shadow's name
        folder: for samples that wait for it
    """

    def __init__(self, log: Log | None, shadow: Scoring | None, slot: str, folder: Path, metrics: Metrics) -> None:
        self.log, self.shadow, self.slot, self.folder, self.metrics = log, shadow, slot, folder, metrics
        self.waiting: asyncio.Queue[_Heard] = asyncio.Queue(WAITING)

    def answered(self, recordings: Sequence[Recording], answers: Sequence[Answer], of: dict[str, Any]) -> None:
        """Take up a request of the lead that is answered.

        Args:
            of: the version that answered, as GET /models says it
        """
        if self.log:
            self.log.models[of["sha256"]] = of  # it may have been replaced meanwhile
        for recording, answer in zip(recordings, answers, strict=True):
            path = f"{uuid.uuid4().hex[:12]}/{recording.name}"
            if self.log:
                self.log.add(LEAD, path, {**of, **answer}, recording.scored)
            if self.shadow and "error" not in answer:
                self._offer(path, recording)

    def _offer(self, path: str, recording: Recording) -> None:
        if self.waiting.full() or recording.samples is None:
            self.metrics.shadow.labels("dropped").inc()
            return
        samples = self.folder / f"{uuid.uuid4().hex}.pcm"
        link_or_copy(recording.samples, samples)  # the request's folder goes
        own = Recording(recording.name, samples=samples, facts=recording.facts)
        self.waiting.put_nowait(_Heard(path, own))
        self.metrics.shadow_waiting.inc()

    async def run(self) -> None:
        """Hear what waits, and write parts, for ever."""
        await asyncio.gather(self._write(), *(self._hear() for _ in range(AT_ONCE if self.shadow else 0)))

    async def _hear(self) -> None:
        assert self.shadow is not None
        while True:
            heard = await self.waiting.get()
            began = time.perf_counter()
            try:
                answer = await self.shadow.ask(heard.recording, self.slot, Wanted())
            except Exception as error:  # of its process; the next one may do better
                answer = {"error": repr(error)}
            outcome = "error" if "error" in answer else "heard"
            self.metrics.shadow.labels(outcome).inc()
            if self.log and "sha256" in answer:
                self.log.add(SHADOW, heard.path, answer, time.perf_counter() - began)
            if heard.recording.samples:
                heard.recording.samples.unlink(missing_ok=True)
            self.metrics.shadow_waiting.dec()

    async def _write(self) -> None:
        while True:
            await asyncio.sleep(1)
            if self.log and self.log.is_due:
                await asyncio.to_thread(self.log.write, *self.log.take())

    def end(self) -> None:
        if self.log:
            self.log.flush()
