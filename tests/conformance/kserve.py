"""What KServe makes of an InferenceService, as far as a rollout of another version goes by it.

Written after KServe 0.15.2 to 0.20.0: pkg/controller/v1beta1/inferenceservice/components/predictor.go and
reconcilers/deployment/deployment_reconciler.go. No code is taken from there.
"""

import copy
from typing import Any

NOT_HANDED_ON = ("kubectl.kubernetes.io/last-applied-configuration",)  # pkg/constants/constants.go


def deployment(service: dict[str, Any]) -> dict[str, Any]:
    """The Deployment that the controller wants for an InferenceService in the mode RawDeployment."""
    predictor = copy.deepcopy(service["spec"]["predictor"])
    given = service["metadata"].get("annotations", {}) | predictor.pop("annotations", {})
    annotations = {key: value for key, value in given.items() if key not in NOT_HANDED_ON}
    labels = predictor.pop("labels", {})
    strategy = predictor.pop("deploymentStrategy", {})
    template = {"metadata": {"annotations": annotations, "labels": labels}, "spec": predictor}
    name = f"{service['metadata']['name']}-predictor"
    return {"metadata": {"name": name}, "spec": {"strategy": strategy, "template": template}}


def reconciled(current: dict[str, Any], service: dict[str, Any]) -> dict[str, Any]:
    """A Deployment after the controller has looked at it.

    Where its specification differs from the wanted one, a patch from the current to the wanted one is applied. It
    deletes what only the current one has: of two sides there is none to say that somebody else put it there.
    """
    wanted = deployment(service)
    return current if current["spec"] == wanted["spec"] else patched(current, wanted)


def patched(current: Any, wanted: Any) -> Any:
    """The current object after a two-way patch to the wanted one."""
    if not (isinstance(current, dict) and isinstance(wanted, dict)):
        return copy.deepcopy(wanted)
    return {key: patched(current.get(key), value) for key, value in wanted.items()}
