"""What the structure of an audio file says of its length."""

from dataclasses import dataclass

CUT_SECONDS = 0.5  # a shortfall from here on is a truncated file, where a length is known no better


@dataclass(frozen=True)
class Length:
    """What a file's structure says of its length.

    seconds: of the whole file; None = it does not say.
    slack: seconds by which a whole file may decode to less: encoders' delays, frames that a decoder skips at a join.
    fault: why the file is not whole: truncated or damaged, and where; "" = it is whole as far as its structure shows.
    """

    seconds: float | None = None
    slack: float = 0.0
    fault: str = ""


def samples(announced: int, present: int, bytes_per_second: float, frame: int) -> Length:
    """Length of plain samples.

    Args:
        announced: bytes of samples by the header; below zero = it does not say, so that the file's size decides.
        present: bytes from the first sample to the end of the file.
        bytes_per_second, frame: of the samples; a frame is one sample of each channel.
    """
    if announced < 0:
        return Length(present // frame * frame / bytes_per_second, slack=frame / bytes_per_second)
    if fault := cut(announced, present, bytes_per_second):
        return fault
    return Length(min(announced, present) // frame * frame / bytes_per_second, slack=frame / bytes_per_second)


def cut(announced: int, present: int, bytes_per_second: float) -> Length | None:
    """A fault, where fewer samples than the header counts are there."""
    if announced - present <= min(CUT_SECONDS * bytes_per_second, 0.05 * announced):
        return None
    return Length(fault=shortened(present / bytes_per_second, announced / bytes_per_second))


def shortened(present: float, announced: float) -> str:
    """The reason for which a file with less in it than its header says is rejected."""
    return f"truncated: {present:.1f} s of the {announced:.1f} s that it announces"
