"""The interface to Great Expectations: it declares checks and runs suites of checks on tables.

`tagscale.validation.suites` lists the checks. A failed check has one of four consequences: the pipeline stops, the
failing tracks are quarantined, the failing tags are dropped, or the report mentions it.
"""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # its import reads this
logging.getLogger("great_expectations").setLevel(logging.ERROR)  # its import logs warnings where logging is set up
import great_expectations as gx  # noqa: E402
import great_expectations.expectations as gxe  # noqa: E402
from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: E402

from tagscale.validation.results import Result  # noqa: E402

# Results give positions of failing rows. Their keys, or a query for them, take 35 s for 100,000 rows.
RESULT_FORMAT = {"result_format": "COMPLETE", "return_unexpected_index_query": False}


@dataclass(frozen=True)
class Check:
    """One expectation on one table, its meaning in plain words, and the consequence of a failure."""

    table: str
    says: str
    consequence: str
    expectation: Any


def some_rows() -> Any:
    return gxe.ExpectTableRowCountToBeBetween(min_value=1)


def filled(column: str) -> Any:
    """Every value contains more than blanks."""
    return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=r"\S")


def absent(column: str) -> Any:
    return gxe.ExpectColumnValuesToBeNull(column=column)


def unique(column: str) -> Any:
    return gxe.ExpectColumnValuesToBeUnique(column=column)


def between(column: str, least: float | None = None, most: float | None = None, strict: bool = False) -> Any:
    """Every value is in the range; None: no end. The ends belong to it, but for the lower one where it is `strict`."""
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=least, max_value=most, strict_min=strict)


def one_of(column: str, values: list[str]) -> Any:
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=values)


def without(column: str, pattern: str) -> Any:
    return gxe.ExpectColumnValuesToNotMatchRegex(column=column, regex=pattern)


def same(column: str, other: str) -> Any:
    return gxe.ExpectColumnPairValuesToBeEqual(column_A=column, column_B=other)


class Examination:
    """Runs suites, one per table, and remembers them for Data Docs."""

    def __init__(self) -> None:
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._source = self._context.data_sources.add_pandas("tables")

    def run(self, tables: dict[str, tuple[pd.DataFrame, str]], checks: Iterable[Check]) -> list[Result]:
        """Run the checks on their tables; results in the order of the checks.

        Args:
            tables: by name, each with the name of its key column. Missing values (None, NaN) pass every check of
                single values, so required text must be "" where it is missing.
        """
        numbered = list(enumerate(checks))
        results: dict[int, Result] = {}
        for name, (table, key) in tables.items():
            mine = {number: check for number, check in numbered if check.table == name}
            for result in self._run_suite(name, table.reset_index(drop=True), mine):  # in any order
                number = result.expectation_config.meta["number"]
                results[number] = _result(mine[number], result, table[key])
        return [results[number] for number, _ in numbered]

    def _run_suite(self, name: str, table: pd.DataFrame, checks: dict[int, Check]) -> list[Any]:
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = gx.ExpectationSuite(name=name)
        for number, check in checks.items():
            meta = {"number": number, "consequence": check.consequence}
            suite.add_expectation(check.expectation.copy(update={"meta": meta, "notes": check.says}))
        definition = gx.ValidationDefinition(name=name, data=batch, suite=self._context.suites.add(suite))
        added = self._context.validation_definitions.add(definition)
        return list(added.run(batch_parameters={"dataframe": table}, result_format=dict(RESULT_FORMAT)).results)

    def write_docs(self, folder: Path) -> Path:
        """Great Expectations' own Data Docs of all suites that were run: a static site; returns its index.html.

        Building it needs no network; a browser that shows it fetches styles from content delivery networks.
        """
        for site in list(self._context.list_data_docs_sites()):
            self._context.delete_data_docs_site(site)
        backend = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(Path(folder).resolve())}
        index = {"class_name": "DefaultSiteIndexBuilder"}
        site = {"class_name": "SiteBuilder", "store_backend": backend, "site_index_builder": index}
        self._context.add_data_docs_site("tagscale", {**site, "show_how_to_buttons": False})
        self._context.build_data_docs()
        return Path(folder) / "index.html"


def _result(check: Check, result: Any, keys: pd.Series) -> Result:
    config, outcome = result.expectation_config, result.result
    failing = keys.iloc[outcome.get("unexpected_index_list") or []].astype(str).tolist()
    if "observed_value" in outcome:
        observed = str(outcome["observed_value"])
    elif "unexpected_count" in outcome:
        observed = f"{outcome['unexpected_count']} of {len(keys)} fail"
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
