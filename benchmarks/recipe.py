"""Which parts of the training recipe pay: one part changed at a time, over seeds and training sizes, with intervals.

    python benchmarks/recipe.py --data DATA [--data DATA ...] [--minutes 30] [--state FILE] [--output FILE]

DATA is a project's `data` folder with catalog, partition and store, as `dvc repro partition` leaves it. Each cell is a
corpus, model, training size, seed and recipe; the order is seed by seed, the sizes that matter most first. The state
file keeps what is measured; the next call goes on, within a training too (`--minutes` ends a call, and so does
SIGTERM), so that hours of work fit into idle slices. The page is written after every cell.

What to look for: PR-AUC on the test part, and its difference from the recipe in the first row, paired by a bootstrap
over the test artists. Settings are those of params.yaml but for what the recipe's row says.
"""

import argparse
import datetime
import itertools
import json
import os
import signal
import threading
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from machine import processor

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import centred, draw, interval, resampled_metrics
from tagscale.evaluation.metrics import PARTS, evaluate
from tagscale.evaluation.predict import predict
from tagscale.models.architecture import architecture_of
from tagscale.params.load import Params, laid_over, load, parse
from tagscale.partition.divide import Partition
from tagscale.runtime.files import read_json, replacing, write_json
from tagscale.stages.cell import Cell
from tagscale.stages.results import pool_folds, scored_tracks
from tagscale.store.read import Store
from tagscale.training.fit import Fitted, Labelled, fit
from tagscale.training.memory import keep_freed_memory
from tagscale.training.resume import Unfinished

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHOWN = ("roc_auc", "pr_auc")
RESAMPLES, CONFIDENCE = 500, 0.95
OFF = {"gain": 0, "polarity": False, "speed": 0, "noise": 0, "mix": 0, "band_mask": 0, "time_mask": 0}
PLAIN: dict[str, Any] = {
    "schedule": "trapezoid", "min_steps": 0, "patience": 100_000, "validate_every": None, "ema": None,
    "augment": OFF, "label_smoothing": 0, "clip_norm": None, "accumulate": 1,
}  # fmt: skip


def recipe(steps: int | str, augment: dict[str, Any] | None = None, **different: Any) -> dict[str, Any]:
    return PLAIN | {"max_steps": steps, "augment": OFF | (augment or {})} | different


ALL = {"gain": 6, "polarity": True, "speed": 0.03, "noise": 0.05, "mix": 0.3, "band_mask": 0.15, "time_mask": 0.1}
RECIPES: dict[str, dict[str, Any]] = {
    "10 epochs, cosine": recipe("10 epochs", schedule="cosine"),
    "1,000 steps": recipe(1000),
    "1,000 steps, average": recipe(1000, ema=0.999),
    "2,400 steps": recipe(2400),
    "2,400 steps, average": recipe(2400, ema=0.999),
    "2,400 steps, average, mix": recipe(2400, {"mix": 0.3}, ema=0.999),
    "2,400 steps, cosine, average": recipe(2400, schedule="cosine", ema=0.999),
    "4,000 steps, average": recipe(4000, ema=0.999),
    **{
        f"2,400 steps, average, {part.replace('_', ' ')}": recipe(2400, {part: ALL[part]}, ema=0.999)
        for part in ALL
        if part != "mix"
    },
    "2,400 steps, average, all seven": recipe(2400, ALL, ema=0.999),
    "2,400 steps, average, smoothing 0.1": recipe(2400, ema=0.999, label_smoothing=0.1),
    "2,400 steps, average, clipped at 1": recipe(2400, ema=0.999, clip_norm=1.0),
}


class Corpus:
    """The tables and the audio of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.catalog, self.parts = Catalog.load(folder / "catalog"), Partition.load(folder / "partition")
        self.store, self.name = Store.open(folder / "store"), self.catalog.name

    def measure(self, params: Params, model: str, size: str, seed: int, work: Path) -> dict[str, Any]:
        """Train and test one cell, with folds a model each; what its row of the state says."""
        cell = Cell(self.catalog, self.parts, model, int(size) if size.isdecimal() else size, seed)
        architecture = architecture_of(params, model, cell.tags, cell.kinds)
        trained: list[Fitted] = []

        def score(fold: str, parts: Partition) -> pd.DataFrame:
            part = cell.folds[fold]
            training, valid = (Labelled(of, cell.labels(of)) for of in (part.training, parts.tracks("valid")))
            about = {"cell": [self.name, model, size, seed, fold], "settings": params.train.model_dump()}
            unfinished = Unfinished(work, about)
            with unfinished.held():
                trained.append(
                    fit(architecture, self.store, training, valid, params.train, seed, unfinished=unfinished)
                )
            unfinished.remove()
            tracks = scored_tracks(parts)
            return predict(trained[-1].model, architecture, self.store, tracks, params.evaluate.hop_seconds)

        scores = pool_folds(self.parts, score).to_numpy()
        row: dict[str, Any] = {
            "seconds": round(sum(fitted.seconds for fitted in trained), 1),
            "kept_step": fmean(fitted.kept_step for fitted in trained),
            "last_step": fmean(int(fitted.history["step"].iloc[-1]) for fitted in trained),
        }
        regression, first = np.array([kind == "regression" for kind in cell.kinds]), 0
        for part in PARTS:
            tracks = self.parts.tracks(part)
            labels, own = cell.labels(tracks), scores[first : first + len(tracks)]
            first += len(tracks)
            metrics = evaluate(labels, own, regression)
            row[part] = {key: float(np.nanmean(np.asarray(metrics[key], float))) for key in SHOWN}
        artists = self.parts.table.set_index("track_id").loc[tracks, "artist"].tolist()
        macro = resampled_metrics(labels, own, regression, draw(artists, RESAMPLES, self.parts.hash)).macro()
        row["resamples"] = {key: [round(float(value), 5) for value in macro[key]] for key in SHOWN}
        return row


def row_name(corpus: str, model: str, size: str, seed: int, name: str) -> str:
    return " | ".join((corpus, model, size, str(seed), name))


def page(state: dict[str, Any]) -> str:
    """All tables: one for each corpus, model and size, a row for each recipe that is measured there."""
    lines = [
        "# The training recipe, a part at a time",
        "",
        f"{datetime.date.today()}, {processor()}, {os.environ.get('OMP_NUM_THREADS', 'all')} thread(s), other work on "
        "the machine. Written by `python benchmarks/recipe.py`; settings are those of params.yaml but for "
        f"what a row says. Means over the seeds; in brackets {CONFIDENCE:.0%} intervals by a bootstrap over the test "
        "artists, of the difference from the first row paired. Average: `train.ema` 0.999. Steps are of the schedule "
        "`trapezoid`. "
        "The weights kept are those with the lowest validation loss; no training ends early.",
        "",
    ]
    groups: dict[tuple[str, ...], dict[str, list[dict[str, Any]]]] = {}
    for key, row in state.items():
        *group, _, name = key.split(" | ")
        groups.setdefault(tuple(group), {}).setdefault(name, []).append(row)
    for (corpus, model, size), recipes in groups.items():
        lines += [f"## {corpus}: {model}, {size} tracks", ""]
        lines += ["| recipe | seeds | valid PR-AUC | ROC-AUC | PR-AUC | difference | kept step | seconds |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        first = next((name for name in RECIPES if name in recipes), None)
        for name in (name for name in RECIPES if name in recipes):
            lines.append(table_row(name, recipes[name], recipes[first] if first and first != name else []))
        lines.append("")
    return "\n".join(lines)


def table_row(name: str, rows: list[dict[str, Any]], reference: list[dict[str, Any]]) -> str:
    def mean(part: str, key: str, of: list[dict[str, Any]]) -> float:
        return float(np.mean([row[part][key] for row in of]))

    def resamples(key: str, of: list[dict[str, Any]]) -> np.ndarray:
        return centred(np.mean([row["resamples"][key] for row in of], axis=0), mean("test", key, of))

    cells = [name, str(len(rows)), f"{mean('valid', 'pr_auc', rows):.3f}"]
    for key in SHOWN:
        low, high = interval(resamples(key, rows), CONFIDENCE)
        cells.append(f"{mean('test', key, rows):.3f} [{low:.3f}, {high:.3f}]")
    if reference:
        gap = mean("test", "pr_auc", rows) - mean("test", "pr_auc", reference)
        low, high = interval(resamples("pr_auc", rows) - resamples("pr_auc", reference), CONFIDENCE)
        cells.append(f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]")
    else:
        cells.append("")
    cells += [
        f"{np.mean([row['best_step'] for row in rows]):,.0f}",
        f"{np.mean([row['seconds'] for row in rows]):,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--models", nargs="+", default=["spectrogram", "waveform"])
    parser.add_argument("--sizes", nargs="+", default=["all", "50", "200"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=[*RECIPES], choices=[*RECIPES], metavar="RECIPE")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--state", type=Path, default=RESULTS / "recipe.json")
    parser.add_argument("--output", type=Path, default=RESULTS / "recipe.md")
    given = parser.parse_args()
    if given.minutes < float("inf"):
        timer = threading.Timer(60 * given.minutes, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()
    keep_freed_memory()
    corpora = [Corpus(folder) for folder in given.data]
    settings = load(ROOT / "params.yaml").model_dump()
    cells = itertools.product(given.seeds, corpora, given.models, given.sizes, given.recipes)
    for seed, corpus, model, size, name in cells:
        state = read_json(given.state) if given.state.exists() else {}
        key = row_name(corpus.name, model, size, seed, name)
        if key in state:
            continue
        print(f"--- {key}", flush=True)
        begin = time.perf_counter()
        params = parse(laid_over(settings, {"train": RECIPES[name]}))
        work = given.state.with_name(f"{given.state.stem}.unfinished")
        state[key] = corpus.measure(params, model, size, seed, work)
        print(json.dumps({key: value for key, value in state[key].items() if key != "resamples"}), flush=True)
        print(f"{time.perf_counter() - begin:.0f} s", flush=True)
        write_json(given.state, state)
        with replacing(given.output) as fresh:
            fresh.write_text(page(state), encoding="utf-8")


if __name__ == "__main__":
    main()
