"""What is applied to a cluster: each resource, as `kubectl kustomize` renders it, and the file that it comes from."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.yaml_text import parse_documents, parse_yaml

ORIGIN = "config.kubernetes.io/origin"


@dataclass(frozen=True)
class Resource:
    """One rendered resource."""

    file: str  # relative to k8s
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind"))

    @property
    def name(self) -> str:
        return str(self.body.get("metadata", {}).get("name"))

    @property
    def namespace(self) -> str | None:
        """None: the resource belongs to the whole cluster."""
        namespace: str | None = self.body.get("metadata", {}).get("namespace")
        return namespace


@dataclass(frozen=True)
class Fault:
    """A fault of a resource: the field, as a path into the rendered resource, what is wrong, and what to do."""

    resource: Resource
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.resource.file}: {self.resource.kind}/{self.resource.name}: {self.field}: {self.what}"


def render(overlay: Path) -> list[Resource]:
    """All resources of an overlay.

    Args:
        overlay: a folder with a kustomization.yaml, in k8s/overlays.
    Raises:
        TagscaleError: no such overlay, no kubectl, or kustomize refuses it.
    """
    if not (overlay / "kustomization.yaml").is_file():
        raise TagscaleError(f"{overlay}: no kustomization.yaml there; expected the folder of an overlay.")
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise TagscaleError(
            "kubectl: no such command on the PATH; `kubectl kustomize` renders the overlays. "
            "Install it (https://kubernetes.io/docs/tasks/tools); it needs no cluster for this."
        )
    # An outer kustomization asks for the origins: in the overlay itself they would reach the cluster.
    with tempfile.TemporaryDirectory() as folder:
        outer = Path(folder).resolve()
        content = {"resources": [os.path.relpath(overlay.resolve(), outer)], "buildMetadata": ["originAnnotations"]}
        (outer / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        uncollected = os.environ | {"GOGC": "off"}  # kubectl takes a third of its time to free memory
        kustomize = subprocess.run([kubectl, "kustomize", str(outer)], capture_output=True, text=True, env=uncollected)
        if kustomize.returncode:
            raise TagscaleError(f"{overlay}: kustomize refuses it. {kustomize.stderr.strip()}")
        bodies = [body for body in parse_documents(kustomize.stdout, str(overlay)) if body]
        return [_with_origin(body, outer, overlay.resolve().parents[1]) for body in bodies]


def read(folder: Path) -> list[Resource]:
    """All resources of a folder whose files are applied as they are."""
    files = sorted(folder.glob("*.yaml"))
    documents = [(file, body) for file in files for body in parse_documents(file.read_text("utf-8"), str(file)) if body]
    return [Resource(os.path.relpath(file, folder.parent), body) for file, body in documents]


def _with_origin(body: dict[str, Any], outer: Path, root: Path) -> Resource:
    """The resource without the annotation of its origin, which becomes its file."""
    metadata = body["metadata"]
    origin = parse_yaml(metadata["annotations"].pop(ORIGIN), ORIGIN)
    if not metadata["annotations"]:
        del metadata["annotations"]
    file = Path(os.path.normpath(outer / (origin.get("path") or origin["configuredIn"])))
    return Resource(os.path.relpath(file, root), body)
