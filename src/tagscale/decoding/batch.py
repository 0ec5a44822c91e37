"""Many files decoded at once. A bad file is rejected with its reason and does not stop, delay or reorder the others."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from tagscale.decoding.audio import Audio, decode_audio, form_of, name_of
from tagscale.decoding.decode import MAX_SECONDS, Decoded, decode
from tagscale.decoding.opened import AudioError, Unavailable, open_file
from tagscale.runtime.machine import cores
from tagscale.runtime.processes import Lost, answers

SECONDS_AT_LEAST = 120.0  # for one file; after more the decoder counts as hanging
BYTES_PER_SECOND = 500_000  # one more second for each of these: a slow network disk


@dataclass(frozen=True)
class Source:
    """The state of an audio file on disk, by which a change is noticed.

    ctime_ns: when its content or its name was last changed, which nobody can set back as they can mtime_ns
    hashed_ns: when it was read; a file that changed just before may change again within the same timestamp
    """

    bytes: int
    mtime_ns: int
    ctime_ns: int
    sha256: str
    hashed_ns: int = field(compare=False)

    @classmethod
    def of(cls, path: Path) -> "Source":
        """Read and hash a file. Raises AudioError where it cannot be read, or is none."""
        with open_file(path) as file:
            state, now = os.fstat(file.fileno()), time.time_ns()
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(state.st_size, state.st_mtime_ns, state.st_ctime_ns, digest, now)


@dataclass(frozen=True)
class Job:
    """A file to decode, unless its bytes still have the SHA-256 `known`."""

    track_id: str
    path: Path
    known: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result for a file: decoded, or rejected with a reason, or neither because its bytes are the known ones.

    source: None where another attempt may end differently: a file that could not be read, or that crashed or held up
        its decoder.
    """

    decoded: Decoded | None = None
    reason: str = ""
    source: Source | None = None


@dataclass(frozen=True)
class _NoAudio:
    """What is no recording, and so nothing to hand to another process; with the reason."""

    reason: str


def decode_all(jobs: Iterable[Job], workers: int | None = None) -> Iterator[tuple[Job, Outcome]]:
    """Decode files in `workers` processes, all cores by default.

    Outcomes come in the order of `jobs`, so they do not depend on the number of workers, and no more than two
    tracks per worker are in memory. A file that cannot be decoded comes with its reason, even one that crashes the
    decoder twice, or that keeps it longer than its size can explain.
    """
    for job, outcome in answers(_attempt, jobs, workers or cores(), prepare=silence, seconds=_patience):
        yield job, Outcome(reason=reason_of(outcome)) if isinstance(outcome, Lost) else outcome


def decode_each(
    audios: Iterable[Audio], sample_rate: int | None = None, longest: float = MAX_SECONDS, workers: int | None = None
) -> Iterator[tuple[str, Decoded | str]]:
    """Decode recordings of any kind as `decode_all` decodes files: the name of each, in order, and samples or a reason.

    Args:
        sample_rate: Hz, of arrays
        longest: seconds that a recording may last

    In a process that may have no children, as those of multiprocessing's Pool, they are decoded in it one by one.
    """
    attempt = partial(_attempt_one, sample_rate=sample_rate, longest=longest)
    forms = map(_form_of, audios)
    if current_process().daemon:
        yield from ((name_of(form), attempt(form)) for form in forms)
        return
    for audio, answer in answers(attempt, forms, workers or cores(), prepare=silence, seconds=_patience_for):
        yield name_of(audio), reason_of(answer) if isinstance(answer, Lost) else answer


def reason_of(lost: Lost) -> str:
    """Why a file has no samples whose decoder was lost over it."""
    if lost.seconds is None:
        return "the decoder crashed on it"
    return f"the decoder hung: it was stopped after {lost.seconds:.0f} s"


def _patience(job: Job) -> float:
    return _patience_for(job.path)


def _patience_for(audio: Any) -> float:
    try:
        return patience(Path(audio).stat().st_size if isinstance(audio, str | Path) else len(audio))
    except (OSError, ValueError, TypeError):  # decoding says what is wrong
        return patience(0)


def patience(size: int) -> float:
    """Seconds after which the decoder of so many bytes counts as hanging."""
    return SECONDS_AT_LEAST + size / BYTES_PER_SECOND


def _form_of(audio: Audio) -> Audio | _NoAudio:
    try:
        return form_of(audio)
    except AudioError as error:
        return _NoAudio(error.reason)


def _attempt_one(audio: Audio | _NoAudio, sample_rate: int | None, longest: float) -> Decoded | str:
    if isinstance(audio, _NoAudio):
        return audio.reason
    try:
        return decode_audio(audio, sample_rate, longest)
    except AudioError as error:
        return error.reason
    except Exception as error:  # one recording never stops the others
        return f"could not be decoded ({type(error).__name__}: {error})"


def silence() -> None:
    """Close stderr: libsndfile's MP3 decoder writes notes to it, across the progress bar."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _attempt(job: Job) -> Outcome:
    source = None
    try:
        source = Source.of(job.path)
        if source.sha256 == job.known:
            return Outcome(source=source)
        return Outcome(decode(job.path), source=source)
    except Unavailable as error:
        return Outcome(reason=error.reason)
    except AudioError as error:
        return Outcome(reason=error.reason, source=source)
    except Exception as error:  # one file never stops the batch
        return Outcome(reason=f"could not be decoded ({type(error).__name__}: {error})")
