"""Recordings of a request, in the forms in which clients send them: files of a form, one file's bytes, or JSON."""

import asyncio
import base64
import binascii
import json
import shutil
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile

from tagscale.serving.server.work import Recording

FIELD = "file"  # of a form
UNNAMED = "audio"
BYTES = ("audio/", "video/", "application/octet-stream", "application/ogg", "application/x-www-form-urlencoded")
EXPECTED = 'a form with the field `file`, the bytes of one file, or JSON: {"files": [{"name", "audio": base64}]}'


async def recordings(request: Request, folder: Path, most: int, name: str | None = None) -> list[Recording]:
    """The recordings of a request to tag, written into a folder.

    Args:
        name: of a recording that is the whole body
    Raises:
        HTTPException: 400 for a request without recordings, with too many, or with fields that there are not; 415 for
            another type.
    """
    kind = request.headers.get("content-type", "application/octet-stream").lower()
    if kind.startswith("multipart/form-data"):
        return await _of_form(request, folder, most)
    if kind.startswith("application/json"):
        content = await body_as_json(request)
        files = content.get("files") if isinstance(content, dict) else None
        if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
            raise HTTPException(400, f"This JSON holds no files. Expected {EXPECTED}.")
        check_words(content, ["files"], "The JSON")
        check_words((key for file in files for key in file), ["name", "audio"], "A file of the JSON")
        texts = [(_name(file.get("name"), number), file.get("audio")) for number, file in enumerate(files)]
        return await of_texts(texts, folder, most)
    if not kind.startswith(BYTES):
        raise HTTPException(415, f"Content-Type {kind!r}: expected {EXPECTED}.")
    recording = Recording(_name(name, 0), folder / "0")
    with open(folder / "0", "wb") as file:
        async for chunk in request.stream():
            file.write(chunk)
        if not file.tell():
            raise HTTPException(400, f"The request is empty. Expected {EXPECTED}.")
    return [recording]


async def _of_form(request: Request, folder: Path, most: int) -> list[Recording]:
    async with request.form(max_files=most, max_fields=most) as form:
        check_words(form, [FIELD], "The form")
        files = [file for file in form.getlist(FIELD) if isinstance(file, UploadFile)]
        if not files:
            raise HTTPException(400, f"No recordings in this form. Expected {EXPECTED}.")
        check_number(files, most)
        result = []
        for number, file in enumerate(files):
            with open(folder / str(number), "wb") as target:
                await asyncio.to_thread(shutil.copyfileobj, file.file, target)
            result.append(Recording(_name(file.filename, number), folder / str(number)))
    return result


async def of_texts(texts: Sequence[tuple[str, Any]], folder: Path, most: int) -> list[Recording]:
    """Recordings from their names and base64; what is none is a recording with an error."""
    check_number(texts, most)
    files = [folder / str(number) for number in range(len(texts))]
    return await asyncio.to_thread(lambda: [_of_text(*text, file) for text, file in zip(texts, files, strict=True)])


def _of_text(name: str, text: Any, file: Path) -> Recording:
    """Line breaks, as `base64` and e-mail put them in, and the `data:` of browsers are taken; other letters are not."""
    if not isinstance(text, str):
        kind = "nothing" if text is None else type(text).__name__
        return Recording(name, error=f"its audio is no text: expected base64, found {kind}")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        file.write_bytes(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        return Recording(name, error=f"its audio is no base64 ({error})")
    return Recording(name, file)


def check_words(words: Iterable[str], known: Sequence[str], where: str) -> None:
    """Raises HTTPException, 400, for a word that is not known: it would have no effect."""
    for word in words:
        if word not in known:
            near = get_close_matches(word, known, n=1, cutoff=0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            expected = f"known: {', '.join(known)}.{hint}"
            raise HTTPException(400, f"{where} has {word[:100]!r}, which means nothing here; {expected}")


def check_number(files: Sequence[Any], most: int) -> None:
    """Raises HTTPException where a request has no recordings, or too many."""
    if not files:
        raise HTTPException(400, "No recordings in this request.")
    if len(files) > most:
        raise HTTPException(400, f"{len(files)} recordings in a request; this server takes {most} at most.")


async def body_as_json(request: Request) -> Any:
    """The body. Raises HTTPException where it is no JSON."""
    body = await request.body()
    try:
        return await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"The body is no JSON ({error}).") from None


def _name(name: Any, number: int) -> str:
    if isinstance(name, str) and name:
        return sendable(name[:1000])
    return f"{UNNAMED}-{number}" if number else UNNAMED


def sendable(text: str) -> str:
    r"""A text of a request as an answer can hold it: JSON may have halves of a character in it.

    >>> sendable("café \ud800")
    'café ?'
    """
    return text.encode(errors="replace").decode()
