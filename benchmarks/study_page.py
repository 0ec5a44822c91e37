"""The models of a finished study, group of tags by group, held against the best one that is trained from scratch.

    python benchmarks/study_page.py PROJECT --output benchmarks/results/magnatune160.md [--heard probe-mtt ...]

PROJECT is a folder with params.yaml, data, runs and results, as `dvc repro` leaves it. Cells of the grid that are not
evaluated are left out, and the page says so. What to look for: the differences, paired over the same resamples of the
test artists. Models of `--heard` have learned from music of the test part, and stand apart.
"""

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from machine import processor

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.bootstrap import centred, draw, interval, paired, resampled_metrics, standard_error
from tagscale.evaluation.metrics import Metric, evaluate, guess, main_metric, mean_of_known, shown_in
from tagscale.models.spec import group_of, label_of, role_of
from tagscale.params.load import load
from tagscale.partition.divide import Partition
from tagscale.runtime.identity import run_name
from tagscale.study.compare import tag_groups, tag_scores
from tagscale.study.grid import read_study
from tagscale.study.tables import read_predictions

SCRATCH = ("front-end", "published baseline", "descriptors")  # roles of models that learn from these tracks alone
RANDOM = 100  # random orders
OfTags = dict[str, tuple[np.ndarray, np.ndarray]]  # as `Tested.of_tags` returns them


@dataclass
class Scores:
    """The mean over some tags of one metric, for one model: its value and its centred resamples, (resamples,)."""

    value: float
    resamples: np.ndarray

    def words(self, metric: Metric, artists: int, confidence: float) -> str:
        error = standard_error(self.resamples, artists)
        low, high = interval(self.value, error, artists, confidence, metric.bounds)
        return f"{metric.words(self.value)} [{metric.words(float(low))}, {metric.words(float(high))}]"


def _folder(project: Path, kind: str, model: str, size: int | str, seed: int) -> Path:
    """The folder of a run, or of its results; ensembles have a folder of their own."""
    place = project / "ensembles" if group_of(model) == "ensembles" else project
    return place / kind / run_name(model, size, seed)


class Tested:
    """The models of a study at its largest size, scored on the test part."""

    def __init__(self, project: Path) -> None:
        self.params = load(project / "params.yaml")
        data = project / "data"
        self.catalog, self.parts = Catalog.load(data / "catalog"), Partition.load(data / "partition")
        cells = self.params.train.cells
        folders = {kind: [_folder(project, kind, *cell) for cell in cells] for kind in ("runs", "results")}
        evaluated = [(folder / "metrics.json").exists() for folder in folders["results"]]
        done = [cell for cell, is_evaluated in zip(cells, evaluated, strict=True) if is_evaluated]
        self.missing = [run_name(*cell) for cell in cells if cell not in done]
        models = list(dict.fromkeys(model for model, _, _ in done))
        train = self.params.train
        self.study = read_study(
            *([folder for folder in folders[kind] if folder.name not in self.missing] for kind in ("runs", "results")),
            models=models,
            sizes=train.sizes,
            seeds=train.seeds,
        )
        self.tracks = self.parts.tracks("test")
        self.labels = self.catalog.labels.loc[self.tracks, self.parts.tags].to_numpy()
        self.kinds = self.catalog.tags.loc[self.parts.tags, "kind"].to_numpy(str)
        self.fold = self.parts.fold_of(self.tracks)
        self.predictions = {model: self._predictions(model) for model in models}

    def _predictions(self, model: str) -> list[np.ndarray]:
        """The scores of every seed, (tracks, tags) each."""
        scores = []
        for seed in self.study.seeds:
            part, table = read_predictions(self.study.folders[run_name(model, self.study.largest, seed)][1])
            scores.append(table[(part == "test").to_numpy()].loc[self.tracks, self.parts.tags].to_numpy())
        return scores

    @cached_property
    def at_random(self) -> np.ndarray:
        """The PR-AUC of every tag, (tags,), where the order of the tracks is random: short lists lift it."""
        random, regression = np.random.default_rng(0), self.kinds == "regression"
        scores = random.random((RANDOM, *self.labels.shape))
        return np.mean([evaluate(self.labels, one, regression, fold=self.fold)["pr_auc"] for one in scores], axis=0)

    def of_tags(self, model: str) -> OfTags:
        """By metric: its value for every tag, (tags,), and in every resample, (tags, resamples); means over seeds."""
        draws = draw(self.parts.about(self.tracks, "artist"), self.params.evaluate.resamples, self.parts.hash)
        regression = self.kinds == "regression"
        values, resamples = [], []
        for scores in self.predictions[model]:
            values.append(evaluate(self.labels, scores, regression, fold=self.fold))
            resamples.append(resampled_metrics(self.labels, scores, regression, draws, fold=self.fold))
        keys = [metric.key for metric in shown_in("scores")]
        return {key: (np.mean([v[key] for v in values], 0), np.mean([r[key] for r in resamples], 0)) for key in keys}


def of_group(of_tags: OfTags, tags: np.ndarray, key: str) -> Scores:
    """The mean over a group of tags, (tags,) bool."""
    values, resamples = (array[tags] for array in of_tags[key])
    value = float(mean_of_known(values))
    return Scores(value, centred(mean_of_known(resamples), value))


def group_table(tested: Tested, group: str, kind: str, heard: Sequence[str], by_model: dict[str, OfTags]) -> list[str]:
    """A row a model, the best first; those that have heard the test part's music last."""
    study, confidence, main = tested.study, tested.study.confidence, main_metric(kind)
    about = tag_scores(study, study.largest)
    about = about[(about["model"] == study.everyone[0]) & about[main.key].notna()]
    named = about[(about["group"] == group) & (about["kind"] == kind)]
    tags = np.isin(tested.parts.tags, named["tag"])
    metrics = [metric for metric in shown_in("scores") if kind in metric.kinds]
    scores = {model: {m.key: of_group(of_tags, tags, m.key) for m in metrics} for model, of_tags in by_model.items()}
    ranked = sorted(scores, key=lambda model: -main.sign * scores[model][main.key].value)
    scratch = next((model for model in ranked if role_of(model) in SCRATCH), None)
    few, many = int(named["positives"].min()), int(named["positives"].max())
    guessed = float(guess(tested.labels, tested.kinds == "regression", tested.fold)[tags].mean())
    positives = f", {few if few == many else f'{few} to {many}'} positive tracks each"
    positives += f". Equal scores have PR-AUC {guessed:.3f}, random ones {tested.at_random[tags].mean():.3f}"
    lines = [
        f"## {group}: {len(named)} {kind} tags",
        "",
        f"{int(named['tracks'].max())} annotated tracks a tag{positives if kind == 'classification' else ''}.",
        "",
        f"| model | {' | '.join(metric.label for metric in metrics)} | {main.label} against the best from scratch |",
        f"|---|{'---|' * len(metrics)}---|",
    ]
    for model in [name for name in ranked if name not in heard] + [name for name in ranked if name in heard]:
        cells = [scores[model][metric.key].words(metric, study.artists, confidence) for metric in metrics]
        gap = ""
        if scratch is not None and model != scratch:
            ours, theirs = scores[model][main.key], scores[scratch][main.key]
            gaps = ours.resamples, theirs.resamples, ours.value - theirs.value
            difference = paired(*gaps, study.artists, confidence)
            gap = f"{difference.difference:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
        name = f"{label_of(model)} (has heard this music)" if model in heard else label_of(model)
        lines.append(f"| {name} | {' | '.join(cells)} | {'best from scratch' if model == scratch else gap} |")
    return [*lines, ""]


def folds_table(tested: Tested) -> list[str]:
    """The same scores under three ways to join folds, means over all classification tags."""
    lines = [
        "## How folds are joined",
        "",
        "Means over all classification tags. Pooled: one list of all tracks, whichever model scored them. Mean of "
        "folds: each fold by itself, over the tags that it can score. Within folds: what the other tables show.",
        "",
        "| model | ROC-AUC within folds | pooled | mean of folds | PR-AUC within folds | pooled | mean of folds |",
        "|---|---|---|---|---|---|---|",
    ]
    regression = tested.kinds == "regression"
    for model, predictions in tested.predictions.items():
        rows = []
        for scores in predictions:
            ways = [evaluate(tested.labels, scores, regression, fold=fold).overall() for fold in (tested.fold, None)]
            folds = [tested.fold == number for number in np.unique(tested.fold)]
            each = pd.DataFrame([evaluate(tested.labels[f], scores[f], regression).overall() for f in folds])
            rows.append([way[key] for key in ("roc_auc", "pr_auc") for way in (*ways, each.mean())])
        lines.append(f"| {label_of(model)} | {' | '.join(f'{value:.3f}' for value in np.mean(rows, 0))} |")
    return [*lines, ""]


def page(tested: Tested, heard: Sequence[str], note: str) -> str:
    study, train = tested.study, tested.params.train
    tracks, artists = len(tested.tracks), len(set(tested.parts.about(tested.tracks, "artist")))
    folds = f", each tested once in {tested.parts.folds} folds of whole artists" if tested.parts.folds else ""
    trained = study.runs[study.runs["size"] == study.largest].groupby("model", sort=False)
    about = trained[["train_tracks", "parameters", "seconds"]].mean().loc[study.everyone]
    lines = [
        f"# {tested.catalog.name}: all models",
        "",
        f"{datetime.date.today()}, {processor()}, other work on the machine. Written by "
        "`python benchmarks/study_page.py`. "
        f"{tracks} test tracks by {artists} artists{folds}. In brackets {study.confidence:.0%} intervals by "
        f"{tested.params.evaluate.resamples:,} resamples of the artists; differences are paired. They do not hold what "
        f"another seed would change (seeds: {', '.join(map(str, study.seeds))}). "
        f"Networks from scratch: {train.max_steps} steps of {train.batch} patches of {train.patch_seconds:g} s, "
        f"schedule {train.schedule}, precision {train.precision}, width "
        + ", ".join(f"{model.width:g}" for model in (tested.params.model.waveform, tested.params.model.spectrogram))
        + " (waveform, spectrogram).",
        "",
        *([note, ""] if note else []),
    ]
    if tested.missing:
        lines += [f"Not trained yet: {', '.join(tested.missing)}.", ""]
    by_model = {model: tested.of_tags(model) for model in study.everyone}
    for group, kind in tag_groups(tag_scores(study, study.largest)):
        lines += group_table(tested, group, kind, heard, by_model)
    if tested.parts.folds:
        lines += folds_table(tested)
    lines += ["## Trainings", "", "| model | training tracks | parameters | seconds |", "|---|---:|---:|---:|"]
    lines += [
        f"| {label_of(str(model))} | {row.train_tracks:.0f} | {row.parameters:,.0f} | {row.seconds:,.0f} |"
        for model, row in about.iterrows()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--heard", nargs="*", default=[], help="models that have heard the music of the test part")
    parser.add_argument("--note", default="", help="a paragraph for the head of the page")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.write_text(page(Tested(arguments.project), arguments.heard, arguments.note), encoding="utf-8")


if __name__ == "__main__":
    main()
