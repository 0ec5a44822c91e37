"""The summary of a tagger that was learned from tracks of a user's own: how good each tag is, and what was left out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from tagscale.evaluation.metrics import F1, FREQUENT_POSITIVES, KINDS, NOTHING, PR_AUC, RMSE, ROC_AUC, Metric
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.registry.candidate import choose
from tagscale.report.words import interval_words
from tagscale.runtime.words import listed
from tagscale.validation.findings import read_findings

SHOWN = 20  # rows of a table, and files
COLUMNS = {"classification": (PR_AUC, ROC_AUC, F1), "regression": (RMSE,)}
WORTH_A_NETWORK = 500  # training tracks from which on a network from scratch may come near an encoder


def show(params: Params, *, runs: Sequence[Path], results: Sequence[Path], data: Path) -> None:
    """Print the test scores of the study's candidate tag by tag, its weak tags, and the files and tags left out.

    Args:
        runs, results: folders of the study's runs, as `choose` takes them
        data: the folder of the folders `validation` and `partition`
    Raises:
        TagscaleError: a file of an earlier stage is missing or damaged.
    """
    chosen, study = choose(params, runs, results)
    cell = [study.tags[key] == chosen.identity[key] for key in ("model", "size", "seed")]
    tags = study.tags[np.logical_and.reduce([*cell, study.tags["part"] == "test"])]
    parts = Partition.load(data / "partition")
    for kind in KINDS:
        if not (rows := tags[tags["kind"] == kind]).empty:
            title = f"{chosen.candidate}, tag by tag, on {len(parts.rows('test'))} test tracks"
            Console(soft_wrap=True).print(_table(rows, kind, title))
    lines = [*weak_tags(tags), *_left_out(data)]
    if chosen.train_tracks >= WORTH_A_NETWORK and not params.train.models:
        lines.append(
            f"{chosen.train_tracks:,} training tracks may be enough for a network of their own: set train.models to "
            "[spectrogram] in the settings and run the same command again. It takes longer."
        )
    for line in lines:
        print(line)


def _table(rows: pd.DataFrame, kind: str, title: str) -> Table:
    metrics, main = COLUMNS[kind], COLUMNS[kind][0]
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", padding=(0, 1, 0, 0))
    table.add_column("tag", overflow="fold")
    for heading in ("positive" if kind == "classification" else "annotated", *(metric.label for metric in metrics)):
        table.add_column(heading, justify="right", no_wrap=True)
    ordered = rows.sort_values(main.key, ascending=main.lower_is_better, kind="stable")
    for row in pd.concat([ordered.head(SHOWN // 2), ordered.iloc[SHOWN // 2 :].tail(SHOWN // 2)]).to_dict("records"):
        count = row["positives"] if kind == "classification" else row["tracks"]
        table.add_row(str(row["tag"]), f"{count:.0f}", *(_score(row, metric) for metric in metrics))
    if len(rows) > SHOWN:
        table.caption = f"The best and the worst of {len(rows)} tags; the report has all."
    return table


def _score(row: dict, metric: Metric) -> str:
    if np.isnan(row[metric.key]):
        return NOTHING
    if metric == F1:  # 80 columns have no room for its interval
        return metric.words(row[metric.key])
    ends = interval_words(row[f"{metric.key}_low"], row[f"{metric.key}_high"], metric)
    return f"{metric.words(row[metric.key])} {ends}".rstrip()


def weak_tags(tags: pd.DataFrame) -> list[str]:
    """Sentences on tags that say little: few positive tracks, or scores that guessing may reach."""
    classes = tags[tags["kind"] == "classification"]
    few = classes[classes["positives"] < FREQUENT_POSITIVES]
    guessed = classes[classes[f"{ROC_AUC.key}_low"] <= 0.5]
    lines = []
    if len(few):
        named = [f"{tag} ({count:.0f})" for tag, count in zip(few["tag"], few["positives"], strict=True)]
        lines.append(f"Fewer than {FREQUENT_POSITIVES} positive tracks, so scores say little: {listed(named, SHOWN)}.")
    if len(guessed):
        weak = listed(list(guessed["tag"]), SHOWN)
        lines.append(f"Perhaps no better than guessing (the interval of ROC-AUC reaches 0.5): {weak}.")
    return lines


def _left_out(data: Path) -> list[str]:
    findings, quarantine = read_findings(data / "validation")
    lines = [f"Tag {dropped['tag']} is left out: {dropped['reason']}." for dropped in findings["dropped_tags"][:SHOWN]]
    if len(quarantine):
        lines.append(f"{len(quarantine)} file(s) are left out:")
        lines += [f"  {row.path}: {row.reason}" for row in quarantine.head(SHOWN).itertuples()]
        if len(quarantine) > SHOWN:
            lines.append(f"  ... and {len(quarantine) - SHOWN} more in {data / 'validation' / 'quarantine.csv'}")
    return lines
