"""A compiled pipeline, and its names on a server."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import kfp
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.yaml_text import parse_documents

Specs = tuple[PipelineSpec, PlatformSpec]


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        name: of the pipeline on the server.
        text: the YAML; a second document in it is the platform's part (volumes, secrets, node selectors).
        title: leads the names of its runs, and names their experiment where no other is given.
        about: what it works on; part of the names of its runs, and the description of its version.
        source: what it was compiled from: a git commit, "0d40257-dirty", "package".
        by_content: the source does not determine the pipeline, so the version's name has its digest, too.
        arguments: of its runs, by the names of the pipeline's parameters.
    """

    name: str
    text: str
    title: str
    about: str
    source: str
    by_content: bool
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Name of this version on the server."""
        return self.source + f"-{self.digest}" * self.by_content

    @property
    def digest(self) -> str:
        """First 8 hex digits of the SHA-256 of the YAML."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:8]

    def given(self, **arguments: Any) -> "Package":
        """The same pipeline, run with these arguments. Raises TagscaleError for an unknown parameter."""
        known = documents_of(self.text)[0]["root"].get("inputDefinitions", {}).get("parameters", {})
        for name in arguments:
            if name not in known:
                has = f"its parameters are {', '.join(known)}" if known else "it has none"
                raise TagscaleError(f"{self.name}: no parameter `{name}` ({has}); compile the pipeline again.")
        return replace(self, arguments=arguments)

    @property
    def specs(self) -> Specs:
        """The pipeline and its platform's part."""
        return specs_of(documents_of(self.text))

    @property
    def images(self) -> set[str]:
        """The images in which its tasks run."""
        executors = documents_of(self.text)[0]["deploymentSpec"]["executors"].values()
        return {one["container"]["image"] for one in executors if "container" in one}


def check_compiled(text: str, origin: str) -> dict[str, Any]:
    """The pipeline in a compiled file, without its platform's part.

    Args:
        origin: begins the message of an error.
    Raises:
        TagscaleError: not a compiled pipeline, one of another version of kfp, or one with fields that kfp lacks.
    """
    try:
        documents = documents_of(text)
        pipeline: dict[str, Any] = documents[0]
        compiler, _ = pipeline["sdkVersion"], pipeline["pipelineInfo"]["name"]
    except (TagscaleError, KeyError, TypeError, IndexError):
        raise TagscaleError(f"{origin}: not a compiled pipeline (no sdkVersion or pipelineInfo).") from None
    if compiler != f"kfp-{kfp.__version__}":
        raise TagscaleError(
            f"{origin}: compiled by {compiler}, and kfp-{kfp.__version__} is installed; compile it again."
        )
    try:
        specs_of(documents)
    except json_format.ParseError as error:
        raise TagscaleError(f"{origin}: not a pipeline of {compiler} ({error}); compile it again.") from None
    return pipeline


def specs_of(documents: list[Any]) -> Specs:
    """The pipeline and its platform's part, parsed. Raises json_format.ParseError for fields that kfp lacks."""
    pipeline, platform = json_format.ParseDict(documents[0], PipelineSpec()), PlatformSpec()
    for document in documents[1:]:
        json_format.ParseDict(document, platform)
    return pipeline, platform


@lru_cache(maxsize=4)  # a submission asks for the parameters, the images and the specifications, one after another
def documents_of(text: str) -> list[Any]:
    """The documents of a YAML file, cached: callers leave them unchanged."""
    return parse_documents(text, "the compiled pipeline")
