"""What is no audio, or cannot be read, is told by its true reason; and nothing takes for ever."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tagscale.decoding.batch import Job, _attempt
from tagscale.decoding.decode import decode
from tagscale.decoding.opened import AudioError, Unavailable

FOREIGN = {
    "an HTML page": b"\n<!DOCTYPE html>\n<html><body>404</body></html>",
    "a PDF document": b"%PDF-1.7\n" + bytes(range(256)),
    "a ZIP archive": b"PK\x03\x04" + bytes(100),
    "a gzip archive": b"\x1f\x8b\x08" + bytes(100),
    "a JPEG picture": b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(100),
    "a PNG picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "an XML document": b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
    "a playlist": b"#EXTM3U\na.mp3\n",
    "a MIDI file": b"MThd\x00\x00\x00\x06" + bytes(100),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
}
REPEATED = {
    "sync": b"\xff",
    "mp3 headers": b"\xff\xfb\x90\x00",
    "free format": b"\xff\xfb\x00\x00",
    "aac": b"\xff\xf1\x50\x80\x00\xe0\x00",
    "ogg": b"OggS" + bytes(24),
    "flac": b"fLaC\x00\x00\x00\x22",
    "lyrics": b"LYRICSBEGIN",
    "id3": b"ID3\x04\x00\x00\x00\x00\x00\x00",
    "boxes": b"\x00\x00\x00\x08free",
    "zeros": b"\x00",
}


def rejected(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        decode(path)
    return caught.value.reason


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".ogg", ".m4a", ""])
def test_what_a_file_is(tmp_path: Path, kind: str, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(FOREIGN[kind])
    assert rejected(tmp_path / f"a{suffix}").startswith(f"not audio: {kind}")


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".ogg", ".flac", ".m4a", ""])
def test_what_a_file_looks_like(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_text("Zu viele Anfragen – später!\n" * 100, encoding="utf-8")
    assert rejected(path) == "not audio in a known format: it looks like text"
    path.write_bytes(bytes(10_000))
    assert rejected(path).startswith("not audio in a known format: its first bytes are all zero")


def test_files_that_are_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket.wav"))
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "lost.wav").symlink_to("nowhere.wav")
    assert rejected(tmp_path / "pipe.wav") == "a named pipe, not a file"
    assert rejected(tmp_path / "socket.wav") == "a socket, not a file"
    assert rejected(tmp_path / "loop.wav") == "cannot be read (its symbolic links form a loop)"
    assert rejected(tmp_path / "lost.wav") == "no such file"
    assert rejected(Path("/dev/zero")) == "a device, not a file"
    assert rejected(tmp_path / "a.wav" / "b.wav") == "no such file"
    server.close()


def test_names_that_no_disk_takes(tmp_path: Path) -> None:
    for path in (tmp_path / ("x" * 300), tmp_path.joinpath(*["folder"] * 1000)):
        assert rejected(path) == "cannot be read (File name too long)"
    assert "null" in rejected(tmp_path / "a\0b.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    (tmp_path / "a.wav").chmod(0)
    assert rejected(tmp_path / "a.wav") == "cannot be read (no permission)"


def test_a_disk_that_fails_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)

    def fail(*arguments: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(Unavailable, match="Input/output error"):
        decode(tmp_path / "a.wav")
    assert _attempt(Job("track", tmp_path / "a.wav")).source is None  # so that another run tries again


@pytest.mark.parametrize("kind", REPEATED)
@pytest.mark.parametrize("suffix", [".mp3", ".aac"])
def test_what_repeats_its_beginning_takes_no_time(tmp_path: Path, kind: str, suffix: str) -> None:
    begin = time.process_time()
    (tmp_path / f"a{suffix}").write_bytes(REPEATED[kind] * ((1 << 19) // len(REPEATED[kind])))
    assert rejected(tmp_path / f"a{suffix}")
    assert time.process_time() - begin < 10
