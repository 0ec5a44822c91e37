"""Numbers as the report and the terminal print them."""

import numpy as np

NOTHING = "–"


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(8.21), duration(200), duration(3900)
    ('8.2 s', '3.3 min', '1.1 h')
    """
    size, unit = (1, "s") if seconds < 60 else (60, "min") if seconds < 3600 else (3600, "h")
    return f"{seconds / size:.1f} {unit}"


def score_words(score: float) -> str:
    """A score with three decimals, or a dash where there is none."""
    return NOTHING if np.isnan(score) else f"{score:.3f}"


def rate_words(rate: float) -> str:
    """Patches a second: two digits below ten, none after the point above."""
    return NOTHING if np.isnan(rate) else f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def interval_words(low: float, high: float) -> str:
    """An interval in brackets; nothing where there is none.

    >>> interval_words(0.6401, 0.7), interval_words(float("nan"), 1.0)
    ('[0.64, 0.70]', '')
    """
    return "" if np.isnan(low) or np.isnan(high) else f"[{low:.2f}, {high:.2f}]"
