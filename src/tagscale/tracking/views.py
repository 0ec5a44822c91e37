"""A view of a study's runs for MLflow's page of an experiment: which runs and columns it shows, and which charts.

MLflow keeps such a view, which its button "Share" makes, in a tag of the experiment; an address names it. The keys are
those of MLflow 3.17 (mlflow/server/js, its states of the page and of the charts). A view of another version is worth
little: it opens without what that version calls otherwise. tests/tracking/test_views.py holds the keys.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlflow.tracking import MlflowClient

from tagscale.runtime.errors import TagscaleError
from tagscale.tracking.local import database_of
from tagscale.tracking.nesting import study_key
from tagscale.tracking.pages import experiment_page, run_page, view_place
from tagscale.tracking.server import configure, connect, explained

TAG = "mlflow.sharedViewState."  # of an experiment, followed by the name of the view
COLOUR = "mlflow.runColor"  # tag of a run
MOST_RUNS = 1000  # that are coloured; more do not fit in a chart
AXES = ("model", "train_tracks", "seed")  # parameters by which runs are compared
CURVES = ("train_loss", "valid_loss")
SECTION = "study"


@dataclass(frozen=True)
class StudyFacts:
    """What a view shows.

    dataset, dataset_hash, partition_hash: the study
    metrics: its main metrics, without their part: ["pr_auc"]; runs are sorted by the first
    colours: of its models, as "#0072b2"
    """

    dataset: str
    dataset_hash: str
    partition_hash: str
    metrics: Sequence[str]
    colours: Mapping[str, str]


def save_view(client: MlflowClient, experiment_id: str, study: StudyFacts) -> str:
    """Keep the view of a study, and give its runs the colours of their models; returns its place within MLflow's pages.

    The colours are those of the report, so that a chart tells the models apart.
    """
    for run in client.search_runs([experiment_id], _trainings(study.partition_hash), max_results=MOST_RUNS):
        colour = study.colours.get(run.data.tags["tagscale.model"])
        if colour and run.data.tags.get(COLOUR) != colour:
            client.set_tag(run.info.run_id, COLOUR, colour)
    name = view_name(study.dataset_hash, study.partition_hash)
    client.set_experiment_tag(experiment_id, f"{TAG}{name}", json.dumps(view(study.partition_hash, study.metrics)))
    return view_place(experiment_id, name)


def view_name(dataset_hash: str, partition_hash: str) -> str:
    return f"tagscale-{study_key(dataset_hash, partition_hash)}"


def view(partition_hash: str, metrics: Sequence[str]) -> dict[str, Any]:
    """The state of the page: the trainings on a partition, sorted, without the run that they nest in."""
    scores = [f"test_{metric}" for metric in metrics]
    shown = [*scores, f"{scores[0]}_low", f"{scores[0]}_high", f"valid_{metrics[0]}", "train_seconds"]
    columns = [f"params.`{name}`" for name in (*AXES, "parameters")] + [f"metrics.`{name}`" for name in shown]
    return {
        "searchFilter": _trainings(partition_hash),
        "orderByKey": f"metrics.`{scores[0]}`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": _charts(scores),
        "compareRunSections": [
            {"uuid": SECTION, "name": "Study", "display": True, "isReordered": False, "deleted": False}
        ],
    }


def study_page(experiment: str, dataset_hash: str, partition_hash: str) -> str | None:
    """Address of the view of a study; None where there is none. Makes no store."""
    database = database_of(configure())
    if database and not database.exists():
        return None
    client, name = connect(), view_name(dataset_hash, partition_hash)
    with explained(client.tracking_uri):
        entry = client.get_experiment_by_name(experiment)
    return experiment_page(entry.experiment_id, name) if entry and f"{TAG}{name}" in entry.tags else None


def linked_page(experiment: str, dataset_hash: str, partition_hash: str) -> str | None:
    """Address of the view of a study, kept or to be, for a link; None where no server shows it or none answers."""
    if run_page("") is None:
        return None
    with suppress(TagscaleError):
        client = connect()
        with explained(client.tracking_uri):
            entry = client.get_experiment_by_name(experiment)
        return experiment_page(entry.experiment_id, view_name(dataset_hash, partition_hash)) if entry else None
    return None


def print_pages() -> None:
    """Print the address of every view, for `tagscale ui`. Makes the store where it is missing."""
    client = connect()
    with explained(client.tracking_uri):
        for experiment in client.search_experiments():
            for tag in experiment.tags:
                if tag.startswith(f"{TAG}tagscale-"):
                    print(f"  {experiment.name}: {experiment_page(experiment.experiment_id, tag.removeprefix(TAG))}")


def _trainings(partition_hash: str) -> str:
    """The search for the trainings on a partition, whichever run they nest in."""
    return f"tags.`tagscale.partition_hash` = '{partition_hash}' and tags.`tagscale.model` != ''"


def _charts(scores: Sequence[str]) -> list[dict[str, Any]]:
    """The scores over the training size, all axes side by side, bars of the scores, and the curves of the losses."""
    size = {"key": "train_tracks", "type": "PARAM"}
    charts: list[dict[str, Any]] = [
        {"type": "SCATTER", "xaxis": size, "yaxis": {"key": score, "type": "METRIC"}, "runsCountToCompare": 100}
        for score in scores
    ]
    charts += [
        {"type": "PARALLEL", "selectedParams": [*AXES], "selectedMetrics": [*scores], "showAllRuns": True},
        *({"type": "BAR", "metricKey": score, "runsCountToCompare": 100} for score in scores),
        *({"type": "LINE", "metricKey": curve, "selectedMetricKeys": [curve], "xAxisKey": "step"} for curve in CURVES),
    ]
    more = {"metricSectionId": SECTION, "deleted": False, "isGenerated": False}
    return [{"uuid": f"{SECTION}-{number}"} | chart | more for number, chart in enumerate(charts)]
