"""Catalog: turn any dataset into one table of tracks, one of labels and one of tags."""

from pathlib import Path

from typing_extensions import TypedDict

from tagscale.catalog import sources
from tagscale.catalog.corrections import FILE, corrected
from tagscale.catalog.tables import artist_keys
from tagscale.params.load import Params
from tagscale.runtime.reading import Output
from tagscale.runtime.words import as_text


class Corpus(TypedDict):
    """What corpus.json says at least."""

    made_by: str
    generator: str


def run(params: Params, *, root: Path, catalog: Path) -> None:
    """Read the dataset in `root` into the folder `catalog`. The composed corpus has the format of a user's folder.

    Where `root` holds corrections.csv, its corrections of the labels are applied.

    Raises:
        TagscaleError: annotations or corrections missing or malformed; see `tagscale.catalog.sources.read` and
            `tagscale.catalog.corrections.corrected`. Tables of the composed corpus that are not as `tagscale synth`
            wrote them.
    """
    dataset = params.dataset
    if dataset.source == "synth":  # a table that was cut at a row would pass for a smaller dataset
        corpus = Output(Path(root), "corpus.json", "tagscale synth")
        corpus.facts(Corpus)
        corpus.check()
    tables, corrections = corrected(sources.read(root, dataset), Path(root) / FILE)
    tables.save(catalog, source=dataset.source, root=as_text(Path(root).as_posix()))
    kinds = ", ".join(f"{count} {kind}" for kind, count in tables.tags["kind"].value_counts(sort=False).items())
    artists = artist_keys(tables.tracks).nunique()
    line = f"{dataset.name}: {len(tables.tracks)} tracks by {artists} artists, {len(tables.tags)} tags ({kinds})"
    line += f", split `{tables.split.name}` ({tables.split_hash})" if tables.split else ""
    print(*filter(None, (line, corrections)), sep="\n", flush=True)
