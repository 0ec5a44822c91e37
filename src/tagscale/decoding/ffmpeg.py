"""AAC in MP4 containers or bare, read by FFmpeg through PyAV, an optional extra."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tagscale.decoding.opened import AudioError, MissingDecoder, Opened, UnknownFormat

FULL_SCALES = {"int16": 32768.0, "int32": 2147483648.0}  # full scale of integer samples


@contextmanager
def opened(path: Path, formats: tuple[str, ...]) -> Iterator[Opened]:
    """Open a file for `decode`.

    Args:
        formats: the demuxers that FFmpeg may use; others, as those of playlists, would open further files.

    Raises:
        MissingDecoder: PyAV is not installed.
        UnknownFormat: the file is in none of `formats`.
        AudioError: no audio stream, or damaged.
    """
    try:
        import av
    except ImportError:
        raise MissingDecoder(path, 'needs PyAV: pip install "tagscale[aac]"') from None
    try:
        container = av.open(str(path), options={"format_whitelist": ",".join(formats)})
    except av.FFmpegError as error:
        unknown = isinstance(error, av.error.InvalidDataError | av.error.ArgumentError)
        raise (UnknownFormat if unknown else AudioError)(path, _unreadable(error)) from None
    with container:
        if not container.streams.audio:
            raise AudioError(path, "no audio in it")
        stream = container.streams.audio[0]
        rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
        if not rate or not channels:
            raise AudioError(path, "not audio in a known format (no sample rate)")
        seconds = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0

        def blocks() -> Iterator[np.ndarray]:
            try:
                for frame in container.decode(stream):
                    if frame.sample_rate != rate or len(frame.layout.channels) != channels:
                        raise AudioError(path, "changes its sample rate or channels on the way")
                    yield _floats(frame.to_ndarray(), channels)
            except av.FFmpegError as error:
                raise AudioError(path, _unreadable(error)) from None

        yield Opened(container.format.name, rate, channels, round(seconds * rate), blocks())


def _unreadable(error: Exception) -> str:
    return f"cannot be read as audio ({getattr(error, 'strerror', None) or error})"


def _floats(values: np.ndarray, channels: int) -> np.ndarray:
    """Planar (channels, frames) or packed (1, frames * channels) of any type -> (frames, channels) float32."""
    planes = values.T if len(values) == channels else values.reshape(-1, channels)
    return planes.astype(np.float32) / np.float32(FULL_SCALES.get(planes.dtype.name, 1.0))
