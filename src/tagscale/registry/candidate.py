"""The candidate of a study: the front-end run that is best on the validation part, which may become a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tagscale.evaluation.metrics import METRICS, check_known
from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import sha256_of
from tagscale.runtime.identity import RunFacts, RunIdentity, run_name, run_output
from tagscale.study.grid import read_study
from tagscale.tracking import identity_tags
from tagscale.training import checkpoint

SHA256 = "tagscale.weights_sha256"  # a version's tag


@dataclass(frozen=True)
class Candidate:
    """The study's best front-end run on the validation part, and its best baseline; the same on every machine."""

    candidate: str
    identity: dict[str, Any]
    train_tracks: int
    parameters: int
    weights_sha256: str
    valid: dict[str, float]
    test: dict[str, float]
    baseline: str | None
    baseline_test: dict[str, float]

    @property
    def marks(self) -> dict[str, str]:
        """The tags by which the registry knows this run from all others: its identity and its weights."""
        return identity_tags(RunIdentity(**self.identity)) | {SHA256: self.weights_sha256}


def choose(params: Params, runs: Sequence[Path], results: Sequence[Path]) -> tuple[Candidate, Path, Path]:
    """The candidate, the folder of its run and that of its results.

    Args:
        runs, results: folders of the study's runs, baselines included; other folders among them are ignored
    Raises:
        TagscaleError: incomplete study, unknown registry.metric, or no front-end that has it.
    """
    check_known(params.registry.metric, "registry.metric")
    if params.partition.folds:
        raise TagscaleError(
            f"partition.folds: found {params.partition.folds}, and a run in folds is several models, which cannot be "
            "registered as one yet. Set partition.folds to null and run `dvc repro` to train and register one model."
        )
    grid = params.train
    study = read_study(runs, results, models=grid.everyone, sizes=grid.sizes, seeds=grid.seeds)
    metric = params.registry.metric
    best = _best(study.runs, study.networks, metric)
    if best is None:
        choices = ", ".join(f"{one.key} ({' and '.join(one.kinds)} tags)" for one in METRICS.values())
        raise TagscaleError(
            f"No front-end of the study has a {METRICS[metric].label} on the validation part, so none can be chosen. "
            f"Set registry.metric in params.yaml to one that the tags have: {choices}."
        )
    baseline = _best(study.runs, study.baselines, metric)
    name = run_name(best["model"], best["size"], best["seed"])
    trained, scored = study.folders[name]
    run_output(trained).check()
    chosen = Candidate(
        candidate=name,
        identity=run_output(trained).facts(RunFacts)["identity"].as_dict(),
        train_tracks=int(best["train_tracks"]),
        parameters=int(best["parameters"]),
        weights_sha256=sha256_of(trained / checkpoint.WEIGHTS),
        valid=_values(best, "valid"),
        test=_values(best, "test"),
        baseline=run_name(baseline["model"], baseline["size"], baseline["seed"]) if baseline is not None else None,
        baseline_test=_values(baseline, "test") if baseline is not None else {},
    )
    return chosen, trained, scored


def _best(table: pd.DataFrame, models: Sequence[str], metric: str) -> dict[str, Any] | None:
    """The row of the best run of these models on the validation part; on a tie, the first in the grid's order."""
    rows = table[table["model"].isin(models)].dropna(subset=[f"valid_{metric}"])
    ranked = rows.sort_values(f"valid_{metric}", ascending=METRICS[metric].lower_is_better, kind="stable")
    return dict(ranked.iloc[0]) if len(ranked) else None


def _values(row: Mapping[str, Any], part: str) -> dict[str, float]:
    return {metric: float(row[f"{part}_{metric}"]) for metric in METRICS if not pd.isna(row[f"{part}_{metric}"])}
