"""The image: everything names one that a command makes."""

import re
import subprocess
from collections.abc import Iterator

from k8s.rules import UNSET, own_images

from conformance.kit import Elsewhere, Installation, Planted, Rule

REGISTRY = "registry.example.org/tagscale"  # of docs and overlays
LOCAL = "local"  # the overlay whose nodes are given the image by hand
COMMIT = "0d40257" + 33 * "0"
CLEAN = (f"COMMIT={COMMIT}", "DIRTY=")
PAGES = ("docs/cluster.md", "README.md")
OURS = "ours: Makefile, docs/cluster.md section 1"


def made(installation: Installation, image: str) -> set[str]:
    """The names that `make image` gives the image, at a commit."""
    return {
        tag.strip("'\"") for tag in re.findall(r"--tag (\S+)", _make(installation, "-n", "image", f"IMAGE={image}"))
    }


def _make(installation: Installation, *words: str) -> str:
    command = ["make", "-s", *words, *CLEAN]
    return subprocess.run(command, cwd=installation.folder, capture_output=True, text=True, check=True).stdout.strip()


def _named(installation: Installation) -> Iterator[str]:
    of_registry, of_machine = made(installation, REGISTRY), made(installation, "tagscale")
    tag = _make(installation, "image-tag")
    for page in PAGES:
        for name in re.findall(rf"{REGISTRY}:(\$\([^)]*\)|[\w.-]+)", installation.text(page)):
            if f"{REGISTRY}:{name.replace('$(make -s image-tag)', tag)}" not in of_registry:
                yield f"{page}: no command makes the tag {name}"
    for overlay in installation.overlays:
        known = of_machine if overlay == LOCAL else of_registry | {f"{REGISTRY}:{UNSET}"}
        for image in sorted({name for _, _, name in own_images(installation.overlay(overlay))} - known):
            yield f"{overlay}: no command makes {image}"


def _lasting(installation: Installation) -> Iterator[str]:
    for name in sorted(made(installation, REGISTRY)):
        if name != f"{REGISTRY}:{COMMIT[:7]}":
            yield f"make image: {name} names another image after the next build, and nodes keep the first"


NAMED = Rule("a command makes every image that is named", OURS, _named)
LASTING = Rule(
    "a tag in a registry names one image for good",
    "Kubernetes: imagePullPolicy IfNotPresent, which ours have",
    _lasting,
)
RULES = [NAMED, LASTING]
PLANTED = [
    Planted(
        "overlays name a version of the package",
        NAMED,
        lambda installation: installation.replace(
            "k8s/overlays/gpu/kustomization.yaml", f'newTag: "{UNSET}"', 'newTag: "0.1.0"'
        ),
        f"gpu: no command makes {REGISTRY}:0.1.0",
    ),
    Planted(
        "docs export a tag that nothing makes",
        NAMED,
        lambda installation: installation.replace(
            "docs/cluster.md", f"{REGISTRY}:$(make -s image-tag)", f"{REGISTRY}:0.1.0"
        ),
        "docs/cluster.md: no command makes the tag 0.1.0",
    ),
    Planted(
        "an overlay without its image",
        NAMED,
        lambda installation: installation.replace(
            "k8s/overlays/cloud/kustomization.yaml", "{name: tagscale,", "{name: tagscales,"
        ),
        "cloud: no command makes tagscale:latest",
    ),
    Planted(
        "make image tags latest in a registry",
        LASTING,
        lambda installation: installation.replace(
            "Makefile", "$(if $(findstring /,$(IMAGE)),,--tag $(IMAGE):latest)", "--tag $(IMAGE):latest"
        ),
        f"{REGISTRY}:latest names another image after the next build",
    ),
]
ELSEWHERE = [
    Elsewhere(
        "latest, or a tree with changes, is submitted",
        "Kubernetes: imagePullPolicy IfNotPresent",
        "tests/pipelines/client/test_submit.py::test_an_image_that_may_be_another_one_tomorrow",
    ),
    Elsewhere(
        "kubectl kustomize has no edit",
        "kubectl 1.34: kubectl kustomize --help",
        "tests/k8s/test_image.py::test_everything_of_an_overlay_runs_in_the_image",
    ),
]
