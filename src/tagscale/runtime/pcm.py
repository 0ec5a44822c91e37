"""Samples of 16 bits: the content of the store and the input of every model."""

import numpy as np

from tagscale.runtime.errors import TagscaleError

FULL_SCALE = 32768  # int16 at 1.0


def rounded(samples: np.ndarray) -> np.ndarray:
    """Floats in [-1, 1) as int16, clipped to full scale.

    >>> rounded(np.array([0.5, 1.5, -1.0])).tolist()
    [16384, 32767, -32768]
    """
    return np.clip(np.rint(samples * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def recording(samples: np.ndarray) -> np.ndarray:
    """A mono recording as int16: floats in [-1, 1) are rounded, int16 stays as it is.

    Shape: (samples,) -> (samples,) int16

    Raises:
        TagscaleError: no samples, more than one channel, or values that are no finite numbers.
    """
    samples = np.asarray(samples)
    is_pcm = samples.dtype == np.int16  # of which no value is infinite, and two hours are 230 MB
    if samples.ndim != 1 or not len(samples) or not (is_pcm or np.isfinite(samples).all()):
        raise TagscaleError(f"Expected a mono recording of finite samples (n,), found shape {samples.shape}.")
    return samples if is_pcm else rounded(samples)
