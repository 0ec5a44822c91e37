"""`tagscale models`: every row of the paper's tables and the models after it, with what each costs."""

import json
from string import ascii_lowercase
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

app = typer.Typer()

TITLES = {
    1: "Table 1: 1.2M songs, 139 tags, means of three runs",
    2: "Table 2: MagnaTagATune, 50 tags, waveform models",
    3: "Table 3: MagnaTagATune, 50 tags, spectrogram models",
    4: "Table 4: Million Song Dataset, 50 tags",
    None: "After the paper: 50 tags",
}

# Headings of the columns; those of a group stand above each other where the terminal is narrow
GROUPS = (
    ("row", "in params"),
    ("parameters", "paper"),
    ("ROC", "PR"),
    ("√MSE",),
    ("GFLOPs", "MB"),
    ("patch", "min"),
)
NARROW = 116  # characters that the columns need side by side

LEGEND = {
    "in params": "its name in params.yaml or, with this capacity, in presets/table-N.yaml",
    "parameters": "trainable, as counted here; under `paper` as the paper prints them: cut off, not rounded",
    "ROC, PR, √MSE": "the paper's results, not ours: ROC-AUC and PR-AUC in percent, error of the regression tags",
    "GFLOPs": "billions of operations of one patch, forward; a multiplication and an addition are two (as "
    "torch.utils.flop_counter counts; the Fourier transform of a spectrogram is left out)",
    "MB": "what training keeps of one patch until its backward pass + the weights; millions of bytes, float32",
    "patch, min": "seconds of the patch that these are of, and the shortest input",
}


@app.command(rich_help_panel="Results")
def models(
    model: Annotated[
        str | None, typer.Option(help="Only this one: a name in params.yaml, or one that --json prints.")
    ] = None,
    table: Annotated[int | None, typer.Option(help="Only this table of the paper: 1 to 4.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The numbers, for machines.")] = False,
) -> None:
    """List every model of the paper's tables and those after it: size, cost, and what the paper prints."""
    from tagscale.models.catalogue import entries, record

    chosen = entries(model, table)
    if as_json:
        print(json.dumps([record(entry) for entry in chosen], indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    marks = dict(zip(dict.fromkeys(note for entry in chosen for note in entry.notes), ascii_lowercase, strict=False))
    for number, title in TITLES.items():
        rows = [
            _cells(record(entry), "".join(marks[note] for note in entry.notes))
            for entry in chosen
            if entry.table == number
        ]
        if rows:
            console.print(_table(title, rows, narrow=console.width < NARROW))
    console.print(_list(LEGEND))
    console.print()
    console.print(_list({mark: note for note, mark in marks.items()}))


def _cells(record: dict[str, Any], marks: str) -> dict[str, str]:
    """What a row says under each heading of GROUPS."""

    def number(key: str, form: str, unit: float | None = None) -> str:
        value = record[key]
        return "" if value is None else format(value / unit if unit else value, form)

    return {
        "row": escape(record["row"]) + (f" [cyan]({', '.join(marks)})[/]" if marks else ""),
        "in params": record["in_params"],
        "parameters": number("parameters", ","),
        "paper": record["paper_parameters"] or "",
        "ROC": number("roc_auc", ".2f"),
        "PR": number("pr_auc", ".2f"),
        "√MSE": number("rmse", ".4f"),
        "GFLOPs": number("flops", ".2f", 1e9),
        "MB": " + ".join(filter(None, (number(key, ".0f", 1e6) for key in ("activations", "weights")))),
        "patch": number("patch_seconds", ".2f"),
        "min": number("shortest_seconds", ".2f"),
    }


def _table(title: str, rows: list[dict[str, str]], narrow: bool) -> Table:
    """One table of the paper, without the headings under which none of its rows says anything."""
    said = {heading for row in rows for heading, cell in row.items() if cell}
    groups = [[heading for heading in group if heading in said] for group in GROUPS]
    columns = [group for group in groups if group] if narrow else [[heading] for group in groups for heading in group]
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for headings in columns:
        words = headings[0] in ("row", "in params")
        table.add_column("\n".join(headings), justify="left" if words else "right", no_wrap=headings[0] != "row")
    for row in rows:
        table.add_row(*("\n".join(row[heading] for heading in headings) for headings in columns))
    return table


def _list(entries: dict[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for term, text in entries.items():
        grid.add_row(f"[cyan]{term}[/]", escape(text))
    return grid
