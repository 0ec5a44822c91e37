"""From an audio file to what the store holds: mono, 16 kHz, int16, and what was measured on the way.

WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF by libsndfile; resampling by soxr at its best quality. Files are read
block by block, so memory holds no more than one track's result whatever the length of the file. Decoders read a
file that was cut off as a shorter one and say nothing, so what the file announces is compared with what came out.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tagscale.audio import SAMPLE_RATE
from tagscale.errors import TagscaleError

MAX_SECONDS = 2 * 3600  # longer files are rejected: one is no song, and its samples would fill 230 MB
BLOCK_FRAMES = 1 << 16
FULL_SCALE = 32768
CLIPPED_FROM = 0.9999  # of full scale; the largest 16-bit value is 0.99997
CUT_SECONDS = 0.5  # a shortfall from here on is a truncated file; encoders' own delays are below 0.1 s
FLOOR_DBFS = -120.0  # what digital silence is given: one 16-bit step is -90 dBFS


class AudioError(TagscaleError):
    """A file without usable audio; `reason` says why, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Decoded:
    """One decoded file.

    samples: int16, (samples,), mono at 16 kHz.
    source_rate, channels, source_seconds: of the file as it was.
    rms_dbfs: level of the samples against a full-scale square wave; digital silence is -120.
    peak: largest magnitude of the samples, 1 is full scale.
    clipped: share of the file's own values, all channels, at full scale.
    dc: mean of the samples, 1 is full scale.
    audio_sha256: of the samples as little-endian bytes.
    """

    samples: np.ndarray
    source_rate: int
    channels: int
    source_seconds: float
    rms_dbfs: float
    peak: float
    clipped: float
    dc: float
    audio_sha256: str

    def facts(self) -> dict[str, int | float | str]:
        """What was measured, by name, without the samples."""
        return {name: value for name, value in vars(self).items() if name != "samples"}


def decode(path: Path) -> Decoded:
    """Decode a file to mono 16 kHz int16: the mean of its channels, resampled, rounded, clipped to full scale.

    Raises:
        AudioError: file missing, empty, not audio, truncated, damaged, without samples, longer than two hours, or
            with values that are no numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(path, "not a file" if path.exists() else "no such file")
    if path.stat().st_size == 0:
        raise AudioError(path, "empty file (0 bytes)")
    try:
        with soundfile.SoundFile(path) as file:
            return _decode(path, file)
    except soundfile.LibsndfileError as error:  # met while opening; later ones are told apart in _blocks
        raise AudioError(path, f"not audio in a known format ({error.error_string.rstrip('.')})") from None
    except (TypeError, ValueError, OSError) as error:  # headerless formats by their file name; unreadable files
        raise AudioError(path, f"cannot be read as audio ({error})") from None


def _decode(path: Path, file: soundfile.SoundFile) -> Decoded:
    rate, channels = file.samplerate, file.channels
    announced = _announced_frames(path, file)
    if announced is not None and announced > MAX_SECONDS * rate:
        raise AudioError(path, f"longer than {MAX_SECONDS // 3600} hours")
    resample = (
        soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float64", quality="VHQ") if rate != SAMPLE_RATE else None
    )
    pieces: list[np.ndarray] = []
    frames = at_full_scale = 0
    for block in _blocks(path, file):  # (frames, channels)
        frames += len(block)
        at_full_scale += int((np.abs(block) >= CLIPPED_FROM).sum())
        mono = block.mean(axis=1)  # our own: libraries' down-mixes differ by 3 dB
        pieces.append(_to_int16(resample.resample_chunk(mono) if resample else mono))
    if resample and frames:
        pieces.append(_to_int16(resample.resample_chunk(np.zeros(0), last=True)))
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if len(samples) == 0:
        raise AudioError(path, "no samples in it")
    if announced is not None and announced - frames >= CUT_SECONDS * rate:
        raise AudioError(path, f"truncated: {frames / rate:.1f} s of the {announced / rate:.1f} s that it announces")
    if file.format == "OGG" and not _ogg_ends(path):
        raise AudioError(path, f"truncated: the Ogg stream stops at {frames / rate:.1f} s without its end mark")
    return _measured(samples, rate, channels, frames, at_full_scale)


def _measured(samples: np.ndarray, rate: int, channels: int, frames: int, at_full_scale: int) -> Decoded:
    power, total, peak = 0.0, 0.0, 0
    for start in range(0, len(samples), BLOCK_FRAMES):  # block-wise: float64 copies of two hours would be 900 MB
        block = samples[start : start + BLOCK_FRAMES].astype(np.float64)
        power += float(np.square(block).sum())  # no BLAS: its threads fight over the cores with the other workers
        total += float(block.sum())
        peak = max(peak, int(np.abs(block).max()))
    rms = (power / len(samples)) ** 0.5 / FULL_SCALE
    return Decoded(
        samples=samples,
        source_rate=rate,
        channels=channels,
        source_seconds=frames / rate,
        rms_dbfs=max(20 * np.log10(rms), FLOOR_DBFS) if rms > 0 else FLOOR_DBFS,
        peak=peak / FULL_SCALE,
        clipped=at_full_scale / (frames * channels),
        dc=total / len(samples) / FULL_SCALE,
        audio_sha256=hashlib.sha256(samples.astype("<i2", copy=False).tobytes()).hexdigest(),
    )


def _blocks(path: Path, file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    """The file's float64 blocks, (frames, channels)."""
    frames = 0
    while True:
        try:
            block = file.read(BLOCK_FRAMES, dtype="float64", always_2d=True)
        except soundfile.LibsndfileError as error:
            at = f"after {frames / file.samplerate:.1f} of {file.frames / file.samplerate:.1f} s"
            raise AudioError(path, f"truncated or damaged: the decoder stopped {at} ({error.error_string})") from None
        if len(block) == 0:
            return
        if not np.isfinite(block).all():
            raise AudioError(path, "holds values that are no numbers (NaN or infinite)")
        frames += len(block)
        if frames > MAX_SECONDS * file.samplerate:
            raise AudioError(path, f"longer than {MAX_SECONDS // 3600} hours")
        yield block


def _to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _announced_frames(path: Path, file: soundfile.SoundFile) -> int | None:
    """Frames that the file itself says it holds, or None where it does not say."""
    if file.format in ("MP3", "MPEG"):
        return file.frames if _mp3_has_length(path) else None  # else libsndfile guesses from the first frame
    chunk = re.search(r"(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info)  # libsndfile's own finding
    if chunk is None:
        return None if file.format == "OGG" else file.frames
    said, found = int(chunk[1]), int(chunk[2])
    if said >= 0x7F000000 or said < found or found == 0:  # what programs write that stream to a pipe
        return file.frames
    return round(file.frames * said / found)


def _mp3_has_length(path: Path) -> bool:
    """Whether the first frame of an MP3 says how many follow (Xing, Info or VBRI header)."""
    with open(path, "rb") as file:
        start = file.read(10)
        if start[:3] == b"ID3":  # skip the tag, whose length is in 4 x 7 bits
            file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=True)))
        else:
            file.seek(0)
        first = file.read(4096)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def _ogg_ends(path: Path) -> bool:
    """Whether the last page of an Ogg file is whole and carries the end-of-stream flag (RFC 3533, section 6)."""
    with open(path, "rb") as file:
        file.seek(max(path.stat().st_size - 65_536, 0))  # a page is at most 65,307 bytes
        tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return False
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    return bool(page[5] & 4) and len(page) >= length
