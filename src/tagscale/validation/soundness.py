"""The checks of a new partition. They are a few conditions, for which Great Expectations need not be loaded."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from tagscale.partition.divide import PARTS, Partition
from tagscale.partition.growth import FOLD
from tagscale.validation.results import MENTION, STOP, Result, stops


def check_partition(partition: Partition, crossing_allowed: bool) -> list[str]:
    """Reasons against a partition; empty when it is sound.

    Args:
        crossing_allowed: whether an artist may have tracks in two parts, as in some datasets' own splits.
    """
    return stops(check_table(partition_table(partition.table), crossing_allowed, partition.parts))


def partition_table(table: pd.DataFrame) -> pd.DataFrame:
    """A partition's table with the rank that each row must have, and the number of parts of its artist."""
    train = (table["part"].eq("train") | table["part"].str.startswith(FOLD)).to_numpy()
    rank_due = np.full(len(table), -1)
    rank_due[train] = table.loc[train, "rank"].rank(method="first").to_numpy().astype(int) - 1
    return table.assign(rank_due=rank_due, parts_of_artist=table.groupby("artist")["part"].transform("nunique"))


def check_table(table: pd.DataFrame, crossing_allowed: bool, parts: Sequence[str] = PARTS) -> list[Result]:
    """The results of all checks on a `partition_table`, each under the name of the expectation that it amounts to.

    Args:
        crossing_allowed: whether an artist in two parts is only mentioned.
        parts: names of the parts.
    """
    crossing = MENTION if crossing_allowed else STOP
    return [
        Result("partition", column, expectation, says, crossing if column == "parts_of_artist" else STOP, *outcome)
        for column, expectation, says, outcome in _checks(table, list(parts))
    ]


def _checks(table: pd.DataFrame, parts: list[str]) -> Iterator[tuple[str, str, str, tuple[bool, str, list[str]]]]:
    """Column, expectation, meaning and outcome of each check."""

    def none(failing: pd.Series) -> tuple[bool, str, list[str]]:
        keys = table["track_id"][failing].astype(str).tolist()
        return not keys, f"{len(keys)} of {len(table)} fail", keys

    where = " in train and -1 elsewhere" if "train" in parts else ""
    ids, part = table["track_id"], table["part"]
    yield (
        "track_id",
        "expect_column_values_to_match_regex",
        "every track has an id",
        none(~ids.str.contains(r"\S")),
    )
    yield (
        "track_id",
        "expect_column_values_to_be_unique",
        "no track occurs twice",
        none(ids.duplicated(keep=False)),
    )
    says = f"a part is {', '.join(parts[:-1])} or {parts[-1]}"
    yield "part", "expect_column_values_to_be_in_set", says, none(~part.isin(parts))
    contains = set(parts) <= set(part), "None", list[str]()  # Great Expectations observes nothing of this check
    yield "part", "expect_column_distinct_values_to_contain_set", "no part is empty", contains
    ranks = none(table["rank"] != table["rank_due"])
    yield "rank", "expect_column_pair_values_to_be_equal", f"ranks are 0, 1, 2 ...{where}", ranks
    crossing = none(table["parts_of_artist"] > 1)
    yield "parts_of_artist", "expect_column_values_to_be_between", "no artist is in two parts", crossing
