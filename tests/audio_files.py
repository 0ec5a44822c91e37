"""Audio files of every format that tagscale decodes, written for tests."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tagscale.decoding.formats import FORMATS, LIBSNDFILE

SUBTYPES = {".opus": "OPUS"}
SUFFIXES = [suffix for entry in FORMATS for suffix in entry.suffixes]


def write(path: Path, channels: list[np.ndarray], rate: int) -> Path:
    """Write channels, each (samples,) in [-1, 1], in the format of the path's suffix. Skips the test without PyAV."""
    entry = next(entry for entry in FORMATS if path.suffix in entry.suffixes)
    if entry.decoder is LIBSNDFILE:
        wave = np.stack(channels, axis=1)
        soundfile.write(path, wave, rate, format=entry.name, subtype=SUBTYPES.get(path.suffix))
        return path
    av = pytest.importorskip("av", reason="the extra tagscale[aac] is not installed")
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(channels)]
    muxer = {".aac": "adts", ".m4a": "mp4"}.get(path.suffix)
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(container.default_audio_codec, rate=rate, layout=layout, bit_rate=128_000)
        frame = av.AudioFrame.from_ndarray(np.stack(channels).astype(np.float32), format="fltp", layout=layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
