"""Printing what the pods of a TrainJob print: one thread for each pod, which reads again when its stream breaks."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeflow.trainer.backends.base import RuntimeBackend
    from kubeflow.trainer.types.types import Step, TrainJob

KEPT = 100  # last lines of each pod, for the error message where its log cannot be read again
ENDING_SECONDS = 30.0  # the wait for the last lines after the end of the job
QUIET = ("Pending", "Created", "Unknown", None)  # states of pods without a log


class Logs:
    """The logs of a job's pods.

    Args:
        say: prints a line.
    """

    def __init__(self, backend: "RuntimeBackend", job: str, say: Callable[[str], None]) -> None:
        self.backend, self.job, self.say = backend, job, say
        self.on_cluster = hasattr(backend, "core_api")
        self.streams: dict[str, _Stream] = {}  # by pod

    def attend(self, job: "TrainJob") -> None:
        """Follow the log of every running pod whose log is not followed yet."""
        steps = job.steps if self.on_cluster else job.steps[:1]  # the log of the first container has all of them
        for step in steps:
            stream = self.streams.setdefault(step.pod_name, _Stream())
            if step.status in QUIET or (stream.thread is not None and stream.thread.is_alive()):
                continue
            if stream.ended_well and step.status != "Running":
                continue
            stream.thread = threading.Thread(target=self._follow, args=(step, stream), daemon=True)
            stream.thread.start()

    def finish(self) -> None:
        """Wait for the last lines, up to ENDING_SECONDS for each pod."""
        for stream in self.streams.values():
            if stream.thread is not None:
                stream.thread.join(ENDING_SECONDS)

    def tail(self, step: "Step", count: int) -> list[str]:
        """The last lines of a pod, from the cluster, or from what was printed where the cluster has none."""
        try:
            lines = list(_lines(self.backend.get_job_logs(self.job, step=step.name), self.on_cluster))
        except Exception:  # the pod may be gone, and the message is about another failure than this one
            lines = []
        stream = self.streams.get(step.pod_name)
        return _before_torchrun(lines or list(stream.last if stream else ()))[-count:]

    def _follow(self, step: "Step", stream: "_Stream") -> None:
        stream.ended_well = False
        prefix = f"{step.name} | " if self.on_cluster else ""
        try:
            chunks = self.backend.get_job_logs(self.job, follow=True, step=step.name)
            for number, line in enumerate(_lines(chunks, self.on_cluster)):
                if number < stream.seen:  # a broken stream starts again at the first line
                    continue
                stream.seen = number + 1
                stream.last.append(line)
                self.say(f"{prefix}{line}")
            stream.ended_well = True
        except Exception:  # `attend` starts a new thread while the job exists
            return


class _Stream:
    """How much of a pod's log was printed."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.seen, self.last = 0, deque[str](maxlen=KEPT)
        self.ended_well = False


def _before_torchrun(lines: list[str]) -> list[str]:
    """The lines of the processes themselves; torchrun adds a page that only repeats that one of them failed."""
    starts = [row for row, line in enumerate(lines) if "torch/distributed/elastic" in line and "failed (exit" in line]
    return lines[: starts[-1]] if starts and starts[-1] else lines


def _lines(chunks: Iterable[str], whole: bool) -> Iterator[str]:
    """Lines of a log that comes in pieces.

    Args:
        whole: every piece is one line, without a newline

    >>> list(_lines(["a\\nb", "c\\n", "d"], whole=False))
    ['a', 'bc', 'd']
    """
    rest = ""
    for chunk in chunks:
        if whole:
            yield chunk
            continue
        *lines, rest = (rest + chunk).split("\n")
        yield from lines
    if rest:
        yield rest
