"""Downloading a published file, so that nothing is lost when the network, the server or this process fails.

Bytes go to NAME.part. The next attempt, or the next process, requests the rest of the same state of the file (Range
and If-Range), so that parts of different files are never joined unnoticed. The file gets its name, by a rename, only
when size and digest are right. `requests` does the HTTP, with the proxies and certificates of its environment.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tagscale.fetch.part import Part, State, require_space, writing
from tagscale.fetch.published import File
from tagscale.runtime.errors import TagscaleError

CHUNK = 1 << 14  # bytes; an answer that breaks off loses at most so many
HASHED_AT_ONCE = 1 << 20
LONGEST_PAUSE = 60.0  # seconds
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that are worth a retry
PERMANENT = (
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)

Progress = Callable[[str, int, int | None], None]  # "download", "wait" or "check"; bytes so far, in all


@dataclass(frozen=True)
class Patience:
    """When to give up.

    Attributes:
        connect: seconds to get a connection.
        stall: seconds without a single byte, until the connection counts as dead.
        tries: in a row that bring nothing new; a try after which there are more bytes than ever does not count.
        pause: seconds after the first failed try; doubles with each, up to LONGEST_PAUSE.
    """

    connect: float = 20.0
    stall: float = 60.0
    tries: int = 6
    pause: float = 1.0


class Interrupted(Exception):
    """An attempt that ended early; a retry may go on. `pause`: the seconds that the server asks for."""

    def __init__(self, why: str, pause: float = 0.0) -> None:
        super().__init__(why)
        self.pause = pause


def download(
    address: str,
    target: Path,
    file: File,
    *,
    session: requests.Session,
    patience: Patience,
    progress: Progress | None = None,
) -> bool:
    """Download `file` from `address` to `target`; False where it is there already. Resumes what an earlier try left.

    Raises:
        TagscaleError: the server, the network, the disk or the file is not as expected. What was downloaded stays in
            NAME.part for the next call, unless it is known to be wrong.
    """
    report = progress or (lambda *_: None)
    if is_whole(target, file, report):
        return False
    transfer = _Transfer(address, Part(target), file, session, patience, report)
    part = transfer.part
    for last in (False, True):
        transfer.complete()
        algorithm, _, expected = file.digest.partition(":")
        digest = digest_of(part.path, algorithm, report)
        if digest == expected:
            part.finish(target)
            return True
        mixed, size = part.mixed, part.size
        part.discard()
        if last or not mixed:  # else an older part may be to blame: once more, from the beginning
            break
    raise TagscaleError(
        f"{shown(address)}: {size:,} bytes with {algorithm} {digest}, expected {expected} as published. The download "
        "was deleted. Fetch again; if the digest is the same then, the file was changed on the way or on the server: "
        "try another network, or another server with --mirror."
    )


def is_whole(path: Path, file: File, progress: Progress | None = None) -> bool:
    """Whether the published file is at `path` already. Raises TagscaleError where something else is there."""
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        raise TagscaleError(f"{path}: not a file, expected {file.name} as published, or nothing. Move it away.")
    algorithm, _, digest = file.digest.partition(":")
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        present, expected = f"{size:,} bytes", f"{file.size:,}"
    else:
        present, expected = f"{algorithm} {digest_of(path, algorithm, progress)}", f"{algorithm} {digest}"
    if present == expected:
        return True
    raise TagscaleError(
        f"{path}: found {present}, expected {expected} as published. It was left as it is: delete it or move it away, "
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


def shown(address: str) -> str:
    """An address without user name, password and query, for messages and notes.

    >>> shown("https://me:secret@example.org/a.zip?key=1")
    'https://example.org/a.zip'
    """
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@dataclass(frozen=True)
class _Transfer:
    """One file from one server to its part."""

    address: str
    part: Part
    file: File
    session: requests.Session
    patience: Patience
    progress: Progress

    def complete(self) -> None:
        """Retry until the part is complete."""
        failed, most = 0, self.part.size
        while True:
            try:
                return self.attempt()
            except Interrupted as error:
                failed = 0 if self.part.size > most else failed + 1
                most = max(most, self.part.size)
                if failed >= self.patience.tries:
                    whole = self.expected()
                    raise self.error(
                        f"{error}; {failed} tries in a row brought nothing new. {self.part.path} keeps "
                        f"{self.part.size:,} of {f'{whole:,}' if whole else 'unknown'} bytes: run the same command "
                        "again later to resume, or take another server with --mirror."
                    ) from error
                self.progress("wait", self.part.size, self.file.size)
                time.sleep(min(max(error.pause, self.patience.pause * 2**failed), LONGEST_PAUSE))

    def attempt(self) -> None:
        """Request once what the part lacks."""
        if self.part.size and self.part.size == self.expected():
            return  # the last process ended between the last byte and the rename
        limits = (self.patience.connect, self.patience.stall)
        try:
            with self.session.get(self.address, headers=self.headers(), stream=True, timeout=limits) as response:
                whole = self.accept(response)
                if whole is None or self.part.size != whole:
                    self.receive(response, self.file.size or whole)
        except PERMANENT as error:
            raise self.error(
                f"{error}. Check the address, --mirror, the proxy and the certificates of this machine."
            ) from error
        except requests.Timeout as error:
            connect, stall = limits
            raise Interrupted(f"no answer within {connect:g} s, or none for {stall:g} s") from error
        except requests.RequestException as error:
            stalled = "timed out" in str(error)  # while the body is read, requests makes it a ConnectionError
            why = f"no byte for {self.patience.stall:g} s" if stalled else f"the connection failed ({error})"
            raise Interrupted(why) from error

    def headers(self) -> dict[str, str]:
        """Request the rest of the part's state, or everything.

        Another server names its states differently: there the size must be the same, and the digest decides.
        """
        headers, state = {"Accept-Encoding": "identity"}, self.part.state
        if state and self.part.size:
            headers["Range"] = f"bytes={self.part.size}-"
            if state.address == shown(self.address) and state.validator:
                headers["If-Range"] = state.validator
        return headers

    def accept(self, response: requests.Response) -> int | None:
        """Prepare the part for the answer's body: it goes on or begins again. Returns the file's size, if known.

        Where the answer cannot be the file, nothing is written and the part is kept.
        """
        status, headers = response.status_code, response.headers
        if status in TEMPORARY:
            pause = headers.get("Retry-After", "")  # a date counts as 0
            raise Interrupted(f"HTTP {status} {response.reason}", float(pause) if pause.isdigit() else 0.0)
        first, whole = content_range(headers.get("Content-Range", ""))
        known = self.part.state.size if self.part.state else None
        if status == 416 and whole is not None and self.part.size == whole:
            return whole
        resumes = self.part.size and first == self.part.size and (None in (whole, known) or whole == known)
        if status == 416 or (status == 206 and not resumes):
            self.part.discard()
            raise Interrupted(f"HTTP {status}, Content-Range {headers.get('Content-Range')}: not the rest of the part")
        if status not in (200, 206):
            raise self.error(
                f"HTTP {status} {response.reason}, expected the file. It may have moved: look at the dataset's page, "
                "then give its new place with --mirror, or put the file into the folder yourself."
            )
        if status == 200:
            length = headers.get("Content-Length", "")
            whole = int(length) if length.isdigit() else None
        self.check(headers, whole)
        missing = (whole or self.file.expected) - (self.part.size if status == 206 else 0)
        require_space(self.part.path.parent, missing, f"the rest of {self.file.name}")
        if status == 200:
            state = State(shown(self.address), headers.get("ETag"), headers.get("Last-Modified"), whole)
            self.part.begin(state)
        else:
            self.part.mixed = True
        return whole

    def check(self, headers: requests.structures.CaseInsensitiveDict, whole: int | None) -> None:
        """Raise TagscaleError where the answer announces other bytes than the published ones."""
        encoding = headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise self.error(
                f"sent with Content-Encoding {encoding}, expected the file's own bytes. The server or a proxy changes "
                "it: try another network, or another server with --mirror."
            )
        if whole is not None and self.file.size is not None and whole != self.file.size:
            raise self.error(
                f"the server announces {whole:,} bytes ({headers.get('Content-Type', 'unknown type')}), expected "
                f"{self.file.size:,} as published. Nothing was written. The file has changed or this is another page: "
                "look at the address in a browser, or take another server with --mirror."
            )

    def receive(self, response: requests.Response, limit: int | None) -> None:
        """Append the answer's body to the part."""
        size = self.part.size
        with writing(self.part.path), open(self.part.path, "ab", buffering=0) as out:
            for block in response.iter_content(CHUNK):
                view = memoryview(block)
                while view:
                    view = view[out.write(view) :]
                size += len(block)
                if limit is not None and size > limit:
                    self.part.discard()
                    raise self.error(
                        f"more than the {limit:,} bytes that the file has. The download was deleted; the file has "
                        "changed: take another server with --mirror."
                    )
                self.progress("download", size, limit)
            os.fsync(out.fileno())
        if limit is not None and size < limit:
            raise Interrupted(f"the server ended after {size:,} of {limit:,} bytes")

    def expected(self) -> int | None:
        """The file's size, as published or as the server said."""
        return self.file.size or (self.part.state.size if self.part.state else None)

    def error(self, text: str) -> TagscaleError:
        return TagscaleError(f"{shown(self.address)}: {text}")


def content_range(header: str) -> tuple[int | None, int | None]:
    """First byte and size of the whole in a Content-Range header; None where it does not say.

    >>> content_range("bytes 100-199/1000"), content_range("bytes */1000"), content_range("bytes 5-9/*")
    ((100, 1000), (None, 1000), (5, None))
    """
    match = re.fullmatch(r"\s*bytes\s+(?:(\d+)-\d+|\*)/(\d+|\*)\s*", header, re.IGNORECASE)
    if not match:
        return None, None
    first, size = match.groups()
    return (int(first) if first else None), (int(size) if size != "*" else None)
