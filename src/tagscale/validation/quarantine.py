"""The tracks in quarantine, each with all its reasons in words and numbers."""

from collections.abc import Callable

import pandas as pd

from tagscale.params.load import ValidationParams
from tagscale.validation.faults import Fault, faults
from tagscale.validation.results import QUARANTINE, Result

COLUMNS = ["track_id", "path", "reason"]

Explanation = Callable[[pd.DataFrame], tuple[str | pd.Series, pd.Series]]  # rows -> kind of reason, and the reasons


def quarantine(
    audio: pd.DataFrame, results: list[Result], settings: ValidationParams
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Tracks that failed a check of their file.

    Args:
        audio: the table of `tagscale.validation.summaries.audio_table`.
        results: of the checks; those whose consequence is quarantine count.

    Returns:
        track_id, path and reason, one row a track, sorted by track id; and how many tracks have each kind of reason,
        the commonest first.
    """
    by_id = audio.set_index("track_id", drop=False)
    explanations = _EXPLAIN | {fault.measure: _explained_by(fault) for fault in faults(settings) if fault.quarantined}
    entries = []
    for order, result in enumerate(r for r in results if r.consequence == QUARANTINE and r.failing):
        rows = by_id.loc[result.failing]
        kind, reason = explanations[result.column](rows)
        kinds = [kind] * len(rows) if isinstance(kind, str) else kind.to_list()
        texts = {"track_id": rows["track_id"].to_list(), "path": rows["path"].to_list(), "reason": reason.to_list()}
        entries.append(pd.DataFrame({**texts, "kind": kinds, "order": order}))
    if not entries:
        return pd.DataFrame(columns=COLUMNS, dtype=str), {}
    every = pd.concat(entries, ignore_index=True).sort_values(["track_id", "order"], kind="stable")
    grouped = every.groupby("track_id", sort=True)
    reasons = grouped.agg(path=("path", "first"), reason=("reason", "; ".join)).reset_index()
    counts = every["kind"].value_counts()
    return reasons[COLUMNS], {str(kind): int(count) for kind, count in counts.items()}


def _numbers(column: pd.Series, digits: int) -> pd.Series:
    return column.map(f"{{:.{digits}f}}".format)


def _decoding(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return rows["rejected"].str.split(r"[:(]", n=1, regex=True).str[0].str.strip(), rows["rejected"]


def _off(rows: pd.DataFrame) -> tuple[str, pd.Series]:
    text = _numbers(rows["seconds"], 2) + " s long, but annotated as " + _numbers(rows["annotated"], 2) + " s"
    return "not as long as annotated", text


def _explained_by(fault: Fault) -> Explanation:
    return lambda rows: (fault.kind, rows[fault.measure].map(fault.explain))


_EXPLAIN: dict[str, Explanation] = {
    "fault": lambda rows: ("known to be broken", "known to be broken: " + rows["fault"].astype(str)),
    "rejected": _decoding,
    "not_numbers": lambda rows: ("values that are no numbers", rows["not_numbers"]),
    "seconds_off": _off,
    "same_audio_as": lambda rows: (
        "same audio as another track",
        "same audio as "
        + rows["same_audio_as"].astype(str)
        + rows["other_labels"].map({True: ", with other labels", False: ""}),
    ),
}
