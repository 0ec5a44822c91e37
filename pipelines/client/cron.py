"""Cron expressions as Kubeflow Pipelines reads them: seconds first, days of the week from 0 to 6, times in UTC."""

import re

from tagscale.runtime.errors import TagscaleError

FIELDS = {  # smallest value, largest value, names that stand for the values
    "second": (0, 59, ""),
    "minute": (0, 59, ""),
    "hour": (0, 23, ""),
    "day of the month": (1, 31, ""),
    "month": (1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"),
    "day of the week": (0, 6, "SUN MON TUE WED THU FRI SAT"),
}
SHORTCUTS = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")


def with_seconds(cron: str) -> str:
    """The expression with the seconds that Kubeflow expects in front of it.

    People write five fields, and Kubeflow takes the first of five for seconds: "0 3 * * *" would start a training at
    minute 3 of every hour. The package croniter does not help: it takes seconds at the
    end, 7 for Sunday and hours 5-3, which Kubeflow refuses.

    >>> with_seconds("0 3 * * *")
    '0 0 3 * * *'
    >>> with_seconds("30 0 3 * * MON-FRI")
    '30 0 3 * * MON-FRI'

    Raises:
        TagscaleError: names the field, what it is and what it may be.
    """
    if cron in SHORTCUTS:
        return cron
    values = cron.split()
    values = ["0", *values] if len(values) == 5 else values
    if len(values) != 6:
        raise TagscaleError(
            f"--cron {cron!r}: {len(values)} fields; expected five (minute, hour, day of the month, month, day of the "
            f"week), or six with the second in front, or one of {', '.join(SHORTCUTS)}."
        )
    if not re.fullmatch(r"[0-5]?\d", values[0]):  # refuses "*": nobody wants a training every second
        raise TagscaleError(f"--cron {cron!r}: the second is {values[0]!r}; expected a number from 0 to 59.")
    for value, (field, (low, high, names)) in zip(values, FIELDS.items(), strict=True):
        if not all(_is_valid(part, low, high, names.split()) for part in value.split(",")):
            named = f", or {names[:3]} to {names[-3:]}" if names else ""
            raise TagscaleError(
                f"--cron {cron!r}: the {field} is {value!r}; expected numbers from {low} to {high}{named}, as 1, 1-3, "
                "1,3, */2, or * for all."
            )
    return " ".join(values)


def _is_valid(part: str, low: int, high: int, names: list[str]) -> bool:
    """Whether `part` is "*", a value or a range of values, with or without a step."""
    matched = re.fullmatch(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/[1-9]\d?)?", part)
    if not matched:
        return False
    ends = [str(low + names.index(end.upper())) if end.upper() in names else end for end in matched.groups() if end]
    return all(end.isdecimal() for end in ends) and (not ends or low <= int(ends[0]) <= int(ends[-1]) <= high)
