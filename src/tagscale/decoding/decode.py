"""From an audio file to what the store holds: mono, 16 kHz, int16, and measurements.

`formats` chooses the library that reads a file, and says by the file's own structure how long it is; soxr resamples.
Libraries read a file that was cut off, joined or damaged as a shorter one, without an error. So what was decoded is
compared with the structure; where samples are missing another library gets its turn, and then the file is rejected.
Files are read block by block, so the memory holds no more than one track's result, however long the file is.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from numbers import Real
from pathlib import Path

import numpy as np
import soxr

from tagscale import SAMPLE_RATE, SOURCE_RATES
from tagscale.decoding.foreign import kind_of, resemblance
from tagscale.decoding.formats import DECODERS, NAMES, AudioFormat, format_named, format_of
from tagscale.decoding.lengths.length import CUT_SECONDS, Length
from tagscale.decoding.lengths.window import Window
from tagscale.decoding.levels import UNSCALED_FROM, Levels
from tagscale.decoding.opened import (
    AudioError,
    Incomplete,
    MissingDecoder,
    Opened,
    Unavailable,
    UnknownFormat,
    open_file,
    unreadable,
)
from tagscale.runtime.pcm import FULL_SCALE, rounded

DECODER = 4  # counted up when the same file would give other samples: stores are then decoded anew
MAX_SECONDS = 2 * 3600  # longer files are rejected: no song is so long, and its samples would fill 230 MB
MAX_CHANNELS = 64  # more than any speaker layout has; a multitrack session is no song
MAX_VALUES = 1 << 32  # of all channels: two hours of 5.1 at 96 kHz; a core decodes them in the minutes that a file has
BLOCK_SAMPLES = 1 << 16
FLOOR_DBFS = -120.0  # the level of digital silence; one 16-bit step is -90 dBFS
QUALITY = "HQ"  # of soxr: aliases at -131 dB, far below 16 bits; the next better costs up to twice


@dataclass(frozen=True)
class Decoded:
    """One decoded file.

    samples: int16, (samples,), mono at 16 kHz.
    source_rate, channels, source_seconds: of the file as it was; where it changes on the way, as it begins.
    only_channel: number of the channel that was taken alone, from 1; 0 = the mean of all.
    rms_dbfs: level of the samples against a full-scale square wave; digital silence is -120.
    peak: largest magnitude of the samples, 1 is full scale.
    clipped: share of the file's own values, all channels, at full scale.
    dc: mean of the samples, 1 is full scale.
    audio_sha256: of the samples as little-endian bytes.
    format: the file's, as the library that read it reports it: "MP3". Of samples from memory: "samples".
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
    format: str = ""

    def facts(self) -> dict[str, int | float | str]:
        """What was measured, by name."""
        return {name: value for name, value in vars(self).items() if name not in ("samples", "format")}


def decode(path: Path, longest: float = MAX_SECONDS) -> Decoded:
    """Decode a file to mono 16 kHz int16: the mean of its channels, resampled, rounded, clipped to full scale.

    Where the channels cancel each other out, as when one has the other's polarity, their mean is silence or a rest of
    what people hear. One channel is then taken alone: the first that is about as loud as the loudest
    (`tagscale.decoding.levels`).

    Args:
        longest: seconds that a file may last
    Raises:
        AudioError: file missing, empty, not audio, truncated, damaged, without samples, longer than `longest`, with
            values that are no numbers or floats far beyond full scale, or of a rate or number of channels that music
            has not.
    """
    path = Path(path)
    with open_file(path) as file:
        try:
            track = _read(path, file, longest)
            if track.levels.cancelled:
                loudest = track.levels.loudest
                del track  # the memory holds one result
                track = _read(path, file, longest, loudest)
            return track.measured()
        except AudioError:
            raise
        except OSError as error:
            raise Unavailable(path, unreadable(error)) from None
        except Exception as error:  # of a library: one file never stops the others
            raise Unavailable(path, f"could not be decoded ({type(error).__name__}: {error})") from error


def decode_samples(samples: np.ndarray, rate: int, name: str = "samples", longest: float = MAX_SECONDS) -> Decoded:
    """What `decode` makes of a file, from samples in memory.

    Shape:
        samples: (n,) or (channels, n), at `rate` Hz; floats in [-1, 1], or integers of a type whose range is full
            scale: int8, int16 or int32
    Args:
        name: of the recording in errors
    Raises:
        AudioError: no samples, values that are no numbers or floats far beyond full scale, another shape, or a rate,
            a length or a number of channels that music has not.
    """
    path, frames = Path(name), np.atleast_2d(samples).T
    _check_rate(path, rate)
    if frames.ndim != 2 or frames.dtype.kind not in "fi":
        expected = "floats in [-1, 1] or int16, as (n,) or (channels, n)"
        raise AudioError(path, f"shape {np.shape(samples)} of {frames.dtype}; expected {expected}")
    if frames.dtype.kind == "i" and frames.dtype.itemsize > 4:  # what NumPy makes of any integers
        raise AudioError(path, f"{frames.dtype}, whose full scale nobody knows; expected floats in [-1, 1], or int16")
    if frames.shape[1] > MAX_CHANNELS:
        expected = f"(channels, n) with {MAX_CHANNELS} at most; of (n, channels), as soundfile reads, that is samples.T"
        raise AudioError(path, f"{frames.shape[1]} channels: expected {expected}")

    def blocks() -> Iterator[tuple[int, np.ndarray]]:
        for first in range(0, len(frames), BLOCK_SAMPLES):
            yield rate, _as_floats(frames[first : first + BLOCK_SAMPLES])

    def read(only: int | None) -> _Track:
        track = _Track(path, longest, only, "samples")
        return _decode(track, Opened("samples", rate, frames.shape[1], len(frames), blocks()), Length())

    track = read(None)
    return (read(track.levels.loudest) if track.levels.cancelled else track).measured()


def _as_floats(block: np.ndarray) -> np.ndarray:
    """Values of any kind as float32, whose full scale is 1."""
    if block.dtype.kind == "f":
        return block.astype(np.float32)
    return (block / float(1 << (8 * block.dtype.itemsize - 1))).astype(np.float32)


def _read(path: Path, file: FileIO, longest: float, only: int | None = None) -> "_Track":
    """Decode the mean of all channels, or channel `only` alone.

    One library after another is tried, until one comes to the end that the file's structure shows.
    """
    window = Window(file)
    head = window.at(0, 1024)
    if kind := kind_of(head):
        raise AudioError(path, f"not audio: {kind}")
    entry = format_of(path, window)
    length = entry.length(window) if entry and entry.length else Length()
    if length is None:
        entry, length = None, Length()
    if length.fault:
        raise AudioError(path, length.fault)
    errors: list[AudioError] = []
    for decoder in entry.decoders if entry else DECODERS:
        try:
            with decoder.opened(path, file, NAMES) as opened:
                whole = _length(path, opened, window, entry, length, longest)
                return _decode(_Track(path, longest, only, opened.format), opened, whole)
        except (UnknownFormat, Incomplete, MissingDecoder) as error:
            errors.append(error)
    telling = next((error for error in errors if not isinstance(error, UnknownFormat)), errors[0])
    if isinstance(telling, UnknownFormat) and (like := resemblance(head)):
        raise UnknownFormat(path, f"not audio in a known format: {like}")
    raise telling


def _length(
    path: Path, opened: Opened, window: Window, entry: AudioFormat | None, length: Length, longest: float
) -> Length:
    """The file's length, once a library has opened it: of a format that only the library knew, too.

    The rate comes first: by one that no music has, every length is wrong.
    """
    _check_rate(path, opened.rate)
    if entry is None and (named := format_named(opened.format)) and named.length:
        structure = named.length(window)
        if structure is None:
            raise UnknownFormat(path, f"not audio in a known format (taken for {opened.format}, but it is not)")
        length = structure
    _check_length(path, length, longest)
    if length.seconds is None:
        _check_length(path, Length(opened.frames / opened.rate), longest)
    return length


def _decode(track: "_Track", opened: Opened, length: Length) -> "_Track":
    for rate, block in opened.blocks:  # (frames, channels)
        track.add(rate, block)
    track.finish()
    _check_complete(track.path, opened, track.seconds, length)
    return track


def too_long(longest: float) -> str:
    """The reason for which a longer file is rejected.

    >>> too_long(7200), too_long(1200)
    ('longer than 2 hours', 'longer than 20 minutes')
    """
    return f"longer than {longest / 3600:g} hours" if longest >= 3600 else f"longer than {longest / 60:g} minutes"


def _check_rate(path: Path, rate: int) -> None:
    least, most = SOURCE_RATES
    if not isinstance(rate, Real):
        raise AudioError(path, f"sample rate {rate!r}: expected a number of Hz")
    if not least <= rate <= most:
        raise AudioError(path, f"sample rate of {rate:,} Hz: expected {least:,} to {most:,}")


def _check_length(path: Path, length: Length, longest: float) -> None:
    if length.fault:
        raise AudioError(path, length.fault)
    if length.seconds is not None and length.seconds > longest:
        raise AudioError(path, too_long(longest))


def _check_complete(path: Path, opened: Opened, seconds: float, length: Length) -> None:
    """Compare what was decoded with what the file's structure shows, or with what the library announced."""
    damage = f"damaged {opened.damage[0]}" if opened.damage else ""
    whole = opened.frames / opened.rate if length.seconds is None else length.seconds
    slack = CUT_SECONDS if length.seconds is None else length.slack + 1 / opened.rate
    if whole - seconds >= slack:
        raise Incomplete(path, damage or f"damaged: only {seconds:.1f} of its {whole:.1f} s can be decoded")
    if damage and length.seconds is None:
        raise Incomplete(path, damage)
    if seconds == 0:
        raise AudioError(path, "no samples in it")


@dataclass
class _Track:
    """The result for a file as it grows, block by block.

    longest: seconds that it may last.
    only: the channel to take alone; None = the mean of all.
    format: of the file, as its library reports it.
    content: the samples so far. It grows in place: joining pieces would need twice their memory.
    frames: of the file, by sample rate.
    """

    path: Path
    longest: float
    only: int | None = None
    format: str = ""
    content: bytearray = field(default_factory=bytearray)
    frames: Counter[int] = field(default_factory=Counter)
    values: int = 0
    rate: int = 0
    source_rate: int = 0
    levels: Levels = field(default_factory=lambda: Levels(0))

    @property
    def seconds(self) -> float:
        return sum(frames / rate for rate, frames in self.frames.items())

    def add(self, rate: int, block: np.ndarray) -> None:
        """Add (frames, channels) float32 at any rate."""
        channels = block.shape[1]
        if rate != self.rate:
            self.finish()
            self._begin(rate, channels)
        if not np.isfinite(block).all():
            raise AudioError(self.path, "holds values that are no numbers (NaN or infinite)")
        self.frames[rate] += len(block)
        self.values += block.size
        if self.seconds > self.longest:
            raise AudioError(self.path, too_long(self.longest))
        if self.values > MAX_VALUES:
            raise AudioError(self.path, f"more than {MAX_VALUES:,} values in its channels: mix or divide it")
        mean = _mean_of_channels(block)
        same = channels == self.levels.channels  # a stretch of others counts as its mean in each
        self.levels.add(block if same else np.repeat(mean[:, None], self.levels.channels, axis=1), mean)
        mono = mean if self.only is None or not same else block[:, self.only].copy()
        self._append(self.resample.resample_chunk(mono) if rate != SAMPLE_RATE else mono)

    def finish(self) -> None:
        """Take what the resampler holds back."""
        if self.rate not in (0, SAMPLE_RATE) and self.frames[self.rate]:
            self._append(self.resample.resample_chunk(np.zeros(0, np.float32), last=True))
        self.rate = 0

    def _begin(self, rate: int, channels: int) -> None:
        _check_rate(self.path, rate)
        if channels > MAX_CHANNELS:
            raise AudioError(self.path, f"{channels} channels: expected {MAX_CHANNELS} at most")
        if not self.source_rate:
            self.source_rate, self.levels = rate, Levels(channels)
        self.rate = rate
        self.resample = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality=QUALITY)

    def _append(self, samples: np.ndarray) -> None:
        self.content += rounded(samples).data.cast("B")

    def measured(self) -> Decoded:
        """The samples with their measurements."""
        samples = np.frombuffer(self.content, np.int16)
        if len(samples) == 0:
            raise AudioError(self.path, "no samples in it")
        if self.levels.peak > UNSCALED_FROM:
            beyond = f"up to {self.levels.peak:,.8g}, where 1 is full scale"
            reason = f"values beyond full scale: {beyond} (floats that were exported without scaling?)"
            raise AudioError(self.path, reason)
        power, total, peak = 0.0, 0.0, 0
        for start in range(0, len(samples), BLOCK_SAMPLES):  # float64 copies of two hours would be 900 MB
            block = samples[start : start + BLOCK_SAMPLES].astype(np.float64)
            power += float(np.square(block).sum())  # no BLAS: its threads fight over the cores with other workers
            total += float(block.sum())
            peak = max(peak, int(np.abs(block).max()))
        rms = (power / len(samples)) ** 0.5 / FULL_SCALE
        return Decoded(
            samples=samples,
            source_rate=self.source_rate,
            channels=self.levels.channels,
            only_channel=0 if self.only is None else self.only + 1,
            source_seconds=self.seconds,
            rms_dbfs=max(20 * np.log10(rms), FLOOR_DBFS) if rms > 0 else FLOOR_DBFS,
            peak=peak / FULL_SCALE,
            clipped=self.levels.clipped,
            dc=total / len(samples) / FULL_SCALE,
            audio_sha256=hashlib.sha256(samples.astype("<i2", copy=False).data).hexdigest(),
            format=self.format,
        )


def _mean_of_channels(block: np.ndarray) -> np.ndarray:
    """(frames, channels) -> (frames,). Our own: libraries' down-mixes differ by 3 dB."""
    mono = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    return mono / np.float32(block.shape[1])
