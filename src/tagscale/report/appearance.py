"""How a model is drawn: its colour, its marker, its line, and the shades of its variants.

Front-ends are solid and strong, published baselines thinner and dashed, so that a dozen of them in one figure still
tell their kind. A model's own colour and marker stand in its entry (`models.spec`).
"""

from typing import Any
from zlib import crc32

from matplotlib.colors import to_hex, to_rgb

from tagscale.models.spec import MODELS

NEUTRAL_COLOUR, NEUTRAL_MARKER = "#9a9a94", "."  # of a model without an entry
# The markers as CSS polygons in per cent of a square, for legends in the report. A circle needs none.
OUTLINES = {
    "s": "0 0, 100 0, 100 100, 0 100",
    "^": "50 0, 100 100, 0 100",
    "v": "0 0, 100 0, 50 100",
    "<": "100 0, 100 100, 0 50",
    ">": "0 0, 100 50, 0 100",
    "D": "50 0, 100 50, 50 100, 0 50",
    "d": "50 0, 85 50, 50 100, 15 50",
    "P": "33 0, 67 0, 67 33, 100 33, 100 67, 67 67, 67 100, 33 100, 33 67, 0 67, 0 33, 33 33",
    "X": "25 0, 50 25, 75 0, 100 25, 75 50, 100 75, 75 100, 50 75, 25 100, 0 75, 25 50, 0 25",
    "p": "50 0, 100 38, 81 100, 19 100, 0 38",
    "h": "50 0, 93 25, 93 75, 50 100, 7 75, 7 25",
    "H": "25 7, 75 7, 100 50, 75 93, 25 93, 0 50",
    "8": "30 0, 70 0, 100 30, 100 70, 70 100, 30 100, 0 70, 0 30",
    "*": "50 0, 62 36, 100 38, 70 60, 81 97, 50 76, 19 97, 30 60, 0 38, 38 36",
}
INK, GRID = "#222222", "#e3e3e0"
DASHES = (0, (4, 3))  # how a baseline's line is drawn
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    **dict.fromkeys(("axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.grid", "axes.axisbelow"), True),
    "axes.edgecolor": "#8a8a86",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "svg.hashsalt": "tagscale",  # the same figure gives the same bytes
    "text.parse_math": False,  # a dollar in a tag's name is a dollar
}


def colour_of(model: str) -> str:
    """The model's colour; another capacity of the model has a shade of it.

    >>> colour_of("waveform"), colour_of("my_own"), colour_of("waveform") == colour_of("waveform-x4")
    ('#0072B2', '#9a9a94', False)
    """
    base, _, variant = model.partition("-")
    colour = MODELS[base].colour if base in MODELS else NEUTRAL_COLOUR
    return to_hex(lighter(colour, 0.2 + 0.1 * (crc32(variant.encode()) % 5))) if variant else colour


def marker_of(model: str) -> str:
    """The model's marker; another capacity of the model has another marker."""
    base, _, variant = model.partition("-")
    marker = MODELS[base].marker if base in MODELS else NEUTRAL_MARKER
    others = [one for one in OUTLINES if one != marker]
    return others[crc32(variant.encode()) % len(others)] if variant else marker


def lighter(colour: str, share: float) -> tuple[float, float, float]:
    """The colour mixed with `share` of white."""
    red, green, blue = (channel + (1 - channel) * share for channel in to_rgb(colour))
    return red, green, blue


def outline_of(model: str) -> str | None:
    """The CSS `clip-path` of the model's marker; None for a circle."""
    corners = OUTLINES.get(marker_of(model))
    if corners is None:
        return None
    return (
        "polygon("
        + ", ".join(" ".join(f"{number}%" for number in corner.split()) for corner in corners.split(", "))
        + ")"
    )
