"""A file that was cut at any byte is rejected, or is right within half a second, in every format."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_files import SUFFIXES, encode, write
from tagscale.decoding.decode import decode
from tagscale.decoding.opened import AudioError
from user_folder import tone

SECONDS, CUTS = 3, 25
OPTIONS = {"libmp3lame": {"write_xing": "0"}, "mp2": {}}
COMPRESSED_WAV = ["IMA_ADPCM", "MS_ADPCM", "GSM610", "ULAW"]


def check(path: Path, seed: int) -> None:
    assert decode(path).source_seconds == pytest.approx(SECONDS, abs=0.15)
    content = path.read_bytes()
    for cut in np.random.default_rng(seed).integers(1, len(content), CUTS):
        path.write_bytes(content[:cut])
        seconds = seconds_of(path)
        assert seconds is None or seconds > SECONDS - 0.5, f"cut at {cut} of {len(content)}"


def seconds_of(path: Path) -> float | None:
    """None = rejected with a reason of its own."""
    try:
        return decode(path).source_seconds
    except AudioError as error:
        return None if "could not be decoded" not in error.reason else 0.0


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    return tone(SECONDS, 48000, 440, 0.3) + np.random.default_rng(0).uniform(-0.2, 0.2, SECONDS * 48000)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_cut_at_any_byte(tmp_path: Path, suffix: str, music: np.ndarray) -> None:
    check(write(tmp_path / f"a{suffix}", [music], 48000), seed=SUFFIXES.index(suffix))


@pytest.mark.parametrize("subtype", COMPRESSED_WAV)
def test_compressed_wav_cut_at_any_byte(tmp_path: Path, subtype: str, music: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", music[::6], 8000, subtype=subtype)
    check(tmp_path / "a.wav", seed=COMPRESSED_WAV.index(subtype))


@pytest.mark.parametrize("codec", OPTIONS)
def test_mpeg_without_a_header_cut_at_any_byte(tmp_path: Path, codec: str, music: np.ndarray) -> None:
    encode(tmp_path / "a", [music], 48000, "mp2" if codec == "mp2" else "mp3", codec, **OPTIONS[codec])
    check(tmp_path / "a", seed=7)
