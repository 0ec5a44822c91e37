"""Time and memory of the intervals: metrics, and their bootstrap over artists.

    python benchmarks/bootstrap.py [--tracks 100000] [--artists 10000] [--resamples 1000] [--output FILE]

Made-up test parts of 139 tags (130 of them classification, 0.1 % to 30 % positive; artists of very different sizes who
prefer tags of their own), scored once by tagscale and by scikit-learn, then resampled; beside it what repeating rows
and calling scikit-learn would take, estimated from a few calls. What to look for: under two minutes and 4 GB in the
default size. How often the intervals hold what they should is measured by `benchmarks/coverage.py`.
"""

import argparse
import datetime
import os
import platform
import resource
import time
from pathlib import Path

import numpy as np
import scipy
import sklearn
from machine import processor
from sklearn.metrics import average_precision_score, roc_auc_score

from tagscale.evaluation.bootstrap import draw, resampled_metrics
from tagscale.evaluation.metrics import evaluate
from tagscale.runtime.command import write_anything

CLASSIFICATION, REGRESSION = 130, 9


class Made:
    """Labels and a model's scores of made-up tracks; `artist` is the number of each track's artist."""

    def __init__(self, tracks: int, artists: int, tags: int, regression: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        size = random.lognormal(0, 1.3, artists)
        more = random.choice(artists, tracks - artists, p=size / size.sum())
        self.artist = random.permutation(np.concatenate([np.arange(artists), more]))
        self.regression = np.arange(tags) >= tags - regression
        self.labels = np.empty((tracks, tags), np.float32)
        self.scores = np.empty((tracks, tags), np.float32)
        for tag, rate in enumerate(10 ** random.uniform(-3, -0.5, tags)):
            liking, hearing = random.standard_normal((2, artists), np.float32)[:, self.artist]
            level = liking + random.standard_normal(tracks, np.float32)
            heard = (
                level + hearing + random.standard_normal(tracks, np.float32)
            )  # an artist's sound misleads as a whole
            self.scores[:, tag] = 1 / (1 + np.exp(-heard))
            limit = np.quantile(level, 1 - rate)
            self.labels[:, tag] = 1 / (1 + np.exp(-level)) if self.regression[tag] else level > limit


class Table:
    """Rows of Markdown, printed as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, *cells: object) -> None:
        self.lines.append("| " + " | ".join(map(str, cells)) + " |")
        print(self.lines[-1], flush=True)

    def head(self, *names: str) -> None:
        self.add(*names)
        self.add(*["---"] * len(names))


def peak_gb() -> float:
    """Most memory that this process has had at any time, the made-up tracks included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def speed(table: Table, tracks: int, artists: int, resamples: int, seed: int) -> None:
    made = Made(tracks, artists, CLASSIFICATION + REGRESSION, REGRESSION, seed)
    names = [f"{number:06}" for number in made.artist]
    scores = made.scores

    def row(what: str, begin: tuple[float, float]) -> None:
        wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
        table.add(f"{tracks:,}", f"{artists:,}", what, f"{wall:.1f}", f"{cpu:.1f}", f"{peak_gb():.1f}")

    def now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()

    begin = now()
    found = evaluate(made.labels, scores, made.regression)
    row("metrics of all tags", begin)
    begin = now()
    few = range(0, CLASSIFICATION, 10)
    for tag in few:
        positive = made.labels[:, tag] >= 0.5
        assert abs(roc_auc_score(positive, scores[:, tag]) - found["roc_auc"][tag]) < 1e-9
        assert abs(average_precision_score(positive, scores[:, tag]) - found["pr_auc"][tag]) < 1e-9
    once = (time.perf_counter() - begin[0]) / len(few) * CLASSIFICATION
    table.add(
        f"{tracks:,}", f"{artists:,}", "the AUCs by scikit-learn, from a tenth of the tags", f"{once:.0f}", "", ""
    )
    begin = now()
    drawn = draw(names, resamples, "benchmark")
    row(f"{resamples:,} resamples drawn", begin)
    begin = now()
    resampled_metrics(made.labels, scores, made.regression, drawn).overall()
    row(f"metrics of all tags in {resamples:,} resamples", begin)
    hours = once * resamples / 3600
    table.add(
        f"{tracks:,}", f"{artists:,}", "the same by scikit-learn, row by row: estimated", f"{hours:.0f} hours", "", ""
    )


def main() -> None:
    write_anything()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--artists", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=None, help="a Markdown file to write the tables to as well")
    arguments = parser.parse_args()
    versions = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}, "
        f"scikit-learn {sklearn.__version__}"
    )
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    about = (
        f"{datetime.date.today()}, {processor()}, {len(os.sched_getaffinity(0))} cores (load before: {load}), "
        f"{versions}; {CLASSIFICATION + REGRESSION} tags, seed {arguments.seed}."
    )
    print(about)
    table = Table()
    table.head("tracks", "artists", "what", "seconds", "CPU seconds", "peak GB")
    for part in (10, 1):
        speed(table, arguments.tracks // part, arguments.artists // part, arguments.resamples, arguments.seed)
    if arguments.output:
        command = f"python benchmarks/bootstrap.py --tracks {arguments.tracks} --artists {arguments.artists}"
        text = f"# Intervals by bootstrap over artists\n\n`{command}`\n\n{about}\n\n"
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(text + "\n".join(table.lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
