"""Sources of datasets: one module for each published dataset, and `folder` for the user's own.

Every module has `read(root, dataset) -> Catalog`, which reads annotations only. It lists its choices in SPLITS (by
name), TAG_SETS and VARIANTS (names; empty = no choice); the first of each is the default.
"""

from pathlib import Path

from tagscale.catalog.sources import fma, folder, gtzan, jamendo, mgphot, msd, mtt
from tagscale.catalog.tables import Catalog
from tagscale.params.load import DatasetParams
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.words import suggestion

SOURCES = {
    "synth": folder,
    "folder": folder,
    "mtt": mtt,
    "msd": msd,
    "jamendo": jamendo,
    "fma": fma,
    "gtzan": gtzan,
    "mgphot": mgphot,
}


def read(root: Path, dataset: DatasetParams) -> Catalog:
    """Read the catalog of a dataset whose annotations are in `root`. Opens no audio, executes nothing.

    Raises:
        TagscaleError: an unknown split, tag set or variant, or annotations that are missing or malformed.
    """
    source = SOURCES[dataset.source]
    _check("split", dataset.split, [*source.SPLITS, folder.STRATIFIED], dataset.source)
    if source is not folder:
        _check("tags", dataset.tags, list(source.TAG_SETS), dataset.source)
    _check("variant", dataset.variant, list(source.VARIANTS), dataset.source)
    if not Path(root).is_dir():
        raise TagscaleError(
            f"{root}: no such folder. Set dataset.root in params.yaml to the folder of the annotations."
        )
    return source.read(Path(root), dataset)


def _check(key: str, value: str | None, known: list[str], source: str) -> None:
    if value is None or value in known:
        return
    raise TagscaleError(f"dataset.{key}: {source} has no `{value}`; {suggestion(value, known)}")
