"""Validate: checks on tables and audio, quarantine with reasons, a readable report; stops on what is not to be used."""

from pathlib import Path

import pandas as pd
from rich.console import Console

from tagscale.audio.store import Store
from tagscale.data.catalog import Catalog
from tagscale.data.validation import Findings, validate
from tagscale.errors import TagscaleError
from tagscale.files import replacing, write_json
from tagscale.identity import data_hash
from tagscale.params import Params

SHOWN = 5


def run(params: Params, *, catalog: Path, store: Path, validation: Path) -> None:
    """Check the catalog and what preprocess measured; write quarantine.csv, validation.json and validation.html.

    Raises:
        TagscaleError: the tables contradict themselves or each other, too many tracks are quarantined, or no tag can
            be learnt. The three files are written before it is raised.
    """
    dataset, opened = Catalog.load(catalog), Store.open(store)
    rejected = pd.read_csv(Path(store) / "rejected.csv", dtype=str, keep_default_na=False)
    findings = validate(dataset, opened.facts, rejected, params.validation)
    with replacing(validation) as fresh:
        fresh.mkdir()
        findings.quarantine.to_csv(fresh / "quarantine.csv", index=False, lineterminator="\n")
        version = {"catalog": dataset.hash, "store": opened.hash, "data_hash": data_hash(dataset.hash, opened.hash)}
        write_json(fresh / "validation.json", version | findings.as_dict())
        (fresh / "validation.html").write_text(findings.page(), encoding="utf-8")
    if findings.stops:
        reasons = "\n".join(f"  {stop}" for stop in findings.stops)
        raise TagscaleError(
            f"{dataset.name} did not pass validation:\n{reasons}\n"
            f"All findings are in {Path(validation) / 'validation.html'}. Mend the dataset, or the limits in the "
            "validation block of params.yaml."
        )
    _show(findings, Path(validation))


def _show(findings: Findings, validation: Path) -> None:
    def say(line: str) -> None:
        Console().print(line, markup=False, highlight=False, soft_wrap=True)

    left = findings.tracks - len(findings.quarantine)
    say(f"{left} of {findings.tracks} tracks usable, {len(findings.tags)} tags to learn")
    say(f"  report: {validation / 'validation.html'}")
    for row in findings.quarantine.head(SHOWN).itertuples():
        say(f"  quarantined: {row.path}: {row.reason}")
    if len(findings.quarantine) > SHOWN:
        say(f"  ... and {len(findings.quarantine) - SHOWN} more in {validation / 'quarantine.csv'}")
    if findings.dropped:
        named = "; ".join(f"{entry['tag']} ({entry['reason']})" for entry in findings.dropped)
        say(f"  {len(findings.dropped)} tags dropped: {named}")
    for result in findings.results:
        if result.consequence == "mention" and not result.success:
            say(f"  not so: {result.says}: {result.observed}")
