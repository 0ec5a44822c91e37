"""What the pods of a TrainJob print, as they print it: a thread for each, which begins again when its stream breaks."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubeflow.trainer.backends.base import RuntimeBackend
    from kubeflow.trainer.types.types import Step, TrainJob

KEPT = 100  # last lines of each pod, for when its log cannot be read again
ENDING_SECONDS = 30.0  # for the last lines to arrive after the job has ended
QUIET = ("Pending", "Created", "Unknown", None)  # states of pods that have nothing to say


class Logs:
    """The logs of a job's pods.

    Args:
        say: prints a line
    """

    def __init__(self, backend: "RuntimeBackend", job: str, say: Callable[[str], None]) -> None:
        self.backend, self.job, self.say = backend, job, say
        self.on_cluster = hasattr(backend, "core_api")
        self.streams: dict[str, _Stream] = {}  # by pod

    def attend(self, job: "TrainJob") -> None:
        """Listen to every pod that runs and is not listened to."""
        steps = job.steps if self.on_cluster else job.steps[:1]  # containers are shown all by the first
        for step in steps:
            stream = self.streams.setdefault(step.pod_name, _Stream())
            if step.status in QUIET or (stream.thread is not None and stream.thread.is_alive()):
                continue
            if stream.ended_well and step.status != "Running":
                continue
            stream.thread = threading.Thread(target=self._listen, args=(step, stream), daemon=True)
            stream.thread.start()

    def finish(self) -> None:
        """Wait a while for the last lines."""
        for stream in self.streams.values():
            if stream.thread is not None:
                stream.thread.join(ENDING_SECONDS)

    def tail(self, step: "Step", count: int) -> list[str]:
        """The last lines of a pod, as the cluster has them, or as they were heard."""
        try:
            told = list(_lines(self.backend.get_job_logs(self.job, step=step.name), self.on_cluster))
        except Exception:  # the pod may be gone; whatever it is, the message is about another failure
            told = []
        heard = self.streams.get(step.pod_name)
        return _before_torchrun(told or list(heard.last if heard else ()))[-count:]

    def _listen(self, step: "Step", stream: "_Stream") -> None:
        stream.ended_well = False
        prefix = f"{step.name} | " if self.on_cluster else ""
        try:
            chunks = self.backend.get_job_logs(self.job, follow=True, step=step.name)
            for number, line in enumerate(_lines(chunks, self.on_cluster)):
                if number < stream.seen:  # the log is read from its beginning again
                    continue
                stream.seen = number + 1
                stream.last.append(line)
                self.say(f"{prefix}{line}")
            stream.ended_well = True
        except Exception:  # `attend` begins again, for as long as the job is there
            return


class _Stream:
    """How far a pod's log was heard."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.seen, self.last = 0, deque[str](maxlen=KEPT)
        self.ended_well = False


def _before_torchrun(lines: list[str]) -> list[str]:
    """What the processes themselves printed last; torchrun adds a page that says no more than that one failed."""
    ends = [row for row, line in enumerate(lines) if "torch/distributed/elastic" in line and "failed (exit" in line]
    return lines[: ends[-1]] if ends and ends[-1] else lines


def _lines(chunks: Iterable[str], whole: bool) -> Iterator[str]:
    """Lines of a log that comes in pieces.

    Args:
        whole: every piece is a line without its end

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
