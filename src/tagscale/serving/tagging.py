"""Tagging files with a registered tagger, one by one; results as a table for people or as JSON for machines."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.bar import Bar
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tagscale.decoding.opened import AudioError
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.tags import Tags
from tagscale.runtime.words import as_text
from tagscale.serving.catalogue import audio_files, is_folder, without_audio
from tagscale.serving.tagger import Tagger

BAR_CHARACTERS, SHORTEST_BAR = 30, 8  # where the terminal is wide, and at least


def tag_files(tagger: AudioTagger, paths: Iterable[Path]) -> Iterator[Tags]:
    """Tag each file, and the audio files in each folder, one by one; a bad file never stops the others."""
    for path in map(Path, paths):
        if not is_folder(path):
            yield _tagged(tagger, path)
            continue
        empty = True
        for file, reason in audio_files(path):
            empty = False
            yield Tags(str(file), error=reason) if reason else _tagged(tagger, file)
        if empty:
            yield Tags(str(path), error=without_audio("folder"))


def _tagged(tagger: AudioTagger, file: Path) -> Tags:
    try:
        return tagger.tag(file)
    except AudioError as error:
        return Tags(str(file), error=error.reason)


def print_tags(console: Console, file: Tags, tagger: AudioTagger, top: int = 10) -> None:
    """One file's tags as a small table: the `top` classification tags with bars, every regression tag as a dial.

    Warnings stand above the scores. Behind the bar stand a tag's probability and, where it is decided, "yes".
    """
    console.print(Text(as_text(file.name), style="bold"), soft_wrap=True)
    if file.error is not None:
        console.print(Text(f"  not tagged: {file.error}", style="red"), soft_wrap=True)
        return
    for warning in file.warnings:
        console.print(Text(f"  warning: {warning}", style="yellow"), soft_wrap=True)
    kinds = tagger.kinds
    classes = [tag for tag in file.scores if kinds[tag] == "classification"][:top]
    values = sorted(tag for tag in file.scores if kinds[tag] == "regression")
    plain = console.options.ascii_only
    shown = classes + values
    names, groups = (
        max(map(cell_len, texts), default=0) for texts in (shown, [tagger.groups.get(tag, "") for tag in shown])
    )
    around = names + groups + (25 if file.decided else 14)  # score and padding, and what stands behind the bar
    width = max(SHORTEST_BAR, min(BAR_CHARACTERS, console.width - around))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for tag in classes:
        table.add_row(*_row(tag, file, tagger, _bar(file.scores[tag], width, plain)))
    if classes and values:
        table.add_row()
    for tag in values:
        table.add_row(*_row(tag, file, tagger, _dial(file.scores[tag], width, plain)))
    console.print(table)
    console.print()


def as_json(tagger: Tagger, files: Sequence[Tags]) -> dict[str, Any]:
    """Results as the JSON output.

    {"model", "version", "files": [{"path", "scores", "warnings"} or {"path", "error"}]}
    A version with decisions adds "decisions" to a file with scores: {tag: {"probability", "threshold", "decided"}}.
    """
    return {
        "model": tagger.model,
        "version": tagger.version,
        "files": [{"path": as_text(file.name)} | file.as_dict() for file in files],
    }


def _row(tag: str, file: Tags, tagger: AudioTagger, picture: RenderableType) -> list[RenderableType]:
    row: list[RenderableType] = [
        Text(f"  {tag}"),
        Text(tagger.groups.get(tag, ""), style="dim"),
        f"{file.scores[tag]:.2f}",
        picture,
    ]
    if decided := file.decided.get(tag):
        row += [f"{decided.probability:.0%}", Text("yes" if decided.decided else "", style="bold green")]
    return row


def _bar(value: float, width: int, plain: bool) -> RenderableType:
    """A value in [0, 1] as the length of a bar; `plain` for terminals that know ASCII alone."""
    if plain:
        return "#" * round(value * width)
    return Bar(1, 0, value, width=width, color="green")


def _dial(value: float, width: int, plain: bool = False) -> Text:
    """A value in [0, 1] as a mark on a line.

    >>> _dial(0.5, 30).plain
    '──────────────●───────────────'
    >>> _dial(1, 30, plain=True).plain
    '-----------------------------o'
    """
    place = round(value * (width - 1))
    line, mark = "-o" if plain else "─●"
    return Text.assemble((line * place, "dim"), (mark, "cyan"), (line * (width - 1 - place), "dim"))
