"""The pipelines of tagscale as packages for a Kubeflow Pipelines server."""

import json
import tempfile
from pathlib import Path

from kfp import compiler

from pipelines.client.package import Package, check_compiled
from pipelines.definitions import defined
from pipelines.graph import Graph
from pipelines.tasks import pipeline
from tagscale.evaluation.metrics import check_known
from tagscale.params.load import Params, parse
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.provenance import DIRTY, git_commit
from tagscale.runtime.words import counted

_NAMED_MODELS = 3  # in the name of a run; of more models the number is given


def compiled_text(name: str, settings: Params) -> str:
    """The YAML of the pipeline `name`; the same settings give the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        compiler.Compiler().compile(pipeline(name, settings), str(file))
        return file.read_text(encoding="utf-8")


def compile_package(name: str, settings: Params) -> Package:
    """The pipeline `name` of these settings; the git commit names its version.

    Raises:
        TagscaleError: no pipeline of this name, or registry.metric names no metric.
    """
    defined(name)
    check_known(settings.registry.metric, "registry.metric")
    source, clean = _commit()
    return _package(compiled_text(name, settings), f"pipeline {name}", source, by_content=not clean)


def read_package(file: Path) -> Package:
    """A pipeline that `tagscale pipelines compile` wrote; its content names its version.

    Raises:
        TagscaleError: no such file, no compiled pipeline, or one that another version of kfp compiled.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TagscaleError(f"{file}: cannot be read ({error}); `tagscale pipelines compile` writes one.") from None
    return _package(text, str(file), "package", by_content=True)


def _package(text: str, origin: str, source: str, by_content: bool) -> Package:
    """Check a compiled pipeline and read the settings in it."""
    content = check_compiled(text, origin)
    try:
        graph = Graph.of(content)
        settings = parse(json.loads(graph.settings), origin)
    except (KeyError, TypeError, ValueError) as error:
        raise TagscaleError(
            f"{origin}: not a pipeline of tagscale ({error!r}); `tagscale pipelines compile` writes one."
        ) from None
    functions = graph.functions.values()
    about = _grid(settings) if "train" in functions else settings.dataset.name
    about = "catalogue" if "tag" in functions else about
    return Package(content["pipelineInfo"]["name"], text, settings.tracking.experiment, about, source, by_content)


def _grid(settings: Params) -> str:
    """What a study trains: "waveform+spectrogram x 3 sizes x 1 seed"."""
    train = settings.train
    models = train.trained
    named = "+".join(models) if len(models) <= _NAMED_MODELS else f"{len(models)} models"
    counts = ((len(train.sizes), "size"), (len(train.seeds), "seed"))
    return " x ".join([named, *(counted(count, noun) for count, noun in counts)])


def _commit() -> tuple[str, bool]:
    """Short git commit with "-dirty" where code or settings differ from it, and whether it determines the code."""
    commit = git_commit()
    if commit == "unknown":
        return "no-commit", False
    dirty = commit.endswith(DIRTY)
    return f"{commit[:7]}{DIRTY if dirty else ''}", not dirty
