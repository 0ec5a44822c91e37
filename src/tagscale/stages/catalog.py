"""Catalog: any dataset becomes one table of tracks, one of labels and one of tags."""

from pathlib import Path

from rich.console import Console

from tagscale.data.catalog import Catalog
from tagscale.data.sources import folder
from tagscale.params import Params


def run(params: Params, *, root: Path, catalog: Path) -> None:
    """Read the dataset in `root` into the folder `catalog`. The composed corpus has the format of a user's folder.

    Raises:
        TagscaleError: table or tags.yaml missing or malformed; see `tagscale.data.sources.folder.read`.
    """
    dataset = params.dataset
    found: Catalog = folder.read(dataset.name, root, dataset.table, dataset.tags)
    found.save(catalog, source=dataset.source, root=Path(root).as_posix())
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.tags["kind"].value_counts(sort=False).items())
    artists = found.tracks["artist"].nunique()
    line = f"{dataset.name}: {len(found.tracks)} tracks by {artists} artists, {len(found.tags)} tags ({kinds})"
    Console().print(line, markup=False, highlight=False, soft_wrap=True)
