"""Rolling a version out on a loopback Kubernetes API, as a Deployment and as an InferenceService of KServe."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes import client
from typer.testing import CliRunner

from cluster.conftest import MODEL
from kubernetes_loopback.champion import NAMESPACE, ChampionCluster, champion_cluster
from tagscale.cli import app, main
from tagscale.cluster import rollout
from tagscale.cluster.rollout import Rollouts
from tagscale.runtime.errors import TagscaleError

PARAMS = str(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "POLL_SECONDS", 0.01)


@pytest.fixture(params=["deployment", "kserve"])
def cluster(request: pytest.FixtureRequest) -> Iterator[ChampionCluster]:
    with champion_cluster(kserve=request.param == "kserve", replicas=2) as server:
        yield server


def rollouts(cluster: ChampionCluster) -> tuple[Rollouts, list[str]]:
    """Rollouts on the server, and the lines that they print."""
    lines: list[str] = []
    configuration = client.Configuration(host=cluster.address)
    configuration.retries = False
    return Rollouts(client.ApiClient(configuration), NAMESPACE, lines.append), lines


def test_a_version_is_rolled_out_and_waited_for(cluster: ChampionCluster) -> None:
    ours, lines = rollouts(cluster)
    assert (ours.served().version, ours.served().model) == (None, MODEL)
    assert ours.roll_out("3", 20).version is None
    assert cluster.pods == {"3": 2}
    assert lines[0] == "version 3: the Deployment does not have it yet"
    assert "version 3: 0 of 2 pods are ready" in lines

    before = ours.roll_out("4", 20)
    assert (before.version, ours.served().version, ours.served().before) == ("3", "4", "3")
    assert cluster.pods == {"4": 2}
    assert ours.roll_out(str(ours.served().before), 20).version == "4"
    assert (ours.served().version, ours.served().before) == ("3", "4"), "back, and back again"
    assert cluster.pods == {"3": 2}


def test_a_version_that_is_served_is_not_rolled_out_again(cluster: ChampionCluster) -> None:
    ours, _ = rollouts(cluster)
    ours.roll_out("3", 20)
    ours.roll_out("4", 20)
    patches = len(cluster.patches)
    assert ours.roll_out("4", 20).version == "4"
    assert len(cluster.patches) == patches
    assert ours.served().before == "3"


def test_pods_that_do_not_start_are_told_and_the_version_before_goes_on(cluster: ChampionCluster) -> None:
    ours, _ = rollouts(cluster)
    ours.roll_out("3", 20)
    cluster.stuck["4"] = ("CrashLoopBackOff", "back-off 20s restarting failed container")
    with pytest.raises(TagscaleError) as caught:
        ours.roll_out("4", 20)
    message = str(caught.value)
    assert message.startswith(
        "Version 4 is not served: pod tagscale-champion-7d9f-x2k4p: CrashLoopBackOff: back-off 20s"
    )
    assert "\n    error: something is wrong with it\n" in message
    assert "Version 3 goes on answering; `tagscale deploy --back` returns to it." in message
    assert cluster.pods == {"3": 2}
    ours.roll_out("3", 20)
    assert (ours.served().version, ours.served().before) == ("3", "4")


def test_a_rollout_that_takes_too_long_is_left_as_it_is(cluster: ChampionCluster) -> None:
    ours, _ = rollouts(cluster)
    cluster.steps = 10_000
    with pytest.raises(TagscaleError, match=r"Version 3 is not served: not done in 0 s: .*\nThe rollout is left as it"):
        ours.roll_out("3", 0.2)
    assert cluster.version() == "3"


def test_an_api_that_goes_away_is_asked_again(cluster: ChampionCluster) -> None:
    ours, lines = rollouts(cluster)
    ours.roll_out("3", 20)
    asked = ours.objects.patch_namespaced_custom_object

    def patched(*arguments: object, **named: object) -> object:
        cluster.away_for = 0
        answer = asked(*arguments, **named)
        cluster.away_for = 3
        return answer

    ours.objects.patch_namespaced_custom_object = patched
    ours.roll_out("4", 20)
    assert any(line.startswith("version 4: Kubernetes does not answer (") for line in lines), lines
    assert cluster.pods == {"4": 2}


def test_what_the_api_refuses_is_told(cluster: ChampionCluster) -> None:
    ours, _ = rollouts(cluster)
    cluster.forbidden = True
    with pytest.raises(TagscaleError, match=r'User "mallory" cannot patch it\. Take the context'):
        ours.roll_out("3", 20)
    with pytest.raises(
        TagscaleError, match="Namespace elsewhere: neither an InferenceService nor a Deployment tagscale-"
    ):
        Rollouts(ours.objects.api_client, "elsewhere", print).served()
    nobody = client.Configuration(host="http://127.0.0.1:1")
    nobody.retries = False
    with pytest.raises(TagscaleError, match="Kubernetes does not answer"):
        Rollouts(client.ApiClient(nobody), NAMESPACE, print).served()


def test_kserve_undoes_a_restart_of_its_deployment_and_keeps_the_annotation() -> None:
    with champion_cluster(kserve=True) as cluster:
        ours, _ = rollouts(cluster)
        ours.roll_out("3", 20)
        restarted = {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}
        place = ("apps", "v1", NAMESPACE, "deployments", "tagscale-champion-predictor")
        ours.objects.patch_namespaced_custom_object(*place, restarted)
        template = ours.objects.get_namespaced_custom_object(*place)["spec"]["template"]
        assert "kubectl.kubernetes.io/restartedAt" not in template["metadata"]["annotations"]
        assert template["metadata"]["annotations"]["tagscale.version"] == "3"


@pytest.fixture
def deploy(registry: str, cluster: ChampionCluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`tagscale deploy` on the cluster; what it prints."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)
    monkeypatch.setattr(rollout, "rollouts", lambda *_: rollouts(cluster)[0])

    def run(*words: str) -> str:
        done = CliRunner().invoke(app, ["deploy", "--params", PARAMS, *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run


def test_the_command_follows_the_registry(deploy: Callable[..., str], cluster: ChampionCluster) -> None:
    assert deploy().endswith("tagscale-tagger: version 2 is served, and no other.\n")
    assert cluster.pods == {"2": 2}
    said = deploy("1")
    assert "version 1 is served, and no other, in place of version 2." in said
    assert "The registry's champion is version 2: `tagscale promote`" in said
    assert "version 2 is served, and no other, in place of version 1.\n" in deploy("--back")
    assert cluster.pods == {"2": 2}


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["7"], r"has no version '7'; there: 1, 2\."),
        (["1", "--back"], r"one of them; found 1 and --back\."),
        (["--back"], "no version was served before the first one"),
    ],
)
def test_the_command_refuses(
    deploy: Callable[..., str], cluster: ChampionCluster, words: list[str], because: str
) -> None:
    with pytest.raises(TagscaleError, match=because):
        deploy(*words)
    assert not cluster.patches


def test_pods_of_another_model_are_left_alone(deploy: Callable[..., str], cluster: ChampionCluster) -> None:
    workload = cluster.objects[cluster.plural, "tagscale-champion"]
    pods = workload["spec"]["predictor"] if cluster.kserve else workload["spec"]["template"]["spec"]
    pods["containers"][0]["args"][0] = "--model=another"
    with pytest.raises(TagscaleError, match="serve the model another"):
        deploy()
    assert not cluster.patches


def test_without_a_cluster_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    with pytest.raises(SystemExit):
        main(["deploy"])
    assert "No Kubernetes cluster is configured" in capsys.readouterr().err
