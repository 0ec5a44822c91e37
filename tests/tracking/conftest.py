"""The MLflow store of a test, and the scripts of MLflow's pages, for the tests of tracking."""

from pathlib import Path

import mlflow
import pytest

from registry.tiny import store

__all__ = ["store"]


@pytest.fixture(scope="session")
def scripts() -> str:
    """The scripts of the pages of the MLflow that is installed."""
    folder = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    return "".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.js")))
