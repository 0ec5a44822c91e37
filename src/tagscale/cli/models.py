"""`tagscale models`: the models of params.yaml, their size, and what the paper prints for them."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from tagscale.cli.stages import PARAMS, ParamsFile

app = typer.Typer()

TAGS = 50  # of the counted models, as in most of the paper's tables


@app.command(rich_help_panel="Results")
def models(
    params: ParamsFile = PARAMS,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every row of the paper.")] = False,
) -> None:
    """List the models that train.models may name: role, parameters, and the paper's best score of each table.

    Sizes and costs of all rows of the paper are in docs/models.md.
    """
    from tagscale.params.load import load

    rows = rows_of(load(params))
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("role")
    table.add_column(f"parameters\n({TAGS} tags)", justify="right", no_wrap=True)
    table.add_column("patch\n(s)", justify="right", no_wrap=True)
    table.add_column("the paper's table:\nsize, ROC/PR (%)", no_wrap=True)
    for row in rows:
        count, seconds = row["parameters"], row["patch_seconds"]
        numbers = ("", "") if count is None else (f"{count:,}", f"{seconds:.2f}")
        table.add_row(row["name"], row["role"], *numbers, "\n".join(_best(row["paper"])))
    Console(highlight=False).print(table)


def rows_of(params: Any) -> list[dict[str, Any]]:
    """One row for every block of `model`, named capacities included, and one for every model without a block."""
    from tagscale.models.architecture import architecture_of
    from tagscale.models.build import build, parameter_count, shortest_samples
    from tagscale.models.paper import ROWS
    from tagscale.models.spec import MODELS, NETWORKS, base_model

    rows = []
    without = [name for name in MODELS if name not in NETWORKS]
    for name in [*params.model.model_dump(exclude={"backend"}), *without]:
        entry = MODELS[base_model(name)]
        row: dict[str, Any] = {"name": name, "about": entry.about, "role": entry.role, "parameters": None}
        row |= {"capacity": None, "patch_seconds": None, "shortest_seconds": None}
        if entry.implementation:
            described = architecture_of(params, name, [f"tag {n}" for n in range(TAGS)], ["classification"] * TAGS)
            row["parameters"] = parameter_count(build(described))
            row |= {"capacity": described.capacity, "patch_seconds": described.patch_seconds}
            row["shortest_seconds"] = shortest_samples(described) / described.sample_rate
        stands_for = (name,) if "-" in name else {r.model for r in ROWS if base_model(r.model) == name}
        rows.append(row | {"paper": [asdict(r) for r in ROWS if r.model in stands_for]})
    return rows


def _best(rows: list[dict[str, Any]]) -> list[str]:
    """The row with the best ROC-AUC of each table, in words."""
    best = {row["table"]: row for row in sorted(rows, key=lambda row: row["roc_auc"])}
    return [
        f"{table}: {row['printed'] or '–'} {row['roc_auc']:.2f}/" + (f"{row['pr_auc']:.2f}" if row["pr_auc"] else "–")
        for table, row in sorted(best.items())
    ]
