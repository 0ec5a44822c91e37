"""Fine-tuning of a published encoder against a probe of it: norms frozen or not, and the rate of the body.

    python benchmarks/finetune.py --data DATA [--folds fold-1 ...] [--rows ROW ...] [--state FILE] [--output FILE]

DATA is a project's `data` folder with catalog, store and a partition in folds, as `dvc repro partition` leaves it with
the preset magnatune160; the weights of the encoders are in `pretrained`. Each cell is a row of settings on a fold; the
state file keeps what is measured, and the next call goes on. Settings are those of params.yaml but for what a row says.

What to look for: scores on the test part of the fold, and their difference from the first row, in which no weight
moves: the output is then the linear probe that every training here starts with.
"""

import argparse
import datetime
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import processor

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.metrics import evaluate
from tagscale.evaluation.predict import predict
from tagscale.models.architecture import architecture_of
from tagscale.params.load import laid_over, load, parse, training_settings
from tagscale.partition.divide import Partition
from tagscale.runtime.files import read_json, replacing, write_json
from tagscale.runtime.memory import keep_freed_memory
from tagscale.stages.cell import Cell
from tagscale.store.read import Store
from tagscale.training.fit import Labelled, fit
from tagscale.training.start import start_from_encoder

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SHOWN = {"pr_auc": "PR-AUC", "roc_auc": "ROC-AUC", "rmse": "√MSE"}
HOP_SECONDS = 10.0  # six windows a track of a minute
VALIDATIONS = 4  # of a training


def row(steps: int, rate: float = 0.001, body: float = 0.1, freeze: bool = True) -> dict[str, Any]:
    return {"max_steps": steps, "learning_rate": rate, "body_rate": body, "freeze_norms": freeze}


ROWS = {
    "probe, no step": row(1, rate=1e-12),
    "40 steps, body 0.1, norms frozen": row(40),
    "40 steps, body 0.1, norms trained": row(40, freeze=False),
    "40 steps, body 1, norms frozen": row(40, body=1.0),
    "40 steps, body 0.3, norms frozen": row(40, body=0.3),
    "40 steps, body 0.03, norms frozen": row(40, body=0.03),
    "100 steps, body 0.1, norms frozen": row(100),
    "100 steps, body 0.3, norms frozen": row(100, body=0.3),
}


def measured(data: Path, fold: str, name: str) -> dict[str, float]:
    """Train and test one cell."""
    own = load(ROOT / "params.yaml").model.finetune.model_dump() | ROWS[name]
    params = parse(laid_over(load(ROOT / "params.yaml").model_dump(), {"model": {"finetune": own}}))
    catalog, partition = Catalog.load(data / "catalog"), Partition.load(data / "partition").views()[fold]
    store, cell = Store.open(data / "store"), Cell(catalog, partition, "finetune", "all", 0)
    architecture = architecture_of(params, "finetune", cell.tags, cell.kinds)
    every = max(1, own["max_steps"] // VALIDATIONS)
    settings = training_settings(params, "finetune").model_copy(update={"validate_every": every})
    training, valid = (Labelled(some, cell.labels(some)) for some in (cell.training, partition.tracks("valid")))
    start = start_from_encoder(architecture.capacity["encoder"])
    fitted = fit(architecture, store, training, valid, settings, 0, start=start)
    tracks = partition.tracks("test")
    scores = predict(fitted.model, architecture, store, tracks, HOP_SECONDS).to_numpy()
    metrics = evaluate(cell.labels(tracks), scores, np.array([kind == "regression" for kind in cell.kinds]))
    found = {key: float(np.nanmean(np.asarray(metrics[key], float))) for key in SHOWN}
    history = fitted.history
    found |= {
        "valid_loss": float(history["valid_loss"].iloc[-1]),
        "steps": int(history["step"].iloc[-1]),
    }
    return found | {"seconds": round(fitted.seconds, 1), "tracks": len(tracks)}


def page(state: dict[str, dict[str, Any]]) -> str:
    """A row of settings a line: means over the folds that it was measured on."""
    folds = sorted({key.partition(" | ")[0] for key in state})
    lines = [
        "# Fine-tuning a published encoder",
        "",
        f"{datetime.date.today()}, {processor()}, {os.environ.get('OMP_NUM_THREADS', 'all')} thread(s), other work on "
        f"the machine. Written by `python benchmarks/finetune.py`: msd_musicnn on magnatune160, {', '.join(folds)}. "
        "Learning rate of the output 0.001, of the body the stated share of it. Means over the folds; in brackets the "
        "difference from the probe in each. The weights are those of the last step, averaged (`train.ema`).",
        "",
        f"| settings | folds | valid loss | {' | '.join(SHOWN.values())} | s a step |",
        "|---" * (4 + len(SHOWN)) + "|",
    ]
    for name in ROWS:
        cells = {fold: state[f"{fold} | {name}"] for fold in folds if f"{fold} | {name}" in state}
        if not cells:
            continue
        line = [name, str(len(cells)), f"{np.mean([cell['valid_loss'] for cell in cells.values()]):.4f}"]
        for key in SHOWN:
            probes = {fold: state[f"{fold} | {next(iter(ROWS))}"][key] for fold in cells}
            gaps = ", ".join(f"{cell[key] - probes[fold]:+.3f}" for fold, cell in cells.items())
            line.append(f"{np.mean([cell[key] for cell in cells.values()]):.3f} [{gaps}]")
        speed = np.mean([cell["seconds"] / cell["steps"] for cell in cells.values()])
        line.append(f"{speed:.1f}")
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", nargs="+", default=["fold-1", "fold-2"])
    parser.add_argument("--rows", nargs="+", default=[*ROWS], choices=[*ROWS], metavar="ROW")
    parser.add_argument("--state", type=Path, default=RESULTS / "finetune.json")
    parser.add_argument("--output", type=Path, default=RESULTS / "finetune.md")
    given = parser.parse_args()
    keep_freed_memory()
    for fold in given.folds:
        for name in given.rows:
            state = read_json(given.state) if given.state.exists() else {}
            if (key := f"{fold} | {name}") in state:
                continue
            begin = time.perf_counter()
            state[key] = measured(given.data, fold, name)
            print(key, json.dumps(state[key]), f"{time.perf_counter() - begin:.0f} s", flush=True)
            write_json(given.state, state)
            with replacing(given.output) as fresh:
                fresh.write_text(page(state), encoding="utf-8")


if __name__ == "__main__":
    main()
