"""Audio in any of the forms in which people have it: a file, its bytes, or samples in memory."""

import os
import tempfile
from pathlib import Path

import numpy as np

from tagscale.decoding.decode import MAX_SECONDS, Decoded, decode, decode_samples
from tagscale.decoding.opened import AudioError

Audio = str | Path | bytes | np.ndarray


def decode_audio(audio: Audio, sample_rate: int | None = None, longest: float = MAX_SECONDS) -> Decoded:
    """Decode a recording as `decode` does, whatever form it has.

    Args:
        audio: path of a file, the bytes of one in any format, or samples (n,) or (channels, n), as `decode_samples`
            takes them
        sample_rate: Hz, of samples; a file has its own
        longest: seconds that it may last
    Raises:
        AudioError: as `decode` and `decode_samples`, samples without a rate, or none of these forms.
    """
    if isinstance(audio, str | os.PathLike):
        return decode(Path(audio), longest)
    if isinstance(audio, bytes | bytearray | memoryview):
        return _decode_bytes(bytes(audio), longest)
    if np.ndim(audio) == 0:
        reason = f"{type(audio).__name__} in place of a path, bytes or samples"
        raise AudioError(Path(name_of(audio)), reason)
    if sample_rate is None:
        raise AudioError(Path(name_of(audio)), "samples without a rate; expected sample_rate, in Hz")
    return decode_samples(np.asarray(audio), sample_rate, name_of(audio), longest)


def name_of(audio: Audio) -> str:
    """What a recording is called: its path, "bytes" or "samples"."""
    if isinstance(audio, str | os.PathLike):
        return os.fspath(audio)
    return "bytes" if isinstance(audio, bytes | bytearray | memoryview) else "samples"


def _decode_bytes(content: bytes, longest: float) -> Decoded:
    with tempfile.NamedTemporaryFile(prefix="tagscale-") as file:
        file.write(content)
        file.flush()
        try:
            return decode(Path(file.name), longest)
        except AudioError as error:
            raise type(error)(Path("bytes"), error.reason) from None
