"""A study: every run of the grid side by side.

Runs are comparable when they learned from the same data and were scored on the same partition. `read_study` reads
exactly the cells of the grid, whatever else lies in the folders, and refuses an incomplete grid and mixed data.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tagscale.evaluation.bootstrap import FEWEST_ARTISTS, Difference, OfSeeds
from tagscale.evaluation.metrics import KINDS, METRICS, Metric, main_metric
from tagscale.models.spec import GROUPS, Role, group_of, label_of, role_of
from tagscale.runtime.absent import absence_in
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunFacts, RunIdentity, run_output
from tagscale.runtime.reading import Output
from tagscale.runtime.words import at_start
from tagscale.study.comparison import SCORES, against, comparison, means_of_seeds, over_seeds
from tagscale.study.tables import (
    CURVES,
    RESAMPLES,
    Record,
    ResultFacts,
    RunCell,
    read_groups,
    read_history,
    read_resamples,
    read_tags,
    result_output,
    run_row,
    stacked,
    unlearned,
    unscored,
)

CONFIDENCE = 0.95  # of intervals over seeds, where the results have none over artists


@dataclass(frozen=True)
class Study:
    """All runs of one grid.

    everyone: the models, in the grid's order.
    runs: one row a run: model, size, seed, train_tracks, parameters, seconds, valid_<metric> and test_<metric>.
    tags: one row a run, part and tag: model, size, seed and the columns of per_tag.csv, with the ends of the tag's
        intervals, `<metric>_low` and `_high`, NaN where it has none.
    groups: one row a run and group of tags: model, size, seed and the columns of per_group.csv; without rows where the
        results have no intervals.
    curves: one row a run and validation: model, size, seed, step, train_loss, valid_loss, kept; of train.models only.
    unscored: part, tag, reason.
    unlearned: train_tracks, tag, reason: tags that the training tracks say nothing about, whatever the model.
    notes: warnings that a reader needs before the tables.
    resamples: one row a run and bootstrap resample of the test artists: model, size, seed, resample and the metrics,
        centred on the run's scores; without rows where the results have no intervals. A resample holds the same
        artists in every run.
    artists: of the test part, behind these resamples; 0 where the results have no intervals.
    confidence: of the intervals, as the results have it.
    folders: name of a run -> its folder and that of its results.
    """

    everyone: list[str]
    dataset_hash: str
    partition_hash: str
    runs: pd.DataFrame
    tags: pd.DataFrame
    groups: pd.DataFrame
    curves: pd.DataFrame
    unscored: pd.DataFrame
    unlearned: pd.DataFrame
    notes: list[str]
    resamples: pd.DataFrame
    artists: int = 0
    confidence: float = CONFIDENCE
    folders: Mapping[str, tuple[Path, Path]] = field(default_factory=dict)

    @property
    def intervals(self) -> bool:
        """Whether the scores have intervals: they are resampled, and the test part is by more than one artist."""
        return not self.resamples.empty and self.artists >= FEWEST_ARTISTS

    @property
    def no_intervals(self) -> str:
        """Why the scores have no intervals; "" where they have."""
        if self.intervals:
            return ""
        return "the test part is by one artist" if self.artists else "set `evaluate.resamples`"

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """One row a model and size: see `comparison.comparison`. Computed once.

        The column `best` names the test metrics on which the row has the best score of its size, or is level with it.
        """
        table = comparison(self.runs, self.means, self.everyone, self.artists, self.confidence)
        return table.assign(best=[" ".join(self._best_on(row)) for row in table.to_dict("records")])

    def _best_on(self, row: Mapping[Any, Any]) -> list[str]:
        best = []
        for key, metric in METRICS.items():
            scores = self.scores(key, row["size"]) * metric.sign
            if not np.isnan(row[f"test_{key}"]) and self.level(row["model"], str(scores.idxmax()), key, row["size"]):
                best.append(key)
        return best

    def scores(self, metric: str, size: str, part: str = "test") -> pd.Series:
        """Each model's score at one size, mean over seeds, in the order of `everyone`."""
        return self._scores[size][f"{part}_{metric}"]

    @cached_property
    def _scores(self) -> dict[str, pd.DataFrame]:
        """By size: the mean over seeds of every score, a row a model."""
        means = self.runs.groupby(["size", "model"])[SCORES].mean()
        return {str(size): means.loc[size].reindex(self.everyone) for size in self.runs["size"].unique()}

    def ranked(self, models: Sequence[str]) -> list[str]:
        """The models, best first by the main metric of the validation part at the largest size; no score comes last.

        The metric is that of the first kind of tags that has one. What is chosen here is judged on the test part.
        """
        scores = self.scores(self.main.key, self.largest, "valid")[list(models)] * self.main.sign
        return [str(model) for model in scores.sort_values(ascending=False, kind="stable").index]

    def as_good(self, chosen: str, models: Sequence[str]) -> list[str]:
        """The names of the other models whose scores, by which `chosen` is ranked first, print as its own."""
        scores = {
            model: self.main.words(score) for model, score in self.scores(self.main.key, self.largest, "valid").items()
        }
        return [label_of(model) for model in models if model != chosen and scores[model] == scores[chosen]]

    @cached_property
    def main(self) -> Metric:
        """The metric that models are chosen by: the main one of the first kind of tags that has a score.

        A score of the test part, where one has it, else one of the validation part.
        """
        mains = [main_metric(kind) for kind in KINDS]
        scored = (
            main
            for part in ("test", "valid")
            for main in mains
            if self.scores(main.key, self.largest, part).notna().any()
        )
        return next(scored, mains[0])

    @cached_property
    def recommended(self) -> str:
        """The model to use: the best one of any kind on the validation part. See `ranked`."""
        return self.ranked(self.everyone)[0]

    @cached_property
    def front_end(self) -> str:
        """The model that the findings hold against all others: the best front-end on the validation part.

        Of a study without front-ends the best network, and of one without networks the best model.
        """
        return self.ranked(self.front_ends or self.networks or self.everyone)[0]

    def candidate(self, metric: str, roles: Sequence[Role]) -> dict[str, Any] | None:
        """The run that a registry would take: the best single one of these kinds on the validation part, of any size.

        It may be of another model than `recommended`, which is judged by the mean over seeds, at the largest size, on
        `main`. Returns its row of `runs`; None where no run has the metric.
        """
        return best_run(self.runs, [model for model in self.everyone if role_of(model) in roles], metric)

    def against(self, reference: str, metric: str, size: str) -> dict[str, Difference]:
        """A model minus each other one on the test part at one size: see `comparison.against`. Computed once."""
        key = reference, metric, size
        if key not in self._differences:
            self._differences[key] = against(
                self.scores(metric, size),
                self.rows(metric, size),
                {model: self.of_seeds(metric, size, model) for model in self.everyone},
                reference,
                self.artists,
                self.confidence,
            )
        return self._differences[key]

    @cached_property
    def _differences(self) -> dict[tuple[str, str, str], dict[str, Difference]]:
        """What `against` has computed."""
        return {}

    def rows(self, metric: str, size: str) -> pd.DataFrame:
        """A test metric in every resample of artists and seeds at one size: a row a resample, a column a model."""
        if (size, metric) not in self._rows:
            means = self.means[self.means["size"] == size]
            wide = means.pivot(index="resample", columns="model", values=metric)
            self._rows[size, metric] = wide.reindex(columns=self.everyone)
        return self._rows[size, metric]

    @cached_property
    def _rows(self) -> dict[tuple[str, str], pd.DataFrame]:
        """What `rows` has computed."""
        return {}

    def level(self, first: str, second: str, metric: str, size: str) -> bool:
        """Whether two models are level on a metric of the test part at one size.

        They are level where their scores are equal in print, or where the interval of their difference holds 0 in
        print. The interval is corrected for the family of comparisons that the pair belongs to: those of the
        `front_end` with each other one, or where it is not of the pair, those of the better one of the two on the
        validation part. Where the results have no intervals, only scores that are equal in print are level.
        """
        scores = self.scores(metric, size)
        if first == second or METRICS[metric].words(scores[first]) == METRICS[metric].words(scores[second]):
            return True
        better, other = self.ranked([first, second])
        reference, other = (other, better) if other == self.front_end else (better, other)
        gap, decimals = self.against(reference, metric, size)[other], METRICS[metric].decimals
        return bool(round(gap.low, decimals) <= 0 <= round(gap.high, decimals))

    def of_seeds(self, metric: str, size: str, model: str) -> OfSeeds:
        """What the seeds of a model add to the variance of its mean score, and how well they tell it."""
        return self._over_seeds[model, size][metric]

    @cached_property
    def _over_seeds(self) -> dict[tuple[str, str], dict[str, OfSeeds]]:
        return over_seeds(self.runs)

    @cached_property
    def means(self) -> pd.DataFrame:
        """Means over seeds in every resample of artists and seeds: see `comparison.means_of_seeds`. Computed once."""
        return means_of_seeds(self.runs, self.resamples)

    @property
    def front_ends(self) -> list[str]:
        """The models that the study compares, at any capacity (waveform-x4 is a waveform front-end)."""
        return self._of("front-end")

    @property
    def pretrained(self) -> list[str]:
        return self._of("pretrained")

    @property
    def published(self) -> list[str]:
        """The models that are published baselines; `baselines` are those that are not trained on audio."""
        return self._of("published baseline")

    @property
    def baselines(self) -> list[str]:
        return self._of("descriptors")

    @property
    def ensembles(self) -> list[str]:
        return self._of("ensemble")

    @property
    def networks(self) -> list[str]:
        """The models that are networks, of any kind."""
        return self._of("front-end", "pretrained", "published baseline")

    @property
    def with_curves(self) -> list[str]:
        """The models that are trained in epochs."""
        return [model for model in self.everyone if group_of(model) == "models"]

    def _of(self, *roles: Role) -> list[str]:
        return [model for model in self.everyone if role_of(model) in roles]

    @property
    def largest(self) -> str:
        """The size with the most training tracks, as params.yaml writes it."""
        return str(self.runs.sort_values("train_tracks", kind="stable")["size"].iloc[-1])

    @property
    def seeds(self) -> list[int]:
        return sorted(self.runs["seed"].unique().tolist())


def best_run(table: pd.DataFrame, models: Sequence[str], metric: str) -> dict[str, Any] | None:
    """The row of the best run of these models on the validation part; on a tie, the first in the grid's order."""
    rows = table[table["model"].isin(models)].dropna(subset=[f"valid_{metric}"])
    ranked = rows.sort_values(f"valid_{metric}", ascending=METRICS[metric].lower_is_better, kind="stable")
    return dict(ranked.iloc[0]) if len(ranked) else None


def read_study(
    runs: Sequence[Path],
    results: Sequence[Path],
    *,
    models: Sequence[str],
    sizes: Sequence[int | str],
    seeds: Sequence[int],
) -> Study:
    """Read exactly the grid models x sizes x seeds from the given folders; others are left alone.

    A model that lacks a run (`runtime.absent`) is left out with all its runs, and a note says so.

    Raises:
        TagscaleError: a cell of the grid is missing, a file of it is unreadable, a result belongs to another
            training than the run beside it, or runs differ in their data, their partition or the resamples of their
            test tracks. Says what to run. Or every model of the grid is left out.
    """
    trained = _by_name([run_output(Path(folder)) for folder in runs], RunFacts)
    scored = _by_name([result_output(Path(folder)) for folder in results], ResultFacts)
    absent = {absence["run"]: absence["reason"] for folder in runs if (absence := absence_in(folder))}
    grid = [RunCell(model, str(size), seed) for model, size, seed in product(models, sizes, seeds)]
    left_out = {cell.model for cell in grid if cell.name in absent}
    cells = [cell for cell in grid if cell.model not in left_out]
    if not cells:
        raise TagscaleError("Every model of the study is left out.\n  " + "\n  ".join(_absence_notes(grid, absent)))
    _check_complete(cells, trained, scored)
    pairs = [(cell, trained[cell.name], scored[cell.name]) for cell in cells]
    identities = {cell.name: _identity_of_pair(cell, run, result) for cell, run, result in pairs}
    for key, words in (("dataset_hash", "data"), ("partition_hash", "partitions of the data")):
        _check_same({name: getattr(identity, key) for name, identity in identities.items()}, key, words)
    draws = {cell.name: result["bootstrap"] for cell, _, result in pairs}
    _check_same(
        {name: _resampling(facts) for name, facts in draws.items()}, "bootstrap", "resamples of the test artists"
    )
    confidences = list(dict.fromkeys(facts["confidence"] for facts in draws.values() if facts))
    any_identity = next(iter(identities.values()))
    return Study(
        everyone=list(dict.fromkeys(cell.model for cell in cells)),
        dataset_hash=any_identity.dataset_hash,
        partition_hash=any_identity.partition_hash,
        runs=pd.DataFrame([run_row(*pair) for pair in pairs]),
        tags=stacked(pairs, read_tags),
        groups=stacked(pairs, lambda pair: read_groups(pair[2]["folder"])),
        curves=stacked([pair for pair in pairs if group_of(pair[0].model) == "models"], read_history, CURVES),
        unscored=unscored(scored[cell.name] for cell in cells),
        unlearned=unlearned(trained[cell.name] for cell in cells),
        notes=[*_absence_notes(grid, absent), *_settings_notes(identities), *_confidence_notes(confidences)],
        resamples=stacked([pair for pair in pairs if pair[2]["bootstrap"]], read_resamples, RESAMPLES),
        artists=max((facts["artists"] for facts in draws.values() if facts), default=0),
        confidence=float(confidences[0]) if confidences else CONFIDENCE,
        folders={cell.name: (run["folder"], result["folder"]) for cell, run, result in pairs},
    )


def _by_name(outputs: Iterable[Output], shape: type[Any]) -> dict[str, Record]:
    """The facts of the folders that exist, each with its folder, by the name of the run that it describes."""
    records: dict[str, Record] = {}
    for output in outputs:
        if os.path.lexists(output.path(output.sealed)):
            facts = output.facts(shape)
            records[facts["identity"].name] = {"bootstrap": None, **facts, "folder": Path(output.folder)}
    return records


def _check_complete(cells: list[RunCell], trained: dict[str, Record], scored: dict[str, Record]) -> None:
    missing = [cell for cell in cells if cell.name not in trained or cell.name not in scored]
    if missing:
        keys = ", ".join(f"train.{key}" for key in (*GROUPS, "sizes", "seeds"))
        lines = [
            f"  {cell.name}: no {'run' if cell.name not in trained else 'result'}; `{cell.command}`" for cell in missing
        ]
        raise TagscaleError(
            f"the study is not complete: {len(missing)} of {len(cells)} cells of params.yaml's grid ({keys}) are "
            "missing. Make them, or take them out of the grid:\n" + "\n".join(lines)
        )


def _identity_of_pair(cell: RunCell, run: Record, result: Record) -> RunIdentity:
    identity: RunIdentity = run["identity"]
    if identity != result["identity"]:
        raise TagscaleError(
            f"{result['folder']} holds scores of another training than the run in {run['folder']} "
            f"(their identities differ). Score the present one: `{cell.command}`."
        )
    return identity


def _check_same(values: dict[str, str], field: str, words: str) -> None:
    names: dict[str, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    if len(names) > 1:
        lines = [f"  {field} {value}: {', '.join(sharing)}" for value, sharing in names.items()]
        raise TagscaleError(
            f"the runs used different {words}, so their scores cannot be compared:\n"
            + "\n".join(lines)
            + "\nRun `dvc repro` to bring all of them to the present state."
        )


def _absence_notes(grid: Sequence[RunCell], absent: Mapping[str, str]) -> list[str]:
    """A line for every model that is left out, and why."""
    notes = []
    for model in dict.fromkeys(cell.model for cell in grid if cell.name in absent):
        own = [cell.name for cell in grid if cell.model == model]
        out = [name for name in own if name in absent]
        some = "" if len(out) == len(own) else f"its run {out[0]} is missing, and others are there. "
        notes.append(f"{at_start(label_of(model))} is left out: {some}{absent[out[0]]}")
    return notes


def _settings_notes(identities: dict[str, RunIdentity]) -> list[str]:
    """A warning for every model whose runs were trained with different settings: not the size alone differs then."""
    settings: dict[str, set[str]] = {}
    for identity in identities.values():
        settings.setdefault(identity.model, set()).add(identity.settings_hash)
    return [
        f"The {model} runs were trained with different settings ({', '.join(sorted(hashes))}): differences between "
        "their sizes or seeds may come from the settings. Run `dvc repro` to train them all alike."
        for model, hashes in settings.items()
        if len(hashes) > 1
    ]


def _confidence_notes(confidences: list[float]) -> list[str]:
    """A warning where the intervals of single tags were not made alike; those of the means are all made anew."""
    if len(confidences) < 2:
        return []
    return [
        f"The intervals of single tags were made with different confidences ({', '.join(map(str, confidences))}). "
        "Run `dvc repro` to make them all alike."
    ]


def _resampling(facts: Record | None) -> str:
    return f"{facts['hash']} ({facts['resamples']} resamples)" if facts else "none"
