"""M4A, MP4 and bare AAC through PyAV, against the signal that was encoded."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from audio_files import write
from tagscale.decoding.batch import Job, _attempt
from tagscale.decoding.decode import decode
from tagscale.decoding.opened import AudioError, MissingDecoder
from user_folder import tone


@pytest.mark.parametrize("extension", ["m4a", "mp4", "aac"])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_mean_of_channels_at_16_khz(tmp_path: Path, extension: str, rate: int) -> None:
    loud = tone(3, rate, 440, 0.6)
    decoded = decode(write(tmp_path / f"a.{extension}", [loud, np.zeros_like(loud)], rate))
    assert (decoded.source_rate, decoded.channels) == (rate, 2)
    assert decoded.source_seconds == pytest.approx(3, abs=0.15)  # whole frames, and the encoder's delay
    middle = decoded.samples[16000:32000] / 32768
    assert np.argmax(np.abs(np.fft.rfft(middle * np.hanning(16000)))) == 440
    assert np.std(middle) == pytest.approx(0.3 / np.sqrt(2), rel=0.03)


def test_cut_and_foreign_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.m4a", [np.random.default_rng(0).uniform(-0.5, 0.5, 44100 * 5)], 44100)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match=r"truncated: .* bytes of its part 'mdat' are missing"):
        decode(path)
    path.write_text("no audio")
    with pytest.raises(AudioError, match="not audio in a known format: it looks like text"):
        decode(path)


def test_damaged_metadata_are_no_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "a.m4a", [tone(2, 44100)], 44100)
    content = path.read_bytes()
    assert b"Lavf" in content  # the name of the encoder
    path.write_bytes(content.replace(b"Lavf", b"\xff\xfe\x80\x81"))
    assert decode(path).source_seconds == pytest.approx(2, abs=0.1)


def test_a_name_is_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a.m4a", "data:audio", os.fsdecode(b"\xff\xfe.m4a")):
        write(tmp_path / "a.m4a", [tone(1, 16000)], 16000).rename(name)
        assert decode(Path(name)).source_rate == 16000


def test_without_pyav_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.m4a", [tone(1, 16000)], 16000)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDecoder, match="pip install av"):
        decode(path)
    assert _attempt(Job("track", path)).source is None  # so that it is tried again once it is installed
