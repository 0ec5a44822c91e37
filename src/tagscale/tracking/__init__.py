"""MLflow, as tagscale uses it: an experiment per study, a run per model x size x seed, found again by its identity.

Stages are separate processes that work on the same run one after another (train logs curves, evaluate logs metrics),
so a run is found by the identity in its tags and no global "active run" exists. Without MLFLOW_TRACKING_URI everything
lands in the project's mlflow.db and mlartifacts, which `mlflow server --backend-store-uri sqlite:///mlflow.db` shows.

    server.py    the tracking store, and its errors in plain words
    local.py     the SQLite store of a project: made, upgraded, moved with its folder
    runs.py      runs, and logging to them
    data.py      what MLflow shows of a dataset
    machine.py   the load of the machine during a training
    models.py    the model that a run has trained
    views.py     which runs, columns and charts MLflow shows of a study
    pages.py     addresses of MLflow's pages
    nesting.py   the run that the runs of a process nest in
    record.py    all that a training logged, in the folder of its run
    outbox.py    logging of a training, even while the server does not answer
    versions.py  the files of a version in the registry of models
    unsent.py    a journal of entries on disk: those of a record, and those that an outbox has not sent yet
"""

import tagscale.runtime.mlflow_env  # noqa: I001 (before anything here imports mlflow)

from tagscale.tracking.data import DataFacts
from tagscale.tracking.local import database_of
from tagscale.tracking.machine import Machine, metric_name
from tagscale.tracking.nesting import KEPT, PARENT, context, name_kept, nested_in
from tagscale.tracking.pages import run_page, version_page
from tagscale.tracking.record import PROCESS
from tagscale.tracking.runs import (
    DATA_VERSION,
    SPLIT,
    UNPUBLISHED,
    TrackedRun,
    comparison_run,
    find_run,
    flattened,
    identity_tags,
    recorded_run,
    start_run,
    study_run,
)
from tagscale.tracking.server import (
    ServerAway,
    configure,
    connect,
    environment,
    explained,
    made_experiment,
    registry_uri,
    shown,
)
from tagscale.tracking.views import StudyFacts, linked_page, study_page
