"""Which parts of the training recipe pay: one part changed at a time, over seeds and training sizes, with intervals.

    python benchmarks/recipe.py --data DATA [--data DATA ...] [--minutes 30] [--state FILE] [--output FILE]

DATA is a project's `data` folder with catalog, partition and store, as `dvc repro partition` leaves it; where the
partition has folds, a cell is a training for each, and its scores are pooled. Each cell is a corpus, model, training
size, seed and recipe; the order is seed by seed, the sizes that matter most first. The state file keeps what is
measured; the next call goes on, within a training too (`--minutes` ends a call, and so does SIGTERM), so that hours of
work fit into idle slices. The page is written after every cell.

What to look for: PR-AUC on the test part, and its difference from the recipe in the first row, paired by a bootstrap
over the test artists. Settings are those of params.yaml without augmentation, but for what the recipe's row says. A
training gives a row for each way to choose its weights: `best`, of the lowest validation loss; `last`, after the last
step; both averaged over the steps where train.ema says so, and then `last, no average`, too.
"""

import argparse
import datetime
import itertools
import json
import os
import signal
import threading
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from machine import processor
from torch import Tensor

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import centred, draw, resampled_metrics
from tagscale.evaluation.metrics import PARTS, evaluate
from tagscale.evaluation.predict import predict
from tagscale.models.architecture import architecture_of
from tagscale.params.load import Params, laid_over, load, parse
from tagscale.partition.divide import Partition
from tagscale.runtime.files import read_json, replacing, write_json
from tagscale.runtime.memory import keep_freed_memory
from tagscale.stages.cell import Cell
from tagscale.stages.results import pool_folds, scored_tracks
from tagscale.store.read import Store
from tagscale.training.fit import Labelled, fit
from tagscale.training.resume import Unfinished

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHOWN = ("roc_auc", "pr_auc")
RESAMPLES, CONFIDENCE = 500, 0.95
ENDS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
AUGMENT = {
    "gain, polarity": {"gain": 6, "polarity": True},
    "speed": {"speed": 0.03},
    "noise": {"noise": 0.05},
    "mix": {"mix": 0.3},
    "masks": {"band_mask": 0.15, "time_mask": 0.1},
}
OFF = {"train": {"augment": {"gain": 0, "polarity": False}}}
ALL = {key: value for part in AUGMENT.values() for key, value in part.items()}
EARLIER = {"batch": 16, "learning_rate": 0.005, "schedule": "cosine", "min_steps": 0, "patience": 100_000, "ema": None}
RECIPES: dict[str, dict[str, Any]] = {  # what differs from params.yaml without augmentation
    "augment: nothing": {},
    "10 epochs of 16 patches, cosine": EARLIER | {"max_steps": "10 epochs"},
    **{f"augment: {name}": {"augment": parts} for name, parts in AUGMENT.items()},
    "augment: all of these": {"augment": ALL},
    "label_smoothing: 0.1": {"label_smoothing": 0.1},
    "clip_norm: 1": {"clip_norm": 1.0},
    "schedule: cosine": {"schedule": "cosine"},
    "max_steps: 350": {"max_steps": 350},
    "max_steps: 1400": {"max_steps": 1400},
    "learning_rate: 0.0035": {"learning_rate": 0.0035},
    "learning_rate: 0.014": {"learning_rate": 0.014},
    "batch: 16, rate 0.005, 1400 steps": {"batch": 16, "learning_rate": 0.005, "max_steps": 1400},
    "precision: 32-true": {"precision": "32-true"},
}
KEPT = ("last", "best", "last, no average")
ROWS = [f"{name}; {kept}" for name in RECIPES for kept in KEPT]  # in the order of the page


class Corpus:
    """The tables and the audio of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.catalog, self.parts = Catalog.load(folder / "catalog"), Partition.load(folder / "partition")
        self.store, self.name = Store.open(folder / "store"), self.catalog.name

    def measure(self, params: Params, model: str, size: str, seed: int, work: Path) -> dict[str, dict[str, Any]]:
        """Train and test one cell, with folds a model each; what its rows of the state say, by the weights kept."""
        cell = Cell(self.catalog, self.parts, model, int(size) if size.isdecimal() else size, seed)
        architecture = architecture_of(params, model, cell.tags, cell.kinds)
        last_steps, kept_steps = [], []
        scores: dict[str, dict[str, pd.DataFrame]] = {}  # by the weights kept, and by the fold
        for fold, part in cell.folds.items():
            parts = part.partition
            training, valid = (Labelled(of, cell.labels(of)) for of in (part.training, parts.tracks("valid")))
            about = {"cell": [self.name, model, size, seed, fold], "settings": params.train.model_dump()}
            unfinished = Unfinished(work, about)
            with unfinished.held():
                fitted = fit(architecture, self.store, training, valid, params.train, seed, unfinished=unfinished)
                for kept, weights in weights_of(unfinished).items():
                    fitted.model.load_state_dict(weights)
                    hop, tracks = params.evaluate.hop_seconds, scored_tracks(parts)
                    table = predict(fitted.model, architecture, self.store, tracks, hop)
                    scores.setdefault(kept, {})[fold] = table
            unfinished.remove()
            last_steps.append(int(fitted.history["step"].iloc[-1]))
            kept_steps.append(fitted.kept_step)
        rows = {}
        for kept, tables in scores.items():
            pooled = pool_folds(self.parts, lambda fold, _, tables=tables: tables[fold])
            rows[kept] = {"kept_step": fmean(kept_steps if kept == "best" else last_steps)}
            rows[kept] |= {"last_step": fmean(last_steps)} | self.test(cell, pooled)
        return rows

    def test(self, cell: Cell, scores: pd.DataFrame) -> dict[str, Any]:
        """The means over tags of both parts, and the test part's in every resample."""
        regression, first, row = np.array([kind == "regression" for kind in cell.kinds]), 0, {}
        for part in PARTS:
            tracks = self.parts.tracks(part)
            labels, own = cell.labels(tracks), scores.iloc[first : first + len(tracks)].to_numpy()
            first += len(tracks)
            metrics = evaluate(labels, own, regression)
            row[part] = {key: float(np.nanmean(np.asarray(metrics[key], float))) for key in SHOWN}
        artists = self.parts.table.set_index("track_id").loc[tracks, "artist"].tolist()
        means = resampled_metrics(labels, own, regression, draw(artists, RESAMPLES, self.parts.hash)).overall()
        return row | {"resamples": {key: [round(float(value), 5) for value in means[key]] for key in SHOWN}}


def weights_of(unfinished: Unfinished) -> dict[str, dict[str, Tensor]]:
    """The weights that a complete training with `keep: best` could be given."""
    state = unfinished.states("model").newest()
    assert state is not None
    weights = {"best": state["kept_weights"], "last": state["network"] | state["average"]}
    return weights | ({"last, no average": state["network"]} if state["average"] else {})


def row_name(corpus: str, model: str, size: str, seed: int, name: str) -> str:
    return " | ".join((corpus, model, size, str(seed), name))


def page(state: dict[str, Any]) -> str:
    """All tables: one for each corpus, model and size, a row for each recipe that is measured there."""
    lines = [
        "# The training recipe, a part at a time",
        "",
        f"{datetime.date.today()}, {processor()}. Written by `python benchmarks/recipe.py`; settings are those of "
        "params.yaml without augmentation, but for what a row says. Means over the seeds; in brackets percentiles over "
        f"resampled test artists ({CONFIDENCE:.0%}), of the difference from the first row paired. Kept are the "
        "weights of the lowest validation loss (best) or of the last step (last), averaged over the steps "
        "(`train.ema`) or not.",
        "",
    ]
    groups: dict[tuple[str, ...], dict[str, list[dict[str, Any]]]] = {}
    for key, row in state.items():
        *group, _, name = key.split(" | ")
        groups.setdefault(tuple(group), {}).setdefault(name, []).append(row)
    for (corpus, model, size), recipes in groups.items():
        lines += [f"## {corpus}: {model}, {size} tracks", ""]
        lines += ["| recipe; weights kept | seeds | valid PR-AUC | ROC-AUC | PR-AUC | difference | kept step | steps |"]
        lines += ["|---|---|---|---|---|---|---|---|"]
        names = [name for name in ROWS if name in recipes]
        for name in names:
            lines.append(table_row(name, recipes[name], recipes[names[0]] if name != names[0] else []))
        lines.append("")
    return "\n".join(lines)


def table_row(name: str, rows: list[dict[str, Any]], reference: list[dict[str, Any]]) -> str:
    def mean(part: str, key: str, of: list[dict[str, Any]]) -> float:
        return float(np.mean([row[part][key] for row in of]))

    def resamples(key: str, of: list[dict[str, Any]]) -> np.ndarray:
        return centred(np.mean([row["resamples"][key] for row in of], axis=0), mean("test", key, of))

    cells = [name, str(len(rows)), f"{mean('valid', 'pr_auc', rows):.3f}"]
    for key in SHOWN:
        low, high = np.quantile(resamples(key, rows), ENDS)
        cells.append(f"{mean('test', key, rows):.3f} [{low:.3f}, {high:.3f}]")
    if reference:
        gap = mean("test", "pr_auc", rows) - mean("test", "pr_auc", reference)
        low, high = np.quantile(resamples("pr_auc", rows) - resamples("pr_auc", reference), ENDS)
        cells.append(f"{gap:+.3f} [{low:+.3f}, {high:+.3f}]")
    else:
        cells.append("")
    cells += [f"{fmean(row[key] for row in rows):,.0f}" for key in ("kept_step", "last_step")]
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
    settings = laid_over(load(ROOT / "params.yaml").model_dump(), OFF)
    cells = itertools.product(given.seeds, corpora, given.models, given.sizes, given.recipes)
    for seed, corpus, model, size, name in cells:
        state = read_json(given.state) if given.state.exists() else {}
        key = row_name(corpus.name, model, size, seed, name)
        if f"{key}; best" in state:
            continue
        print(f"--- {key}", flush=True)
        params = parse(laid_over(settings, {"train": RECIPES[name] | {"keep": "best"}}))
        work = given.state.with_name(f"{given.state.stem}.unfinished")
        for kept, row in corpus.measure(params, model, size, seed, work).items():
            state[f"{key}; {kept}"] = row
            print(kept, json.dumps({key: value for key, value in row.items() if key != "resamples"}), flush=True)
        write_json(given.state, state)
        with replacing(given.output) as fresh:
            fresh.write_text(page(state), encoding="utf-8")


if __name__ == "__main__":
    main()
