"""Cron expressions as Kubeflow Pipelines reads them: with seconds in front, days of the week from 0 to 6, in UTC."""

import re

from tagscale.runtime.errors import TagscaleError

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Field, its smallest and its largest value, names that stand for values
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)
SHORTCUTS = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")


def with_seconds(cron: str) -> str:
    """The expression with the seconds that Kubeflow expects in front of it.

    Everybody writes five fields, and Kubeflow takes the first of five for seconds: "0 3 * * *" would start a training
    at minute 3 of every hour.

    >>> with_seconds("0 3 * * *")
    '0 0 3 * * *'
    >>> with_seconds("30 0 3 * * MON-FRI")
    '30 0 3 * * MON-FRI'

    Raises:
        TagscaleError: names the field, what it is and what it may be.
    """
    if cron in SHORTCUTS:
        return cron
    fields = cron.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise TagscaleError(
            f"--cron {cron!r}: {len(fields)} fields; expected five (minute, hour, day of the month, month, day of the "
            f"week), or six with the second in front, or one of {', '.join(SHORTCUTS)}."
        )
    if not re.fullmatch(r"[0-5]?\d", fields[0]):  # a training every second is nothing that anybody wants
        raise TagscaleError(f"--cron {cron!r}: the second is {fields[0]!r}; expected a number from 0 to 59.")
    for text, (field, low, high, names) in zip(fields[1:], FIELDS, strict=True):
        if not all(_is_valid(part, low, high, names) for part in text.split(",")):
            named = f", or {names[0]} to {names[-1]}" if names else ""
            raise TagscaleError(
                f"--cron {cron!r}: the {field} is {text!r}; expected numbers from {low} to {high}{named}, as 1, 1-3, "
                "1,3, */2, or * for all."
            )
    return " ".join(fields)


def _is_valid(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    """Whether `part` is "*", a value or a range of values, with a step or without one."""
    span, slash, step = part.partition("/")
    if slash and not re.fullmatch(r"[1-9]\d?", step):
        return False
    if span in ("*", "?"):
        return True
    ends = []
    for text in span.split("-", 1):
        if text.upper() in names:
            ends.append(low + names.index(text.upper()))
        elif re.fullmatch(r"\d{1,2}", text):
            ends.append(int(text))
        else:
            return False
    return low <= ends[0] <= ends[-1] <= high
