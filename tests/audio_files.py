"""Audio files of every format that tagscale decodes, written for tests."""

from pathlib import Path

import av
import numpy as np
import soundfile

from tagscale.decoding.formats import FORMATS

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}
LIBSNDFILE = {  # suffix -> format and subtype
    ".wav": ("WAV", None),
    ".wave": ("WAV", None),
    ".aif": ("AIFF", None),
    ".aiff": ("AIFF", None),
    ".aifc": ("AIFF", None),
    ".au": ("AU", None),
    ".flac": ("FLAC", None),
    ".ogg": ("OGG", None),
    ".oga": ("OGG", None),
    ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", None),
    ".caf": ("CAF", None),
    ".w64": ("W64", None),
}
FFMPEG = {  # suffix -> muxer and encoder
    ".aac": ("adts", "aac"),
    ".m4a": ("ipod", "aac"),
    ".m4b": ("ipod", "alac"),
    ".mp4": ("mp4", "aac"),
    ".mp2": ("mp2", "mp2"),
    ".wma": ("asf", "wmav2"),
    ".asf": ("asf", "wmav1"),
    ".mka": ("matroska", "aac"),
    ".mkv": ("matroska", "libopus"),
    ".webm": ("webm", "libopus"),
    ".wv": ("wv", "wavpack"),
    ".tta": ("tta", "tta"),
}
SUFFIXES = [suffix for entry in FORMATS for suffix in entry.suffixes if suffix != ".ape"]  # which nothing here encodes


def write(path: Path, channels: list[np.ndarray], rate: int) -> Path:
    """Write channels, each (samples,) in [-1, 1], in the format of the path's suffix."""
    if path.suffix in LIBSNDFILE:
        kind, subtype = LIBSNDFILE[path.suffix]
        soundfile.write(path, np.stack(channels, axis=1), rate, format=kind, subtype=subtype)
        return path
    return encode(path, channels, rate, *FFMPEG[path.suffix])


def encode(
    path: Path,
    channels: list[np.ndarray],
    rate: int,
    muxer: str,
    codec: str,
    *,
    sample_format: str = "",
    **options: str,
) -> Path:
    """Write channels by one of FFmpeg's muxers and encoders."""
    layout = LAYOUTS[len(channels)]
    with av.open(str(path), "w", format=muxer, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        if sample_format:
            stream.codec_context.format = sample_format
        elif codec not in ("alac", "flac", "wavpack", "tta", "mp2") and not codec.startswith("pcm"):
            stream.bit_rate = 128_000
        wave = np.ascontiguousarray(np.stack(channels).astype(np.float32))
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
        frame.sample_rate = rate
        context = stream.codec_context
        context.open(strict=False)  # it knows the length of its frames from now on
        convert = av.AudioResampler(context.format, layout, rate, context.frame_size or 4096)
        pieces = [*convert.resample(frame), *convert.resample(None), None]
        packets = [packet for piece in pieces for packet in stream.encode(piece)]
        container.mux([packet for packet in packets if packet.size])  # FLAC's last one is empty
    return path
