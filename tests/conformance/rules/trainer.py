"""TrainJobs: which versions of Kubeflow Trainer keep all that a job of tagscale says."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubeflow.common.types import KubernetesBackendConfig
from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend
from kubernetes.client import Configuration

from conformance.kit import Elsewhere, Installation, Planted, Rule
from kubernetes_loopback.pruning import pruned, trainjob_schema
from kubernetes_loopback.server import NAMESPACE, serving
from tagscale.cluster import trainjob

UPSTREAM = "Kubeflow Trainer 2.1.0 and 2.2.0: manifests/base/crds/trainer.kubeflow.org_trainjobs.yaml"
VERSIONS = ("2.1.0", "2.2.0")
NEEDED = re.compile(r"Kubeflow Trainer (\d+)\.(\d+) or newer")
PAGE = "docs/cluster.md"


def job(installation: Installation) -> dict[str, Any]:
    """A TrainJob as tagscale sends it."""
    with serving() as cluster:
        there = KubernetesBackendConfig(namespace=NAMESPACE, client_configuration=Configuration(host=cluster.address))
        trainjob.start(KubernetesBackend(there), installation.params, "train", Path("/data/request.json"), None, {})
        (body,) = cluster.jobs.values()
    return body


def dropped(value: Any, kept: Any, place: str = "") -> Iterator[str]:
    """Paths of the fields that are not kept."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in kept:
                yield f"{place}.{key}".lstrip(".")
            else:
                yield from dropped(inner, kept[key], f"{place}.{key}")
    elif isinstance(value, list):
        for number, (inner, rest) in enumerate(zip(value, kept, strict=True)):
            yield from dropped(inner, rest, f"{place}[{number}]")


def _kept(installation: Installation) -> Iterator[str]:
    stated = NEEDED.search(installation.text(PAGE))
    if stated is None:
        yield f"{PAGE} names no version of Kubeflow Trainer that is new enough"
        return
    body = {key: value for key, value in job(installation).items() if key != "status"}
    for version in VERSIONS:
        lost = list(dropped(body, pruned(body, trainjob_schema(version))))
        if lost and tuple(map(int, stated.groups())) <= tuple(map(int, version.split(".")[:2])):
            yield f"{PAGE}: {stated[0]}, but {version} drops {', '.join(lost)} of a TrainJob"


KEPT = Rule("Kubeflow Trainer keeps all that a TrainJob says", UPSTREAM, _kept)
RULES = [KEPT]
PLANTED = [
    Planted(
        "Kubeflow Trainer 2.1 is said to be enough",
        KEPT,
        lambda installation: installation.replace(PAGE, "Trainer 2.2 or newer", "Trainer 2.1 or newer"),
        "but 2.1.0 drops spec.activeDeadlineSeconds, spec.runtimePatches",
    )
]
ELSEWHERE = [
    Elsewhere(
        "Kubeflow Trainer 2.1 drops volume and place of a TrainJob, and its pods run",
        UPSTREAM,
        "tests/cluster/test_trainjob.py::test_a_trainer_that_drops_what_a_job_says",
    )
]
