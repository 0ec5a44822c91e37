"""Files of a catalogue, decoded in worker processes: local ones where they lie, others in a copy for a moment."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from tagscale.decoding.batch import patience, reason_of, silence
from tagscale.decoding.decode import Decoded, decode
from tagscale.decoding.opened import AudioError, Unavailable
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.processes import Lost, answers
from tagscale.serving.catalogue import HTTP, Entry, state_of
from tagscale.store.remote import Bucket

FETCHED_BYTES = 1 << 28  # what an object counts, by which its limit of time is set, where its size is not known


@dataclass(frozen=True)
class Job:
    """A file to decode, unless its state is still the one `known`."""

    entry: Entry
    known: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result for a file: decoded, or a reason why not, or neither because its state is the known one.

    state: of the file; "" where another attempt may end differently, as after a fault of the network
    """

    decoded: Decoded | None = None
    reason: str = ""
    state: str = ""


def read_all(jobs: Iterable[Job], longest: float, workers: int) -> Iterator[tuple[Job, Outcome]]:
    """Decode files in `workers` processes; outcomes come as they are there.

    A file that crashes its decoder twice, or that keeps it longer than its size can explain, comes with that as its
    reason.

    Args:
        longest: seconds that a file may last
    """
    attempt = partial(_attempt, longest=longest)
    for job, answer in answers(attempt, jobs, workers, prepare=silence, seconds=_patience, in_order=False):
        yield job, Outcome(reason=reason_of(answer)) if isinstance(answer, Lost) else answer


def _patience(job: Job) -> float:
    size = job.entry.state.partition(" ")[0]
    if job.entry.is_remote:
        return patience(int(size) if size.isdigit() else FETCHED_BYTES)
    try:
        return patience(job.entry.path().stat().st_size)
    except (OSError, ValueError):
        return patience(0)


def _attempt(job: Job, longest: float) -> Outcome:
    state = ""
    try:
        if job.entry.reason:
            return Outcome(reason=job.entry.reason)
        state = _state(job.entry)
        if state and state == job.known:
            return Outcome(state=state)
        if not job.entry.is_remote:
            return Outcome(decode(job.entry.path(), longest), state=state)
        with tempfile.TemporaryDirectory(prefix="tagscale-") as folder:
            return Outcome(decode(_fetched(job.entry.place, Path(folder)), longest), state=state)
    except Unavailable as error:
        return Outcome(reason=error.reason)
    except AudioError as error:
        return Outcome(reason=error.reason, state=state)
    except FileNotFoundError as error:
        return Outcome(reason=_absent(job.entry, error))
    except TagscaleError as error:
        return Outcome(reason=str(error))
    except Exception as error:  # of a protocol's library, or a decoder's: one file never stops the others
        return Outcome(reason=f"could not be read ({type(error).__name__}: {error})")


def _absent(entry: Entry, error: FileNotFoundError) -> str:
    """Why an object cannot be had. Of HTTP, fsspec calls any failure a missing file."""
    cause = error.__cause__
    if cause is None or not entry.place.startswith(HTTP) or getattr(cause, "status", None) in (404, 410):
        return "no such object"
    return f"could not be read ({cause})"


def _state(entry: Entry) -> str:
    if entry.state:
        return entry.state
    if entry.is_remote:
        files, path = Bucket(entry.place).connection()
        return state_of(files.info(path))
    try:
        state = entry.path().stat()
        return f"{state.st_size} {state.st_mtime_ns}"
    except (OSError, ValueError):  # decoding says what is wrong
        return ""


def _fetched(address: str, folder: Path) -> Path:
    """A copy of an object; its suffix tells the decoder the format where the content does not."""
    files, path = Bucket(address).connection()
    copy = folder / f"audio{PurePosixPath(path).suffix[:10]}"
    files.get_file(path, str(copy))
    return copy
