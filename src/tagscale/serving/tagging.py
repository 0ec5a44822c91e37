"""Tagging files with a registered tagger, one by one; results as a table for people or as JSON for machines."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.bar import Bar
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tagscale.decoding.formats import SUFFIXES
from tagscale.decoding.opened import AudioError
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.versions import Version

BAR_CHARACTERS = 30


@dataclass(frozen=True)
class TaggedFile:
    """The result for one file: scores, highest first, or the reason why there are none."""

    path: Path
    scores: dict[str, float] = field(default_factory=dict)
    error: str | None = None


def tag_files(tagger: AudioTagger, paths: Iterable[Path]) -> Iterator[TaggedFile]:
    """Tag each file, and the audio files in each folder, one by one; a bad file never stops the others."""
    for path in map(Path, paths):
        files = _audio_files(path) if path.is_dir() else [path]
        if not files:
            yield TaggedFile(path, error=f"no audio files in this folder ({', '.join(sorted(SUFFIXES))})")
        for file in files:
            try:
                scores = tagger.listen(file)
            except AudioError as error:
                yield TaggedFile(file, error=error.reason)
            else:
                yield TaggedFile(file, dict(sorted(scores.items(), key=lambda item: -item[1])))


def _audio_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def print_tags(console: Console, file: TaggedFile, tagger: AudioTagger, top: int = 10) -> None:
    """One file's tags as a small table: the `top` classification tags with bars, every regression tag as a dial."""
    console.print(Text(str(file.path), style="bold"), soft_wrap=True)
    if file.error is not None:
        console.print(Text(f"  not tagged: {file.error}", style="red"), soft_wrap=True)
        return
    kinds = dict(zip(tagger.architecture.tags, tagger.architecture.kinds, strict=True))
    classes = [tag for tag in file.scores if kinds[tag] == "classification"][:top]
    values = sorted(tag for tag in file.scores if kinds[tag] == "regression")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for tag in classes:
        bar = Bar(1, 0, file.scores[tag], width=BAR_CHARACTERS, color="green")
        table.add_row(*_row(tag, file, tagger, bar))
    if classes and values:
        table.add_row()
    for tag in values:
        table.add_row(*_row(tag, file, tagger, _dial(file.scores[tag])))
    console.print(table)
    console.print()


def as_json(version: Version, files: Sequence[TaggedFile]) -> dict[str, Any]:
    """Results as the JSON output: {"model", "version", "files": [{"path", "scores"} or {"path", "error"}]}."""
    return {
        "model": version.name,
        "version": version.number,
        "files": [
            {"path": str(file.path)} | ({"error": file.error} if file.error is not None else {"scores": file.scores})
            for file in files
        ],
    }


def _row(tag: str, file: TaggedFile, tagger: AudioTagger, picture: RenderableType) -> list[RenderableType]:
    return [Text(f"  {tag}"), Text(tagger.groups.get(tag, ""), style="dim"), f"{file.scores[tag]:.2f}", picture]


def _dial(value: float) -> Text:
    """A value in [0, 1] as a mark on a line.

    >>> _dial(0.5).plain
    '──────────────●───────────────'
    """
    place = round(value * (BAR_CHARACTERS - 1))
    return Text.assemble(("─" * place, "dim"), ("●", "cyan"), ("─" * (BAR_CHARACTERS - 1 - place), "dim"))
