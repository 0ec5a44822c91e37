"""From a trained run to a registered version: a self-contained MLflow model, and loading it back without its code.

The packaged model holds the weights (safetensors, XGBoost's format), JSON, and a copy of tagscale's source. So it loads
wherever its pip requirements are installed, and it contains no pickles. `load_version` is stricter: it reads only
weights and JSON from the artifact and runs the installed code.
"""

import io
import tempfile
import wave
from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

import tagscale
from tagscale import SAMPLE_RATE
from tagscale.decoding.formats import PACKAGES
from tagscale.registry.tagger import AUDIO, OUTPUT, PATHS, SCORES, AudioTagger
from tagscale.registry.versions import Registry, Version
from tagscale.runtime.mlflow_env import TAGGER
from tagscale.runtime.owner import is_running, this_process
from tagscale.tracking import PROCESS, TrackedRun, environment, explained
from tagscale.tracking.models import REGISTERED, unregistered_model
from tagscale.tracking.versions import version_files

NEEDED = ("numpy", "pandas", *PACKAGES, "soxr", "mlflow")  # to tag audio, whatever the model


def package(tagger: AudioTagger, folder: Path, model: Model | None = None) -> None:
    """Write the tagger as a self-contained MLflow model, with signature and input example.

    Args:
        model: MLflow's description of run and model, which is extended; None starts a new one.
    """
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / Path(TAGGER).name
        tagger.save(data)
        mlflow.pyfunc.save_model(
            path=str(folder),
            loader_module="tagscale.registry.tagger",
            data_path=str(data),
            code_paths=[str(Path(tagscale.__file__).parent)],
            pip_requirements=[_requirement(name) for name in (*NEEDED, *tagger.scorer.needs)],
            signature=signature(tagger),
            input_example=pd.DataFrame({AUDIO: [example_wav(tagger.scorer.seconds)]}),
            model_config={PATHS: False},  # a key that is missing here could not be set by who loads the model
            mlflow_model=model,
        )


def signature(tagger: AudioTagger) -> ModelSignature:
    """What the tagger's `predict` takes and gives: bytes of audio files, and one number for each tag."""
    return ModelSignature(
        Schema([ColSpec(DataType.binary, AUDIO)]),
        Schema([ColSpec(DataType.double, tag) for tag in tagger.tags]),
        ParamSchema([ParamSpec(OUTPUT, DataType.string, SCORES)]),
    )


def _requirement(package: str) -> str:
    """The package, pinned to the installed version. Unpinned if missing here, because the model reads all formats."""
    try:
        return f"{package}=={installed(package).split('+')[0]}"
    except PackageNotFoundError:
        return package


def register(
    registry: Registry,
    run: TrackedRun,
    tagger: AudioTagger,
    name: str,
    tags: Mapping[str, Any],
    description: str,
    marks: Collection[str] = (),
) -> str:
    """Package the tagger, store it with its run and make it the next version of the registered model.

    Args:
        name: name of the run, as the model's pages show it
        tags, description: tags and description of the version
        marks: names of the tags by which a version of this run is known; one that another process made meanwhile is
            taken
    Returns:
        number of the version
    """
    client = registry.client
    with explained(client.tracking_uri), tempfile.TemporaryDirectory() as temporary:
        _fail_lost(client, run)
        process, about = {PROCESS: this_process()}, "music tagger"
        trained = unregistered_model(client, run.run_id)  # its scores are there; it gets the package
        logged = trained or client.create_logged_model(run.experiment_id, name, run.run_id, process, model_type=about)
        try:
            of_run = Model(run_id=run.run_id, model_id=logged.model_id, artifact_path=logged.artifact_location)
            package(tagger, Path(temporary) / "model", of_run)
            client.log_model_artifacts(logged.model_id, str(Path(temporary) / "model"))
        except BaseException:
            with suppress(MlflowException):  # the first error matters more
                if trained is None:
                    client.finalize_logged_model(logged.model_id, "FAILED")
            raise
        if trained is None:
            client.finalize_logged_model(logged.model_id, "READY")
        with registry.one_writer():
            if marks and (version := registry.find({key: str(tags[key]) for key in marks})):
                if trained is None:
                    client.delete_logged_model(logged.model_id)
                return version.number
            if trained is None:
                client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
            client.set_logged_model_tags(logged.model_id, {REGISTERED: registry.name})
            # A local registry looks the model up in mlflow's default store, not in the client's (sqlalchemy_store.py).
            with environment({"MLFLOW_TRACKING_URI": client.tracking_uri}):
                made = client.create_model_version(
                    registry.name,
                    source=logged.model_uri,
                    run_id=run.run_id,
                    model_id=logged.model_id,
                    tags={key: str(value) for key, value in tags.items()},
                    description=description,
                )
    return str(made.version)


def _fail_lost(client: MlflowClient, run: TrackedRun) -> None:
    """Give the status FAILED to models of the run that a killed process of this machine left PENDING."""
    for model in client.search_logged_models([run.experiment_id], f"source_run_id = '{run.run_id}'"):
        if model.status == LoggedModelStatus.PENDING and is_running(model.tags.get(PROCESS)) is False:
            client.finalize_logged_model(model.model_id, "FAILED")


def load_version(name: str, version: str | int = "champion") -> tuple[AudioTagger, Version]:
    """The tagger of a registered version, given by number or alias, run by the installed code.

    Raises:
        TagscaleError: no such model or version, or its artifact is gone, damaged or of another version of tagscale.
    """
    registry = Registry.open(name)
    registered = registry.version(version)
    with tempfile.TemporaryDirectory() as temporary:
        files = version_files(registry.client, name, registered.number, Path(temporary))
        return AudioTagger.load(files), registered


def example_wav(seconds: float) -> bytes:
    """A WAV file of that length: three notes of a chord, as input example."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    chord = np.mean([np.sin(2 * np.pi * frequency * time) for frequency in (261.63, 329.63, 392.0)], axis=0)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((chord * 32767).astype("<i2").tobytes())
    return content.getvalue()
