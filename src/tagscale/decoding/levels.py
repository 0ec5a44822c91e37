"""Levels of a file's own values, before its channels are mixed and its samples rounded."""

import numpy as np

CLIPPED_FROM = 0.9999  # of full scale; the largest 16-bit value is 0.99997
UNSCALED_FROM = 32.0  # 30 dB above full scale; no master and no codec overshoots so far, floats of 16-bit range do
CANCELLED_BELOW = 0.1  # of the power that the mean of independent channels has: two of a correlation below -0.9


class Levels:
    """What is measured of a file's values, block by block.

    Attributes:
        frames: number of frames so far
        peak: largest magnitude of a value, 1 is full scale
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.frames = 0
        self.peak = 0.0
        self._at_full_scale = 0
        self._powers = np.zeros(channels)  # sums of squares
        self._power_of_mean = 0.0

    def add(self, block: np.ndarray, mean: np.ndarray) -> None:
        """Measure a block (frames, channels), and the mean of its channels (frames,)."""
        magnitudes = np.abs(block)
        self.frames += len(block)
        self.peak = max(self.peak, float(magnitudes.max(initial=0)))
        self._at_full_scale += int(np.count_nonzero(magnitudes >= CLIPPED_FROM))
        if self.channels == 1:
            return  # nothing can cancel
        with np.errstate(over="ignore"):  # floats up to 1e38; their peak tells
            self._powers += [float(np.square(channel).sum()) for channel in block.T]
            self._power_of_mean += float(np.square(mean).sum())

    @property
    def clipped(self) -> float:
        """Share of the values at full scale."""
        return self._at_full_scale / (self.frames * self.channels)

    @property
    def cancelled(self) -> bool:
        """Whether the channels cancel each other out, so that their mean is silent or a rest of what they hold.

        The mean of n identical channels has the power of one of them, that of n independent channels the sum of their
        powers divided by n². Much less than that means that one channel undoes another.
        """
        return self._power_of_mean < CANCELLED_BELOW * float(self._powers.sum()) / self.channels**2

    @property
    def loudest(self) -> int:
        """The first channel with at least half of the power of the loudest one, so that no rounding decides."""
        return int(np.argmax(self._powers >= self._powers.max() / 2))
