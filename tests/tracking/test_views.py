"""The view that tagscale keeps has the keys of this MLflow's pages."""

import re

import pytest

from tagscale.tracking.views import TAG, view

VIEW = view("bbbbbbbbbbbb", ["pr_auc", "rmse"])


@pytest.mark.parametrize("key", sorted({*VIEW, *(key for chart in VIEW["compareRunCharts"] for key in chart)}))
def test_the_pages_know_every_key(scripts: str, key: str) -> None:
    assert re.search(rf'[".]{key}\b|[{{,]{key}:', scripts)


def test_the_pages_know_the_tag_the_charts_and_the_values(scripts: str) -> None:
    for kind in {chart["type"] for chart in VIEW["compareRunCharts"]}:
        assert f'e.{kind}="{kind}"' in scripts
    for value in (TAG, "viewStateShareKey", "compareRunsMode", VIEW["runsHiddenMode"]):
        assert f'"{value}"' in scripts
    assert '"PARAM"' in scripts


def test_columns_and_charts_are_of_what_runs_have() -> None:
    assert VIEW["selectedColumns"][0] == "params.`model`"
    assert VIEW["orderByKey"] == "metrics.`test_pr_auc`"
    scatter = [chart for chart in VIEW["compareRunCharts"] if chart["type"] == "SCATTER"]
    assert [(chart["xaxis"]["key"], chart["yaxis"]["key"]) for chart in scatter] == [
        ("train_tracks", "test_pr_auc"),
        ("train_tracks", "test_rmse"),
    ]
    sections = {section["uuid"] for section in VIEW["compareRunSections"]}
    assert {chart["metricSectionId"] for chart in VIEW["compareRunCharts"]} == sections
