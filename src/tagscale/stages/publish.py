"""Publish: name the current data, so that settings, runs and models can refer to it."""

import re
from pathlib import Path

from tagscale.catalog.tables import Catalog
from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import data_hash
from tagscale.store.read import Store
from tagscale.validation.findings import read_findings


def run(params: Params, *, name: str, catalog: Path, store: Path, validation: Path) -> str:
    """The version NAME@HASH of the current, validated data, for `dataset.version` in params.yaml.

    Raises:
        TagscaleError: git or params.yaml would refuse the name; the data is not validated, did not pass or has changed
            since; or params.yaml already gives the name to other data.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise TagscaleError(
            f"{name!r}: a data version's name has letters, digits, `.`, `_` and `-`, such as `v2` or `2026-11`."
        )
    findings, _ = read_findings(Path(validation))
    if not findings["passed"]:
        raise TagscaleError(
            f"{validation}: the data did not pass validation. Open validation.html there and mend the data."
        )
    current = data_hash(Catalog.load(catalog).hash, Store.open(store).hash)
    if current != findings["data_hash"]:
        raise TagscaleError(
            f"{validation}: validated data {findings['data_hash']}, but {catalog} and {store} hold {current} now. "
            "Run `dvc repro validate` first."
        )
    published = params.dataset.version
    if published and published != f"{name}@{current}" and published.split("@")[0] == name:
        raise TagscaleError(
            f"dataset.version: {name} is {published.split('@')[1]} already, and the current data is {current}. A "
            "published version never changes: give this one another name."
        )
    return f"{name}@{current}"
