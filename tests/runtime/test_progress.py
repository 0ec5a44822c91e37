"""The progress bar shows what, how much of how much, and how fast."""

from io import StringIO

from rich.console import Console

from tagscale.runtime.progress import progress_bar


def shown(unit: str, total: int, done: int) -> str:
    console = Console(file=StringIO(), width=120, force_terminal=True, color_system=None)
    with progress_bar(unit, console) as bar:
        task = bar.add_task("reading [a/b]", total=total)
        bar.update(task, advance=done / 2)
        bar.update(task, advance=done / 2)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_things_are_counted() -> None:
    text = shown("tracks", 40, 30)
    assert "reading [a/b]" in text
    assert "30/40" in text
    assert " tracks/s" in text


def test_bytes_have_prefixes() -> None:
    text = shown("bytes", 4_000_000, 3_000_000)
    assert "3.0/4.0 MB" in text
    assert "B/s" in text
