"""What Kubeflow shows on the page of an artifact: what it is, how much it holds, and where MLflow has more on it.

Kubeflow Pipelines 2.17.0 keeps an artifact's metadata in its metadata store and hands them to later tasks
(backend/src/v2/metadata/converter.go). It takes text, numbers and truth values, fails the task for a null, and has keys
of its own.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq

from tagscale.runtime.absent import absence_in
from tagscale.runtime.files import read_json, sha256_of
from tagscale.runtime.identity import RUN, RunFacts, content_of_run, hash_of, run_output
from tagscale.store.read import Store
from tagscale.study.members import folders_in

RESERVED = ("display_name", "store_session_info", "_kfp_workspace")
Facts = dict[str, str | int | float | bool | None]


class Artifact(Protocol):
    """An artifact that a task makes, as kfp gives it to the task."""

    metadata: dict[str, Any]


def describe(artifact: Artifact, facts: Facts) -> None:
    """Give an artifact its metadata; None and numbers that are not finite are left out.

    Raises:
        ValueError: `hash` is missing, a key is one of Kubeflow's, or a value is of another type.
    """
    if not facts.get("hash"):
        raise ValueError("an artifact without its hash")
    for name, value in facts.items():
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        if name in RESERVED or type(value) not in (str, int, float, bool):
            raise ValueError(f"{name} = {value!r} cannot be metadata of an artifact")
        artifact.metadata[name] = value


def of_settings(text: str, dataset: str, experiment: str, run_id: str) -> Facts:
    """Of the settings, as JSON, of a pipeline whose run in MLflow this is."""
    return {"hash": hash_of(text), "dataset": dataset, "experiment": experiment} | of_mlflow(run_id)


def of_mlflow(run_id: str | None) -> Facts:
    """Where MLflow has a run, or nothing without one."""
    from tagscale import tracking  # here: the tasks before the trainings need no mlflow, whose import takes seconds

    return {"mlflow_run": run_id, "mlflow": tracking.run_page(run_id) if run_id else None}


def of_catalog(folder: Path) -> Facts:
    """Of the tables of a dataset."""
    facts = read_json(folder / "dataset.json")
    return {name: facts[name] for name in ("hash", "source", "tracks", "artists", "tags")} | {"dataset": facts["name"]}


def of_store(folder: Path) -> Facts:
    """Of the store in a folder of the volume."""
    store = Store.open(folder)
    return {"hash": store.hash, "tracks": len(store), "address": str(folder)}


def of_validation(folder: Path, version: str | None) -> Facts:
    """Of the findings on the data, whose version has this name."""
    findings = read_json(folder / "validation.json")
    facts: Facts = {"hash": findings["data_hash"], "version": version, "tags": len(findings["tags"])}
    return facts | {name: findings[name] for name in ("tracks", "quarantined")}


def of_partition(folder: Path) -> Facts:
    """Of a partition, with the number of tracks of each part."""
    facts = read_json(folder / "partition.json")
    counts = {f"{part}_tracks": count for part, count in facts["counts"].items()}
    return {name: facts[name] for name in ("hash", "data_hash", "split")} | counts


def of_inputs(content: str, folder: Path, partition: Path) -> Facts:
    """Of descriptors or features, in a folder of the volume, of the tracks of a partition."""
    tracks = sum(read_json(partition / "partition.json")["counts"].values())
    return {"hash": content, "tracks": tracks, "address": str(folder)}


def of_run(folder: Path) -> Facts:
    """Of a finished run, or of one that the study does without."""
    if absence := absence_in(folder):
        return {"hash": content_of_run(folder), "run": absence["run"], "absent": absence["reason"]}
    facts = run_output(folder).facts(RunFacts)
    shown: Facts = {"hash": content_of_run(folder), "run": facts["identity"].name} | facts["identity"].as_dict()
    shown |= {"train_tracks": facts["train_tracks"], "parameters": facts["parameters"], "seconds": facts["seconds"]}
    return shown | _of_record(folder)


def of_results(folder: Path, run: Path) -> Facts:
    """Of the results of a run: its metrics on the test part."""
    if absence := absence_in(folder):
        return {"hash": hash_of(absence), "run": absence["run"], "absent": absence["reason"]}
    facts = read_json(folder / "metrics.json")
    scores = {f"test_{name}": value for name, value in facts["test"].items()}
    name = run_output(run).facts(RunFacts)["identity"].name
    return {"hash": _hash(folder / "metrics.json"), "run": name} | scores | _of_record(run)


def of_ensembles(folder: Path) -> Facts:
    """Of all ensembles of a study."""
    runs, _ = folders_in(folder)
    return {"hash": hash_of([content_of_run(run) for run in runs]), "runs": sum((run / RUN).exists() for run in runs)}


def of_reports(folder: Path, parent: str) -> Facts:
    """Of the report on a study, whose pipeline has this run in MLflow."""
    return {"hash": _hash(folder / "metrics.json")} | of_mlflow(parent)


def of_registration(folder: Path) -> Facts:
    """Of what the registry has from a study: the version, and the gate's decision."""
    from tagscale import tracking

    outcome = read_json(folder / "registration.json")
    page = tracking.version_page(outcome["name"], outcome["version"])
    return {"hash": _hash(folder / "registration.json")} | outcome | {"mlflow": page}


def of_plan(plan: Mapping[str, Any]) -> Facts:
    """Of what the shards of a catalogue agree on."""
    shown = ("catalogue", "model", "version", "shards", "embeddings")
    return {"hash": plan["sha256"][:12], "address": plan["scores"]} | {name: plan[name] for name in shown}


def of_shard(file: Path) -> Facts:
    """Of the rows of a shard."""
    return {"hash": _hash(file), "rows": pq.read_metadata(file).num_rows, "address": str(file)}


def of_scores(folder: Path, summary: dict[str, Any]) -> Facts:
    """Of the rows of a whole catalogue."""
    shown = ("model", "version", "files", "tagged", "errors", "hours")
    return {"hash": summary["sha256"][:12], "address": str(folder)} | {name: summary[name] for name in shown}


def _of_record(run: Path) -> Facts:
    from tagscale import tracking

    return of_mlflow(tracking.recorded_run(run))


def _hash(file: Path) -> str:
    return sha256_of(file)[:12]
