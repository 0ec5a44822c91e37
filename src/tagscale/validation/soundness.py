"""The checks of a new partition. They are a few conditions, for which Great Expectations need not be loaded."""

from collections.abc import Sequence

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
    ids, part = table["track_id"], table["part"]
    named = f"a part is {', '.join(parts[:-1])} or {parts[-1]}"
    ranks = "ranks are 0, 1, 2 ..." + (" in train and -1 elsewhere" if "train" in parts else "")
    crossing = MENTION if crossing_allowed else STOP

    def check(column: str, expectation: str, says: str, failing: pd.Series, consequence: str = STOP) -> Result:
        keys, kind = ids[failing].astype(str).tolist(), f"expect_column_{expectation}"
        observed = f"{len(keys)} of {len(table)} fail"
        return Result("partition", column, kind, says, consequence, not keys, observed, keys)

    filled = set(parts) <= set(part), "None", list[str]()  # Great Expectations observes nothing of this check
    return [
        check("track_id", "values_to_match_regex", "every track has an id", ~ids.str.contains(r"\S")),
        check("track_id", "values_to_be_unique", "no track occurs twice", ids.duplicated(keep=False)),
        check("part", "values_to_be_in_set", named, ~part.isin(parts)),
        Result("partition", "part", "expect_column_distinct_values_to_contain_set", "no part is empty", STOP, *filled),
        check("rank", "pair_values_to_be_equal", ranks, table["rank"] != table["rank_due"]),
        check(
            "parts_of_artist",
            "values_to_be_between",
            "no artist is in two parts",
            table["parts_of_artist"] > 1,
            crossing,
        ),
    ]
