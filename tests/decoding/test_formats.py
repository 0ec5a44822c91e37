"""Every format of the table is decoded by its suffix, and by its content where the name does not tell."""

from pathlib import Path

import numpy as np
import pytest

from audio_files import SUFFIXES, write
from tagscale.decoding.decode import decode
from tagscale.decoding.formats import FORMATS, PACKAGES
from tagscale.decoding.opened import AudioError
from user_folder import tone


def test_suffixes_and_names_are_unambiguous() -> None:
    names = [name for entry in FORMATS for name in entry.names]
    suffixes = [suffix for entry in FORMATS for suffix in entry.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert len(set(names)) == len(names)
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in suffixes)
    assert PACKAGES == ("soundfile", "av")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["song", "song.wav", "song.m4a", "song.FLAC", "song.txt"])
def test_a_file_is_decoded_whatever_its_name(tmp_path: Path, suffix: str, name: str) -> None:
    path = write(tmp_path / f"a{suffix}", [tone(2, 48000, 440, 0.5)] * 2, 48000)
    decoded = decode(path)
    assert (decoded.source_rate, decoded.channels) == (48000, 2)
    middle = decoded.samples[8000:24000] / 32768
    assert np.argmax(np.abs(np.fft.rfft(middle * np.hanning(16000)))) == 440
    path.rename(tmp_path / name)
    assert decode(tmp_path / name).audio_sha256 == decoded.audio_sha256


@pytest.mark.parametrize("name", ["list.m4a", "list.txt", "list"])
def test_a_playlist_opens_no_other_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / "a.m4a", [tone(1, 16000)], 16000)
    (tmp_path / name).write_text("ffconcat version 1.0\nfile a.m4a\n")
    with pytest.raises(AudioError, match="audio"):
        decode(tmp_path / name)
