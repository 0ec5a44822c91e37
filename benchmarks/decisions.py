"""Decisions on other artists' tracks: thresholds and calibrations learned from few or many validation tracks.

    python benchmarks/decisions.py --published FOLDER --study FOLDER --output benchmarks/results/decisions.md

FOLDER of --published holds scores_test_clean.csv.gz, labels_test_clean.csv.gz and MagnaTagATune's
clip_info_final.csv.gz; that of --study is a finished project with `data` and `results`. Without one its table is left
out.
"""

import argparse
import datetime
import platform
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from machine import processor

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.calibration import ALL_TAGS, ONE_TAG, choose_threshold, fit_sigmoid, fit_steps, learn
from tagscale.evaluation.decisions import Sigmoid, TagDecision, logit
from tagscale.evaluation.metrics import TagTracks, calibration_error, evaluate, f1
from tagscale.partition.divide import Partition
from tagscale.study.tables import read_predictions

SAME = Sigmoid(slope=1, offset=0)
FREE = (0.01, 0.01)  # weights of a prior that hardly counts: a sigmoid of the tag alone
POSITIVES = (0, 2, 5, 10, 20, 50, 100, 100_000)  # bounds of the rows
FRESH = 5  # least positive tracks of a tag in the other half


def ways(scores: np.ndarray, positive: np.ndarray, start: Sigmoid) -> dict[str, TagDecision]:
    """Ways to decide one tag, from its validation tracks."""
    own = fit_sigmoid(scores, positive, start, ONE_TAG)
    curves: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float | None]] = {
        "scores, from 0.5": (SAME, 0.5),
        "one sigmoid of all tags": (start, choose_threshold(scores, start(scores), "f1")),
        "sigmoid of the tag": (fit_sigmoid(scores, positive, SAME, FREE), choose_threshold(scores, positive, "f1")),
        "sigmoid near that of all tags": (own, choose_threshold(scores, own(scores), "f1")),
        "isotonic": (steps := fit_steps(scores, positive), choose_threshold(scores, steps(scores), "f1")),
    }
    count = int(positive.sum())
    return {
        name: TagDecision(calibration=curve, threshold=threshold, positives=count, tracks=len(scores))
        for name, (curve, threshold) in curves.items()
    }


def rows_of_tag(
    name: str, scores: np.ndarray, labels: np.ndarray, valid: np.ndarray, fresh: np.ndarray, start: Sigmoid
) -> list[dict[str, object]]:
    """F1, ECE and log-loss on fresh tracks of each way to decide one tag."""
    truth = labels[valid] >= 0.5
    rows: list[dict[str, object]] = []
    for way, decision in ways(scores[valid], truth, start).items():
        probabilities = decision.calibration(scores[fresh])
        tracks = TagTracks(labels[fresh], scores[fresh], probabilities, decision.decided(scores[fresh]))
        p = np.clip(probabilities, 1e-6, 1 - 1e-6)
        loss = -np.where(tracks.positive, np.log(p), np.log(1 - p)).mean()
        rows.append(
            {
                "scores": name,
                "positives": int(truth.sum()),
                "way": way,
                "F1": float(f1(tracks)),
                "ECE": float(calibration_error(tracks)),
                "log-loss": float(loss),
            }
        )
    return rows


def published(folder: Path, repeats: int) -> list[str]:
    """The published scores, and the same as a training with balanced classes would give them."""
    labels = pd.read_csv(folder / "published" / "labels_test_clean.csv.gz").set_index("mp3_path")
    scores = pd.read_csv(folder / "published" / "scores_test_clean.csv.gz").set_index("mp3_path").loc[labels.index]
    about = pd.read_csv(folder / "clip_info_final.csv.gz", sep="\t").set_index("mp3_path")
    artist = about.loc[labels.index, "artist"].astype(str).to_numpy()
    truth, given = labels.to_numpy(float), scores.to_numpy(float)
    shifted = 1 / (1 + np.exp(-(logit(given) - logit(given.mean(axis=0)))))
    random, rows, whole = np.random.default_rng(0), [], []
    for _ in range(repeats):
        artists = random.permutation(np.unique(artist))
        first, fresh = artists[: len(artists) // 2], np.flatnonzero(np.isin(artist, artists[len(artists) // 2 :]))
        for name, values in (("as published", given), ("balanced", shifted)):
            for most in (100, 300, 1000, len(labels)):
                counts = np.cumsum([(artist == one).sum() for one in first])
                valid = np.flatnonzero(np.isin(artist, first[: np.searchsorted(counts, most) + 1]))
                start = fit_sigmoid(values[valid].ravel(), truth[valid].ravel() >= 0.5, SAME, ALL_TAGS)
                for tag in np.flatnonzero((truth[fresh].sum(axis=0) >= FRESH) & (truth[valid].sum(axis=0) > 0)):
                    rows += rows_of_tag(name, values[:, tag], truth[:, tag], valid, fresh, start)
            kinds, tags = np.zeros(truth.shape[1], bool), list(labels)
            decisions = learn(truth[valid], values[valid], kinds, tags, "f1").of(tags)
            for what, used in (("before", None), ("after", decisions)):
                numbers = evaluate(truth[fresh], values[fresh], kinds, used).overall()
                whole.append({"scores": name, "": what} | {key: numbers[key] for key in ("f1", "micro_f1", "ece")})
    overall = pd.DataFrame(whole).groupby(["scores", ""], sort=False).mean().reset_index()
    return [
        f"## Published scores for MagnaTagATune's clean test split, half of the artists each, {repeats} times",
        "",
        "Learned on all tracks of one half, macro and micro averages on the other half:",
        "",
        *table(overall),
        "",
        *by_positives(pd.DataFrame(rows)),
    ]


def by_positives(rows: pd.DataFrame) -> list[str]:
    """A table a metric: rows of scores and positives, a column a way."""
    edges = list(pairwise(POSITIVES))
    names = [f"{low + 1} to {high:,}" if high < POSITIVES[-1] else f"over {low}" for low, high in edges]
    rows = rows.assign(positives=pd.cut(rows["positives"], POSITIVES, labels=names))
    lines = []
    for metric in ("F1", "ECE", "log-loss"):
        grouped = rows.groupby(["scores", "positives", "way"], observed=True, sort=False)[metric].mean()
        wide = grouped.unstack("way").sort_index()[list(dict.fromkeys(rows["way"]))]
        tags = rows.groupby(["scores", "positives"], observed=True).size() // rows["way"].nunique()
        wide.insert(0, "tags", tags)
        lines += [f"{metric} on the other half, by the positive validation tracks of a tag:", ""]
        lines += [*table(wide.reset_index()), ""]
    return lines


def study(root: Path) -> list[str]:
    """Every result of a finished study: learned on its validation part, measured on its test part."""
    catalog, partition = Catalog.load(root / "data" / "catalog"), Partition.load(root / "data" / "partition")
    regression = (catalog.tags.loc[partition.tags, "kind"] == "regression").to_numpy()
    rows = []
    for folder in sorted((root / "results").iterdir()):
        _, scores = read_predictions(folder)
        parts = {
            part: (
                catalog.labels.loc[partition.tracks(part), partition.tags].to_numpy(),
                scores.loc[partition.tracks(part), partition.tags].to_numpy(),
            )
            for part in ("valid", "test")
        }
        decisions = learn(*parts["valid"], regression, partition.tags, "f1").of(partition.tags)
        before, after = (evaluate(*parts["test"], regression, used).overall() for used in (None, decisions))
        row: dict[str, object] = {"run": folder.name}
        for key, label in (("f1", "F1"), ("micro_f1", "micro F1"), ("ece", "ECE")):
            row |= {f"{label} before": before[key], f"{label} after": after[key]}
        rows.append(row | {"precision at 3": after["precision_at_3"]})
    return [
        "## Default corpus: learned on the validation part, measured on the test part",
        "",
        *table(pd.DataFrame(rows)),
        "",
    ]


def bent(repeats: int = 20) -> list[str]:
    """When an isotonic curve pays: simulated scores whose probabilities are, or are not, a sigmoid of them."""
    random, rows = np.random.default_rng(1), []
    for name in ("a sigmoid", "no sigmoid"):
        for positives in (50, 100, 200, 500, 1000, 2000):
            for _ in range(repeats):
                scores = random.beta(0.6, 2, 60_000)
                height = logit(scores)
                true = 1 / (1 + np.exp(-(0.7 * height - 0.5)))
                if name == "no sigmoid":
                    true = np.where(scores < 0.35, 0.5 * scores, np.where(scores < 0.7, 0.3, 0.75))
                labels = (random.random(len(scores)) < true).astype(float)
                valid = np.arange(np.searchsorted(np.cumsum(labels), positives) + 1)
                fresh = np.arange(len(scores) - 20_000, len(scores))
                rows += [
                    row | {"positives": positives} for row in rows_of_tag(name, scores, labels, valid, fresh, SAME)
                ]
    made = pd.DataFrame(rows)
    made = made[made["way"].isin(["sigmoid near that of all tags", "isotonic"])]
    wide = made.pivot_table(index=["scores", "positives"], columns="way", values=["ECE", "log-loss"], sort=False)
    wide.columns = [f"{metric}, {way}" for metric, way in wide.columns]
    return [
        f"## Simulated tags, {repeats} each: an isotonic curve against a sigmoid that starts from the identity",
        "",
        *table(wide.reset_index()),
        "",
    ]


def table(frame: pd.DataFrame) -> list[str]:
    """Markdown; numbers with three decimals."""
    head = [f"| {' | '.join(frame.columns)} |", f"|{' --- |' * len(frame.columns)}"]
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in frame.to_numpy()]
    return [*head, *(f"| {' | '.join(row)} |" for row in cells)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", type=Path, help="folder of MagnaTagATune's files")
    parser.add_argument("--study", type=Path, help="a finished project")
    parser.add_argument("--repeats", type=int, default=6)
    parser.add_argument("--output", type=Path, help="a Markdown file to write the tables to as well")
    arguments = parser.parse_args()
    lines = [
        "# Decisions on other artists' tracks",
        "",
        "`python benchmarks/decisions.py --published FOLDER --study FOLDER`",
        "",
        f"{datetime.date.today()}, {processor()}, Python {platform.python_version()}, NumPy {np.__version__}.",
        "",
        "The weights that hold a tag near all tags were chosen on the published scores below, so these tables favour "
        "that way a little.",
        "",
    ]
    lines += study(arguments.study) if arguments.study else []
    lines += published(arguments.published, arguments.repeats) if arguments.published else []
    lines += bent()
    text = "\n".join(lines).rstrip() + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
