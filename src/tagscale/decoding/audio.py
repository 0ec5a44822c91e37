"""Audio in any of the forms in which people have it: a file, its bytes, or samples in memory."""

import os
import tempfile
from pathlib import Path
from typing import Any

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
    form = form_of(audio)
    if isinstance(form, bytes):
        return _decode_bytes(form, longest)
    if not isinstance(form, np.ndarray):
        return decode(Path(form), longest)
    if sample_rate is None:
        raise AudioError(Path(name_of(audio)), "samples without a rate; expected sample_rate, in Hz")
    return decode_samples(form, sample_rate, name_of(audio), longest)


def form_of(audio: Any) -> Audio:
    """A recording as a path, bytes or an array, all of which another process can take.

    Raises:
        AudioError: it is none of these, nor can samples be made of it.
    """
    if isinstance(audio, str | os.PathLike):
        return os.fspath(audio)
    if isinstance(audio, bytes | bytearray | memoryview):
        return bytes(audio)
    try:
        samples = np.asarray(audio)
    except (TypeError, ValueError, RuntimeError) as error:  # of a list of rows that differ, or of another library
        raise AudioError(Path(name_of(audio)), f"no samples can be made of it ({error})") from None
    if samples.ndim == 0 or samples.dtype.kind in "USO":  # one thing that is none, or many: paths, bytes ...
        raise AudioError(Path(name_of(audio)), f"{type(audio).__name__} in place of a path, bytes or samples")
    return samples


def name_of(audio: Any) -> str:
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
