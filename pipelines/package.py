"""Compiled pipelines: what is handed to a Kubeflow Pipelines server, and what it is called there."""

import hashlib
import json
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kfp
import yaml
from google.protobuf import json_format
from kfp import compiler
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from pipelines.definitions import defined, pipeline
from pipelines.graph import BEGIN, Graph
from tagscale.params.load import Params, parse
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.provenance import git_commit

_NAMED_MODELS = 3  # in the name of a run; of more their number is told

Specs = tuple[PipelineSpec, PlatformSpec]


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        name: of the pipeline on the server.
        text: the YAML; a second document in it is the platform's part (volumes, secrets, node selectors).
        settings: params.yaml as it was compiled in.
        source: what it was compiled from: a git commit, "0d40257-dirty", "package".
        by_content: the source does not say what the pipeline is, so the name of its version has its digest too.
        trains: a task of it trains.
        cached: tasks may be taken from the cache.
    """

    name: str
    text: str
    settings: Params
    source: str
    by_content: bool
    trains: bool
    cached: bool = True

    @property
    def version(self) -> str:
        """Name of this version on the server."""
        return self.source + f"-{self.digest}" * self.by_content + "-no-cache" * (not self.cached)

    @property
    def digest(self) -> str:
        """First 8 hex digits of the SHA-256 of the YAML."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    @property
    def specs(self) -> Specs:
        return specs_of(_documents(self.text))

    @property
    def grid(self) -> str:
        """What it works on: "waveform+spectrogram x 3 sizes x 1 seed", or the dataset where nothing is trained."""
        if not self.trains:
            return self.settings.dataset.name
        train = self.settings.train
        models = [*train.models, *train.baselines]
        named = "+".join(models) if len(models) <= _NAMED_MODELS else f"{len(models)} models"
        counts = ((len(train.sizes), "size"), (len(train.seeds), "seed"))
        return " x ".join([named, *(f"{count} {noun}{'s' if count != 1 else ''}" for count, noun in counts)])


def compiled_text(name: str, settings: Params) -> str:
    """The YAML of the pipeline `name`; the same settings give the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        compiler.Compiler().compile(pipeline(name, settings), str(file))
        return file.read_text(encoding="utf-8")


def compiled(name: str, settings: Params) -> Package:
    """The pipeline `name` of these settings, its version named by the git commit.

    Raises:
        TagscaleError: no pipeline of this name.
    """
    defined(name)
    source, clean = _commit()
    return _package(compiled_text(name, settings), f"pipeline {name}", source, by_content=not clean)


def read_package(file: Path) -> Package:
    """A pipeline that `python -m pipelines compile` wrote; its version is named by its content.

    Raises:
        TagscaleError: no file, no compiled pipeline, or one that another version of kfp compiled.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TagscaleError(f"{file}: cannot be read ({error}); `python -m pipelines compile` writes one.") from None
    return _package(text, str(file), "package", by_content=True)


def without_caching(package: Package) -> Package:
    """The same pipeline with no task taken from the cache, as a version of its own.

    kfp's own switch (`enable_caching`) changes the outermost tasks only, so trainings, which are in loops, would still
    be taken from the cache; and it has no effect at all on a run of an uploaded version.
    """
    documents = _documents(package.text)
    dags = [documents[0]["root"], *documents[0]["components"].values()]
    for task in (task for dag in dags if "dag" in dag for task in dag["dag"]["tasks"].values()):
        if "cachingOptions" in task:  # a loop has none, its tasks have
            task["cachingOptions"] = {}
    return replace(package, text=yaml.safe_dump_all(documents), cached=False)


def specs_of(documents: list[Any]) -> Specs:
    """Pipeline and platform parts, strictly parsed. Raises json_format.ParseError for what kfp does not know."""
    pipeline = json_format.ParseDict(documents[0], PipelineSpec())
    platform = PlatformSpec()
    for document in documents[1:]:
        json_format.ParseDict(document, platform)
    return pipeline, platform


def _documents(text: str) -> list[Any]:
    return list(yaml.load_all(text, Loader=yaml.CSafeLoader))  # ten times as fast as safe_load_all


def _package(text: str, origin: str, source: str, by_content: bool) -> Package:
    """Check a compiled pipeline and find its settings."""
    again = "compile it again with `python -m pipelines compile`"
    try:
        documents = _documents(text)
        content = documents[0]
        made_by, name = content["sdkVersion"], content["pipelineInfo"]["name"]
    except (yaml.YAMLError, KeyError, TypeError, IndexError):
        raise TagscaleError(f"{origin}: not a compiled pipeline (no sdkVersion or pipelineInfo); {again}.") from None
    if made_by != f"kfp-{kfp.__version__}":
        raise TagscaleError(f"{origin}: compiled by {made_by}, and here is kfp-{kfp.__version__}; {again}.")
    try:
        specs_of(documents)
        graph = Graph.of(content)
        settings = json.loads(graph.constant(BEGIN, "params"))
    except (json_format.ParseError, KeyError, TypeError, ValueError) as error:
        raise TagscaleError(f"{origin}: not a pipeline of tagscale ({error!r}); {again}.") from None
    return Package(name, text, parse(settings, origin), source, by_content, "train" in graph.functions.values())


def _commit() -> tuple[str, bool]:
    """Short git commit with "-dirty" where files differ from it, and whether it says what the code is."""
    commit = git_commit()
    if commit == "unknown":
        return "no-commit", False
    try:
        command = ["git", "status", "--porcelain", "--untracked-files=no"]
        changes = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):  # TAGSCALE_GIT_COMMIT says it, and no repository is here
        changes = ""
    return (f"{commit[:7]}-dirty", False) if changes else (commit[:7], True)
