"""A copy of k8s/ that a test may spoil, and what the check says of it."""

import shutil
from pathlib import Path

from k8s.check import faults_of
from k8s.render import Fault, Resource, render

K8S = Path(__file__).parents[1] / "k8s"
OVERLAYS = ("cloud", "gpu", "local", "standalone")


def copied(folder: Path) -> Path:
    """The manifests, in a folder of the test's own."""
    for name in ("components", "default-deny", "namespaces", "overlays", "secrets", "servers", "tasks"):
        shutil.copytree(K8S / name, folder / "k8s" / name)
    return folder / "k8s"


def replaced(root: Path, file: str, old: str, new: str) -> None:
    """Put one text in place of another; the old one must be there."""
    text = (root / file).read_text()
    assert old in text, f"{file} has no `{old}`: the test is out of date"
    (root / file).write_text(text.replace(old, new, 1))


def rendered(root: Path, overlay: str) -> list[Resource]:
    return render(root / "overlays" / overlay)


def faults(root: Path, overlay: str) -> list[Fault]:
    return faults_of(rendered(root, overlay), root / "secrets" / "create.sh")
