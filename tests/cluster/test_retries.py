"""What begin says about retries, from a pod as Argo makes it, through a Kubernetes API server on this machine."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from kubernetes_loopback.server import NAMESPACE, Cluster, serving
from tagscale.cluster import retries

POD = "tagscale-study-x7f2q-system-container-impl-1234567890"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    (tmp_path / "namespace").write_text(f"{NAMESPACE}\n")
    monkeypatch.setattr(retries, "NAMESPACE", tmp_path / "namespace")
    monkeypatch.setenv("KFP_POD_NAME", POD)
    with serving() as server:
        there = client.Configuration(host=server.address)
        there.retries = 0
        monkeypatch.setattr(retries, "connect", lambda: client.CoreV1Api(client.ApiClient(there)))
        yield server


@pytest.mark.parametrize(
    ("strategy", "line"),
    [
        ({"limit": "2", "retryPolicy": "OnError"}, r"\(retryPolicy OnError\): .* does NOT retry tasks .* docs/cluster"),
        ({"limit": "2", "retryPolicy": "Always"}, r"\(retryPolicy Always\): .* retries tasks 2 times whatever ended"),
        ({"limit": "2"}, r"\(retryPolicy OnFailure\): .* 2 times, but not one whose pod was deleted; docs/cluster.md"),
        ({"limit": "2", "expression": "true"}, r"\(retryPolicy Always\)"),
        ({"retryPolicy": "OnTransientError"}, r"does NOT retry most tasks"),
        ({"retryPolicy": "Sometimes"}, r"\(retryPolicy Sometimes\): .* a policy that tagscale does not know"),
    ],
)
def test_the_policy_of_the_own_pod(cluster: Cluster, strategy: dict[str, Any], line: str) -> None:
    cluster.add_task("another", {"retryStrategy": {"retryPolicy": "Never"}})
    cluster.add_task(POD, {"name": "retry-system-container-impl", "retryStrategy": strategy})
    assert re.search(line, retries.describe(2))


def test_one_retry(cluster: Cluster) -> None:
    cluster.add_task(POD, {"retryStrategy": {"limit": "1", "retryPolicy": "Always"}})
    assert "retries tasks once whatever" in retries.describe(1)


def test_a_template_that_lies_elsewhere(cluster: Cluster) -> None:
    """Argo puts a template of more than 128 KB into a ConfigMap."""
    cluster.add_task(POD, {})
    cluster.pods[POD][0]["spec"]["initContainers"][0]["env"][1]["value"] = "offloaded"
    assert "2 times, but after which failures cannot be read (LookupError: Argo keeps" in retries.describe(2)


def test_a_refusal_and_an_api_that_is_away(cluster: Cluster) -> None:
    cluster.rights = set()
    assert "cannot be read (pods is forbidden" in retries.describe(2)
    cluster.away_for = 9
    assert "cannot be read (" in retries.describe(2)


def test_without_a_cluster_or_without_retries(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert retries.describe(0) == "Retries: none, kubernetes.retries is 0"
    monkeypatch.delenv("KFP_POD_NAME")
    assert retries.describe(2) == "Retries: none, since no cluster runs this task"
