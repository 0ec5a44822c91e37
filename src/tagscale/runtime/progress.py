"""One look for every progress bar: what is done, a bar, how much, how fast, how long still."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

T = TypeVar("T")


class Speed(ProgressColumn):
    """Things per second: over the last half minute, and over all of them at the end.

    Args:
        unit: what is counted, in the plural: "tracks"
    """

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.1f} {self.unit}/s")


def progress_bar(unit: str, console: Console | None = None, transient: bool = False, disable: bool = False) -> Progress:
    """A bar for `rich`'s add_task and track, which give it the description.

    Args:
        unit: what is counted: "tracks", "tags" ...; "bytes" get prefixes (1.2 GB, 30 MB/s)
        transient: remove the bar when it is finished
        disable: show nothing
    """
    counted: tuple[ProgressColumn, ...] = (MofNCompleteColumn(), Speed(unit))
    if unit == "bytes":
        counted = (DownloadColumn(), TransferSpeedColumn())
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), *counted, TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient, disable=disable)


def counted(things: Iterable[T], unit: str, description: str) -> Iterator[T]:
    """The things, counted by a bar on the terminal that goes away at the end."""
    with progress_bar(unit, transient=True) as bar:
        yield from bar.track(things, description=description)
