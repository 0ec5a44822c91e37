"""What of MLflow is known without importing it, which takes seconds: its environment, and where a tagger lies.

MLflow reads these variables when it is imported, so this module comes before it.
"""

import os
from pathlib import Path

from tagscale.runtime.project import project_folder

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Five retries take a minute, enough for a server to restart; mlflow's default of seven takes over four minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")

SQLITE = "sqlite:///"
TAGGER = "data/tagger"  # the tagger's folder inside a packaged model


def tracking_address() -> str:
    """MLFLOW_TRACKING_URI, or the SQLite store in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"


def registry_address() -> str:
    """MLFLOW_REGISTRY_URI, or where runs are tracked."""
    return os.environ.get("MLFLOW_REGISTRY_URI") or tracking_address()


def file_of(address: str) -> Path | None:
    """The database file of a plain SQLite address, in the project's folder where it is relative; else None."""
    name = address.removeprefix(SQLITE)
    plain = address.startswith(SQLITE) and name and not name.startswith((":memory:", "file:")) and "?" not in name
    return project_folder() / name if plain else None
