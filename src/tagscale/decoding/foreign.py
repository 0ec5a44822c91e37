"""What a file is that is no audio: people give audio's suffix to pages, pictures and pointers by mistake."""

import re

KINDS = (  # first bytes -> what they begin
    (rb"version https://git-lfs", "a Git LFS pointer: `git lfs pull` brings the file"),
    (rb"\s*(<!doctype html|<html|<head|<body)", "an HTML page"),
    (rb"\s*<\?xml|\s*<svg", "an XML document"),
    (rb"%PDF-", "a PDF document"),
    (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"BZh[1-9]1AY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a", "a compressed archive"),
    (rb"\xff\xd8\xff", "a JPEG picture"),
    (rb"\x89PNG\r\n", "a PNG picture"),
    (rb"GIF8[79]a", "a GIF picture"),
    (rb"BM.{4}\x00\x00\x00\x00", "a BMP picture"),
    (rb"RIFF.{4}WEBP", "a WebP picture"),
    (rb"MThd", "a MIDI file, which holds notes, not sound"),
    (rb"#EXTM3U|\[playlist\]", "a playlist"),
    (rb"\x7fELF|MZ.{58,}PE\x00", "a program"),
    (rb"SQLite format 3", "a database"),
)
PATTERNS = [(re.compile(pattern, re.DOTALL | re.IGNORECASE), kind) for pattern, kind in KINDS]
TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")


def kind_of(head: bytes) -> str:
    """The kind of a file whose first bytes show that it is no audio; "" = perhaps audio.

    >>> kind_of(b"<!DOCTYPE html><html>")
    'an HTML page'
    """
    return next((kind for pattern, kind in PATTERNS if pattern.match(head)), "")


def resemblance(head: bytes) -> str:
    """What a file resembles that no decoder knows; "" = nothing known.

    >>> resemblance(b"404 not found")
    'it looks like text'
    """
    if not head.strip(b"\0"):
        return "its first bytes are all zero, as of a download that did not finish"
    if TEXT.fullmatch(head):
        try:
            head.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.start < len(head) - 3:
                return ""
        return "it looks like text"
    return ""
