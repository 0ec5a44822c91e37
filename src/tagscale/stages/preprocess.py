"""Preprocess: every track decoded once to mono 16 kHz int16 in a few large shards, and measured on the way."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from tagscale.audio.batch import decode_all
from tagscale.audio.writer import StoreWriter
from tagscale.data.catalog import Catalog
from tagscale.errors import TagscaleError
from tagscale.files import replacing
from tagscale.params import Params


class TracksPerSecond(ProgressColumn):
    """Speed over the last half minute."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} tracks/s")


def run(params: Params, *, root: Path, catalog: Path, store: Path, workers: int | None = None) -> None:
    """Decode the audio of all tracks of the catalog into a new store, which replaces the old one when complete.

    Args:
        root: the dataset's folder, which the catalog's paths are relative to.
        workers: processes, all cores by default; the result is the same for any number.

    Files without usable audio do not stop the stage: they are in rejected.csv of the store, with the reason.

    Raises:
        TagscaleError: no track of the catalog could be decoded.
    """
    tracks = Catalog.load(catalog).tracks
    path_of = dict(zip(tracks["track_id"], tracks["path"], strict=True))
    files = ((track, Path(root) / path) for track, path in path_of.items())
    console = Console()
    columns = (TextColumn("decoding"), BarColumn(), MofNCompleteColumn(), TracksPerSecond(), TimeRemainingColumn())
    rejected: list[str] = []
    with (
        replacing(store) as fresh,
        StoreWriter(fresh, params.preprocess.shard_megabytes) as writer,
        Progress(*columns, console=console) as progress,
    ):
        for track, outcome in progress.track(decode_all(files, workers), total=len(path_of)):
            if isinstance(outcome, str):
                writer.reject(track, path_of[track], outcome)
                rejected.append(f"{path_of[track]}: {outcome}")
            else:
                writer.add(track, outcome.samples, outcome.facts())
        if len(rejected) == len(path_of):
            raise TagscaleError(
                f"{root}: none of the {len(rejected)} tracks could be decoded. Check dataset.root in params.yaml and "
                "the table's paths, which are relative to it. The first: " + "; ".join(rejected[:3])
            )
    if rejected:
        console.print(f"{len(rejected)} of {len(path_of)} tracks rejected; see {Path(store) / 'rejected.csv'}:")
        for line in rejected[:5]:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
