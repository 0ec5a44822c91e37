"""An overlay as the cluster would get it, from `kubectl kustomize`: each resource with the file that it comes from."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tagscale.runtime.errors import TagscaleError

ORIGIN = "config.kubernetes.io/origin"


@dataclass(frozen=True)
class Resource:
    """One rendered resource."""

    file: str  # relative to the folder that holds base and overlays
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body.get("kind"))

    @property
    def name(self) -> str:
        return str(self.body.get("metadata", {}).get("name"))


@dataclass(frozen=True)
class Fault:
    """What is wrong with a resource: the field, as a path into the rendered resource, and what to do."""

    resource: Resource
    field: str
    what: str

    def __str__(self) -> str:
        return f"{self.resource.file}: {self.resource.kind}/{self.resource.name}: {self.field}: {self.what}"


def render(overlay: Path) -> list[Resource]:
    """All resources of an overlay.

    Args:
        overlay: a folder with a kustomization.yaml, two levels below the folder that holds base and overlays.
    Raises:
        TagscaleError: no such overlay, no kubectl, or kustomize refuses it.
    """
    if not (overlay / "kustomization.yaml").is_file():
        raise TagscaleError(f"{overlay}: no kustomization.yaml there; expected the folder of an overlay.")
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise TagscaleError(
            "kubectl: no such command on the PATH, and overlays are rendered with `kubectl kustomize`. "
            "Install it (https://kubernetes.io/docs/tasks/tools); it needs no cluster for this."
        )
    # The origins are for the check alone: an overlay that asked for them would carry them to the cluster.
    with tempfile.TemporaryDirectory() as folder:
        around = Path(folder).resolve()
        asked = {"resources": [os.path.relpath(overlay.resolve(), around)], "buildMetadata": ["originAnnotations"]}
        (around / "kustomization.yaml").write_text(yaml.safe_dump(asked), encoding="utf-8")
        done = subprocess.run([kubectl, "kustomize", str(around)], capture_output=True, text=True)
        if done.returncode:
            raise TagscaleError(f"{overlay}: kustomize refuses it. {done.stderr.strip()}")
        bodies = [body for body in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if body]
        return [_with_origin(body, around, overlay.resolve().parents[1]) for body in bodies]


def _with_origin(body: dict[str, Any], around: Path, root: Path) -> Resource:
    """Take the origin out of a resource's annotations again."""
    metadata = body["metadata"]
    origin = yaml.safe_load(metadata["annotations"].pop(ORIGIN))
    if not metadata["annotations"]:
        del metadata["annotations"]
    file = Path(os.path.normpath(around / (origin.get("path") or origin["configuredIn"])))
    return Resource(os.path.relpath(file, root), body)
