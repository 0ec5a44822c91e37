"""MP3, AAC, ALAC, WMA and whatever else FFmpeg reads, through PyAV."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from tagscale.decoding.opened import BLOCK_VALUES, AudioError, MissingDecoder, Opened, UnknownFormat

MIDDLES = {"uint8": 128.0}  # of unsigned samples
FULL_SCALES = {"uint8": 128.0, "int16": 2.0**15, "int32": 2.0**31, "int64": 2.0**63}  # of integer samples
MOST_DAMAGE = 1000  # packets; with more the file is none of this format


@contextmanager
def opened(path: Path, content: FileIO, formats: tuple[str, ...]) -> Iterator[Opened]:
    """Open a file for `decode`.

    Args:
        content: the file. FFmpeg never sees its name, which might be an address.
        formats: the demuxers that FFmpeg may use; others, as those of playlists, would open further files.

    Raises:
        MissingDecoder: PyAV is not installed.
        UnknownFormat: the file is in none of `formats`, or so damaged that FFmpeg does not recognise it.
        AudioError: no audio in it.
    """
    try:
        import av
    except ImportError:
        raise MissingDecoder(path, "needs PyAV: pip install av") from None
    content.seek(0)
    options = {"format_whitelist": ",".join(formats), "protocol_whitelist": ""}
    try:
        container = av.open(content, options=options, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise UnknownFormat(path, f"not audio in a known format ({_text(error)})") from None
    with container:
        if not container.streams.audio:
            raise AudioError(path, "no audio in it")
        stream = container.streams.audio[0]
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        if not rate or not channels:
            raise UnknownFormat(path, "not audio in a known format (no sample rate)")
        stream.codec_context.thread_count = 1  # as many files as cores are decoded at once
        if stream.codec_context.name == "flac":  # other codecs' encoders write wrong checksums, too
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        if stream.duration and stream.time_base:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        damage: list[str] = []
        blocks = _blocks(_frames(container, stream, damage))
        yield Opened(container.format.name, rate, channels, round(seconds * rate), blocks, damage)


def _frames(container: Any, stream: Any, damage: list[str]) -> Iterator[Any]:
    """Decoded frames. A packet that cannot be decoded is noted; the next one may be fine."""
    import av

    packets = container.demux(stream)
    seconds = 0.0
    while len(damage) < MOST_DAMAGE:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            for frame in packet.decode():
                seconds += frame.samples / frame.sample_rate
                yield frame
        except av.FFmpegError as error:
            damage.append(f"at {seconds:.1f} s: {_text(error)}")
            if isinstance(error, OSError) and not isinstance(error, av.error.InvalidDataError):
                return


def _blocks(frames: Iterator[Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Join frames, which are of 20 to 100 ms, to blocks of one rate and one number of channels."""
    kind, values, pieces = (0, 0), 0, list[np.ndarray]()
    for frame in frames:
        piece = _floats(frame.to_ndarray(), len(frame.layout.channels))
        now = frame.sample_rate, piece.shape[1]
        if pieces and (now != kind or values + piece.size > BLOCK_VALUES):
            yield kind[0], np.concatenate(pieces)
            pieces, values = [], 0
        kind = now
        pieces.append(piece)
        values += piece.size
    if pieces:
        yield kind[0], np.concatenate(pieces)


def _floats(values: np.ndarray, channels: int) -> np.ndarray:
    """Planar (channels, frames) or packed (1, frames * channels) of any type -> (frames, channels) float32."""
    planes = values.T if len(values) == channels else values.reshape(-1, channels)
    if planes.dtype == np.float32:
        return planes
    name = planes.dtype.name
    return (planes.astype(np.float32) - np.float32(MIDDLES.get(name, 0))) / np.float32(FULL_SCALES.get(name, 1))


def _text(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
