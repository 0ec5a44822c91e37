"""Logging of a training to an MLflow server that may go down: no entry is lost, and the training does not wait.

Every entry goes to a journal on disk first and then, in order, to the server. During an outage the training continues,
and logging retries at growing intervals. If the outage outlasts the training, the journal moves into the run's folder.
The next stage that opens the run sends it: evaluate, or another start of the training.
An entry is sent twice if the server's answer is lost. It counts once, because each metric carries its timestamp.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from tagscale.runtime.disk import full_disk_explained, full_disk_reason
from tagscale.tracking.models import log_model
from tagscale.tracking.server import environment, explained, explanation, is_away, reason_of, shown, status_of
from tagscale.tracking.unsent import LOGGED, UNSENT, Entry, Unsent, digest_of, read, steps_in

SENT = "tagscale.journal"  # tag of a run: digest of the journal in its folder, set once the journal is sent
PATIENCE_SECONDS = 60.0  # for a server that does not answer when the training ends
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds between two attempts; doubled each time
_ANSWER_SECONDS, _STORED_SECONDS = 15, 120  # timeouts of a request, and of an upload, which the server passes on


class Outbox:
    """What a training logs to MLflow.

    Args:
        run: MLflow's run, as it is when the training begins or resumes
        folder: holds the journal during the training
        home: folder of the run, whose files are its artifacts

    Attributes:
        logged: steps of every metric that the run has, or will have once the journal is sent
    """

    def __init__(self, client: MlflowClient, run: Run, folder: Path, home: Path) -> None:
        self.client, self.run_id, self.home = client, run.info.run_id, home
        self.logged = {
            key: {point.step for point in client.get_metric_history(self.run_id, key)} for key in run.data.metrics
        }
        self.journal, self.pending, self.full = Unsent(folder / UNSENT, self.run_id), list[Entry](), False
        self.away, self.pause, self.next_attempt = False, FIRST_PAUSE, 0.0

    def add(self, entry: Entry) -> None:
        """Log an entry (see `tagscale.tracking.unsent`), now or when the server answers again.

        Raises:
            TagscaleError: the server answers and refuses.
        """
        self.pending.append(entry)
        try:
            self.journal.append(entry)
        except OSError as error:  # a kill may lose the entry now, but the training continues
            self._warn_of_disk(error)
        for key, step in steps_in([entry]):
            self.logged.setdefault(key, set()).add(step)
        if not self.away or time.monotonic() >= self.next_attempt:
            self.send()

    def send(self) -> bool:
        """Send the pending entries in order. Returns whether all were sent."""
        done = 0
        try:
            with limited(_ANSWER_SECONDS, retries=0 if self.away else 1):
                for entry in self.pending:
                    deliver(self.client, self.run_id, entry, self.home)
                    done += 1
        except Exception as error:
            if not is_away(error):
                raise explanation(self.client.tracking_uri, error) from error
            self._missed(error)
            return False
        finally:
            if done:
                del self.pending[:done]
                with suppress(OSError):
                    self.journal.keep(self.pending)
        if self.away:
            _say(f"MLflow at {shown(self.client.tracking_uri)} answers again. Unsent entries were sent.")
        self.away, self.pause = False, FIRST_PAUSE
        return True

    def finish(self) -> None:
        """Retry for a while if the server does not answer; then move the journal into the folder of the run."""
        end = time.monotonic() + PATIENCE_SECONDS
        pause = 1.0
        while not self.send():
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE / 6)
        if self.pending:
            moved = Unsent(self.home / UNSENT, self.run_id)
            with full_disk_explained(moved.file, f"The run is complete; unsent entries are in {self.journal.file}."):
                moved.keep(self.pending)
            self.journal.keep([])
            _say(
                f"MLflow at {shown(self.client.tracking_uri)} still does not answer. The run is complete. Unsent "
                f"entries are in {moved.file}; `tagscale evaluate` sends them."
            )

    def _missed(self, error: Exception) -> None:
        if not self.away:
            _say(
                f"warning: MLflow at {shown(self.client.tracking_uri)} does not answer ({reason_of(error)}). Training "
                f"continues. Entries are kept in {self.journal.file} and sent when it answers again."
            )
        self.away, self.next_attempt = True, time.monotonic() + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE)

    def _warn_of_disk(self, error: OSError) -> None:
        if not self.full:
            reason = full_disk_reason(error)
            _say(
                f"warning: {'The disk is full: ' if reason else ''}{self.journal.file} could not be written "
                f"({reason or error}). Training continues, but entries that MLflow has not received are lost if it is "
                "killed. Free space."
            )
        self.full = True


def deliver(
    client: MlflowClient,
    run_id: str,
    entry: Entry,
    home: Path | None = None,
    subject: Mapping[str, str] | None = None,
) -> None:
    """Send one entry.

    Args:
        home: the folder of the run, which holds the artifacts
        subject: the model and the dataset that metrics are about (`models.subject_of`)
    """
    match entry:
        case {"metrics": metrics}:
            client.log_batch(run_id, metrics=[Metric(*metric, **(subject or {})) for metric in metrics])
        case {"params": params}:
            client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])
        case {"tags": tags}:
            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        case {"dataset": about}:
            client.log_inputs(run_id, [DatasetInput(Dataset(**about), [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])
        case {"artifacts": path, "folder": folder}:
            assert home is not None
            with limited(_STORED_SECONDS):
                if (home / path).is_dir():
                    for file, inside in files_in(home / path):
                        client.log_artifact(run_id, str(file), "/".join(part for part in (folder, inside) if part))
                else:
                    client.log_artifact(run_id, str(home / path), folder)
        case {"model": name, "path": path}:
            assert home is not None
            with limited(_STORED_SECONDS):
                log_model(client, run_id, name, files_in(home / path))
        case {"status": status, "time": ended}:
            client.set_terminated(run_id, status, ended)


def send_interrupted(client: MlflowClient, folder: Path) -> None:
    """Send the unsent entries of an interrupted training before it resumes.

    Its status, model and files are skipped, because the resumed training sends them later.

    Raises:
        TagscaleError: the server does not answer, or does not allow it.
    """
    if content := read(folder / UNSENT):
        journal, entries = content
        with explained(client.tracking_uri):
            if active_run(client, journal.run_id) is not None:
                valid = [entry for entry in entries if not entry.keys() & {"artifacts", "model", "status"}]
                _say(f"{journal.file}: {send_all(client, journal.run_id, valid, folder)}")
        journal.keep([])
    (folder / UNSENT).unlink(missing_ok=True)  # a file whose first line is unreadable


def send_complete(client: MlflowClient, home: Path) -> None:
    """Send the unsent entries of a complete training, from the folder of its run.

    The folder stays unchanged, because other stages hold its hash. A tag of MLflow's run records that they were sent.

    Raises:
        TagscaleError: as `send_interrupted`.
    """
    file = home / UNSENT
    if (content := read(file)) is None:
        return
    journal, entries = content
    digest = digest_of(file)
    with explained(client.tracking_uri):
        run = active_run(client, journal.run_id)
        if run is None or run.data.tags.get(SENT) == digest:
            return
        _say(f"{file}: {send_all(client, journal.run_id, entries, home)}")
        client.set_tag(journal.run_id, SENT, digest)


@contextmanager
def limited(seconds: int, retries: int = 1) -> Iterator[None]:
    """Set mlflow's timeout and retries inside the block. mlflow reads them from the environment."""
    limits = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    }
    with environment(limits):
        yield


def send_all(client: MlflowClient, run_id: str, entries: Sequence[Entry], home: Path) -> str:
    """Send an earlier process's entries, except for refused ones and missing files. Returns a count in words."""
    refused: list[str] = []
    for entry in entries:
        try:
            deliver(client, run_id, entry, home)
        except Exception as error:
            if not isinstance(error, MlflowException | FileNotFoundError) or is_away(error):
                raise
            if status_of(error) in (401, 403):
                raise
            refused.append(str(error).strip().splitlines()[0][:200])
    skipped = f"; {len(refused)} were refused, the first with: {refused[0]}" if refused else ""
    return f"{len(entries) - len(refused)} unsent entries were sent to MLflow{skipped}."


def _say(text: str) -> None:
    print(text, flush=True)


def active_run(client: MlflowClient, run_id: str) -> Run | None:
    """The run; None if it is missing in this store or was deleted."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def files_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of a run's folder except the journals, each with its place there: "" or "fold-1"."""
    for file in sorted(one for one in folder.rglob("*") if one.is_file() and one.name not in (UNSENT, LOGGED)):
        inside = file.parent.relative_to(folder).as_posix()
        yield file, "" if inside == "." else inside
