"""Addresses of MLflow's pages are ones that the pages of this MLflow know."""

import pytest

from tagscale import tracking

PLACES = {"/runs/:runUuid": "/runs/3f0c", "/models/:modelName/versions/:version": "/models/tagger/versions/3"}


@pytest.mark.parametrize("route", PLACES)
def test_the_pages_have_the_route(scripts: str, monkeypatch: pytest.MonkeyPatch, route: str) -> None:
    assert f'"{route}"' in scripts
    monkeypatch.setenv("MLFLOW_UI_ENDPOINT", "http://localhost:5000")
    assert f"http://localhost:5000/#{PLACES[route]}" in (
        tracking.run_page("3f0c"),
        tracking.version_page("tagger", "3"),
    )
