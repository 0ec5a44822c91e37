"""Downloading a published file so that nothing is lost when the network, the server or this process fails.

Bytes go to NAME.part. The next try, or the next process, asks for the rest of just the same state of the file (Range
and If-Range), so that halves of different files are never glued together unnoticed. Only a file of the right size and
digest gets its name, by a rename. `requests` does the HTTP, with the proxies and certificates of its environment.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tagscale.fetch.part import Note, Part, content_range, shown
from tagscale.fetch.published import File
from tagscale.runtime.errors import TagscaleError

CHUNK = 1 << 14  # bytes; an answer that breaks off loses at most so many
HASHED_AT_ONCE = 1 << 20
LONGEST_PAUSE = 60.0  # seconds
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that a later try may not meet
NOT_PASSING = (
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)

Progress = Callable[[str, int, int | None], None]  # "download", "wait" or "check"; bytes so far, in all


@dataclass(frozen=True)
class Patience:
    """When to give up, in seconds and tries.

    Attributes:
        connect: to get a connection.
        stall: without a single byte, until the connection counts as dead.
        tries: in a row that bring nothing new; a try after which there are more bytes than ever does not count.
        pause: after the first failed try; doubles with each, up to LONGEST_PAUSE.
    """

    connect: float = 20.0
    stall: float = 60.0
    tries: int = 6
    pause: float = 1.0


class Unfinished(Exception):
    """A try that ended early: another one may go on. `pause` is the seconds that the server asks for."""

    def __init__(self, why: str, pause: float = 0.0) -> None:
        super().__init__(why)
        self.pause = pause


def download(
    address: str, target: Path, file: File, *, session: Any, patience: Patience, progress: Progress | None = None
) -> bool:
    """Bring `file` from `address` to `target`; False where it lies there already. Continues what an earlier try left.

    Raises:
        TagscaleError: the server, the network, the disk or the file is not as it must be. What was downloaded stays in
            NAME.part for the next call, unless it is known to be wrong.
    """
    report = progress or (lambda *_: None)
    if is_whole(target, file, report):
        return False
    part = Part(target)
    algorithm, _, expected = file.digest.partition(":")
    for last in (False, True):
        _bring(address, part, file, session, patience, report)
        found = digest_of(part.path, algorithm, report)
        if found == expected:
            part.finish(target)
            return True
        glued, size = part.glued, part.size
        part.discard()
        if last or not glued:  # else the old half may be to blame: once more, from the beginning
            break
    raise TagscaleError(
        f"{shown(address)}: {size:,} bytes with {algorithm} {found}, expected {expected} as published. The download "
        "was deleted. Fetch again; if it is the same then, the file was changed on the way or on the server: try "
        "another network, or another server with --mirror."
    )


def is_whole(path: Path, file: File, progress: Progress | None = None) -> bool:
    """Whether the published file lies at `path` already.

    Raises:
        TagscaleError: something else lies there.
    """
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        raise TagscaleError(f"{path}: not a file, expected {file.name} as published, or nothing. Move it away.")
    algorithm, _, digest = file.digest.partition(":")
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        found, expected = f"{size:,} bytes", f"{file.size:,}"
    else:
        found, expected = f"{algorithm} {digest_of(path, algorithm, progress)}", f"{algorithm} {digest}"
    if found == expected:
        return True
    raise TagscaleError(
        f"{path}: found {found}, expected {expected} as published. It was left as it is: delete it or move it away, "
        "then fetch again."
    )


def digest_of(path: Path, algorithm: str, progress: Progress | None = None) -> str:
    """Hexadecimal digest of a file, by a name of hashlib."""
    digest, done, total = hashlib.new(algorithm), 0, path.stat().st_size
    with open(path, "rb") as file:
        while block := file.read(HASHED_AT_ONCE):
            digest.update(block)
            done += len(block)
            if progress:
                progress("check", done, total)
    return digest.hexdigest()


def _bring(address: str, part: Part, file: File, session: Any, patience: Patience, progress: Progress) -> None:
    """Try until the part is complete."""
    failed, most = 0, part.size
    while True:
        try:
            return _attempt(address, part, file, session, patience, progress)
        except Unfinished as error:
            failed = 0 if part.size > most else failed + 1
            most = max(most, part.size)
            if failed >= patience.tries:
                whole = file.size or (part.note.size if part.note else None)
                raise TagscaleError(
                    f"{shown(address)}: {error}; {failed} tries in a row brought nothing new. "
                    f"{part.path} keeps {part.size:,} of {f'{whole:,}' if whole else 'unknown'} bytes: run the same "
                    "command again later to go on from there, or take another server with --mirror."
                ) from error
            progress("wait", part.size, file.size)
            time.sleep(min(max(error.pause, patience.pause * 2**failed), LONGEST_PAUSE))


def _attempt(address: str, part: Part, file: File, session: Any, patience: Patience, progress: Progress) -> None:
    """One request for what the part lacks."""
    if part.note and part.size and part.size == (file.size or part.note.size):
        return  # the last process ended between the last byte and the rename
    headers = {"Accept-Encoding": "identity"} | part.headers(address)
    limits = (patience.connect, patience.stall)
    try:
        with session.get(address, headers=headers, stream=True, timeout=limits) as response:
            whole = _answered(response, part, file, address)
            if whole is not None and part.size == whole:
                return
            _receive(response, part, file.size or whole, progress, address)
    except NOT_PASSING as error:
        raise TagscaleError(
            f"{shown(address)}: {error}. Check the address, --mirror, the proxy and the certificates of this machine."
        ) from error
    except requests.Timeout as error:
        raise Unfinished(f"no answer within {patience.connect:g} s, or none for {patience.stall:g} s") from error
    except requests.RequestException as error:
        stalled = "timed out" in str(error)  # while the body is read, requests makes it a ConnectionError
        why = f"no byte for {patience.stall:g} s" if stalled else f"the connection failed ({error})"
        raise Unfinished(why) from error


def _answered(response: Any, part: Part, file: File, address: str) -> int | None:
    """Make the part ready for the answer's body: continued or begun again. Returns the whole file's bytes, if known.

    Nothing is written, and nothing of the part is lost, where the answer cannot be the file.
    """
    status, headers = response.status_code, response.headers
    first, whole = content_range(headers.get("Content-Range"))
    if status in PASSING:
        raise Unfinished(f"HTTP {status} {response.reason}", _retry_after(headers))
    if status == 416 and whole is not None and part.size == whole:
        return whole
    if status == 416 or (status == 206 and not _continues(part, first, whole)):
        part.discard()
        raise Unfinished(f"HTTP {status}, Content-Range {headers.get('Content-Range')}: not the rest of what is here")
    if status not in (200, 206):
        raise TagscaleError(
            f"{shown(address)}: HTTP {status} {response.reason}, expected the file. It may have moved: look at the "
            "data set's page, and give its new place with --mirror, or put the file into the folder yourself."
        )
    if status == 200:
        length = headers.get("Content-Length", "")
        whole = int(length) if length.isdigit() else None
    _check(response, whole, file, address)
    _check_space(part, (whole or file.expected) - (part.size if status == 206 else 0))
    if status == 200:
        part.begin(Note(shown(address), headers.get("ETag"), headers.get("Last-Modified"), whole))
    else:
        part.glued = True
    return whole


def _continues(part: Part, first: int | None, whole: int | None) -> bool:
    """Whether a 206 answer is the rest of the part, and of a file of the same size."""
    known = part.note.size if part.note else None
    return bool(part.size) and first == part.size and (whole is None or known is None or whole == known)


def _check(response: Any, whole: int | None, file: File, address: str) -> None:
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise TagscaleError(
            f"{shown(address)}: sent with Content-Encoding {encoding}, expected the file's own bytes. The server "
            "or a proxy changes it: try another network, or another server with --mirror."
        )
    if None not in (whole, file.size) and whole != file.size:
        kind = response.headers.get("Content-Type", "unknown type")
        raise TagscaleError(
            f"{shown(address)}: the server announces {whole:,} bytes ({kind}), expected {file.size:,} as published. "
            "Nothing was written. The file has changed or this is another page: look at the address in a browser, or "
            "take another server with --mirror."
        )


def _check_space(part: Part, needed: int) -> None:
    free = shutil.disk_usage(part.path.parent).free
    if needed > free:
        raise TagscaleError(
            f"{part.path}: {needed:,} bytes are still to come, {free:,} are free on this disk. Nothing more was "
            "written; make room, and run the same command again."
        )


def _receive(response: Any, part: Part, limit: int | None, progress: Progress, address: str) -> None:
    """Append the answer's body to the part."""
    for size in part.append(response.iter_content(CHUNK)):
        if limit is not None and size > limit:
            part.discard()
            raise TagscaleError(
                f"{shown(address)}: more than the {limit:,} bytes that the file has. The download was deleted; the "
                "file has changed: take another server with --mirror."
            )
        progress("download", size, limit)
    if limit is not None and part.size < limit:
        raise Unfinished(f"the server ended after {part.size:,} of {limit:,} bytes")


def _retry_after(headers: Any) -> float:
    """Seconds of a Retry-After header; a date, or none, is 0."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0
