"""Validate: check tables and audio, quarantine tracks with a reason, write a report, stop on unusable data."""

from functools import partial
from pathlib import Path

from tagscale.catalog.tables import Catalog
from tagscale.params.load import DatasetParams, Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, seal
from tagscale.runtime.identity import data_hash
from tagscale.runtime.tables import write_csv
from tagscale.store.read import Store, read_rejected
from tagscale.validation.expectations import Examination
from tagscale.validation.findings import Findings
from tagscale.validation.page import page
from tagscale.validation.validate import validate

SHOWN = 5


def run(params: Params, *, catalog: Path, store: Path, validation: Path, docs: Path | None = None) -> None:
    """Check the catalog and what preprocess measured; write quarantine.csv, validation.json and validation.html.

    Args:
        docs: folder for Great Expectations' own Data Docs of the suites, replaced if it exists; None writes none.

    Raises:
        TagscaleError: the tables contradict themselves or each other; too many tracks are quarantined; no tag can be
            learnt; the dataset's split claims to be artist-filtered and is not; or the data is not the version that
            dataset.version names. The files are written first.
    """
    dataset, opened = Catalog.load(catalog), Store.open(store)
    rejected = read_rejected(Path(store))
    examination = Examination()
    findings = validate(dataset, opened.facts, rejected, params.validation, examination)
    current = data_hash(dataset.hash, opened.hash)
    findings.version = {"catalog": dataset.hash, "store": opened.hash, "data_hash": current}
    other_version = _other_version(params.dataset, current)
    with replacing(validation) as fresh:
        fresh.mkdir()
        write_csv(findings.quarantine, fresh / "quarantine.csv")
        (fresh / "validation.html").write_text(page(findings), encoding="utf-8")
        seal(fresh, "validation.json", findings.as_dict() | {"other_version": other_version})
    if docs is not None:
        with replacing(docs) as fresh:
            examination.write_docs(fresh)
    if findings.stops:
        reasons = "\n".join(f"  {stop}" for stop in findings.stops)
        raise TagscaleError(
            f"{dataset.name} did not pass validation:\n{reasons}\n"
            f"All findings are in {Path(validation) / 'validation.html'}. Mend the dataset, or change the limits in "
            "the block `validation` of params.yaml."
        )
    if other_version:
        raise TagscaleError(other_version)
    _show(findings, params.dataset, Path(validation), docs)


def _other_version(dataset: DatasetParams, current: str) -> str | None:
    """The error if params.yaml names another version of the data; None otherwise."""
    if dataset.version is None or dataset.version.endswith(f"@{current}"):
        return None
    name, _, expected = dataset.version.rpartition("@")
    return (
        f"params.yaml: dataset.version is {dataset.version}, but the data here has the hash {current}, not {expected}. "
        f"To get that data back, run `git checkout data-{name}` and `dvc pull`; to keep this data, give it a name of "
        "its own with `tagscale publish NAME`; or set dataset.version to null, which allows any data."
    )


def _show(findings: Findings, dataset: DatasetParams, validation: Path, docs: Path | None) -> None:
    say = partial(print, flush=True)
    say(f"{findings.usable_tracks} of {findings.tracks} tracks usable, {len(findings.tags)} tags to learn")
    say(f"  data version: {dataset.version or 'unpublished, hash ' + findings.version['data_hash']}")
    say(f"  report: {validation / 'validation.html'}")
    if docs is not None:
        say(f"  Data Docs: {Path(docs) / 'index.html'}")
    say(f"  {findings.split}")
    for leak in findings.leaks:
        if leak["test_keys_in_train"]:
            say(
                f"  {leak['kind']}: {leak['test_keys_in_train']} of {leak['test_keys']} of the test part are in train, "
                f"too; they have {leak['test_tracks_by_train']} of its {leak['test_tracks']} tracks"
            )
    for row in findings.quarantine.head(SHOWN).itertuples():
        say(f"  quarantined: {row.path}: {row.reason}")
    if len(findings.quarantine) > SHOWN:
        say(f"  ... and {len(findings.quarantine) - SHOWN} more in {validation / 'quarantine.csv'}")
    if findings.dropped:
        named = "; ".join(f"{entry['tag']} ({entry['reason']})" for entry in findings.dropped)
        say(f"  {len(findings.dropped)} tags dropped: {named}")
    for mention in findings.mentions:
        say(f"  {mention}")
