"""A canary on a loopback Kubernetes API: by pods of a second Deployment, and by revisions of Knative."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes import client
from typer.testing import CliRunner

from kubernetes_loopback.champion import CANARY, ChampionCluster, champion_cluster
from tagscale.cli import app
from tagscale.cluster import rollout
from tagscale.cluster.canary import pods_for
from tagscale.cluster.rollout import Rollouts
from tagscale.runtime.errors import TagscaleError

PARAMS = str(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture(params=["deployment", "knative"])
def cluster(request: pytest.FixtureRequest) -> Iterator[ChampionCluster]:
    knative = request.param == "knative"
    with champion_cluster(kserve=knative, replicas=4, knative=knative) as server:
        yield server


@pytest.fixture
def deploy(registry: str, monkeypatch: pytest.MonkeyPatch, cluster: ChampionCluster) -> Callable[..., str]:
    """`tagscale deploy` on the cluster; what it prints."""
    return command(registry, monkeypatch, cluster)


def command(registry: str, monkeypatch: pytest.MonkeyPatch, cluster: ChampionCluster) -> Callable[..., str]:
    configuration = client.Configuration(host=cluster.address)
    configuration.retries = False
    monkeypatch.setattr(rollout, "POLL_SECONDS", 0.01)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    monkeypatch.setattr(
        rollout, "rollouts", lambda namespace, say: Rollouts(client.ApiClient(configuration), namespace, say)
    )

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["deploy", "--params", PARAMS, *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def served(cluster: ChampionCluster) -> dict[str, int]:
    """Version -> percent of the requests: of Knative, or by the pods behind the Service."""
    if cluster.knative:
        return {version: percent for version, percent in cluster.traffic.items() if percent}
    pods = dict(cluster.pods)
    if canary := cluster.objects.get(("deployments", CANARY)):
        pods[canary["spec"]["template"]["metadata"]["annotations"]["tagscale.version"]] = cluster.canary_pods
    return {version: round(100 * count / sum(pods.values())) for version, count in pods.items()}


def test_a_canary_gets_its_share_and_then_all(deploy: Callable[..., str], cluster: ChampionCluster) -> None:
    deploy()
    assert served(cluster) == {"2": 100}
    assert "version 1 gets 20 % of the requests, version 2 the others." in deploy("1", "--canary", "20")
    assert served(cluster) == {"1": 20, "2": 80}
    said = deploy("1", "--canary", "50")
    assert "version 1 gets 50 % of the requests" in said
    assert served(cluster) == {"1": 50, "2": 50}

    said = deploy("--promote")
    assert "version 1 is served, and no other, in place of version 2." in said
    assert "The registry's champion is version 2" in said
    assert (served(cluster), cluster.canary_pods) == ({"1": 100}, 0)
    assert "version 2 is served, and no other, in place of version 1." in deploy("--back"), "to the version before"
    assert served(cluster) == {"2": 100}


def test_a_canary_is_taken_back_and_never_gets_more(deploy: Callable[..., str], cluster: ChampionCluster) -> None:
    deploy()
    deploy("1", "--canary", "20")
    with pytest.raises(TagscaleError, match="Version 1 is a canary beside version 2: end it first"):
        deploy("2")
    with pytest.raises(TagscaleError, match="version 2 has all requests already"):
        deploy("2", "--canary", "20")
    assert "version 2 is served, and no other, in place of version 1.\n" in deploy("--back")
    assert (served(cluster), cluster.canary_pods) == ({"2": 100}, 0)
    assert cluster.worst.get("1", 20) == 20
    with pytest.raises(TagscaleError, match="no version was served before 2"):
        deploy("--back")
    with pytest.raises(TagscaleError, match="--promote: no canary in namespace tagscale"):
        deploy("--promote")


def test_a_canary_that_does_not_start(deploy: Callable[..., str], cluster: ChampionCluster) -> None:
    deploy()
    cluster.stuck["1"] = ("CrashLoopBackOff", "back-off 20s restarting failed container")
    with pytest.raises(TagscaleError, match=r"(?s)Version 1 is not served: pod .*CrashLoopBackOff.*Version 2 goes on"):
        deploy("1", "--canary", "20")
    deploy("--back")
    assert (served(cluster), cluster.canary_pods) == ({"2": 100}, 0)


def test_a_canary_beside_nothing(deploy: Callable[..., str], cluster: ChampionCluster) -> None:
    with pytest.raises(TagscaleError, match="no version is served yet"):
        deploy("1", "--canary", "20")
    with pytest.raises(TagscaleError, match="found 1 and --canary and --back"):
        deploy("1", "--canary", "20", "--back")
    assert not cluster.patches


def test_kserve_without_knative_has_no_canary(registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with champion_cluster(kserve=True) as cluster:
        deploy = command(registry, monkeypatch, cluster)
        deploy()
        patches = len(cluster.patches)
        with pytest.raises(TagscaleError, match="mode RawDeployment, which has no canary: canaryTrafficPercent has no"):
            deploy("1", "--canary", "20")
        with pytest.raises(TagscaleError, match="--promote: no canary in namespace"):
            deploy("--promote")
        assert (len(cluster.patches), cluster.pods) == (patches, {"2": 1})


@pytest.mark.parametrize(
    ("percent", "stable", "pods"), [(50, 1, 1), (10, 9, 1), (10, 6, 1), (20, 4, 1), (33, 4, 2), (90, 1, 9)]
)
def test_the_pods_of_a_share(percent: int, stable: int, pods: int) -> None:
    assert pods_for(percent, stable) == pods


def test_too_few_pods_for_a_share() -> None:
    with pytest.raises(TagscaleError, match=r"1 beside 1 would get 50 %.* --replicas 6\), or ask for 50\."):
        pods_for(10, 1)
    with pytest.raises(TagscaleError, match=r"2 beside 1 would get 67 %.* --replicas 2\), or ask for 67\."):
        pods_for(60, 1)


@pytest.mark.parametrize("stable", range(1, 12))
def test_any_share_of_any_pods_is_split_or_refused_with_what_can_be(stable: int) -> None:
    for percent in range(1, 100):
        try:
            canary = pods_for(percent, stable)
        except TagscaleError as error:
            enough = int(re.findall(r"--replicas (\d+)", str(error))[0])
            assert pods_for(percent, enough) >= 1
        else:
            assert abs(100 * canary / (canary + stable) - percent) <= 5
