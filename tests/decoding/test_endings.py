"""Cut files are told from whole ones by their last bytes, and tags behind the last frame are no cut."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tagscale.decoding.decode import decode
from tagscale.decoding.endings import mp3_has_length, mp3_is_cut
from tagscale.decoding.opened import AudioError

TAGS = {
    "ID3v1": b"TAG" + bytes(125),
    "APE": b"APETAGEX" + b"\xd0\x07\x00\x00" + bytes(20) + b"x" * 3000 + b"APETAGEX" + bytes(24),
    "Lyrics3": b"LYRICSBEGIN" + b"la " * 500 + b"0001500LYRICS200" + b"TAG" + bytes(125),
    "zeros": bytes(5000),
}


@pytest.fixture(params=[(44100, 2, 0.2), (16000, 1, 0.9), (48000, 1, 0.6), (11025, 1, 0.9)], scope="module")
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP3 without the frame that holds its length, as older encoders write it."""
    rate, channels, level = request.param
    path = tmp_path_factory.mktemp("mp3") / "a.mp3"
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, (rate * 4, channels))
    soundfile.write(path, wave, rate, compression_level=level, bitrate_mode="CONSTANT")
    content = path.read_bytes()
    if mp3_has_length(path):
        first = max(content.find(b"Info"), content.find(b"Xing"))
        content = content[content.find(b"\xff" + content[content.rfind(b"\xff", 0, first) :][1:2], first) :]
    return content


def test_whole_files_are_not_cut(bare: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    for tag in (b"", *TAGS.values()):
        path.write_bytes(bare + tag)
        assert not mp3_has_length(path)
        assert not mp3_is_cut(path)


def test_cut_files_are_cut(bare: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    cuts = np.random.default_rng(1).integers(len(bare) // 3, len(bare), 40)
    found = []
    for cut in cuts:
        path.write_bytes(bare[:cut])
        found.append(mp3_is_cut(path))
    assert np.mean(found) > 0.9  # a cut right between two frames cannot be told from an end


def test_cut_mp3_without_a_length_is_rejected(bare: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(bare)
    assert decode(path).source_seconds == pytest.approx(4, abs=0.2)
    path.write_bytes(bare[: len(bare) // 2 + 7])
    if mp3_is_cut(path):
        with pytest.raises(AudioError, match="the last frame is not whole"):
            decode(path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"\xff\xfb\x90\x00", b"\xff" * 70_000, bytes(range(256)) * 100])
def test_anything_else_is_not_cut(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(content)
    assert not mp3_is_cut(tmp_path / "a.mp3")
