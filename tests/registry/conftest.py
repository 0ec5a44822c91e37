"""MLflow stores and a finished tiny study, for the tests of the registry."""

from pathlib import Path

import pytest

from registry.tiny import empty_store


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MLflow store in a fresh current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return empty_store(request.config, tmp_path)
