"""The tracking store, a client for it, and its errors in plain words."""

import logging
import os
import re
import sqlite3
import ssl
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from urllib.error import HTTPError

import requests
from mlflow.exceptions import MlflowException, RestException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from tagscale.runtime.command import print_plainly
from tagscale.runtime.errors import TagscaleError, causes
from tagscale.runtime.mlflow_env import SQLITE, tracking_address
from tagscale.runtime.project import project_folder
from tagscale.tracking import local

PROBE_SECONDS = 5.0  # for an answer; mlflow itself would retry for a minute
# Seconds that `connect` waits for a server that does not answer. On a cluster, where servers move between nodes, tasks
# have it from k8s/tasks/config.yaml; without it, a missing server is an error at once.
WAIT = "TAGSCALE_MLFLOW_WAIT"
WAIT_PAUSE = 10.0  # seconds between two attempts
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_NO_ANSWER = (  # of `requests`, for a server that is down, too slow, or keeps answering 5xx
    requests.exceptions.ConnectionError,
    requests.exceptions.Timeout,
    requests.exceptions.RetryError,
    requests.exceptions.ChunkedEncodingError,
)


class ServerAway(TagscaleError):
    """The server does not answer at the moment."""


def configure() -> str:
    """The tracking URI: MLFLOW_TRACKING_URI, or the SQLite store in the project's folder. Quiets MLflow's logs.

    A relative path of an SQLite store is one in the project's folder.
    """
    for chatty in ("mlflow", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # the traceback of an error that we explain
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of every attempt; we warn once
    return _in_project(tracking_address())


def registry_uri() -> str:
    """The URI of the registry of models: MLFLOW_REGISTRY_URI, or the tracking URI."""
    uri = os.environ.get("MLFLOW_REGISTRY_URI")
    return _in_project(uri) if uri else configure()


def _in_project(uri: str) -> str:
    name = uri.removeprefix(SQLITE)
    is_relative = uri.startswith(SQLITE) and local.database_of(uri) and not name.startswith("/")
    return f"{local.address_of(project_folder())}/{name}" if is_relative else uri


def shown(uri: str) -> str:
    """The URI as messages have it, which many may read: without a user and a password.

    >>> shown("https://ann:secret@mlflow.example.org"), shown("postgresql://ann:p@ss@db/mlflow")
    ('https://mlflow.example.org', 'postgresql://db/mlflow')
    """
    return re.sub(r"^(?!sqlite)([^:/]+://)[^/]*@", r"\1", uri)


def connect() -> MlflowClient:
    """A client of the tracking store. An SQLite store is made where it is missing (`tagscale.tracking.local`).

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
        _probe(shown(uri))  # the password is mlflow's to send
    for store in {uri, registry_uri()}:
        if database := local.database_of(store):
            with explained(store):
                local.prepare(database)
    with explained(uri):
        return MlflowClient(tracking_uri=uri, registry_uri=registry_uri())


def _probe(uri: str) -> None:
    """Check that a server answers, and wait for it as long as WAIT says."""
    seconds = os.environ.get(WAIT, "")
    left = float(seconds) if seconds.isdigit() else 0.0
    end, is_first = time.monotonic() + left, True
    while reason := _silence(uri):
        if (left := end - time.monotonic()) <= 0:
            raise TagscaleError(
                f"{uri}: no MLflow server answers there ({reason}). Start it, correct MLFLOW_TRACKING_URI, or unset "
                "that variable to track into ./mlflow.db."
            )
        if is_first:
            print_plainly(f"MLflow at {uri} does not answer ({reason}); waiting up to {seconds} s for it ({WAIT}).")
        is_first = False
        time.sleep(min(WAIT_PAUSE, left))


def _silence(uri: str) -> object:
    """Why no server answers; None where one does. mlflow handles the answer itself (log-in, certificates)."""
    try:
        urllib.request.urlopen(uri, timeout=PROBE_SECONDS).close()
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        return None if isinstance(error, HTTPError) or isinstance(reason, ssl.SSLError) else reason
    return None


def made_experiment(client: MlflowClient, name: str) -> str:
    """Id of the experiment, which is created if missing. Artifacts of an SQLite store lie beside its database file."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        database = local.database_of(client.tracking_uri)
        artifacts = (database.parent / local.ARTIFACTS).as_uri() if database else None
        try:
            kind = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's pages for training, not for agents
            return str(client.create_experiment(name, artifact_location=artifacts, tags=kind))
        except MlflowException:  # another process was first
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        raise TagscaleError(
            f"MLflow at {shown(client.tracking_uri)}: experiment {name!r} was deleted. Restore it with `mlflow "
            f"experiments restore -x {experiment.experiment_id}`, or set another tracking.experiment in params.yaml."
        )
    return str(experiment.experiment_id)


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Set variables of the environment inside the block, where mlflow reads them."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn errors of MLflow, its database and its artifact store inside the block into a TagscaleError."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, ImportError, requests.RequestException) as error:
        raise explanation(uri, error) from error


def explanation(uri: str, error: Exception) -> TagscaleError:
    """The error that says what went wrong at a store, and what to do."""
    database = local.database_of(uri)
    if database and (reason := local.reason_of(error, database)):
        return TagscaleError(reason)
    status, uri = status_of(error), shown(uri)
    if is_away(error):
        return ServerAway(
            f"MLflow at {uri} does not answer ({reason_of(error)}). When it does, run the same command again; or "
            "correct MLFLOW_TRACKING_URI."
        )
    name = os.environ.get(USER)
    who = f"user {name!r}" if name else f"an anonymous user ({USER} is not set)"
    if status == 401:
        refusal = f"does not know {who} with the password in {PASSWORD}" if name else f"refuses {who}"
        return TagscaleError(
            f"MLflow at {uri} {refusal} (401). Set {USER} and {PASSWORD} to those of a user of that server."
        )
    if status == 403 and "host header" in str(error).lower():
        return ServerAway(
            f"MLflow at {uri} does not answer under this host name (403). Use a name that its --allowed-hosts "
            "(MLFLOW_SERVER_ALLOWED_HOSTS) has, or add this one there."
        )
    if status == 403:
        return TagscaleError(
            f"MLflow at {uri} does not allow {who} to do this (403: {_first_line(error)}). Let its administrator give "
            "the permission, or take another tracking.experiment and registry.name in params.yaml."
        )
    return TagscaleError(f"MLflow at {uri}: {_first_line(error)}. Check MLFLOW_TRACKING_URI and the store behind it.")


def is_away(error: BaseException) -> bool:
    """Whether the server does not answer at the moment: no connection, no answer in time, 5xx, or too many requests."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in (408, 429)
    return any(isinstance(one, _NO_ANSWER) for one in causes(error))


def status_of(error: BaseException) -> int | None:
    """The HTTP status of the server's answer; None if the error is not an answer."""
    for one in causes(error):
        if isinstance(one, RestException):
            return int(one.get_http_status_code())
        if isinstance(one, requests.HTTPError) and one.response is not None:
            return int(one.response.status_code)
        if isinstance(one, MlflowException) and (match := re.search(r"failed with error code (\d{3})\b", str(one))):
            return int(match[1])
    return None


def reason_of(error: BaseException) -> str:
    """Why there was no answer, in a few words.

    >>> reason_of(requests.ConnectionError("... NewConnectionError('...: [Errno 111] Connection refused')) ..."))
    'Connection refused'
    """
    if (status := status_of(error)) is not None:
        return f"status {status}"
    text = " ".join(str(one) for one in causes(error))
    if match := re.search(r"\[Errno -?\d+\] ([^'\")(]+)", text):
        return match[1].strip()
    if match := re.search(r"too many (\d{3}) error responses", text):
        return f"status {match[1]}"
    if any(isinstance(one, requests.Timeout) for one in causes(error)) or "timed out" in text.lower():
        return "no answer in time"
    return "connection lost"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:500]
