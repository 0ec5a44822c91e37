"""MLflow, as tagscale uses it: an experiment per study, a run per model x size x seed, found again by its identity.

Stages are separate processes that work on the same run one after another (train logs curves, evaluate logs metrics),
so a run is found by the identity in its tags and no global "active run" exists. Without MLFLOW_TRACKING_URI everything
lands in ./mlflow.db and ./mlartifacts, which `mlflow server --backend-store-uri sqlite:///mlflow.db` shows.
"""

import json
import logging
import os
import re
import ssl
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from tagscale.errors import TagscaleError
from tagscale.identity import RunIdentity
from tagscale.provenance import git_commit, user

# Read by mlflow while it is imported, so they are set before.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

DATA_VERSION, SPLIT = "tagscale.data_version", "tagscale.split"  # tags of runs and registered versions
UNPUBLISHED = "unpublished"  # data without a name
_PROBE_SECONDS = 5.0  # an absent server is told at once; mlflow itself would try again for minutes
_LONGEST_PARAM = 6000  # characters; MLflow refuses more
_PARAMS_AT_ONCE, _METRICS_AT_ONCE = 100, 1000  # MLflow's limits for one request


def configure() -> str:
    """The tracking URI in force: MLFLOW_TRACKING_URI, or the SQLite store in this folder. Quietens MLflow's logs."""
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / 'mlflow.db'}"


def connect() -> MlflowClient:
    """A client of the store in force.

    Raises:
        TagscaleError: the server does not answer or the store cannot be opened; names the URI.
    """
    uri = configure()
    if uri.startswith("file:") or "://" not in uri:
        raise TagscaleError(
            f"MLFLOW_TRACKING_URI is {uri}, a folder, and this MLflow no longer keeps runs in folders. "
            "Unset it for ./mlflow.db, or give sqlite:///FILE.db or the http:// address of a server."
        )
    if uri.startswith("http"):
        _probe(uri)
    with explained(uri):
        return MlflowClient(tracking_uri=uri, registry_uri=os.environ.get("MLFLOW_REGISTRY_URI") or uri)


def _probe(uri: str) -> None:
    """Ask once whether a server is there at all. Whatever it answers, mlflow deals with (log-in, certificates)."""
    try:
        urllib.request.urlopen(uri, timeout=_PROBE_SECONDS).close()
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(error, HTTPError) or isinstance(reason, ssl.SSLError):
            return
        raise TagscaleError(
            f"{uri}: no MLflow server answers there ({reason}). Start it, correct MLFLOW_TRACKING_URI, or unset "
            "that variable to track into ./mlflow.db."
        ) from None


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what MLflow and its database raise inside the block into a TagscaleError that names the store."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0][:500]
        raise TagscaleError(f"MLflow at {uri}: {reason}. Check MLFLOW_TRACKING_URI and the store behind it.") from error


@dataclass(frozen=True)
class TrackedRun:
    """One MLflow run that is open for writing. Every method raises TagscaleError when the store refuses."""

    run_id: str
    experiment_id: str
    client: MlflowClient = field(repr=False)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings; nested blocks become dotted names. MLflow refuses to change a parameter once logged."""
        entries = [Param(key, value) for key, value in flattened(params).items()]
        with self._explained():
            for some in _chunks(entries, _PARAMS_AT_ONCE):
                self.client.log_batch(self.run_id, params=some)

    def log_metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers at a step (an epoch, for curves); None, a metric with nothing to score, is left out."""
        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value in metrics.items() if value is not None]
        with self._explained():
            for some in _chunks(entries, _METRICS_AT_ONCE):
                self.client.log_batch(self.run_id, metrics=some)

    def steps_of(self, metric: str) -> set[int]:
        """Steps at which a metric has been logged, by an earlier process of the run too."""
        with self._explained():
            return {point.step for point in self.client.get_metric_history(self.run_id, metric)}

    def log_artifacts(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or the content of a directory, under `folder` of the run's artifacts."""
        path = Path(path)
        if not path.exists():
            raise TagscaleError(f"{path}: no such file or directory, so it cannot be stored with the MLflow run.")
        store = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        with self._explained():
            store(self.run_id, str(path), folder)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        with self._explained():
            self.client.log_batch(self.run_id, tags=[RunTag(key, str(value)) for key, value in tags.items()])

    def git_commit(self) -> str:
        """The commit whose code made this run."""
        with self._explained():
            return self.client.get_run(self.run_id).data.tags.get("mlflow.source.git.commit", "unknown")

    def _explained(self) -> Any:
        return explained(self.client.tracking_uri)


@contextmanager
def start_run(experiment: str, identity: RunIdentity, params: Mapping[str, Any]) -> Iterator[TrackedRun]:
    """Open the run of a training that begins now.

    An interrupted run of the same identity (not FINISHED, and with no parameter that contradicts `params`) is
    continued, otherwise a new one starts. It is FINISHED when the block ends, FAILED when it raises, KILLED on Ctrl-C.
    """
    client = connect()
    with explained(client.tracking_uri):
        experiment_id = made_experiment(client, experiment)
        run = _newest(client, experiment_id, identity_tags(identity))
        wanted = flattened(params)
        if run is not None:
            contradicted = any(wanted.get(key, value) != value for key, value in run.data.params.items())
            if run.info.status == "FINISHED" or contradicted:
                run = None
        if run is None:
            run = _create(client, experiment_id, identity)
        client.update_run(run.info.run_id, status="RUNNING")
    tracked = TrackedRun(run.info.run_id, experiment_id, client)
    with _ending(tracked):
        tracked.log_params(params)
        yield tracked


@contextmanager
def find_run(experiment: str, identity: RunIdentity) -> Iterator[TrackedRun]:
    """Open the newest run of that identity to add to it; start one where there is none (a new store, say)."""
    client = connect()
    with explained(client.tracking_uri):
        experiment_id = made_experiment(client, experiment)
        run = _newest(client, experiment_id, identity_tags(identity)) or _create(client, experiment_id, identity)
    with _ending(TrackedRun(run.info.run_id, experiment_id, client), finished=run.info.status == "FINISHED") as tracked:
        yield tracked


@contextmanager
def study_run(experiment: str, name: str, tags: Mapping[str, Any]) -> Iterator[TrackedRun]:
    """Open the study's own run, for comparison and report: the interrupted one of this name, or a new one."""
    client = connect()
    own = {"tagscale.study": name}
    with explained(client.tracking_uri):
        experiment_id = made_experiment(client, experiment)
        run = _newest(client, experiment_id, own)
        if run is None or run.info.status == "FINISHED":
            run = client.create_run(experiment_id, run_name=name, tags=own | _provenance())
        client.update_run(run.info.run_id, status="RUNNING")
    with _ending(TrackedRun(run.info.run_id, experiment_id, client)) as tracked:
        tracked.set_tags(tags)
        yield tracked


def identity_tags(identity: RunIdentity) -> dict[str, str]:
    """The tags by which a run and a registered version carry their identity: {"tagscale.model": "waveform", ...}."""
    return {f"tagscale.{key}": str(value) for key, value in identity.as_dict().items()}


def flattened(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names with text values, as MLflow keeps them.

    >>> flattened({"train": {"batch": 32, "sizes": [100, "all"]}, "soundfont": None})
    {'train.batch': '32', 'train.sizes': "[100, 'all']", 'soundfont': 'None'}
    """
    flat: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = str(value)[:_LONGEST_PARAM]
    return flat


def made_experiment(client: MlflowClient, name: str) -> str:
    """Id of the experiment, made where it does not exist; artifacts of an SQLite store lie beside its database file."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        database = re.fullmatch(r"sqlite:///(.+)", client.tracking_uri)
        artifacts = (Path(database[1]).absolute().parent / "mlartifacts").as_uri() if database else None
        try:
            kind = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's pages for training, not for agents
            return str(client.create_experiment(name, artifact_location=artifacts, tags=kind))
        except MlflowException:  # another process was first
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise TagscaleError(
            f"MLflow at {client.tracking_uri}: experiment {name!r} was deleted. Restore it with `mlflow experiments "
            f"restore -x {experiment.experiment_id}`, or set another tracking.experiment in params.yaml."
        )
    return str(experiment.experiment_id)


def _newest(client: MlflowClient, experiment_id: str, tags: Mapping[str, str]) -> Run | None:
    condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    order = ["attributes.start_time DESC"]
    found = client.search_runs([experiment_id], filter_string=condition, max_results=1, order_by=order)
    return found[0] if found else None


def _create(client: MlflowClient, experiment_id: str, identity: RunIdentity) -> Run:
    tags = identity_tags(identity) | _provenance()
    run = client.create_run(experiment_id, run_name=identity.name, tags=tags)
    dataset = Dataset(
        name=identity.dataset,
        digest=identity.dataset_hash,
        source_type="local",
        source=json.dumps({"uri": identity.dataset}),
        profile=json.dumps({"partition": identity.partition_hash, "training_size": identity.size}),
    )
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
    return run


def _provenance() -> dict[str, str]:
    """Who ran which code, under the names that MLflow's pages show."""
    return {
        "mlflow.user": user(),
        "mlflow.source.name": "tagscale",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git_commit(),
    }


@contextmanager
def _ending(run: TrackedRun, finished: bool = False) -> Iterator[TrackedRun]:
    """Give the run its final status; one that had `finished` before keeps its end time unless the block raises."""
    try:
        yield run
    except BaseException as error:
        with suppress(Exception):  # the error that ended the block matters more than a store that is gone too
            run.client.set_terminated(run.run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    if not finished:
        with explained(run.client.tracking_uri):
            run.client.set_terminated(run.run_id, "FINISHED")


def _chunks(entries: list[Any], size: int) -> Iterable[list[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))
