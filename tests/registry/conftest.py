"""An empty MLflow store in the current folder, for every test of the registry."""

import shutil
from pathlib import Path

import mlflow
import pytest

from tagscale.files import replacing


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MLflow store in a fresh folder; the migrations (10 s) run once and pytest keeps their result."""
    template = request.config.cache.mkdir("mlflow") / f"{mlflow.__version__}.db"
    if not template.exists():
        with replacing(template) as fresh:
            mlflow.MlflowClient(f"sqlite:///{fresh}").search_experiments()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(template, "mlflow.db")
    return tmp_path
