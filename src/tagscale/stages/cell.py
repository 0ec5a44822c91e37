"""A cell of the study's grid, as a training sees it: its data, its identity, the files of its run."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd

from tagscale import tracking
from tagscale.catalog.constant import constant_reasons
from tagscale.catalog.tables import Catalog, artist_keys
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.files import replacing, seal
from tagscale.runtime.identity import RUN, RunFacts, RunIdentity, hash_of, run_output
from tagscale.runtime.reading import Damaged
from tagscale.runtime.words import listed

HISTORY = "history.csv"
SHOWN = 5  # tags that a line names


class Cell:
    """The data of one cell of the study's grid: a model, a training size and a seed."""

    def __init__(self, catalog: Catalog, partition: Partition, model: str, size: int | str, seed: int) -> None:
        self.catalog, self.partition = catalog, partition
        self.model, self.size, self.seed = model, size, seed
        self.tags = partition.tags
        self.kinds = catalog.tags.loc[self.tags, "kind"].tolist()

    @cached_property
    def training(self) -> list[str]:
        """The training tracks, by rank; of a cell of one fold where the partition has folds."""
        return self.partition.training_subset(self.size)

    @cached_property
    def folds(self) -> dict[str, "Cell"]:
        """The cell's trainings by the name of their fold, one after another; {"": self} without folds."""
        views = self.partition.views()
        return {
            name: Cell(self.catalog, view, self.model, self.size, self.seed) if name else self
            for name, view in views.items()
        }

    @property
    def train_tracks(self) -> int:
        """The number of training tracks; the mean over the folds, which differ by a few."""
        return round(fmean(len(cell.training) for cell in self.folds.values()))

    @cached_property
    def unlearned(self) -> dict[str, str]:
        """The tags that the training tracks say nothing about -> why; no model's scores of them mean anything."""
        reasons = constant_reasons(self.labels(self.training), self.kinds)
        return {tag: reason for tag, reason in zip(self.tags, reasons, strict=True) if reason}

    def labels(self, tracks: list[str]) -> np.ndarray:
        """(tracks, tags) float32, NaN = not annotated."""
        return self.catalog.labels.loc[tracks, self.tags].to_numpy(np.float32)

    def data_tags(self, params: Params) -> dict[str, str]:
        """The names of the data version and of its split, for people; the identity holds their hashes."""
        version = params.dataset.version or tracking.UNPUBLISHED
        return {tracking.DATA_VERSION: version, tracking.SPLIT: self.partition.split}

    @property
    def data(self) -> tracking.DataFacts:
        """What MLflow shows of the dataset."""
        tracks, (source, root) = self.catalog.tracks, self.catalog.origin
        place = f"tagscale {source}" if source == "synth" else str(Path(root).absolute())
        return tracking.DataFacts(place, list(self.catalog.tags.index), len(tracks), artist_keys(tracks).nunique())

    def logged(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of the run in MLflow: settings, number of training tracks, and number of folds if any."""
        folds = {"folds": len(self.folds)} if self.partition.folds else {}
        return {**settings, "train_tracks": self.train_tracks} | folds

    def identity(self, settings: Mapping[str, Any]) -> RunIdentity:
        return RunIdentity(
            model=self.model,
            size=str(self.size),
            seed=self.seed,
            dataset=self.catalog.name,
            dataset_hash=self.partition.data_hash,
            partition_hash=self.partition.hash,
            settings_hash=hash_of(settings),
        )


@dataclass(frozen=True)
class Outcome:
    """What a training of seconds says of itself.

    parameters: number of numbers that were learned
    words: for its line on the console
    params, metrics: for MLflow; a metric is the mean over the folds
    seconds: what the training counts as; None: as long as it took
    """

    parameters: int
    words: str
    params: Mapping[str, int | str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None


def train_at_once(
    params: Params,
    cell: Cell,
    settings: Mapping[str, Any],
    run: Path,
    unfinished: Path | None,
    train: Callable[[Cell, Path], Outcome],
) -> None:
    """Train a model that takes seconds, or one a fold, and write the run's folder; log both to MLflow.

    On a partition in folds, each fold has such a folder in the run's (`join_folds`). An interruption leaves nothing.

    Args:
        settings: what decides the run, beside the data
        unfinished: where metrics wait while MLflow cannot be reached; RUN.unfinished, beside the run, when not given
        train: trains on the training part of a cell, and writes the model into the folder
    """
    identity, logged = cell.identity(settings), cell.logged(settings)
    unsent = unfinished or run.with_name(f"{run.name}.unfinished")
    with tracking.start_run(params.tracking.experiment, identity, logged, run, unsent, cell.data) as tracked:
        tracked.set_tags(cell.data_tags(params))
        outcomes, machine = [], tracking.Machine()
        with replacing(run) as fresh:
            for name, part in cell.folds.items():
                begin, folder = time.perf_counter(), fresh / name
                folder.mkdir(parents=True)
                outcome = train(part, folder)
                seconds = time.perf_counter() - begin if outcome.seconds is None else outcome.seconds
                write_run(folder, part.identity(settings), part, outcome.parameters, seconds)
                say(identity, part, outcome.parameters, begin, outcome.words, name)
                outcomes.append(outcome)
            if cell.partition.folds:
                join_folds(fresh, cell.folds, identity)
        facts = run_output(run).facts(RunFacts)
        tracked.log_params({"parameters": facts["parameters"], **outcomes[0].params})
        means = {name: fmean(one.metrics[name] for one in outcomes) for name in outcomes[0].metrics}
        tracked.log_metrics({"train_seconds": facts["seconds"]} | means | machine.sample())
        tracked.log_model(identity.name)


def write_run(
    folder: Path, identity: RunIdentity, cell: Cell, parameters: int, seconds: float, kept_step: int | None = None
) -> None:
    """Write run.json: identity, number of training tracks, tags that they say nothing about, number of parameters,
    seconds of training; of a network also the step whose weights it has."""
    facts: RunFacts = {
        "identity": identity,
        "train_tracks": len(cell.training),
        "parameters": parameters,
        "seconds": round(seconds, 1),
        "unlearned": cell.unlearned,
    }
    if kept_step is not None:
        facts["kept_step"] = kept_step
    seal(folder, RUN, facts | {"identity": identity.as_dict()})


def is_complete(folder: Path) -> bool:
    """Whether a run's folder is there, and whole."""
    try:
        run_output(folder).check()
    except Damaged:
        return False
    return True


def join_folds(run: Path, folds: Iterable[str], identity: RunIdentity) -> RunFacts:
    """Write run.json of a run whose folds are complete folders in it, and history.csv where they have one.

    Numbers of tracks and parameters are means over the folds, seconds their sum; an unlearned tag's reason names its
    folds; a row of history.csv is the mean of the folds at a step that all of them reached. Returns the content of
    run.json.

    Raises:
        Damaged: a fold is missing or not as it was written.
    """
    outputs = {name: run_output(run / name) for name in folds}
    facts = [output.facts(RunFacts) for output in outputs.values()]
    if all((run / name / HISTORY).exists() for name in outputs):
        histories = [pd.read_csv(run / name / HISTORY) for name in outputs]
        rows = pd.concat(histories).groupby("step")
        means = rows.mean(numeric_only=True)[rows.size() == len(histories)].reset_index()
        means.to_csv(run / HISTORY, index=False, float_format="%.6f", lineterminator="\n")
    whole: RunFacts = {
        "identity": identity,
        "train_tracks": round(fmean(one["train_tracks"] for one in facts)),
        "parameters": round(fmean(one["parameters"] for one in facts)),
        "seconds": round(sum(one["seconds"] for one in facts), 1),
        "folds": len(facts),
        "unlearned": _unlearned_in(dict(zip(outputs, facts, strict=True))),
    }
    files = [path.name for path in run.iterdir() if path.is_file()] + [f"{name}/{RUN}" for name in outputs]
    seal(run, RUN, whole | {"identity": identity.as_dict()}, sorted(files))
    return whole


def _unlearned_in(folds: Mapping[str, RunFacts]) -> dict[str, str]:
    """The tags that some fold's training tracks say nothing about -> why, and in which folds.

    >>> _unlearned_in({"fold-1": {"unlearned": {"sitar": "0 in all"}}, "fold-2": {"unlearned": {}}})
    {'sitar': '0 in all (fold-1)'}
    """
    names: dict[str, dict[str, list[str]]] = {}
    for name, facts in folds.items():
        for tag, reason in facts.get("unlearned", {}).items():
            names.setdefault(tag, {}).setdefault(reason, []).append(name)
    return {
        tag: "; ".join(f"{reason} ({listed(of)})" for reason, of in reasons.items()) for tag, reasons in names.items()
    }


def say(identity: RunIdentity, cell: Cell, parameters: int, begin: float, outcome: str, fold: str = "") -> None:
    """Print a line about a finished training that began at `begin` (time.perf_counter), and one about the tags that
    it could not learn."""
    name = f"{identity.name} {fold}".rstrip()
    spent = f"{time.perf_counter() - begin:.0f} s"
    lines = [f"{name}: {len(cell.training)} tracks, {parameters:,} parameters, {outcome}, {spent}"]
    if cell.unlearned:
        tags = [f"{tag} ({reason})" for tag, reason in cell.unlearned.items()]
        named = listed(tags, SHOWN) + (f" (all: {RUN})" if len(tags) > SHOWN else "")
        lines.append(f"{name}: nothing to learn, so every track scores about alike: {named}")
    print(*lines, sep="\n", flush=True)
