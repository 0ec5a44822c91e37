"""Stage compare: all runs of the study side by side, as tables, figures, a report, and files for DVC and MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.metrics import METRICS, Metric, check_known
from tagscale.params.blocks import RegistryParams
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.report import figures, listening_figures, tag_figures
from tagscale.report.appearance import colour_of
from tagscale.report.page import read_times, render, training_rates
from tagscale.report.words import directions, duration, interval_words, rate_words
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, write_json
from tagscale.runtime.identity import run_name
from tagscale.runtime.tables import write_csv
from tagscale.study.answers import answers, headline
from tagscale.study.compare import all_scores, first_metrics, groups_of, main_scores, tag_scores
from tagscale.study.grid import Study, read_study
from tagscale.study.paper_rows import beside_study
from tagscale.study.qualitative import Qualitative, qualitative
from tagscale.study.tables import CURVES
from tagscale.study.trends import points
from tagscale.study.verdict import Verdict, conclude


def run(
    params: Params,
    *,
    runs: Sequence[Path],
    results: Sequence[Path],
    partition: Path,
    catalog: Path | None = None,
    validation: Path | None = None,
    timings: Path | None = None,
    reports: Path,
) -> None:
    """Compare exactly the grid of params.train and write the folder `reports`; print the table and the findings.

    Writes report.html, comparison.csv, metrics.json (a few numbers, for `dvc metrics` and `dvc exp show`), scores.json
    (all of them), plots/*.csv and figures/*.png, and logs them to the study's own MLflow run, with the page on the data
    from the folder `validation`. With the labels of the folder `catalog`, also popularity.csv, exclusive.csv and
    listening.csv (see qualitative.py), their figures and sections.

    Raises:
        TagscaleError: a cell of the grid is missing or unreadable; the runs, the partition, or the catalog do not
            belong together; unknown registry.metric.
    """
    study, parts = _read(params, runs, results, partition)
    names = [run_name(*cell) for cell in study.runs[["model", "size", "seed"]].itertuples(index=False, name=None)]
    listening = qualitative(study, parts, Catalog.load(catalog), results) if catalog else None
    verdict = _conclude(study, parts)
    times = read_times(timings, [*names, *study.everyone])
    paper = beside_study(study, params.dataset.source, parts.split, len(parts.tags))
    from tagscale import tracking  # here, because `show` does without mlflow, which takes seconds to import

    page = render(
        study,
        verdict,
        dataset=params.dataset.name,
        partition=parts,
        times=times,
        heard=listening,
        paper=paper,
        registry=params.registry,
        mlflow=tracking.linked_page(params.tracking.experiment, study.dataset_hash, study.partition_hash),
    )
    with replacing(reports / "figures") as fresh:
        _save_figures(study, verdict, listening, fresh)
    with replacing(reports / "plots") as fresh:
        _save_plots(study, listening, fresh)
    tables = {"comparison": study.comparison} | (_listening_tables(listening) if catalog else {})
    for name, table in tables.items():
        with replacing(reports / f"{name}.csv") as fresh:
            _to_csv(table, fresh)
    with replacing(reports / "report.html") as fresh:
        fresh.write_text(page, encoding="utf-8")
    write_json(reports / "metrics.json", headline(study))
    write_json(reports / "scores.json", all_scores(study))
    files = [reports / "report.html", *(reports / f"{name}.csv" for name in tables)]
    files += [validation / "validation.html"] if validation else []
    _track(params, study, verdict, parts, files, reports)
    print_results(study, verdict, params.registry, Console())


def show(params: Params, *, runs: Sequence[Path], results: Sequence[Path], partition: Path) -> None:
    """Print the table and the findings again, without writing anything. Raises as `run`."""
    study, parts = _read(params, runs, results, partition)
    print_results(study, _conclude(study, parts), params.registry, Console())


def print_results(study: Study, verdict: Verdict, registry: RegistryParams, console: Console) -> None:
    """The result table (test part), the first answers and the findings on the terminal."""
    wide = console.width >= 130
    metrics = first_metrics(study)
    each = len(metrics) if wide else 3  # three metrics with their intervals fit on 80 columns
    for first in range(0, len(metrics), each):
        console.print(_table(study, metrics[first : first + each], wide))
    intervals = f" In brackets: {study.confidence:.0%} intervals over test artists." if study.intervals else ""
    console.print(
        f"[bold]bold[/]: best of its training size, or level with it. {directions(metrics)}.{intervals}\n", style="dim"
    )
    for one in answers(study, registry):
        console.print(Text.assemble(f"{one.question} ", (one.answer, "bold"), f" {' '.join(one.reasons)}".rstrip()))
    console.print()
    for finding in [*verdict.findings, *verdict.trends, *study.notes]:
        console.print(f"- {finding}", markup=False, highlight=False)


def _table(study: Study, metrics: Sequence[Metric], wide: bool) -> Table:
    """The comparison's scores of some metrics; intervals stand beside their scores where it is wide, else below."""
    rows = study.comparison.assign(rate=training_rates(study))
    rates = bool(rows["rate"].notna().any())
    padding = (0, 0 if rates and not wide else 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, title="Test scores", title_justify="left", title_style="bold", padding=padding)
    table.add_column("model", no_wrap=True)
    for heading in ("tracks", "params", *(metric.label for metric in metrics), "training", *["patch\n/s"] * rates):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, row in enumerate(rows.to_dict("records")):
        cells = [Text(str(row["model"]) if wide else str(row["model"]).replace("_", "_\n", 1), colour_of(row["model"]))]
        cells += [Text(f"{row['train_tracks']:,}"), Text(_short(row["parameters"]))]
        cells += [_score(row, metric, wide) for metric in metrics]
        cells += [Text(duration(row["seconds"])), *[Text(rate_words(row["rate"]))] * rates]
        last = number + 1 == len(rows) or rows["train_tracks"][number + 1] != row["train_tracks"]
        table.add_row(*cells, end_section=last)
    return table


def _score(row: Mapping[Any, Any], metric: Metric, wide: bool) -> Text:
    """A row's test score with its SD over seeds and its interval, bold where it is the best of its size or level."""
    deviation = row[f"test_{metric.key}_sd"]
    spread = "" if np.isnan(deviation) else f" ±{metric.words(deviation).lstrip('0')}"
    best = metric.key in str(row["best"]).split()
    cell = Text(metric.words(row[f"test_{metric.key}"]) + spread, "bold" if best else "")
    ends = interval_words(row[f"test_{metric.key}_low"], row[f"test_{metric.key}_high"], metric)
    if ends:
        cell.append(f"{' ' if wide else chr(10)}{ends.replace('[0.', '[.').replace(' 0.', ' .')}", "dim not bold")
    return cell


def _read(params: Params, runs: Sequence[Path], results: Sequence[Path], partition: Path) -> tuple[Study, Partition]:
    check_known(params.registry.metric, "registry.metric")
    grid = params.train
    study = read_study(runs, results, models=grid.everyone, sizes=grid.sizes, seeds=grid.seeds)
    parts = Partition.load(partition)
    if parts.hash != study.partition_hash:
        raise TagscaleError(
            f"{partition} is partition {parts.hash}, but the runs were made on {study.partition_hash}. "
            "Run `dvc repro` to make them again on the present one."
        )
    return study, parts


def _conclude(study: Study, parts: Partition) -> Verdict:
    test = parts.rows("test")
    return conclude(study, len(test), test["artist"].nunique())


def _save_figures(study: Study, verdict: Verdict, listening: Qualitative | None, folder: Path) -> None:
    folder.mkdir()
    figures.save_png(figures.training_size(study), folder / "training_size.png")
    figures.save_png(tag_figures.groups(groups_of(study, study.largest), verdict.shown), folder / "groups.png")
    if study.with_curves:
        figures.save_png(figures.learning_curves(study), folder / "learning_curves.png")
    if listening is not None:
        figures.save_png(listening_figures.popularity(listening, verdict.shown), folder / "popularity.png")
        if not listening.pairs.empty:
            figures.save_png(listening_figures.exclusive(listening, verdict.shown), folder / "exclusive.png")
        if confusion := listening_figures.confusion(listening, verdict.shown):
            figures.save_png(confusion, folder / "confusion.png")


def _save_plots(study: Study, listening: Qualitative | None, folder: Path) -> None:
    """Long tables, a row a point with its model's colour, for `dvc plots`."""
    folder.mkdir()
    curves = study.curves[["model", "size", "seed", *CURVES]]
    tables = {"training_size": points(study), "per_tag": tag_scores(study, study.largest), "learning_curves": curves}
    for name, table in tables.items():
        _to_csv(table.assign(colour=table["model"].map(colour_of)), folder / f"{name}.csv")
    if listening is not None and not listening.confusion.empty:
        _to_csv(listening.confusion, folder / "confusion.csv")


def _listening_tables(listening: Qualitative | None) -> dict[str, pd.DataFrame]:
    """The tables by file name; empty ones, with their heads, where there is no classification tag."""
    if listening is None:
        empty = pd.DataFrame(columns=["model"])
        listening = Qualitative(empty, empty, empty)
    return {"popularity": listening.tags, "exclusive": listening.pairs, "listening": listening.models}


def _to_csv(table: pd.DataFrame, file: Path) -> None:
    write_csv(table, file, float_format="%.6g")


def _track(
    params: Params, study: Study, verdict: Verdict, parts: Partition, files: Sequence[Path], reports: Path
) -> None:
    """The comparison in the MLflow run that the study's trainings nest in."""
    from tagscale import tracking  # here, because `show` does without mlflow, which takes seconds to import

    numbers = {
        f"{model}.{metric}": score for model, scores in main_scores(study).items() for metric, score in scores.items()
    }
    tags = {
        tracking.DATA_VERSION: params.dataset.version or tracking.UNPUBLISHED,
        tracking.SPLIT: parts.split,
    }
    main = [metric.key for metric in METRICS.values() if metric.main and study.runs[f"test_{metric.key}"].notna().any()]
    colours = {model: colour_of(model) for model in study.everyone}
    facts = tracking.StudyFacts(params.dataset.name, study.dataset_hash, study.partition_hash, main, colours)
    with tracking.comparison_run(params.tracking.experiment, facts, verdict.findings[0], tags) as tracked:
        tracked.log_metrics(numbers)
        for file in files:
            tracked.log_artifacts(file)
        tracked.log_artifacts(reports / "figures", "figures")


def _short(count: int) -> str:
    """Parameters as the paper's tables give them: 187k, 5.5M."""
    if count < 1000:
        return str(count)
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.1f}M"
