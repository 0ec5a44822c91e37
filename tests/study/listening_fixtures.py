"""What stage compare reads beside a study's files: a catalog with labels, and every run's predictions."""

from pathlib import Path

import numpy as np
import pandas as pd

from study.compare_fixtures import TAGS, Files
from tagscale.catalog.tables import Catalog, catalog_of
from tagscale.partition.divide import Partition
from tagscale.runtime.files import read_json

EXCLUSIVE = ("genre", "meter", "harmony")  # groups of the fixture's tags of which a track has exactly one


def make_catalog(
    folder: Path, partition: Partition, *, exclusive: tuple[str, ...] = EXCLUSIVE, seed: int = 0
) -> Catalog:
    """Labels for the fixture's tracks, a twentieth of them missing; a group's first tags are the popular ones."""
    generator = np.random.default_rng(seed)
    ids = partition.table["track_id"]
    columns, about = {}, {}
    for group, (kind, names) in TAGS.items():
        chances = 0.6 / np.arange(1, len(names) + 1)
        one = generator.choice(len(names), size=len(ids), p=chances / chances.sum())
        for number, name in enumerate(names):
            if kind == "regression":
                values = generator.random(len(ids))
            elif group in EXCLUSIVE:
                values = (one == number).astype(float)
            else:
                values = (generator.random(len(ids)) < chances[number]).astype(float)
            columns[name] = np.where(generator.random(len(ids)) < 0.05, np.nan, values)
            about[name] = (group, kind, group if group in exclusive else "")
    tags = pd.DataFrame.from_dict(about, orient="index", columns=["group", "kind", "exclusive"])
    tracks = pd.DataFrame({"track_id": ids, "path": ids + ".wav", "artist": partition.table["artist"]})
    catalog = catalog_of("fixture", tracks, pd.DataFrame(columns), tags, None)
    catalog.save(folder)
    return catalog


def write_predictions(files: Files, catalog: Catalog, seed: int = 0) -> None:
    """Predictions for every result: labels under noise; the better a model's PR-AUC, the less of it."""
    partition = Partition.load(files.partition)
    tracks = {part: partition.tracks(part) for part in ("valid", "test")}
    for number, folder in enumerate(files.results):
        generator = np.random.default_rng([seed, number])
        ids = [*tracks["valid"], *tracks["test"]]
        labels = catalog.labels.loc[ids, partition.tags]
        knows = float(read_json(folder / "metrics.json")["test"].get("pr_auc") or 0.4)
        popular = labels.mean().to_numpy()
        scores = knows * labels.fillna(0.3).to_numpy() + 0.5 * popular + (1 - knows) * generator.random(labels.shape)
        table = pd.DataFrame((scores / (1.5 + knows)).clip(0, 1).astype(np.float32), columns=partition.tags)
        table.insert(0, "track_id", ids)
        table.insert(1, "part", np.repeat(["valid", "test"], [len(tracks["valid"]), len(tracks["test"])]))
        table.to_parquet(folder / "predictions.parquet", index=False)
