"""From an audio file to what the store holds: mono, 16 kHz, int16, and what was measured on the way.

WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF by libsndfile, AAC by an optional extra; resampling by soxr. Files are read
block by block, so memory holds no more than one track's result whatever the length of the file. Decoders read a
file that was cut off as a shorter one and say nothing, so what the file announces is compared with what came out.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from tagscale import SAMPLE_RATE
from tagscale.decoding.endings import mp3_has_length, mp3_is_cut, ogg_ends
from tagscale.runtime.errors import TagscaleError

DECODER = 2  # counted up when the same file would give other samples: stores are then decoded anew
MAX_SECONDS = 2 * 3600  # longer files are rejected: one is no song, and its samples would fill 230 MB
BLOCK_FRAMES = 1 << 16
FULL_SCALE = 32768
CLIPPED_FROM = 0.9999  # of full scale; the largest 16-bit value is 0.99997
CUT_SECONDS = 0.5  # a shortfall from here on is a truncated file; encoders' own delays are below 0.1 s
FLOOR_DBFS = -120.0  # what digital silence is given: one 16-bit step is -90 dBFS
QUALITY = "HQ"  # of soxr: aliases at -131 dB, far below 16 bits; the next better costs up to twice
MP3_BYTES_PER_SECOND = 40_000  # at most: 320 kbit/s
TOO_LONG = f"longer than {MAX_SECONDS // 3600} hours"
AAC_EXTENSIONS = {".m4a", ".mp4", ".aac"}


class AudioError(TagscaleError):
    """A file without usable audio; `reason` says why, without the path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


class MissingDecoder(AudioError):
    """A file that another installation of tagscale could decode."""


@dataclass(frozen=True)
class Opened:
    """A file that is open for decoding.

    rate, channels: of the file.
    announced: frames that the file itself says it holds; None where it does not say.
    blocks: float32, (frames, channels), from first to last.
    cut: what the file's last bytes say of a cut, "" = nothing.
    """

    rate: int
    channels: int
    announced: int | None
    blocks: Iterator[np.ndarray]
    cut: str = ""


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
    with _opened(path) as opened:
        return _decode(path, opened)


def _opened(path: Path) -> AbstractContextManager[Opened]:
    if path.suffix.lower() in AAC_EXTENSIONS:
        from tagscale.decoding import aac  # it imports this module

        return aac.opened(path)
    return _by_libsndfile(path)


@contextmanager
def _by_libsndfile(path: Path) -> Iterator[Opened]:
    try:
        with soundfile.SoundFile(path) as file:
            announced = _announced_frames(path, file)
            # an Ogg file's last page says its length, but of the part that is there
            known = announced if announced is not None else file.frames if file.format == "OGG" else 0
            if known > MAX_SECONDS * file.samplerate or _mp3_of_hours(path, file):
                raise AudioError(path, TOO_LONG)
            cut = ""
            if file.format == "OGG" and not ogg_ends(path):
                cut = "the Ogg stream stops without its end mark"
            elif file.format in ("MP3", "MPEG") and announced is None and mp3_is_cut(path):
                cut = "the last frame is not whole"
            yield Opened(file.samplerate, file.channels, announced, _blocks(path, file), cut)
    except soundfile.LibsndfileError as error:  # met while opening; later ones are told apart in _blocks
        raise AudioError(path, f"not audio in a known format ({error.error_string.rstrip('.')})") from None
    except (TypeError, ValueError, OSError) as error:  # headerless formats by their file name; unreadable files
        raise AudioError(path, f"cannot be read as audio ({error})") from None


def _decode(path: Path, opened: Opened) -> Decoded:
    rate, channels, announced = opened.rate, opened.channels, opened.announced
    if announced is not None and announced > MAX_SECONDS * rate:
        raise AudioError(path, TOO_LONG)
    resample = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality=QUALITY)
    pieces: list[np.ndarray] = []
    frames = at_full_scale = 0
    for block in opened.blocks:  # (frames, channels)
        if not np.isfinite(block).all():
            raise AudioError(path, "holds values that are no numbers (NaN or infinite)")
        frames += len(block)
        if frames > MAX_SECONDS * rate:
            raise AudioError(path, TOO_LONG)
        at_full_scale += int(np.count_nonzero(np.abs(block) >= CLIPPED_FROM))
        mono = _mean_of_channels(block)
        pieces.append(_to_int16(resample.resample_chunk(mono) if rate != SAMPLE_RATE else mono))
    if rate != SAMPLE_RATE and frames:
        pieces.append(_to_int16(resample.resample_chunk(np.zeros(0, np.float32), last=True)))
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if len(samples) == 0:
        raise AudioError(path, "no samples in it")
    if announced is not None and announced - frames >= CUT_SECONDS * rate:
        raise AudioError(path, f"truncated: {frames / rate:.1f} s of the {announced / rate:.1f} s that it announces")
    if opened.cut:
        raise AudioError(path, f"truncated: it ends after {frames / rate:.1f} s, and {opened.cut}")
    return _measured(samples, rate, channels, frames, at_full_scale)


def _mean_of_channels(block: np.ndarray) -> np.ndarray:
    """(frames, channels) -> (frames,). Our own: libraries' down-mixes differ by 3 dB."""
    mono = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    return mono / np.float32(block.shape[1])


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
    """The file's float32 blocks, (frames, channels)."""
    frames = 0
    while True:
        try:
            block = file.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            at = f"after {frames / file.samplerate:.1f} of {file.frames / file.samplerate:.1f} s"
            raise AudioError(path, f"truncated or damaged: the decoder stopped {at} ({error.error_string})") from None
        if len(block) == 0:
            return
        frames += len(block)
        yield block


def _to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _announced_frames(path: Path, file: soundfile.SoundFile) -> int | None:
    """Frames that the file itself says it holds, or None where it does not say."""
    if file.format in ("MP3", "MPEG"):
        return file.frames if mp3_has_length(path) else None  # else libsndfile guesses from the first frame
    chunk = re.search(r"(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", file.extra_info)  # libsndfile's own finding
    if chunk is None:
        return None if file.format == "OGG" else file.frames
    said, found = int(chunk[1]), int(chunk[2])
    if said >= 0x7F000000 or said < found or found == 0:  # what programs write that stream to a pipe
        return file.frames
    return round(file.frames * said / found)


def _mp3_of_hours(path: Path, file: soundfile.SoundFile) -> bool:
    """Whether an MP3 is too long at any bitrate, whatever it announces."""
    return file.format in ("MP3", "MPEG") and path.stat().st_size > MAX_SECONDS * MP3_BYTES_PER_SECOND + (16 << 20)
