"""The command that compares what was served with the profile of the version that served it."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tagscale.cli.use import USE
from tagscale.serving import DRIFT_MARGIN

app = typer.Typer()
DRIFT = 3  # exit status; 1 is an error, and 2 a wrong option
SHOWN = 8  # tags in the terminal


@app.command(rich_help_panel=USE)
def watch(
    rows: Annotated[
        Path, typer.Argument(help="Rows of scores, or a folder of them, from `tagscale tag --out` or the server.")
    ],
    model: Annotated[
        str | None, typer.Option(help="Version of these rows: champion, 4, other-model/4. Default: that of most rows.")
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=0.49, help="Shift of a chance from 0.5 that is no drift.")
    ] = DRIFT_MARGIN,
    files: Annotated[bool, typer.Option("--files", help="A drift of loudness, length, rate ... counts, too.")] = False,
    page: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("drift.html"),
    metrics: Annotated[
        Path | None, typer.Option(help="File of gauges, *.prom, for the textfile collector of Prometheus.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
) -> None:
    """Compare served scores with the profile of the version's own data. Exit status 3 where they drift, 0 where not."""
    from tagscale.report.drift import write
    from tagscale.serving.rows import read_rows
    from tagscale.serving.watch import reason_of, write_metrics
    from tagscale.serving.watch import watch as compare

    record = compare(read_rows(rows), model, margin, files)
    reason = reason_of(record)
    write(page, record, reason, str(rows))
    if metrics is not None:
        write_metrics(metrics, record)
    if as_json:
        typer.echo(json.dumps(record | {"reason": reason}, indent=2))
    else:
        _print(record, reason, page)
    raise typer.Exit(DRIFT if record["drift"] else 0)


def _print(record: dict[str, Any], reason: str, page: Path) -> None:
    from tagscale.report.drift import interval_words, measure_words, overall_of, p_words, score_words

    console = Console(highlight=False, soft_wrap=True)
    verdict = "[bold red]drift[/]" if record["drift"] else "[bold green]no drift[/]"
    console.print(f"{record['model']} version {record['version']}: {verdict}")
    console.print(f"  {reason}", markup=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("  ", "chance", "95 % interval", "p", "profile", "served"):
        table.add_column(name, justify="left" if name.isspace() else "right")
    measures = [one for one in record["files"] if one["drifts"]]
    for one in [*overall_of(record), *record["tags"][:SHOWN], *measures]:
        numbers = [
            measure_words(value, one["name"]) if one in measures else score_words(value)
            for value in (one["before"], one["now"])
        ]
        style = "red" if one["drifts"] else None
        table.add_row(
            f"  {one['name']}", f"{one['chance']:.2f}", interval_words(one), p_words(one["p"]), *numbers, style=style
        )
    console.print(table)
    console.print("  profile, served: medians of the scores; of files, medians and shares")
    others = sum(one["rows"] for one in record["versions"] if one["sha256"] != record["sha256"])
    errors = record["errors"]
    console.print(
        f"  {record['rows']:,} rows, {errors['count']:,} of them without scores ({errors['share']:.1%}); "
        f"{record['warned']['share']:.1%} with a warning, {record['warned_before']:.1%} in the profile"
        + (f"; {others:,} rows of other versions are left out" if others else ""),
        markup=False,
    )
    console.print(f"  the page: {page}", markup=False)
