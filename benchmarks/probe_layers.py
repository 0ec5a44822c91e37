"""Which of MusiCNN's layers a probe should hear: heads on five folds, from features that are computed once.

    python benchmarks/probe_layers.py PROJECT --cache layers.npz [--encoder msd_musicnn] --output FILE

PROJECT is a folder with data/catalog, data/partition (in folds) and data/store. What to look for: differences from the
penultimate layer, which `train.probes` hears, paired over the same resamples of the artists. Encoding 160 tracks of a
minute takes seven minutes of a core, the heads on all 1,506 pooled features four.
"""

import argparse
import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import processor

from tagscale.audio.patches import Windows, to_wave
from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import centred, draw, paired, resampled_metrics
from tagscale.evaluation.metrics import METRICS, evaluate, mean_of_known
from tagscale.partition.divide import Partition
from tagscale.store.read import Store
from tagscale.training.encoders import load_encoder
from tagscale.training.head import fit_head

WAYS = {
    "penultimate layer": ("penultimate",),
    "mean of all maps": ("mean_pool",),
    "maximum of all maps": ("max_pool",),
    "maximum and mean": ("max_pool", "mean_pool"),
    "penultimate layer and mean": ("penultimate", "mean_pool"),
}
LAYERS = ("penultimate", "mean_pool", "max_pool")
RESAMPLES, CONFIDENCE = 500, 0.95


def encode(project: Path, encoder: str, tracks: list[str]) -> dict[str, np.ndarray]:
    """By layer the features of every window, one after another; and `rows`, the number of each window's track."""
    heard = load_encoder(encoder)
    hears: Any = heard.tagger
    store = Store.open(project / "data" / "store")
    windows = Windows(store, tracks, np.arange(len(tracks)), heard.patch_samples, heard.patch_samples)
    features: dict[str, list[np.ndarray]] = {name: [] for name in (*LAYERS, "rows")}
    with torch.inference_mode():
        for first in range(0, len(windows), 32):
            patches, rows = windows.__getitems__(list(range(first, min(first + 32, len(windows)))))
            layers = hears.layers(to_wave(patches))
            for name in LAYERS:
                features[name].append(layers[name].numpy())
            features["rows"].append(rows.numpy())
    return {name: np.concatenate(parts) for name, parts in features.items()} | {"tracks": np.array(tracks)}


class Layers:
    """Probes on layers of one encoder, scored on all tracks of a project in folds."""

    def __init__(self, project: Path, cache: dict[str, np.ndarray]) -> None:
        data, self.parts = Catalog.load(project / "data" / "catalog"), Partition.load(project / "data" / "partition")
        self.tracks, tags = self.parts.tracks("test"), self.parts.tags
        self.kinds = data.tags.loc[tags, "kind"].tolist()
        self.groups = data.tags.loc[tags, "group"].to_numpy(str)
        self.labels = data.labels.loc[self.tracks, tags].to_numpy(np.float32)
        self.cache, self.fold = cache, self.parts.fold_of(self.tracks)
        number = {str(track): place for place, track in enumerate(cache["tracks"])}
        self.windows = [np.flatnonzero(cache["rows"] == number[track]) for track in self.tracks]
        self.draws = draw(self.parts.about(self.tracks, "artist"), RESAMPLES, self.parts.hash)

    def measure(self, names: tuple[str, ...]) -> dict[tuple[str, str], tuple[float, np.ndarray]]:
        """By group of tags and metric: the mean over the tags, and its centred resamples."""
        features = np.hstack([self.cache[name] for name in names])
        means = np.stack([features[rows].mean(axis=0, dtype=np.float64) for rows in self.windows]).astype(np.float32)
        place, scores = {track: row for row, track in enumerate(self.tracks)}, np.zeros_like(self.labels)
        for view in self.parts.views().values():
            train, valid, test = ([place[track] for track in view.tracks(part)] for part in ("train", "valid", "test"))
            head = fit_head(means[train], self.labels[train], means[valid], self.labels[valid], self.kinds)
            for row in test:
                logits = torch.from_numpy(features[self.windows[row]]) @ head.weight.T + head.bias
                scores[row] = logits.sigmoid().mean(dim=0).numpy()
        regression = np.array([kind == "regression" for kind in self.kinds])
        values = evaluate(self.labels, scores, regression, fold=self.fold)
        resampled = resampled_metrics(self.labels, scores, regression, self.draws, fold=self.fold)
        measured = {}
        for group in dict.fromkeys(self.groups):
            tags = self.groups == group
            for key in ("roc_auc", "pr_auc", "rmse"):
                value = float(mean_of_known(values[key][tags]))
                if not np.isnan(value):
                    measured[group, key] = value, centred(mean_of_known(resampled[key][tags]), value)
        return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="an npz of the features; written where it is missing")
    parser.add_argument("--encoder", default="msd_musicnn", help="one of the MusiCNN checkpoints")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    if not given.cache.exists():
        tracks = Partition.load(given.project / "data" / "partition").table["track_id"].tolist()
        features: Any = encode(given.project, given.encoder, tracks)
        np.savez(given.cache, **features)
    layers = Layers(given.project, dict(np.load(given.cache)))
    lines = [
        f"# What a probe hears of {given.encoder}",
        "",
        f"{datetime.date.today()}, {processor()}. `python benchmarks/probe_layers.py`: {len(layers.tracks)} tracks in "
        f"{layers.parts.folds} folds of whole artists, a head a fold. In brackets {CONFIDENCE:.0%} intervals of the "
        f"difference from the first row, paired over {RESAMPLES} resamples of the artists.",
        "",
    ]
    first = None
    for way, names in WAYS.items():
        measured = layers.measure(names)
        if first is None:
            first = measured
            head = [f"{group}: {METRICS[key].label}" for group, key in measured]
            lines += [f"| features | number | {' | '.join(head)} |", f"|---|---:|{'---|' * len(head)}"]
        cells = []
        for group_key, (value, resamples) in measured.items():
            before, artists = first[group_key], len(layers.draws.counts)
            gap = paired(resamples, before[1], value - before[0], artists, CONFIDENCE)
            ends = "" if measured is first else f" [{gap.low:+.3f}, {gap.high:+.3f}]"
            cells.append(f"{value:.3f}{ends}")
        number = sum(layers.cache[name].shape[1] for name in names)
        lines.append(f"| {way} | {number:,} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
