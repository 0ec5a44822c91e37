"""Stage compare: all runs of the study side by side, as tables, figures, a report, and files for DVC and MLflow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tagscale.data.partition import Partition
from tagscale.errors import TagscaleError
from tagscale.evaluation import figures
from tagscale.evaluation.compare import comparison, headline, tag_scores
from tagscale.evaluation.figures import COLOURS
from tagscale.evaluation.report import duration, read_times, render, score_words
from tagscale.evaluation.study import LABELS, Study, read_study
from tagscale.evaluation.verdict import Verdict, verdict
from tagscale.files import replacing, write_json
from tagscale.identity import run_name
from tagscale.params import Params


def run(
    params: Params,
    *,
    runs: Sequence[Path],
    results: Sequence[Path],
    partition: Path,
    reports: Path,
    validation: Path | None = None,
    timings: Path | None = None,
) -> None:
    """Compare exactly the grid of params.train and write the folder `reports`; print the table and the findings.

    Writes report.html, comparison.csv, metrics.json, plots/*.csv and figures/*.png, and logs them to the study's own
    MLflow run, with the page on the data from the folder `validation`.

    Raises:
        TagscaleError: a cell of the grid is missing or unreadable; the runs, or the partition, do not belong together.
    """
    study, parts, found = _findings(params, runs, results, partition)
    names = [run_name(*cell) for cell in study.runs[["model", "size", "seed"]].itertuples(index=False, name=None)]
    page = render(study, found, dataset=params.dataset.name, partition=parts, times=read_times(timings, names))
    with replacing(reports / "figures") as fresh:
        _save_figures(study, found, fresh)
    with replacing(reports / "plots") as fresh:
        _save_plots(study, fresh)
    with replacing(reports / "comparison.csv") as fresh:
        _to_csv(comparison(study), fresh)
    with replacing(reports / "report.html") as fresh:
        fresh.write_text(page, encoding="utf-8")
    write_json(reports / "metrics.json", headline(study))
    _track(
        params, study, found, parts, [reports / "report.html", reports / "comparison.csv", *_pages(validation)], reports
    )
    print_results(study, found, Console())


def show(params: Params, *, runs: Sequence[Path], results: Sequence[Path], partition: Path) -> None:
    """Print the table and the findings again, without writing anything. Raises as `run`."""
    study, _, found = _findings(params, runs, results, partition)
    print_results(study, found, Console())


def print_results(study: Study, verdict: Verdict, console: Console) -> None:
    """The result table (test part) and the findings on the terminal."""
    table = Table(
        box=box.SIMPLE_HEAD, title="Test scores", title_justify="left", title_style="bold", padding=(0, 1, 0, 0)
    )
    table.add_column("model", no_wrap=True)
    for heading in ("tracks", "params", *LABELS.values(), "training"):
        table.add_column(heading, justify="right", no_wrap=True)
    rows = comparison(study)
    for number, row in enumerate(rows.to_dict("records")):
        cells = [Text(str(row["model"]), COLOURS[row["model"]])]
        cells += [Text(f"{row['train_tracks']:,}"), Text(_short(row["parameters"]))]
        for metric in LABELS:
            best = metric in str(row["best"]).split()
            deviation = row[f"test_{metric}_sd"]
            spread = "" if np.isnan(deviation) else f" ±{f'{deviation:.3f}'.lstrip('0')}"
            cells.append(Text(score_words(row[f"test_{metric}"]) + spread, "bold" if best else ""))
        last = number + 1 == len(rows) or rows["train_tracks"][number + 1] != row["train_tracks"]
        table.add_row(*cells, Text(duration(row["seconds"])), end_section=last)
    console.print(table)
    console.print(
        "[bold]bold[/]: best of its training size. AUCs: higher is better, √MSE: lower is better.\n", style="dim"
    )
    for place, finding in enumerate([*verdict.findings, *verdict.trends, *study.notes]):
        console.print(
            ("" if place == 0 else "- ") + finding, style="bold" if place == 0 else "", markup=False, highlight=False
        )


def _findings(
    params: Params, runs: Sequence[Path], results: Sequence[Path], partition: Path
) -> tuple[Study, Partition, Verdict]:
    grid = params.train
    study = read_study(runs, results, models=grid.models, baselines=grid.baselines, sizes=grid.sizes, seeds=grid.seeds)
    parts = Partition.load(partition)
    if parts.hash != study.partition_hash:
        raise TagscaleError(
            f"{partition} is partition {parts.hash}, but the runs were made on {study.partition_hash}. "
            "Run `dvc repro` to make them again on the present one."
        )
    test = parts.table[parts.table["part"] == "test"]
    return study, parts, verdict(study, len(test), test["artist"].nunique())


def _save_figures(study: Study, found: Verdict, folder: Path) -> None:
    folder.mkdir()
    tags = tag_scores(study, study.largest)
    compared = [found.front_end, *([found.rival] if found.rival else [])]
    figures.save_png(figures.training_size(study), folder / "training_size.png")
    figures.save_png(figures.groups(tags, study.everyone), folder / "groups.png")
    figures.save_png(figures.per_tag(tags, compared), folder / "per_tag.png")
    figures.save_png(figures.learning_curves(study), folder / "learning_curves.png")


def _save_plots(study: Study, folder: Path) -> None:
    """Long tables, a row a point, for `dvc plots`."""
    folder.mkdir()
    scores = study.runs.rename(columns={f"test_{metric}": metric for metric in LABELS})
    _to_csv(scores[["model", "size", "seed", "train_tracks", *LABELS]], folder / "training_size.csv")
    _to_csv(tag_scores(study, study.largest), folder / "per_tag.csv")
    curves = study.curves[["model", "size", "seed", "epoch", "train_loss", "valid_loss"]]
    _to_csv(curves, folder / "learning_curves.csv")


def _to_csv(table: pd.DataFrame, file: Path) -> None:
    table.to_csv(file, index=False, float_format="%.6g", lineterminator="\n")


def _pages(validation: Path | None) -> list[Path]:
    return [Path(validation) / "validation.html"] if validation else []


def _track(
    params: Params, study: Study, found: Verdict, parts: Partition, files: Sequence[Path], reports: Path
) -> None:
    """The comparison as a run of the study's MLflow experiment."""
    from tagscale import tracking  # here, because `show` does without mlflow, which takes seconds to import

    rows = comparison(study)
    best = rows[rows["size"] == study.largest].to_dict("records")
    numbers = {f"{row['model']}.{metric}": row[f"test_{metric}"] for row in best for metric in LABELS}
    tags = {
        "tagscale.dataset": params.dataset.name,
        "tagscale.dataset_hash": study.dataset_hash,
        "tagscale.partition_hash": study.partition_hash,
        tracking.DATA_VERSION: params.dataset.version or tracking.UNPUBLISHED,
        tracking.SPLIT: parts.split,
        "tagscale.finding": found.findings[0],
    }
    with tracking.study_run(params.tracking.experiment, name="comparison", tags=tags) as tracked:
        tracked.log_metrics({name: number for name, number in numbers.items() if not np.isnan(number)})
        for file in files:
            tracked.log_artifacts(file)
        tracked.log_artifacts(reports / "figures", "figures")


def _short(count: int) -> str:
    """Parameters as the paper's tables give them: 187k, 5.5M."""
    if count < 1000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"
