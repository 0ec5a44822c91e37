"""Time, memory and quality of the partition on a made-up catalogue, as a table in Markdown.

    python benchmarks/partition.py [--tracks 1200000] [--artists 100000] [--seed 0] [--output FILE]

Artists are of very different sizes (lognormal) and prefer tags of their own. Of 139 tags 100 are binary (0.1 % to 30 %
of the tracks), 30 fractions in steps of an eighth, of which 10 miss a fifth of their labels each on tracks of its own,
and 9 regression tags that two fifths of the tracks miss together. What to look for: under 180 s and 6 GB in the default
size, differences far below those of chance, and no track that moves when a tenth more arrives.
"""

import argparse
import datetime
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import processor

from tagscale.partition import stratify
from tagscale.partition.divide import Partition, divide

BINARY, FRACTIONAL, REGRESSION = 100, 30, 9
KINDS = ["classification"] * (BINARY + FRACTIONAL) + ["regression"] * REGRESSION
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
HEAD = ["tracks", "artists", "what", "seconds", "CPU seconds", "peak GB", "largest difference", "mean difference"]


def catalogue(tracks: int, artists: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tracks and their labels as `divide` wants them."""
    random = np.random.default_rng(seed)
    size = random.lognormal(0, 1.3, artists)
    more = random.choice(artists, tracks - artists, p=size / size.sum())
    artist_of = random.permutation(np.concatenate([np.arange(artists), more]))
    annotated = random.random(tracks) < 0.6  # with regression tags
    values = np.empty((tracks, len(KINDS)), np.float32)
    for tag, rate in enumerate(10 ** random.uniform(-3, -0.5, len(KINDS))):
        liking = 1.5 * random.standard_normal(artists, np.float32)[artist_of]
        level = liking + random.standard_normal(tracks, np.float32)
        if tag < BINARY:
            values[:, tag] = level > np.quantile(level, 1 - rate)
        elif tag < BINARY + FRACTIONAL:
            values[:, tag] = np.round(np.clip(rate + level / 6, 0, 1) * 8) / 8
            if tag < BINARY + 10:
                values[random.random(tracks) < 0.2, tag] = np.nan
        else:
            values[:, tag] = np.where(annotated, 1 / (1 + np.exp(-level)), np.nan)
    ids = [f"track{i:08}" for i in range(tracks)]
    table = pd.DataFrame({"track_id": ids, "artist": [f"artist {i}" for i in artist_of], "split": None})
    return table, pd.DataFrame(values, ids, [f"tag {i}" for i in range(len(KINDS))])


class Table:
    """Rows of Markdown, printed as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *cells: object) -> None:
        self.lines.append("| " + " | ".join(map(str, cells)) + " |")
        print(self.lines[-1], flush=True)

    def head(self, names: list[str]) -> None:
        self.add(*names)
        self.add(*["---"] * len(names))


def peak_gb() -> float:
    """Most memory that this process has had at any time, the catalogue included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def timed(table: Table, what: str, tracks: pd.DataFrame, labels: pd.DataFrame, **more: Any) -> tuple[Partition, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    partition, quality = divide(tracks, labels, KINDS, SHARES, 1, **more)
    spent = [f"{time.perf_counter() - wall:.0f}", f"{time.process_time() - cpu:.0f}", f"{peak_gb():.1f}"]
    gaps = quality["deviation"]
    artists = tracks["artist"].nunique()
    table.add(f"{len(tracks):,}", f"{artists:,}", what, *spent, f"{gaps['max']:.5f}", f"{gaps['mean']:.5f}")
    return partition, quality


def measure(table: Table, tracks: pd.DataFrame, labels: pd.DataFrame) -> None:
    table.head(HEAD)
    _, quality = timed(table, "divided", tracks, labels)
    chance = quality["deviation"]
    table.add("", "", "random split by artists", "", "", "", chance["random_max"], chance["random_mean"])
    sweeps, stratify.SWEEPS = stratify.SWEEPS, 0
    timed(table, "divided, without local search", tracks, labels)
    stratify.SWEEPS = sweeps
    known = (pd.factorize(tracks["artist"])[0] % 10 > 0) & (np.arange(len(tracks)) % 20 > 0)
    first, _ = timed(table, "without a tenth of the artists, a twentieth of the tracks", tracks[known], labels[known])
    grown, _ = timed(table, "grown to all of them", tracks, labels, assigned=first.assigned)
    both = first.table.merge(grown.table, on="track_id", suffixes=("", "_grown"))
    moved = int((both["part"] != both["part_grown"]).sum())
    reordered = int((both["rank"] != both["rank_grown"]).sum())
    table.lines += ["", f"Of {len(both):,} tracks {moved} moved when the catalogue grew, {reordered} changed rank.", ""]
    print(table.lines[-2])
    table.head(["training tracks", "largest difference to all", "mean", "random tracks: largest", "mean"])
    for size, gaps in quality["subsets"].items():
        table.add(f"{int(size):,}", *(f"{gaps[name]:.5f}" for name in ("max", "mean", "random_max", "random_mean")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=1_200_000)
    parser.add_argument("--artists", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None, help="a Markdown file to write the tables to as well")
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, pandas {pd.__version__}"
    about = (
        f"{datetime.date.today()}, {processor()}, {cores} cores, {versions}; {len(KINDS)} tags, seed {arguments.seed}."
    )
    print(about)
    table = Table()
    measure(table, *catalogue(arguments.tracks, arguments.artists, arguments.seed))
    if arguments.output:
        command = f"python benchmarks/partition.py --tracks {arguments.tracks} --artists {arguments.artists}"
        text = f"# Partition of a made-up catalogue\n\n`{command}`\n\n{about}\n\n"
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n".join(table.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
