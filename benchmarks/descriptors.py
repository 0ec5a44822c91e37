"""The descriptor baseline: tracks per second and core to describe, tags per second to grow, tracks per second to score.

    python benchmarks/descriptors.py                      # prints the page; --out FILE writes it as well

The audio is 30 s of notes, clicks and noise. The trees are 60 of 8 leaves for each of 139 tags, 10 of them regression
tags. They are grown on the descriptors of 1,000 random tracks and score 100,000 others; scikit-learn grows a tenth of
the tags for comparison. Everything runs on one core and counts processor time, which other work on the machine changes
less than the clock; describing gives the fastest round. The last table is the whole way on all cores, by the clock.
"""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the first import of numpy

import numpy as np
import pandas as pd
import scipy
import xgboost
from machine import processor
from rich.console import Console
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from tagscale import SAMPLE_RATE
from tagscale.descriptors import describe as module
from tagscale.descriptors.baseline import BINS, LEAF, SHARE, DescriptorTrees
from tagscale.descriptors.describing import describe_all
from tagscale.params.blocks import BaselineParams
from tagscale.runtime.machine import cores
from tagscale.store.read import Store

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # last: tests have names that benchmarks have too

from stores import write_store

TAGS, REGRESSION, TRACKS, SECONDS = 139, 10, 1000, 30
PARAMS = BaselineParams(trees=60, leaves=8, leaf=None, learning_rate=0.1)
COMPARED = 14  # tags that scikit-learn grows
FAMILIES = {"timbre": ("shapes_of", "timbre"), "rhythm": ("rhythm",), "harmony": ("peaks_of", "chroma_of", "harmony")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--scored", type=int, default=100_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with threadpool_limits(1):
        lines = _describing(arguments.rounds)
        lines += _trees(arguments.scored)
    with tempfile.TemporaryDirectory() as folder:
        lines += _whole(Path(folder))
    page = "\n".join([*_head(arguments), *lines]) + "\n"
    print(page, end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(page, encoding="utf-8")


def sound(number: int, seconds: float = SECONDS) -> np.ndarray:
    """Notes, clicks and noise; another one for every number."""
    random = np.random.default_rng(number)
    time_ = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * 110 * 2 ** (step / 12) * time_) for step in random.choice(36, 6, replace=False))
    beat = np.exp(-20 * (time_ % random.uniform(0.3, 0.8)))
    noise = random.standard_normal(len(time_))
    return ((tones * 0.05 + noise * (0.01 + 0.1 * beat)) * 20_000).clip(-32768, 32767).astype(np.int16)


def _describing(rounds: int) -> list[str]:
    """Each family's share of the time for one track."""
    spent_in: dict[str, float] = defaultdict(float)
    kept = {name: getattr(module, name) for names in FAMILIES.values() for name in names}
    for family, names in FAMILIES.items():
        for name in names:
            setattr(module, name, _counted(kept[name], spent_in, family))
    track = sound(0)
    module.describe(track)
    fastest: dict[str, float] = {"": float("inf")}
    for _ in range(rounds):
        spent_in.clear()
        begin = time.process_time()
        module.describe(track)
        spent_in[""] = time.process_time() - begin
        fastest = min(fastest, dict(spent_in), key=lambda spent: spent[""])
    whole, seconds = fastest.pop(""), fastest
    for name, function in kept.items():
        setattr(module, name, function)
    counts = {family: sum(name.startswith(family) for name in module.names()) for family in FAMILIES}
    rows = [(family, counts[family], seconds[family]) for family in FAMILIES]
    rows += [("spectra and mel bands, for all families", "", whole - sum(seconds.values()))]
    rows += [("all", sum(counts.values()), whole)]
    lines = [
        "## Describing, one core",
        "",
        "| family | descriptors | ms a track of 30 s | tracks/s |",
        "| --- | --- | --- | --- |",
    ]
    for name, count, spent in rows:
        lines.append(f"| {name} | {count} | {1000 * spent:.1f} | {1 / spent:.0f} |")
    long = np.resize(track, 600 * SAMPLE_RATE)
    before = _peak_mb()
    begin = time.process_time()
    module.describe(long)
    spent = time.process_time() - begin
    module.describe_pieces(lambda start, count: long[:count], 6 * len(long))
    text = f"Ten minutes take {spent:.2f} s. Peak memory is {before:.0f} MB before, {_peak_mb():.0f} MB after an hour."
    return [*lines, "", text, ""]


def _counted(function: Callable[..., Any], seconds: dict[str, float], family: str) -> Callable[..., Any]:
    def counted(*arguments: Any) -> Any:
        begin = time.process_time()
        result = function(*arguments)
        seconds[family] += time.process_time() - begin
        return result

    return counted


def made_up(tracks: int, seed: int) -> tuple[pd.DataFrame, np.ndarray, list[str]]:
    """Descriptors, labels that depend on some of them (a tenth is missing), and kinds."""
    random = np.random.default_rng(seed)
    names = module.names()
    values = random.standard_normal((tracks, len(names)), np.float32)
    weights = np.random.default_rng(9).standard_normal((len(names), TAGS)) / np.sqrt(len(names))
    level = values @ weights + 0.5 * random.standard_normal((tracks, TAGS))
    labels = (level > np.linspace(0.2, 1.8, TAGS)).astype(np.float32)
    labels[:, :REGRESSION] = 1 / (1 + np.exp(-level[:, :REGRESSION]))
    labels[random.random(labels.shape) < 0.1] = np.nan
    kinds = ["regression"] * REGRESSION + ["classification"] * (TAGS - REGRESSION)
    return pd.DataFrame(values, columns=list(names)), labels, kinds


def _trees(scored: int) -> list[str]:
    features, labels, kinds = made_up(TRACKS, 0)
    tags = [f"tag{number}" for number in range(TAGS)]
    begin = time.process_time()
    trees = DescriptorTrees.fit(features, labels, tags, kinds, PARAMS, 0, threads=1, console=Console(file=StringIO()))
    speed = TAGS / (time.process_time() - begin)
    begin = time.process_time()
    for column in labels.T[-COMPARED:]:
        _scikit_learn().fit(features[~np.isnan(column)], column[~np.isnan(column)])
    other = COMPARED / (time.process_time() - begin)
    new = np.random.default_rng(1).standard_normal((scored, features.shape[1]), np.float32)
    begin = time.process_time()
    trees.predict(pd.DataFrame(new, columns=features.columns))
    scoring = scored / (time.process_time() - begin)
    grown = f"growing, {TRACKS:,} tracks, {PARAMS.trees} trees of {PARAMS.leaves} leaves"
    return [
        "## Trees, one core",
        "",
        "| what | speed |",
        "| --- | --- |",
        f"| {grown} | {speed:.1f} tags/s |",
        f"| the same by scikit-learn | {other:.1f} tags/s |",
        f"| scoring {TAGS} tags, {scored:,} tracks at once | {scoring:,.0f} tracks/s |",
        "",
    ]


def _scikit_learn() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=PARAMS.leaves,
        learning_rate=PARAMS.learning_rate,
        max_bins=BINS,
        max_features=SHARE,
        min_samples_leaf=int(LEAF),
        early_stopping=False,
        random_state=0,
    )


def _whole(folder: Path) -> list[str]:
    """1,000 tracks of 30 s described and 139 tags grown, by the clock."""
    tracks = [f"track{number:04}" for number in range(TRACKS)]
    some = [sound(number) for number in range(20)]
    contents = ((track, np.roll(some[n % len(some)], 997 * n), {}) for n, track in enumerate(tracks))
    opened = Store.open(write_store(folder / "store", contents, shard_megabytes=256))
    begin = time.perf_counter()
    rows = list(describe_all(opened, tracks, cores()))
    described = time.perf_counter() - begin
    assert all(row.values is not None for row in rows)
    features, labels, kinds = made_up(TRACKS, 0)
    tags = [f"tag{number}" for number in range(TAGS)]
    begin = time.perf_counter()
    DescriptorTrees.fit(features, labels, tags, kinds, PARAMS, 0, console=Console(file=StringIO()))
    grown = time.perf_counter() - begin
    load = os.getloadavg()[0]
    lines = [f"## All {cores()} cores, by the clock", "", "| what | seconds | speed |", "| --- | --- | --- |"]
    lines.append(
        f"| {TRACKS:,} tracks of {SECONDS} s described, start of the processes included | {described:.0f} "
        f"| {TRACKS / described:.0f} tracks/s |"
    )
    lines.append(f"| {TAGS} tags grown on them | {grown:.0f} | {TAGS / grown:.1f} tags/s |")
    return [*lines, "", f"Load of the machine meanwhile: {load:.1f}."]


def _head(arguments: argparse.Namespace) -> list[str]:
    command = "python benchmarks/descriptors.py" + "".join(f" {word}" for word in sys.argv[1:])
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}"
    what = f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {cores()} cores, {versions}, XGBoost {xgboost.__version__}."
    return ["# The descriptor baseline", "", f"`{command}`", "", what, ""]


def _peak_mb() -> float:
    """Most memory that this process has had at any time."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
