"""A canary: another version gets a share of the requests, beside the one that is served.

A Deployment gets a second one, whose pods the same Service selects. The Service hands each connection to any of its
pods, so the share of the requests is that of the pods. The first Deployment's selector selects those pods, too, and
leaves them alone: they belong to another controller (Kubernetes 1.34, deployment_controller.go,
getReplicaSetsForDeployment).

KServe reads `canaryTrafficPercent` in its mode Knative alone (0.15.2 to 0.20.0, reconcilers/knative): the newest
revision gets so much, and the last one that had everything gets the rest. In its other mode the field has no effect,
and the version would replace the other at once.
"""

import copy
from dataclasses import dataclass
from typing import Any

from tagscale.cluster.rollout import (
    BEFORE,
    BESIDE,
    CHAMPION,
    DEPLOYMENT,
    LABEL,
    VERSION,
    Rollouts,
    Served,
    at,
    deployment_state,
    of_pods,
)
from tagscale.runtime.errors import TagscaleError

CANARY = f"{CHAMPION}-canary"
WITHOUT = (
    f"InferenceService {CHAMPION} is in KServe's mode RawDeployment, which has no canary: canaryTrafficPercent has no "
    "effect there, and the version would replace the other at once. Add the component champion-knative to the overlay, "
    "or take champion-deployment in place of champion-kserve; `tagscale serve --shadow` compares versions without a "
    "canary."
)
TRACK = "tagscale.track"  # label of a canary's pods
OFF = 5.0  # percent of the requests by which a share of whole pods may miss the one that is asked for


@dataclass(frozen=True)
class Canary:
    """A version that gets a part of the requests.

    percent: of the requests.
    """

    version: str
    percent: float


@dataclass
class SecondDeployment:
    """A Deployment beside the champion's, behind the same Service.

    Raises (every method that waits):
        TagscaleError: pods do not start in time; what was served goes on.
    """

    cluster: Rollouts
    served: Served

    def present(self) -> Canary | None:
        """The canary that there is."""
        body = self.cluster.get(DEPLOYMENT, CANARY)
        if body is None:
            return None
        version = at(body, *DEPLOYMENT.pods, *DEPLOYMENT.annotations)[VERSION]
        return Canary(version, _share(body["spec"]["replicas"], self._stable()["spec"]["replicas"]))

    def start(self, version: str, percent: int, seconds: float) -> Canary:
        """Give a version so much of the requests, or another share of them; returns what it gets."""
        stable = self._stable()
        replicas = pods_for(percent, stable["spec"]["replicas"])
        if self.present():
            self.cluster.patch(DEPLOYMENT, CANARY, {"spec": {"replicas": replicas}}, {})
        else:
            self.cluster.create(DEPLOYMENT, _beside(stable, version, replicas))
        self.cluster.wait(
            self.served, version, lambda: deployment_state(self.cluster.get(DEPLOYMENT, CANARY), version), seconds
        )
        return Canary(version, _share(replicas, stable["spec"]["replicas"]))

    def promote(self, seconds: float) -> None:
        """The canary's version becomes the one that is served."""
        canary = self.present()
        assert canary is not None
        self.cluster.roll_out(canary.version, seconds)
        self.end(seconds)

    def end(self, seconds: float) -> None:
        """All requests go to the version that is served."""
        canary = self.present()
        assert canary is not None
        self.cluster.delete(DEPLOYMENT, CANARY)
        self.cluster.wait(self.served, canary.version, self._ending, seconds, starting=False)

    def _ending(self) -> str:
        pods = self.cluster.pods(f"{LABEL}={CHAMPION},{TRACK}=canary")
        return f"{len(pods)} pods of the canary are ending" if pods else ""

    def _stable(self) -> dict[str, Any]:
        body = self.cluster.get(DEPLOYMENT, CHAMPION)
        assert body is not None  # `served` has found it
        return body


@dataclass
class Revisions:
    """The two newest revisions of Knative, between which KServe splits the requests. As `SecondDeployment`."""

    cluster: Rollouts
    served: Served

    def present(self) -> Canary | None:
        body = self.cluster.get(self.served.kind, CHAMPION) or {}
        if BESIDE not in at(body, "metadata", "annotations"):
            return None
        predictor = at(body, *self.served.kind.pods)
        return Canary(at(predictor, "annotations")[VERSION], predictor["canaryTrafficPercent"])

    def start(self, version: str, percent: int, seconds: float) -> Canary:
        revision = None if self.present() else self.cluster.revision()
        self._patch(version, percent, {BESIDE: self.served.version})
        self._wait(version, revision, percent, seconds)
        return Canary(version, percent)

    def promote(self, seconds: float) -> None:
        canary = self.present()
        assert canary is not None
        self._patch(canary.version, None, {BESIDE: None, BEFORE: self.served.version})
        self._wait(canary.version, None, 100, seconds)

    def end(self, seconds: float) -> None:
        """The version that is served gets a revision without requests, and then all of them.

        The annotation alone would leave everything with the newest revision that is ready, which is the canary's.
        """
        canary = self.present()
        assert canary is not None
        assert self.served.version is not None
        is_back = canary.version == self.served.version  # an earlier call got so far
        revision = None if is_back else self.cluster.revision()
        self._patch(self.served.version, 0, {})
        self._wait(self.served.version, revision, 0, seconds)
        self._patch(self.served.version, None, {BESIDE: None})
        self._wait(self.served.version, None, 100, seconds)

    def _patch(self, version: str, percent: int | None, own: dict[str, Any]) -> None:
        body = of_pods(self.served.kind, {VERSION: version})
        body["spec"]["predictor"]["canaryTrafficPercent"] = percent
        self.cluster.patch(self.served.kind, CHAMPION, body, own)

    def _wait(self, version: str, revision: str | None, percent: int, seconds: float) -> None:
        state = self.cluster.state
        self.cluster.wait(self.served, version, lambda: state(self.served, version, revision, percent), seconds)


Canaries = SecondDeployment | Revisions


def canaries(cluster: Rollouts, served: Served) -> Canaries | None:
    """Those of the champion's workload; None where KServe makes a Deployment of it, beside which it has no other."""
    if served.kind is DEPLOYMENT:
        return SecondDeployment(cluster, served)
    return Revisions(cluster, served) if served.knative else None


def pods_for(percent: int, stable: int) -> int:
    """How many pods of a canary get about this share of the requests beside so many others.

    Raises:
        TagscaleError: so few pods cannot split the requests like this; names the number that can.
    """
    pods, gets = _nearest(percent, stable)
    if abs(gets - percent) <= OFF:
        return pods
    enough = next(more for more in range(stable + 1, 1000) if abs(_nearest(percent, more)[1] - percent) <= OFF)
    raise TagscaleError(
        f"--canary {percent}: requests are split by pods, and {pods} beside {stable} would get {gets:.0f} %. "
        f"Start more (kubectl scale deployment/{CHAMPION} --replicas {enough}), or ask for {gets:.0f}."
    )


def _nearest(percent: int, stable: int) -> tuple[int, float]:
    """The number of pods whose share is nearest to this one, and their share in percent."""
    pods = max(1, round(stable * percent / (100 - percent)))
    return pods, _share(pods, stable)


def _share(canary: int, stable: int) -> float:
    return 100 * canary / (canary + stable)


def _beside(stable: dict[str, Any], version: str, replicas: int) -> dict[str, Any]:
    """The Deployment of a canary: the champion's, with another version, and a label that tells its pods apart."""
    template = copy.deepcopy(stable["spec"]["template"])
    labels = template["metadata"]["labels"] | {TRACK: "canary"}
    template["metadata"] |= {"labels": labels}
    template["metadata"]["annotations"] = at(template, "metadata", "annotations") | {VERSION: version}
    spec = {"replicas": replicas, "selector": {"matchLabels": {LABEL: CHAMPION, TRACK: "canary"}}, "template": template}
    spec |= {"strategy": stable["spec"]["strategy"]}
    metadata = {"name": CANARY, "labels": {LABEL: CHAMPION, TRACK: "canary"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
