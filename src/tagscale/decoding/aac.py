"""AAC, in M4A and MP4 containers or bare: the formats that libsndfile does not know, by PyAV (an optional extra)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tagscale.decoding.decode import AudioError, MissingDecoder, Opened

FULL_SCALES = {"int16": 32768.0, "int32": 2147483648.0}  # full scale of whole numbers


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a file for `decode`.

    Raises:
        MissingDecoder: PyAV is not installed.
        AudioError: not audio, without an audio stream, or damaged.
    """
    try:
        import av
    except ImportError:
        raise MissingDecoder(path, 'needs PyAV: pip install "tagscale[aac]"') from None
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise AudioError(path, "no audio in it")
            stream = container.streams.audio[0]
            rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
            if not rate or not channels:
                raise AudioError(path, "not audio in a known format (no sample rate)")
            # a bare AAC stream has no header to say its length: what FFmpeg reports is a guess
            length = stream.duration if path.suffix.lower() != ".aac" else None
            frames = round(float(length * stream.time_base) * rate) if length and stream.time_base else None

            def blocks() -> Iterator[np.ndarray]:
                for frame in container.decode(stream):
                    if frame.sample_rate != rate or len(frame.layout.channels) != channels:
                        raise AudioError(path, "changes its sample rate or channels on the way")
                    yield _floats(frame.to_ndarray(), channels)

            yield Opened(rate, channels, frames, blocks())
    except av.FFmpegError as error:
        raise AudioError(path, f"cannot be read as audio ({error.strerror or error})") from None


def _floats(values: np.ndarray, channels: int) -> np.ndarray:
    """Planar (channels, frames) or packed (1, frames * channels) of any type -> (frames, channels) float32."""
    planes = values.T if len(values) == channels else values.reshape(-1, channels)
    return planes.astype(np.float32) / np.float32(FULL_SCALES.get(planes.dtype.name, 1.0))
