"""What a dataset must be, declared as Great Expectations: the checks of the validate stage, and nothing else.

Four tables are checked: `tracks` (the catalog's), `labels` (a summary of each tag's labels), `audio` (what decoding
measured of every track) and `usable` (each tag's labels among the tracks that are not quarantined). A failed check
has one of four consequences: the pipeline stops, the failing tracks are quarantined, the failing tags are dropped, or
the report mentions it.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # read when it is imported
logging.getLogger("great_expectations").setLevel(logging.ERROR)  # its import is talkative where logging is set up
import great_expectations as gx  # noqa: E402
import great_expectations.expectations as gxe  # noqa: E402
from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: E402

from tagscale.params import ValidationParams  # noqa: E402

STOP, QUARANTINE, DROP, MENTION = "stop", "quarantine", "drop", "mention"
KINDS = ["classification", "regression"]
OUTSIDE = r"^(?:[/\\]|[A-Za-z]:)|(?:^|[/\\])\.\.(?:[/\\]|$)"  # absolute paths, and those that leave the folder


@dataclass(frozen=True)
class Check:
    """One expectation on one table, what it says in plain words, and what follows when it fails."""

    table: str
    says: str
    consequence: str
    expectation: Any


@dataclass(frozen=True)
class Result:
    """How one check came out: `observed` in short, and the keys (track ids or tags) of the rows that failed."""

    table: str
    column: str
    expectation: str
    says: str
    consequence: str
    success: bool
    observed: str
    failing: list[str]


def checks_of_tables(settings: ValidationParams) -> list[Check]:
    """Checks on `tracks`, `labels` and `audio`."""
    shortest, tolerance, silence = settings.min_seconds, settings.seconds_tolerance, settings.silence_dbfs
    return [
        Check("tracks", "there are tracks", STOP, gxe.ExpectTableRowCountToBeBetween(min_value=1)),
        Check("tracks", "every track has an id", STOP, _filled("track_id")),
        Check("tracks", "no two tracks share an id", STOP, gxe.ExpectColumnValuesToBeUnique(column="track_id")),
        Check("tracks", "every track has a path", STOP, _filled("path")),
        Check(
            "tracks",
            "every path is relative and stays in the dataset's folder",
            STOP,
            gxe.ExpectColumnValuesToNotMatchRegex(column="path", regex=OUTSIDE),
        ),
        Check("tracks", "every track has an artist", MENTION, _filled("artist")),
        Check("tracks", "annotated durations are positive", STOP, _at_least("seconds", 0, strict=True)),
        Check("tracks", "a split is train, valid or test", STOP, _one_of("split", ["train", "valid", "test"])),
        Check(
            "tracks",
            "labels and tracks are in the same order",
            STOP,
            gxe.ExpectColumnPairValuesToBeEqual(column_A="track_id", column_B="labels_of"),
        ),
        Check("labels", "there are tags", STOP, gxe.ExpectTableRowCountToBeBetween(min_value=1)),
        Check("labels", "no two tags share a name", STOP, gxe.ExpectColumnValuesToBeUnique(column="tag")),
        Check("labels", "tags are for classification or regression", STOP, _one_of("kind", KINDS)),
        Check("labels", "every tag has a group", STOP, _filled("group")),
        Check("labels", "no label is below 0", STOP, _at_least("lowest", 0)),
        Check("labels", "no label is above 1", STOP, _at_most("highest", 1)),
        Check("labels", "exclusive tags never occur together", MENTION, _at_most("exclusive_together", 0)),
        Check("audio", "every track was decoded or rejected", STOP, _one_of("state", ["decoded", "rejected"])),
        Check("audio", "the file could be decoded", QUARANTINE, gxe.ExpectColumnValuesToBeNull(column="rejected")),
        Check("audio", f"at least {shortest:g} s long", QUARANTINE, _at_least("seconds", shortest)),
        Check("audio", f"as long as annotated, within {tolerance:g} s", QUARANTINE, _at_most("seconds_off", tolerance)),
        Check("audio", f"not silent: RMS of {silence:g} dBFS or more", QUARANTINE, _at_least("rms_dbfs", silence)),
        Check(
            "audio",
            "no earlier track has the same audio",
            QUARANTINE,
            gxe.ExpectColumnValuesToBeNull(column="same_audio_as"),
        ),
    ]


def checks_of_usable(settings: ValidationParams) -> list[Check]:
    """Checks on `usable`: which tags can be learnt from the tracks that are left."""
    least = settings.min_positives
    return [
        Check("usable", f"at least {least} positive tracks (classification)", DROP, _at_least("positives", least)),
        Check("usable", "annotated at all", DROP, _at_least("annotated", 1)),
        Check("usable", "not the same label everywhere", DROP, _at_least("distinct", 2)),
    ]


def _filled(column: str) -> Any:  # with more than blanks
    return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=r"\S")


def _at_least(column: str, least: float, strict: bool = False) -> Any:
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=least, strict_min=strict)


def _at_most(column: str, most: float) -> Any:
    return gxe.ExpectColumnValuesToBeBetween(column=column, max_value=most)


def _one_of(column: str, values: list[str]) -> Any:
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=values)


def examine(tables: dict[str, tuple[pd.DataFrame, str]], checks: Iterable[Check]) -> list[Result]:
    """Run the checks on their tables; results in the order of the checks.

    Args:
        tables: by name, each with the name of its key column. Missing values (None, NaN) pass every check of single
            values, so text that must be there comes as "" where it is missing.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_pandas("tables")
    results: dict[int, Result] = {}
    numbered = list(enumerate(checks))
    for name, (table, key) in tables.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        mine = {number: check for number, check in numbered if check.table == name}
        suite = gx.ExpectationSuite(name=name)
        for number, check in mine.items():
            suite.add_expectation(check.expectation.copy(update={"meta": {"number": number}}))
        found = batch.get_batch({"dataframe": table}).validate(
            suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [key]}
        )
        for result in found.results:  # not in the order of the suite
            number = result.expectation_config.meta["number"]
            results[number] = _result(mine[number], result, table, key)
    return [results[number] for number, _ in numbered]


def _result(check: Check, result: Any, table: pd.DataFrame, key: str) -> Result:
    config = result.expectation_config
    failing = [str(row[key]) for row in result.result.get("unexpected_index_list") or []]
    if "observed_value" in result.result:
        observed = str(result.result["observed_value"])
    elif "unexpected_count" in result.result:
        observed = f"{result.result['unexpected_count']} of {len(table)} fail"
    else:
        observed = f"could not be checked: {result.exception_info}"
    return Result(
        table=check.table,
        column=config.kwargs.get("column") or config.kwargs.get("column_A") or "",
        expectation=config.type,
        says=check.says,
        consequence=check.consequence,
        success=bool(result.success),
        observed=observed,
        failing=failing,
    )
