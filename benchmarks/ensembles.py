"""Ways to make an ensemble of a study's models: which scores are averaged, and how the members are chosen.

    python benchmarks/ensembles.py --study FOLDER --output benchmarks/results/ensembles.md

FOLDER is a finished project with `data` and `results`; --study may be given more than once. Members are chosen on the
tracks of half of the artists that no model learned from, and scored on those of the other half, many times. One row is
the study's own division: chosen on the validation part, scored on the test part.
"""

import argparse
import datetime
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import processor

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.metrics import evaluate
from tagscale.evaluation.selection import BAGS, LEAST, select_bagged
from tagscale.models.spec import BASELINE, MODELS, base_model
from tagscale.partition.divide import Partition
from tagscale.study.tables import read_predictions

ROUNDS = 25  # as in tagscale.evaluation.selection
SEEDS = 5  # of the resamples
AVERAGED = {"probabilities": lambda p: p, "log-odds": lambda p: np.log(p / (1 - p))}
CHOICES = (
    "best model alone",
    "mean of all",
    "mean of the best two",
    "greedy",
    "greedy from the mean of all",
    "greedy, bagged",
)


@dataclass(frozen=True)
class Library:
    """The models of one size and seed: scores of unseen tracks, with (models, tracks, tags) in each part."""

    name: str
    models: list[str]
    valid: np.ndarray
    test: np.ndarray
    labels: dict[str, np.ndarray]
    artist: dict[str, np.ndarray]
    fold: dict[str, np.ndarray]
    same_tracks: bool  # with folds, each track is in both parts


def libraries(project: Path) -> Iterator[Library]:
    catalog, parts = Catalog.load(project / "data" / "catalog"), Partition.load(project / "data" / "partition")
    tags = [tag for tag in parts.tags if catalog.tags.loc[tag, "kind"] == "classification"]
    found: dict[str, list[Path]] = {}
    for folder in sorted((project / "results").glob("*/predictions.parquet")):
        model, size, seed = folder.parent.name.rsplit("-", 2)
        if MODELS[base_model(model)].group != "ensembles" and "mtt" not in model:
            found.setdefault(f"{size}-{seed}", []).append(folder.parent)
    tracks = {part: parts.tracks(part) for part in ("valid", "test")}
    for cell, folders in found.items():
        if len(folders) < 2:
            continue
        folders.sort(key=lambda folder: folder.name.startswith(BASELINE))
        tables = [read_predictions(folder)[1][tags].to_numpy(np.float64) for folder in folders]
        scores = np.stack(tables).clip(1e-6, 1 - 1e-6)
        yield Library(
            f"{catalog.name}, {cell.rsplit('-', 1)[0]} tracks",
            [folder.name.rsplit("-", 2)[0] for folder in folders],
            scores[:, : len(tracks["valid"])],
            scores[:, len(tracks["valid"]) :],
            {part: catalog.labels.loc[ids, tags].to_numpy(np.float64) for part, ids in tracks.items()},
            {part: np.array(parts.about(ids, "artist")) for part, ids in tracks.items()},
            {part: parts.fold_of(ids) for part, ids in tracks.items()},
            parts.folds > 0,
        )


def precision(labels: np.ndarray, scores: np.ndarray, fold: np.ndarray) -> float:
    """Mean over the tags of the average precision within folds, as tagscale's metric, but for ties."""
    gained, positives = np.zeros((2, labels.shape[1]))
    for number in np.unique(fold):
        own = fold == number
        order = np.argsort(-scores[own], axis=0)
        ordered = np.take_along_axis(labels[own], order, axis=0)
        positive, known = ordered >= 0.5, ~np.isnan(ordered)
        both = positive.any(axis=0) & (known & ~positive).any(axis=0)
        share = positive.cumsum(axis=0) / np.maximum(known.cumsum(axis=0), 1)
        gained += np.where(both, (share * positive).sum(axis=0), 0)
        positives += np.where(both, positive.sum(axis=0), 0)
    return float((gained[positives > 0] / positives[positives > 0]).mean())


def greedy(labels: np.ndarray, scores: np.ndarray, fold: np.ndarray, from_all: bool = False) -> np.ndarray:
    """Counts of the models, begun with none or with each once."""
    counts, total = np.full(len(scores), float(from_all)), from_all * scores.sum(axis=0)
    best = precision(labels, total, fold) if from_all else -np.inf
    for _ in range(ROUNDS):
        values = [precision(labels, total + one, fold) for one in scores]
        chosen = int(np.argmax(values))
        if not values[chosen] > best:
            break
        best, total = values[chosen], total + scores[chosen]
        counts[chosen] += 1
    return counts


def weights_of(
    choice: str,
    labels: np.ndarray,
    scores: np.ndarray,
    fold: np.ndarray,
    artist: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    models = len(scores)
    order = np.argsort([-precision(labels, one, fold) for one in scores], kind="stable")
    if choice == "greedy, bagged":  # Caruana et al. 2004, section 2.3, with artists in place of models
        artists, bags = np.unique(artist), np.zeros(models)
        for _ in range(max(BAGS)):
            drawn = [np.flatnonzero(artist == one) for one in random.choice(artists, len(artists))]
            rows = np.concatenate(drawn)
            counts = greedy(labels[rows], scores[:, rows], fold[rows])
            bags += counts / counts.sum()
        bags /= bags.sum()
        return np.where(bags < min(LEAST, bags.max()), 0, bags)
    if choice.startswith("greedy"):
        return greedy(labels, scores, fold, from_all=choice.endswith("all"))
    kept = {"best model alone": 1, "mean of all": models, "mean of the best two": 2}[choice]
    return np.isin(np.arange(models), order[:kept]).astype(float)


def measured(library: Library, halves: int) -> list[str]:
    """Rows of the table: a row for each choice."""
    values = {(name, choice): [] for name in AVERAGED for choice in CHOICES}
    for turn in range(halves + 1):
        random = np.random.default_rng(turn)
        for name, transform in AVERAGED.items():
            valid, test = transform(library.valid), transform(library.test)
            labels, artist, fold = library.labels, library.artist, library.fold
            if turn == 0 and not library.same_tracks:
                chosen_on = (labels["valid"], valid, fold["valid"], artist["valid"])
                scored_on = (labels["test"], test, fold["test"])
            else:  # all tracks, of which half of the artists choose
                both = {
                    key: np.concatenate([one["valid"], one["test"]])
                    for key, one in (("labels", labels), ("artist", artist), ("fold", fold))
                }
                scores = np.concatenate([valid, test], axis=1)
                part = np.repeat([0, 1], [valid.shape[1], test.shape[1]])
                artists = np.unique(both["artist"])
                half = np.isin(both["artist"], np.random.default_rng(turn).permutation(artists)[: len(artists) // 2])
                first, second = half, ~half
                if library.same_tracks:
                    first, second = half & (part == 0), ~half & (part == 1)
                chosen_on = (both["labels"][first], scores[:, first], both["fold"][first], both["artist"][first])
                scored_on = (both["labels"][second], scores[:, second], both["fold"][second])
            for choice in CHOICES:
                weights = weights_of(choice, *chosen_on, random)
                mean = np.average(scored_on[1], axis=0, weights=weights)
                values[name, choice].append(precision(scored_on[0], mean, scored_on[2]))
    rows = []
    alone = np.array(values["probabilities", CHOICES[0]])
    for name, choice in values:
        if choice == CHOICES[0] and name != "probabilities":
            continue
        these = np.array(values[name, choice])
        gain = these[1:] - alone[1:]
        own = "" if library.same_tracks else f"{these[0]:.3f}"
        averaged = "" if choice == CHOICES[0] else name
        words = "" if choice == CHOICES[0] else f"{gain.mean():+.3f} ± {gain.std():.3f} | {(gain < -1e-9).mean():.2f}"
        rows.append(f"| {choice} | {averaged} | {own} | {these[1:].mean():.3f} | {words or '|'} |")
    return rows


def held_out(library: Library) -> list[str]:
    """The row of out-of-bag scores: of the validation tracks, by choices on resamples without their artists."""
    labels, fold = library.labels["valid"], library.fold["valid"]
    artist = np.unique(library.artist["valid"], return_inverse=True)[1]
    regression, values = np.zeros(labels.shape[1], bool), []
    for seed in range(SEEDS):
        known = library.valid, labels, regression, {"classification": "pr_auc"}, artist, seed, fold
        values.append(precision(labels, select_bagged(*known)[1], fold))
    return [f"| {np.mean(values):.3f} | {min(values):.3f} | {max(values):.3f} |"]


def check(library: Library) -> None:
    """Refuse to measure by another number than tagscale's."""
    scores = library.test[0]
    known = evaluate(library.labels["test"], scores, np.zeros(scores.shape[1], bool), fold=library.fold["test"])
    ours = precision(library.labels["test"], scores, library.fold["test"])
    assert abs(known.overall()["pr_auc"] - ours) < 2e-3, (known.overall()["pr_auc"], ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, action="append", required=True)
    parser.add_argument("--halves", type=int, default=20)
    parser.add_argument("--remark", default="", help="A sentence on the studies, for the page.")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = [
        "# Ensembles: what is averaged, and how members are chosen",
        "",
        "`python benchmarks/ensembles.py --study FOLDER`",
        "",
        f"{datetime.date.today()}, {processor()}, Python {platform.python_version()}, NumPy {np.__version__}.",
        "",
        *([options.remark, ""] if options.remark else []),
        "PR-AUC, the mean over the classification tags. `own division`: chosen on the study's validation part, scored",
        "on its test part, once. `halves`: chosen on half of the artists that no model learned from, scored on the",
        f"other half, the mean of {options.halves} divisions. The gain is over the best model alone, chosen on the",
        "same half, with its standard deviation over the divisions; the last column is the share of divisions in",
        "which the ensemble is worse. tagscale takes `greedy, bagged` and `log-odds`.",
        "",
    ]
    for project in options.study:
        for library in libraries(project):
            check(library)
            tracks, artists = library.test.shape[1], len(np.unique(np.concatenate(list(library.artist.values()))))
            lines += [
                f"## {library.name}: {', '.join(library.models)}",
                "",
                f"{tracks} test tracks; {artists} artists among the tracks that no model learned from.",
                "",
                "| members | averaged | own division | halves | gain | worse |",
                "| --- | --- | --: | --: | --: | --: |",
                *measured(library, options.halves),
                "",
            ]
            if not library.same_tracks:  # with folds, each fold's ensemble is chosen without it
                alone = max(precision(library.labels["valid"], one, library.fold["valid"]) for one in library.valid)
                lines += [
                    f"On the validation part, by choices without a track's artist, {SEEDS} seeds; best "
                    f"model alone: {alone:.3f}.",
                    "",
                    "| mean | lowest | highest |",
                    "| --: | --: | --: |",
                    *held_out(library),
                    "",
                ]
    text = "\n".join(lines)
    if options.output:
        options.output.write_text(text.rstrip() + "\n")
    print(text)


if __name__ == "__main__":
    main()
