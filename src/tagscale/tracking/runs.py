"""Runs in MLflow: started or found by their identity, logged to, and ended."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from tagscale.runtime.command import print_plainly
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity
from tagscale.runtime.owner import is_running, this_process
from tagscale.runtime.provenance import git_commit, user
from tagscale.tracking.data import DataFacts, dataset_entry, identity_params
from tagscale.tracking.models import subject_of
from tagscale.tracking.nesting import PARENT, context_tags, study_of
from tagscale.tracking.outbox import Outbox, active_run, deliver, limited, send_all, send_complete, send_interrupted
from tagscale.tracking.record import PROCESS, Record
from tagscale.tracking.server import WAIT, ServerAway, connect, environment, explained, made_experiment, shown
from tagscale.tracking.unsent import LOGGED, Entry, journal_of, read
from tagscale.tracking.views import StudyFacts, save_view

DATA_VERSION, SPLIT = "tagscale.data_version", "tagscale.split"  # tags of runs and registered versions
UNPUBLISHED = "unpublished"  # data without a name
ORIGINAL = "tagscale.sent_again_from"  # tag of a run made from a record: MLflow's id of the run that was recorded
_LONGEST_PARAM = 6000  # characters; MLflow refuses more
_ANSWER_SECONDS = 15  # for an answer that a task does without
_PARAMS_AT_ONCE, _METRICS_AT_ONCE = 100, 1000  # MLflow's limits for one request


@dataclass(frozen=True)
class TrackedRun:
    """One MLflow run that is open for writing. Every method raises TagscaleError when the store refuses.

    With an outbox, the logging methods also work during an outage of the server. A record keeps all that they log.
    """

    run_id: str
    experiment_id: str
    client: MlflowClient = field(repr=False)
    outbox: Outbox | None = field(default=None, repr=False)
    record: Record | None = field(default=None, repr=False)
    home: Path | None = field(default=None, repr=False)  # folder of the run, of a training
    subject: Mapping[str, str] | None = None  # what metrics are about: the model and the dataset (`models.subject_of`)
    study: str | None = None  # id of the study's run that it nests in, which shows the state of the training under way

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings. Nested blocks become dotted names. MLflow refuses to change a logged parameter."""
        for some in _chunks(list(flattened(params).items()), _PARAMS_AT_ONCE):
            self._log({"params": dict(some)})

    def log_metrics(self, metrics: Mapping[str, float | None], step: int = 0) -> None:
        """Log numbers at a step (of the optimiser, for curves). None, a metric with nothing to score, is skipped."""
        now = int(time.time() * 1000)
        entries = [[key, float(value), now, step] for key, value in metrics.items() if value is not None]
        for some in _chunks(entries, _METRICS_AT_ONCE):
            self._log({"metrics": some})
        if self.home is None:
            self._supersede(entries)

    def _supersede(self, entries: list[list[Any]]) -> None:
        """Log numbers again, with a later time, where MLflow still shows older ones: a clock was set back."""
        shown, late = self.metrics(), []
        for key, value, _, step in entries:
            if math.isfinite(value) and shown.get(key) != value:
                with explained(self.client.tracking_uri):
                    points = self.client.get_metric_history(self.run_id, key)
                if step == max(point.step for point in points):  # MLflow shows the last step
                    late.append([key, value, max(point.timestamp for point in points) + 1, step])
        for some in _chunks(late, _METRICS_AT_ONCE):
            self._log({"metrics": some})

    def metrics(self) -> dict[str, float]:
        """The newest value of every metric that is logged."""
        with explained(self.client.tracking_uri):
            return dict(self.client.get_run(self.run_id).data.metrics)

    def steps_of(self, metric: str) -> set[int]:
        """Steps at which a metric is logged, including those of the run's earlier processes."""
        if self.outbox:
            return set(self.outbox.logged.get(metric, ()))
        with explained(self.client.tracking_uri):
            return {point.step for point in self.client.get_metric_history(self.run_id, metric)}

    def log_artifacts(self, path: Path, folder: str | None = None) -> None:
        """Store a file, or the content of a directory, under `folder` of the run's artifacts."""
        path = Path(path)
        if not path.exists():
            raise TagscaleError(f"{path}: no such file or directory, so it cannot be stored with the MLflow run.")
        if self.home:
            return self._log({"artifacts": path.relative_to(self.home).as_posix(), "folder": folder})
        store = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        with explained(self.client.tracking_uri):
            store(self.run_id, str(path), folder)

    def log_model(self, name: str) -> None:
        """Log the files in the run's folder as its model."""
        self._log({"model": name, "path": "."})

    def log_data(self, identity: RunIdentity, data: DataFacts | None = None) -> None:
        """Log the dataset that the run learns from, once."""
        self._log(dataset_entry(identity, data))

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self._log({"tags": {key: str(value) for key, value in tags.items()}})

    def git_commit(self) -> str:
        """Git commit of the code that made this run."""
        with explained(self.client.tracking_uri):
            return self.client.get_run(self.run_id).data.tags.get("mlflow.source.git.commit", "unknown")

    def end(self, status: str) -> None:
        """Give the run its final status: FINISHED, FAILED or KILLED."""
        self._log({"status": status, "time": int(time.time() * 1000)})
        if status == "FINISHED":
            if self.record:
                self.record.finish()
            if self.outbox:
                self.outbox.finish()
        if self.study and not (self.outbox and self.outbox.pending):
            # Without an answer, the next process ends the study's run
            with suppress(ServerAway), explained(self.client.tracking_uri), limited(_ANSWER_SECONDS):
                self.client.set_terminated(self.study, status)

    def _log(self, entry: Entry) -> None:
        if self.record:
            self.record.add(entry)
        if self.outbox:
            self.outbox.add(entry)
        else:
            with explained(self.client.tracking_uri):
                deliver(self.client, self.run_id, entry, self.home, self.subject)


@contextmanager
def start_run(
    experiment: str,
    identity: RunIdentity,
    params: Mapping[str, Any],
    folder: Path | None = None,
    unfinished: Path | None = None,
    data: DataFacts | None = None,
) -> Iterator[TrackedRun]:
    """Open the run of a training that starts now. Model, training size and seed are parameters, beside `params`.

    Resumes an interrupted run of the same identity (not FINISHED, with no parameter that contradicts `params`, and
    without another process that works on it); otherwise creates one. It is FINISHED when the block ends, FAILED when it
    raises, KILLED on Ctrl-C. After a SIGKILL, the next process on this machine that opens a run marks it as KILLED.

    Args:
        folder, unfinished: folders of the run, and of its state until it is complete. With both, the run nests in that
            of its study, its record is kept there, and training continues if the server stops answering once the run
            is open. Unsent entries are kept there as well, and those of an earlier process are sent first.
        data: what MLflow shows of the dataset, beside its name and its hash
    """
    client = connect()
    if folder and unfinished:
        send_complete(client, folder)
        send_interrupted(client, unfinished)
    outbox = record = study = None
    settings = flattened(params) | identity_params(identity)
    with explained(client.tracking_uri):
        experiment_id = made_experiment(client, experiment)
        _end_lost(client, experiment_id)
        run = _resumable(client, experiment_id, identity, settings, unfinished)
        run = run or _create(client, experiment_id, identity)
        if folder and PARENT not in context_tags():
            about = identity.dataset, identity.dataset_hash, identity.partition_hash
            study = study_of(client, experiment_id, *about, _provenance())
            _claim(client, study)
        _claim(client, run.info.run_id, study)
        if folder and unfinished:
            record = Record(client, run, unfinished, folder)
            if client.tracking_uri.startswith("http"):
                outbox = Outbox(client, run, unfinished, folder)
    home = folder if record else None
    tracked = TrackedRun(run.info.run_id, experiment_id, client, outbox, record, home, study=study)
    with _ending(tracked):
        tracked.log_params(settings)
        tracked.log_data(identity, data)
        yield tracked


@contextmanager
def find_run(experiment: str, identity: RunIdentity, folder: Path | None = None) -> Iterator[TrackedRun]:
    """Open the run of a training to add to it.

    It is the run that the record in `folder` names. If this store lacks that run (it was deleted, or the store is
    another one), it is made again from the record, with a line that says so. Without a record it is the newest run of
    the identity, in the experiment or in any other, because a renamed study keeps its trainings; or else a new one.

    Args:
        folder: folder of the run; unsent entries of its training are sent first
    """
    client = connect()
    if folder:
        send_complete(client, folder)
    with explained(client.tracking_uri):
        experiment_id = made_experiment(client, experiment)
        _end_lost(client, experiment_id)
        others = [other.experiment_id for other in client.search_experiments()]
        run = _recorded(client, experiment_id, others, identity, folder) if folder else None
        if run is None:
            tags = identity_tags(identity)
            run = _newest(client, [experiment_id], tags) or _newest(client, others, tags)
        if run is None:
            run = _create(client, experiment_id, identity)
            deliver(client, run.info.run_id, dataset_entry(identity))
            if folder:
                deliver(client, run.info.run_id, {"params": identity_params(identity)})
        if folder and PARENT not in run.data.tags:
            about = identity.dataset, identity.dataset_hash, identity.partition_hash
            study = context_tags().get(PARENT) or study_of(client, run.info.experiment_id, *about, _provenance())
            client.set_tag(run.info.run_id, PARENT, study)
        subject = subject_of(client, client.get_run(run.info.run_id)) if folder else None
    tracked = TrackedRun(run.info.run_id, run.info.experiment_id, client, subject=subject)
    with _ending(tracked, finished=run.info.status == "FINISHED"):
        yield tracked


def recorded_run(folder: Path) -> str | None:
    """MLflow's id of the run whose record is in the folder of a complete run.

    Where this store lacks that run and got it from the record, it is the id of the run that was made of it. Where the
    store does not answer, it is the record's. None without a record, or where the store has neither.
    """
    record = journal_of(folder / LOGGED)
    if record is None:
        return None
    with suppress(TagscaleError), environment({WAIT: ""}):
        client = connect()
        with explained(client.tracking_uri), limited(_ANSWER_SECONDS):
            run = active_run(client, record.run_id)
            if run is None:
                experiments = [experiment.experiment_id for experiment in client.search_experiments()]
                run = _newest(client, experiments, {ORIGINAL: record.run_id})
            return run.info.run_id if run else None
    return record.run_id


@contextmanager
def comparison_run(experiment: str, study: StudyFacts, finding: str, tags: Mapping[str, Any]) -> Iterator[TrackedRun]:
    """Open the run that the trainings of a study nest in, for comparison and report; keep the view of the trainings.

    On a cluster it is the run of the pipeline, which ends it.

    Args:
        finding: the study's first sentence, which the run's page shows, with a link to the view
    """
    client, parent = connect(), context_tags().get(PARENT)
    with explained(client.tracking_uri):
        experiment_id = made_experiment(client, experiment)
        _end_lost(client, experiment_id)
        if parent is None:
            about = study.dataset, study.dataset_hash, study.partition_hash
            run_id = study_of(client, experiment_id, *about, _provenance())
            _claim(client, run_id)
        view = save_view(client, experiment_id, study)
    tracked = TrackedRun(parent or run_id, experiment_id, client)
    note = f"{finding}\n\n[The trainings side by side, with charts](#/{view})"
    with nullcontext(tracked) if parent else _ending(tracked):
        tracked.set_tags({"tagscale.finding": finding, MLFLOW_RUN_NOTE: note, **tags})
        yield tracked


@contextmanager
def study_run(experiment: str, name: str, tags: Mapping[str, Any]) -> Iterator[TrackedRun]:
    """Open a run of its own for other runs to nest in, by its name. Resumes an interrupted one."""
    client = connect()
    own = {"tagscale.study": name}
    with explained(client.tracking_uri):
        experiment_id = made_experiment(client, experiment)
        _end_lost(client, experiment_id)
        run = _newest(client, [experiment_id], own)
        if run is None or run.info.status == "FINISHED" or _is_in_work(run):
            run = client.create_run(experiment_id, run_name=name, tags=own | _provenance())
        _claim(client, run.info.run_id)
    with _ending(TrackedRun(run.info.run_id, experiment_id, client)) as tracked:
        tracked.set_tags(tags)
        yield tracked


def identity_tags(identity: RunIdentity) -> dict[str, str]:
    """The tags that hold the identity of a run or a registered version: {"tagscale.model": "waveform", ...}."""
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


def _newest(client: MlflowClient, experiments: list[str], tags: Mapping[str, str]) -> Run | None:
    condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    order = ["attributes.start_time DESC"]
    runs = client.search_runs(experiments, filter_string=condition, max_results=1, order_by=order)
    return runs[0] if runs else None


def _resumable(
    client: MlflowClient, experiment_id: str, identity: RunIdentity, params: Mapping[str, str], unfinished: Path | None
) -> Run | None:
    """The interrupted run that a training resumes: the one that its record names, or the newest of its identity."""
    tags = identity_tags(identity)
    record = journal_of(unfinished / LOGGED) if unfinished else None
    run = active_run(client, record.run_id) if record else None
    if run is None or run.info.experiment_id != experiment_id or not tags.items() <= run.data.tags.items():
        run = _newest(client, [experiment_id], tags)
    if run is None or run.info.status == "FINISHED" or _is_in_work(run):
        return None
    contradicted = any(params.get(key, value) != value for key, value in run.data.params.items())
    return None if contradicted else run


def _recorded(
    client: MlflowClient, experiment_id: str, others: list[str], identity: RunIdentity, folder: Path
) -> Run | None:
    """The run whose record is in the folder, made again where this store lacks it; None without a record."""
    content = read(folder / LOGGED)
    if content is None:
        return None
    record, entries = content
    run, tags, news = active_run(client, record.run_id), identity_tags(identity), ""
    if run is None or not tags.items() <= run.data.tags.items():
        run = _newest(client, [experiment_id, *others], {ORIGINAL: record.run_id})
    if run is None:
        run = _create(client, experiment_id, identity, {ORIGINAL: record.run_id}, record.start)
        reason = "was deleted in" if _was_deleted(client, record.run_id) else "is missing in"
        news = (
            f"Run {record.run_id} of {identity.name} {reason} MLflow at {shown(client.tracking_uri)}. It is made again"
        )
    if run.info.status != "FINISHED":  # else its record is complete there
        words = send_all(client, run.info.run_id, entries, folder)
        if news:
            print_plainly(f"{news} as run {run.info.run_id}, from {record.file}: {words}")
        run = client.get_run(run.info.run_id)
    return run


def _is_in_work(run: Run) -> bool:
    """Whether another process of this machine works on the run."""
    process = run.data.tags.get(PROCESS)
    return run.info.status == "RUNNING" and process != this_process() and is_running(process) is True


def _claim(client: MlflowClient, run_id: str, study: str | None = None) -> None:
    """Give the run to this process, within the run that this process works for, or that of the study."""
    within = {} if study is None else {PARENT: study}
    for name, value in {PROCESS: this_process(), **within, **context_tags()}.items():
        client.set_tag(run_id, name, value)
    client.update_run(run_id, status="RUNNING")


def _end_lost(client: MlflowClient, experiment_id: str) -> None:
    """Give the status KILLED to runs whose process on this machine has ended without a word."""
    for run in client.search_runs([experiment_id], filter_string="attributes.status = 'RUNNING'"):
        if is_running(run.data.tags.get(PROCESS)) is False:
            points = [p for key in list(run.data.metrics)[:1] for p in client.get_metric_history(run.info.run_id, key)]
            last = max((point.timestamp for point in points), default=run.info.start_time)
            client.set_terminated(run.info.run_id, "KILLED", last)


def _was_deleted(client: MlflowClient, run_id: str) -> bool:
    with suppress(MlflowException):
        return bool(client.get_run(run_id).info.lifecycle_stage == "deleted")
    return False


def _create(
    client: MlflowClient,
    experiment_id: str,
    identity: RunIdentity,
    more: Mapping[str, str] | None = None,
    start: int | None = None,
) -> Run:
    tags = identity_tags(identity) | _provenance() | {PROCESS: this_process()} | dict(more or {})
    return client.create_run(experiment_id, start_time=start, run_name=identity.name, tags=tags)


def _provenance() -> dict[str, str]:
    """Who ran which code, as the tags that MLflow's pages show."""
    return {
        "mlflow.user": user(),
        "mlflow.source.name": "tagscale",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git_commit(),
    }


@contextmanager
def _ending(run: TrackedRun, finished: bool = False) -> Iterator[TrackedRun]:
    """Give the run its final status. A run that was `finished` before keeps its end time unless the block raises."""
    try:
        yield run
    except BaseException as error:
        if not isinstance(error, ServerAway):
            with suppress(Exception):  # the error that ended the block matters more than one of the store
                run.end("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    if not finished:
        run.end("FINISHED")


def _chunks(entries: list[Any], size: int) -> Iterable[list[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))
