"""A training's run on an MLflow server that may be away for a while: nothing is lost, and nothing waits for it.

Everything goes to a journal first and then, in order, to the server. While the server does not answer the training goes
on, and every now and then what it logs is an occasion to try again. When the training ends and the server is still
away, the journal goes into the folder of the run, and whoever opens that run next sends it: evaluate, or another start.
What is sent twice, because an answer was lost, counts once: numbers go with the time at which they were measured.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from tagscale.tracking.journal import JOURNAL, Entry, Journal, digest_of, read, steps_in
from tagscale.tracking.server import explained, is_away, reason_of, status_of, told

SENT = "tagscale.journal"  # tag of a run: digest of the journal in its folder that has been sent
PATIENCE_SECONDS = 60.0  # at the end of a training, for a server that is away
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds between two attempts; doubled each time
_ANSWER_SECONDS, _STORED_SECONDS = 15, 120  # for an answer; for a file, which passes through to another store


class Outbox:
    """What a training tells MLflow.

    Args:
        run: MLflow's, as it is when the training begins or goes on
        folder: where the journal is while the training goes on
        home: folder of the run, whose files are its artifacts

    Attributes:
        logged: steps of every metric that the run has, or will have when the journal is sent.
    """

    def __init__(self, client: MlflowClient, run: Run, folder: Path, home: Path) -> None:
        self.client, self.run_id, self.home = client, run.info.run_id, home
        self.logged = {
            key: {point.step for point in client.get_metric_history(self.run_id, key)} for key in run.data.metrics
        }
        self.journal, self.pending = Journal(folder / JOURNAL, self.run_id), list[Entry]()
        self.away, self.pause, self.next_attempt = False, FIRST_PAUSE, 0.0

    def add(self, entry: Entry) -> None:
        """Log something (see `tagscale.tracking.journal`), now or when the server answers again.

        Raises:
            TagscaleError: the server answers and refuses.
        """
        self.pending.append(entry)
        with suppress(OSError):  # a full disk costs the safety of this, not the training
            self.journal.append(entry)
        for key, step in steps_in([entry]):
            self.logged.setdefault(key, set()).add(step)
        if not self.away or time.monotonic() >= self.next_attempt:
            self.send()

    def send(self) -> bool:
        """Send what is pending, in order; whether nothing is left."""
        done = 0
        try:
            with limited(_ANSWER_SECONDS, retries=0 if self.away else 1):
                for entry in self.pending:
                    deliver(self.client, self.run_id, entry, self.home)
                    done += 1
        except Exception as error:
            if not is_away(error):
                raise told(self.client.tracking_uri, error) from error
            self._missed(error)
            return False
        finally:
            if done:
                del self.pending[:done]
                with suppress(OSError):
                    self.journal.keep(self.pending)
        if self.away:
            _say(f"MLflow at {self.client.tracking_uri} answers again; what was kept meanwhile was sent.")
        self.away, self.pause = False, FIRST_PAUSE
        return True

    def finish(self) -> None:
        """Give a server that is away some more time; then leave the journal in the folder of the run."""
        end = time.monotonic() + PATIENCE_SECONDS
        pause = 1.0
        while not self.send():
            left = end - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE / 6)
        if self.pending:
            kept = Journal(self.home / JOURNAL, self.run_id)
            kept.keep(self.pending)
            self.journal.keep([])
            _say(
                f"MLflow at {self.client.tracking_uri} still does not answer. The run is complete; what MLflow has not "
                f"got is in {kept.file}, and `tagscale evaluate` sends it."
            )

    def _missed(self, error: Exception) -> None:
        if not self.away:
            _say(
                f"warning: MLflow at {self.client.tracking_uri} does not answer ({reason_of(error)}). Training goes "
                f"on; what it logs is kept in {self.journal.file} and sent when it answers again."
            )
        self.away, self.next_attempt = True, time.monotonic() + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE)


def deliver(client: MlflowClient, run_id: str, entry: Entry, home: Path | None = None) -> None:
    """Send one entry of a journal. `home` is the folder of the run, which has the artifacts."""
    match entry:
        case {"metrics": metrics}:
            client.log_batch(run_id, metrics=[Metric(*metric) for metric in metrics])
        case {"params": params}:
            client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])
        case {"tags": tags}:
            client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
        case {"artifacts": path, "folder": folder}:
            assert home is not None
            with limited(_STORED_SECONDS):
                _upload(client, run_id, home / path, folder)
        case {"status": status, "time": ended}:
            client.set_terminated(run_id, status, ended)


def send_interrupted(client: MlflowClient, folder: Path) -> None:
    """Send what a training that was ended left in its folder while MLflow was away; the training goes on now.

    So how it ended is not told, and its files are those that come.

    Raises:
        TagscaleError: the server does not answer, or lets this user do nothing.
    """
    if found := read(folder / JOURNAL):
        journal, entries = found
        with explained(client.tracking_uri):
            if _run(client, journal.run_id) is not None:
                going_on = [entry for entry in entries if not entry.keys() & {"artifacts", "status"}]
                _send_all(client, journal, going_on, folder)
        journal.keep([])
    (folder / JOURNAL).unlink(missing_ok=True)  # one without a readable first line


def send_complete(client: MlflowClient, home: Path) -> None:
    """Send what a training that came to its end left in the folder of its run while MLflow was away.

    The folder stays as it is, for others may hold its hash; a tag of MLflow's run says that the journal has been sent.

    Raises:
        TagscaleError: as above
    """
    file = home / JOURNAL
    if not file.is_file() or (found := read(file)) is None:
        return
    journal, entries = found
    digest = digest_of(file)
    with explained(client.tracking_uri):
        run = _run(client, journal.run_id)
        if run is None or run.data.tags.get(SENT) == digest:
            return
        _send_all(client, journal, entries, home)
        client.set_tag(journal.run_id, SENT, digest)


@contextmanager
def limited(seconds: int, retries: int = 1) -> Iterator[None]:
    """Let mlflow wait no longer than that for an answer inside the block. It takes such limits from the environment."""
    limits = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
        "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    }
    before = {name: os.environ.get(name) for name in limits}
    os.environ.update(limits)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _send_all(client: MlflowClient, journal: Journal, entries: Sequence[Entry], home: Path) -> None:
    """Send a journal of an earlier process; what the server refuses, or whose file is gone, is left out with a line."""
    refused: list[str] = []
    for entry in entries:
        try:
            deliver(client, journal.run_id, entry, home)
        except Exception as error:
            if not isinstance(error, MlflowException | FileNotFoundError) or is_away(error):
                raise
            if status_of(error) in (401, 403):
                raise
            refused.append(str(error).strip().splitlines()[0][:200])
    left_out = f"; {len(refused)} were refused, the first with: {refused[0]}" if refused else ""
    text = f"{journal.file}: {len(entries) - len(refused)} entries that MLflow had not got were sent{left_out}."
    _say(text)


def _say(text: str) -> None:
    print(text, flush=True)  # not rich: a registered model takes this package along, and is served without it


def _run(client: MlflowClient, run_id: str) -> Run | None:
    """The run, if this store has it and it was not deleted."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _upload(client: MlflowClient, run_id: str, path: Path, folder: str | None) -> None:
    """A file, or what is in a directory, but for the journal itself."""
    if path.is_dir():
        for file in sorted(one for one in path.rglob("*") if one.is_file() and one.name != JOURNAL):
            inside = file.parent.relative_to(path).as_posix()
            client.log_artifact(run_id, str(file), "/".join(part for part in (folder, inside) if part and part != "."))
    else:
        client.log_artifact(run_id, str(path), folder)
