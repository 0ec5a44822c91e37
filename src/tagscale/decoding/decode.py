"""From an audio file to what the store holds: mono, 16 kHz, int16, and measurements.

`formats` chooses the library that reads a file; soxr resamples. Files are read block by block, so the memory holds no
more than one track's result, however long the file is. Libraries read a file that was cut off as a shorter one,
without an error, so the length that the file announces is compared with what was decoded.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from tagscale import SAMPLE_RATE
from tagscale.decoding.endings import Length
from tagscale.decoding.formats import decoders_for, length_of, names_of
from tagscale.decoding.levels import UNSCALED_FROM, Levels
from tagscale.decoding.opened import AudioError, MissingDecoder, Opened, UnknownFormat

DECODER = 3  # counted up when the same file would give other samples: stores are then decoded anew
MAX_SECONDS = 2 * 3600  # longer files are rejected: no song is so long, and its samples would fill 230 MB
BLOCK_SAMPLES = 1 << 16
FULL_SCALE = 32768
CUT_SECONDS = 0.5  # a shortfall from here on is a truncated file; encoders' own delays are below 0.1 s
FLOOR_DBFS = -120.0  # the level of digital silence; one 16-bit step is -90 dBFS
QUALITY = "HQ"  # of soxr: aliases at -131 dB, far below 16 bits; the next better costs up to twice
TOO_LONG = f"longer than {MAX_SECONDS // 3600} hours"


@dataclass(frozen=True)
class Decoded:
    """One decoded file.

    samples: int16, (samples,), mono at 16 kHz.
    source_rate, channels, source_seconds: of the file as it was.
    only_channel: number of the channel that was taken alone, from 1; 0 = the mean of all.
    rms_dbfs: level of the samples against a full-scale square wave; digital silence is -120.
    peak: largest magnitude of the samples, 1 is full scale.
    clipped: share of the file's own values, all channels, at full scale.
    dc: mean of the samples, 1 is full scale.
    audio_sha256: of the samples as little-endian bytes.
    """

    samples: np.ndarray
    source_rate: int
    channels: int
    only_channel: int
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

    Where the channels cancel each other out, as when one has the other's polarity, their mean is silence or a rest of
    what people hear. One channel is then taken alone: the first that is about as loud as the loudest
    (`tagscale.decoding.levels`).

    Raises:
        AudioError: file missing, empty, not audio, truncated, damaged, without samples, longer than two hours, with
            values that are no numbers, or with floats far beyond full scale.
    """
    path = Path(path)
    if not path.is_file():
        raise AudioError(path, "not a file" if path.exists() else "no such file")
    if path.stat().st_size == 0:
        raise AudioError(path, "empty file (0 bytes)")
    try:
        decoded, levels = _read(path)
        return _read(path, levels.loudest)[0] if levels.cancelled else decoded
    except OSError as error:
        raise AudioError(path, f"cannot be read ({error.strerror or error})") from None


def _read(path: Path, only: int | None = None) -> tuple[Decoded, Levels]:
    """Decode the mean of all channels, or channel `only` alone, and measure the file's own values."""
    with ExitStack() as stack:
        opened = _open(path, stack)
        length = length_of(path, opened)
        if max(length.announced or 0, length.least) > MAX_SECONDS * opened.rate:
            raise AudioError(path, TOO_LONG)
        return _decode(path, opened, length, only)


def _open(path: Path, stack: ExitStack) -> Opened:
    """Open the file by the library of its suffix or, where that does not recognise it, by another one."""
    errors: list[AudioError] = []
    for decoder in decoders_for(path):
        try:
            return stack.enter_context(decoder.opened(path, names_of(decoder)))
        except (UnknownFormat, MissingDecoder) as error:
            errors.append(error)
    raise errors[0]


def _decode(path: Path, opened: Opened, length: Length, only: int | None) -> tuple[Decoded, Levels]:
    rate, announced, levels = opened.rate, length.announced, Levels(opened.channels)
    resample = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality=QUALITY)
    pieces: list[np.ndarray] = []
    for block in opened.blocks:  # (frames, channels)
        if not np.isfinite(block).all():
            raise AudioError(path, "holds values that are no numbers (NaN or infinite)")
        mean = _mean_of_channels(block)
        levels.add(block, mean)
        if levels.frames > MAX_SECONDS * rate:
            raise AudioError(path, TOO_LONG)
        mono = mean if only is None else block[:, only].copy()
        pieces.append(_to_int16(resample.resample_chunk(mono) if rate != SAMPLE_RATE else mono))
    frames = levels.frames
    if rate != SAMPLE_RATE and frames:
        pieces.append(_to_int16(resample.resample_chunk(np.zeros(0, np.float32), last=True)))
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
    if len(samples) == 0:
        raise AudioError(path, "no samples in it")
    if announced is not None and announced - frames >= CUT_SECONDS * rate:
        raise AudioError(path, f"truncated: {frames / rate:.1f} s of the {announced / rate:.1f} s that it announces")
    if length.cut:
        raise AudioError(path, f"truncated: it ends after {frames / rate:.1f} s, and {length.cut}")
    if levels.peak > UNSCALED_FROM:
        beyond = f"up to {levels.peak:,.8g}, where 1 is full scale"
        raise AudioError(path, f"values beyond full scale: {beyond} (floats that were exported without scaling?)")
    return _measured(samples, rate, levels, 0 if only is None else only + 1), levels


def _mean_of_channels(block: np.ndarray) -> np.ndarray:
    """(frames, channels) -> (frames,). Our own: libraries' down-mixes differ by 3 dB."""
    mono = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    return mono / np.float32(block.shape[1])


def _measured(samples: np.ndarray, rate: int, levels: Levels, only_channel: int) -> Decoded:
    power, total, peak = 0.0, 0.0, 0
    for start in range(0, len(samples), BLOCK_SAMPLES):  # block-wise: float64 copies of two hours would be 900 MB
        block = samples[start : start + BLOCK_SAMPLES].astype(np.float64)
        power += float(np.square(block).sum())  # no BLAS: its threads fight over the cores with the other workers
        total += float(block.sum())
        peak = max(peak, int(np.abs(block).max()))
    rms = (power / len(samples)) ** 0.5 / FULL_SCALE
    return Decoded(
        samples=samples,
        source_rate=rate,
        channels=levels.channels,
        only_channel=only_channel,
        source_seconds=levels.frames / rate,
        rms_dbfs=max(20 * np.log10(rms), FLOOR_DBFS) if rms > 0 else FLOOR_DBFS,
        peak=peak / FULL_SCALE,
        clipped=levels.clipped,
        dc=total / len(samples) / FULL_SCALE,
        audio_sha256=hashlib.sha256(samples.astype("<i2", copy=False).tobytes()).hexdigest(),
    )


def _to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
