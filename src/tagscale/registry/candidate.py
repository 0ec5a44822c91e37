"""The candidate of a study: the run of any kind that is best on the validation part, which may become a version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tagscale.evaluation.metrics import METRICS, check_known
from tagscale.models.spec import Role, role_of
from tagscale.params.load import Params
from tagscale.registry.trained import weights_hash
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunFacts, RunIdentity, run_name, run_output
from tagscale.study.grid import Study, best_run, read_study
from tagscale.tracking import identity_tags

SHA256 = "tagscale.weights_sha256"  # a version's tag


@dataclass(frozen=True)
class Candidate:
    """The study's best run on the validation part, and its best baseline; the same on every machine.

    The baseline is the best run of descriptors, None where the study has none or where it is the candidate.
    """

    candidate: str
    role: Role
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


def choose(params: Params, runs: Sequence[Path], results: Sequence[Path]) -> tuple[Candidate, Study]:
    """The candidate, and the study with the folders of its runs.

    Args:
        runs, results: folders of the study's runs, baselines included; other folders among them are ignored
    Raises:
        TagscaleError: incomplete study, unknown registry.metric, or no run of `registry.candidates` that has it.
    """
    check_known(params.registry.metric, "registry.metric")
    grid = params.train
    study = read_study(runs, results, models=grid.everyone, sizes=grid.sizes, seeds=grid.seeds)
    metric = params.registry.metric
    roles = params.registry.candidates
    if not any(role_of(model) in roles for model in study.everyone):
        there = ", ".join(dict.fromkeys(role_of(model) for model in study.everyone))
        raise TagscaleError(
            f"No run of the study may be chosen: registry.candidates names {', '.join(roles)}, and the study has "
            f"{there}. Add one of these to registry.candidates in params.yaml."
        )
    best = study.candidate(metric, roles)
    if best is None:
        choices = ", ".join(f"{one.key} ({' and '.join(one.kinds)} tags)" for one in METRICS.values())
        raise TagscaleError(
            f"No run of the study has a {METRICS[metric].label} on the validation part, so none can be chosen. "
            f"Set registry.metric in params.yaml to one that the tags have: {choices}."
        )
    return candidate_of(best, study, metric), study


def candidate_of(best: Mapping[str, Any], study: Study, metric: str) -> Candidate:
    """A run of the study as a candidate.

    Args:
        best: its row of `study.runs`
    """
    others = [model for model in study.baselines if model != best["model"]]
    baseline = best_run(study.runs, others, metric)
    name = run_name(best["model"], best["size"], best["seed"])
    trained, _ = study.folders[name]
    run_output(trained).check()
    return Candidate(
        candidate=name,
        role=role_of(best["model"]),
        identity=run_output(trained).facts(RunFacts)["identity"].as_dict(),
        train_tracks=int(best["train_tracks"]),
        parameters=int(best["parameters"]),
        weights_sha256=weights_hash(trained),
        valid=_values(best, "valid"),
        test=_values(best, "test"),
        baseline=run_name(baseline["model"], baseline["size"], baseline["seed"]) if baseline is not None else None,
        baseline_test=_values(baseline, "test") if baseline is not None else {},
    )


def _values(row: Mapping[str, Any], part: str) -> dict[str, float]:
    return {metric: float(row[f"{part}_{metric}"]) for metric in METRICS if not pd.isna(row[f"{part}_{metric}"])}
