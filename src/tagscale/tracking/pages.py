"""Addresses of MLflow's pages, as a browser opens them (MLflow 3.17: mlflow/server/js, its routes)."""

import os
from urllib.parse import quote, urlsplit

from tagscale.tracking.server import configure

ENDPOINT = "MLFLOW_UI_ENDPOINT"  # where browsers reach MLflow, if that is not MLFLOW_TRACKING_URI
LOCAL = "http://127.0.0.1:5000"  # where `tagscale ui` shows a store without a server


def run_page(run_id: str) -> str | None:
    """Address of a run's page; None where no server shows it.

    >>> os.environ[ENDPOINT] = "https://mlflow.example.org/"
    >>> run_page("3f0c")
    'https://mlflow.example.org/#/runs/3f0c'
    """
    return _page(f"runs/{run_id}")


def experiment_page(experiment_id: str, view: str) -> str:
    """Address of the runs of an experiment, as a kept view shows them, with its charts."""
    place = view_place(experiment_id, view)
    return _page(place) or f"{LOCAL}/#/{place}"


def view_place(experiment_id: str, view: str) -> str:
    """The address of a kept view within MLflow's pages."""
    return (
        f"experiments/{experiment_id}/runs?viewStateShareKey={view}&compareRunsMode=CHART&workflowType=machine_learning"
    )


def version_page(name: str, version: str) -> str | None:
    """Address of the page of a registered version; None where no server shows it."""
    return _page(f"models/{quote(name, safe='')}/versions/{version}")


def _page(place: str) -> str | None:
    base = os.environ.get(ENDPOINT) or configure()
    if not base.startswith(("http://", "https://")):
        return None
    address = urlsplit(base)
    host = address.netloc.rpartition("@")[2]  # without a password, which is nobody's to read here
    return f"{address.scheme}://{host}{address.path.rstrip('/')}/#/{place}"
