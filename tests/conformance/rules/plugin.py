"""Kubeflow's own plugin for MLflow: our settings, laid over those that its image has, and its way to our server."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import yaml
from k8s.references import secrets_of
from k8s.render import render

from conformance.kit import UPSTREAM, Installation, Planted, Rule

CONFIG = "k8s/kubeflow/mlflow-plugin.json"
PROFILE = "k8s/kubeflow/mlflow-plugin-profile.yaml"
POLICY = "k8s/components/kfp-mlflow/network.yaml"
PAGE = "docs/cluster.md"
SECRET = "kfp-mlflow-credentials"  # backend/src/common/plugins/mlflow/config.go, CredentialSecretName
CLIENT = "tagscale-mlflow-client"
# The keys of the Go structures of backend/src/common/plugins/mlflow/config.go and apiserver/plugins/mlflow/config.go.
PLUGIN = {"endpoint", "timeout", "tls", "settings"}
TLS = {"insecureSkipVerify", "caBundlePath"}
SETTINGS = {
    "workspacesEnabled", "authType", "credentialSecretRef", "experimentDescription", "defaultExperimentName",
    "kfpBaseURL", "kfpRunURLPathTemplate", "mlflowBaseURL", "mlflowUIPathPrefix", "injectUserEnvVars",
}  # fmt: skip
OF_PROFILE = {"experimentDescription", "defaultExperimentName", "injectUserEnvVars", "credentialSecretRef"}
CREDENTIALS = {"tokenKey", "usernameKey", "passwordKey"}
# manifests/kustomize/base/pipeline/ml-pipeline-apiserver-deployment.yaml
SERVER = {"app": "ml-pipeline"}


def laid_over(below: Any, above: Any) -> Any:
    """Objects merged, the rest replaced: `jq '.[0] * .[1]'`."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: laid_over(below.get(key), value) for key, value in above.items()}


def _unknown(content: Any, known: set[str], place: str) -> Iterator[str]:
    for key in sorted(set(content) - known):
        yield f"{place}: the plugin has no setting {key}"


def _config(installation: Installation) -> Iterator[str]:
    image = json.loads((UPSTREAM / "kfp-apiserver-config.json").read_text())
    plugin = laid_over(image, json.loads(installation.text(CONFIG)))["plugins"]["mlflow"]
    settings, tls = plugin["settings"], plugin.get("tls", {})
    yield from _unknown(plugin, PLUGIN, CONFIG)
    yield from _unknown(settings, SETTINGS, CONFIG)
    yield from _unknown(tls, TLS, CONFIG)
    if tls.get("caBundlePath"):
        yield f"{CONFIG}: the API server has no file {tls['caBundlePath']}, and the plugin fails for every run"
    if settings.get("authType") != "basic-auth":
        yield f"{CONFIG}: authType is {settings.get('authType', 'kubernetes')}, and our server asks user and password"
    if settings.get("workspacesEnabled", settings.get("authType") == "kubernetes"):
        yield f"{CONFIG}: workspacesEnabled, and our server has no workspaces"
    if settings.get("injectUserEnvVars"):
        yield f"{CONFIG}: injectUserEnvVars gives the tasks MLFLOW_TRACKING_URI a second time"
    host = urlsplit(plugin["endpoint"]).netloc
    for overlay in installation.overlays:
        for one in installation.overlay(overlay):
            hosts = one.body.get("data", {}).get("MLFLOW_SERVER_ALLOWED_HOSTS") if one.kind == "ConfigMap" else None
            if hosts and host not in re.split(r"[\s,]+", hosts):
                yield f"{overlay}: MLflow refuses the host {host} of the plugin's endpoint: {hosts}"


def _credentials(installation: Installation) -> Iterator[str]:
    content = json.loads(yaml.safe_load(installation.text(PROFILE))["data"]["plugins.mlflow"])
    yield from _unknown(content, {"settings"}, PROFILE)
    yield from _unknown(content["settings"], OF_PROFILE, PROFILE)
    reference = content["settings"].get("credentialSecretRef", {})
    if "name" in reference:
        yield f"{PROFILE}: credentialSecretRef.name is refused; the secret's name is {SECRET}"
    yield from _unknown(reference, CREDENTIALS | {"name"}, PROFILE)
    made = secrets_of(installation.folder / "k8s" / "secrets" / "create.sh")["tasks"].get(CLIENT, set())
    for part in ("usernameKey", "passwordKey"):
        if reference.get(part) not in made:
            yield f"{PROFILE}: {part} is {reference.get(part)}, and {CLIENT} has {', '.join(sorted(made))}"
    copied = [line for line in installation.text(PAGE).splitlines() if SECRET in line and line.startswith("kubectl")]
    if not any(f"get secret {CLIENT}" in line for line in copied):
        yield f"{PAGE}: {SECRET} must be the tasks' own user: another's experiment is not theirs to write to"


def _policy(installation: Installation) -> Iterator[str]:
    folder = installation.folder / "k8s" / "with-plugin"
    folder.mkdir(exist_ok=True)
    overlay = {"resources": ["../overlays/local"], "components": ["../components/kfp-mlflow"]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(overlay))
    resources = render(folder)
    (server,) = [one for one in resources if (one.kind, one.name) == ("Deployment", "tagscale-mlflow")]
    pod = server.body["spec"]["template"]["metadata"]["labels"]
    for policy in (
        one.body["spec"] for one in resources if one.kind == "NetworkPolicy" and one.namespace == server.namespace
    ):
        if policy["podSelector"].get("matchLabels", {"": ""}).items() <= pod.items():
            for rule in policy.get("ingress", []):
                if {"protocol": "TCP", "port": 5000} in rule.get("ports", []) and any(map(_is_server, rule["from"])):
                    return
    yield f"{POLICY}: Kubeflow's API server has no way to MLflow"


def _is_server(peer: dict[str, Any]) -> bool:
    """Whether a peer of a policy is the API server's pod."""
    namespace = peer.get("namespaceSelector", {}).get("matchLabels")
    labels = peer.get("podSelector", {}).get("matchLabels")
    return (
        namespace == {"kubernetes.io/metadata.name": "kubeflow"} and bool(labels) and labels.items() <= SERVER.items()
    )


SETTINGS_RULE = Rule(
    "the plugin's settings are those that the API server reads, laid over its image's",
    "Kubeflow Pipelines 2.17.0: backend/src/apiserver/config/config.json, backend/src/common/plugins/mlflow/config.go",
    _config,
)
CREDENTIALS_RULE = Rule(
    "the plugin logs in as the tasks do",
    "Kubeflow Pipelines 2.17.0: backend/src/apiserver/plugins/mlflow/config.go",
    _credentials,
)
POLICY_RULE = Rule(
    "Kubeflow's API server reaches MLflow for the plugin",
    "Kubeflow Pipelines 2.17.0: manifests/kustomize/base/pipeline/ml-pipeline-apiserver-deployment.yaml",
    _policy,
)
RULES = [SETTINGS_RULE, CREDENTIALS_RULE, POLICY_RULE]


def _planted(fault: str, rule: Rule, file: str, old: str, new: str, message: str) -> Planted:
    return Planted(fault, rule, lambda installation: installation.replace(file, old, new), message)


PLANTED = [
    _planted(
        "the plugin keeps the certificate that its image names and lacks",
        SETTINGS_RULE, CONFIG, ', "caBundlePath": ""', "", "no file /etc/mlflow-tracking-ca/ca.crt",
    ),
    _planted(
        "the plugin keeps the workspaces of the image's settings",
        SETTINGS_RULE, CONFIG, '"workspacesEnabled": false,', "", "our server has no workspaces",
    ),
    _planted(
        "a setting that the plugin does not have",
        SETTINGS_RULE, CONFIG, '"timeout": "30s"', '"timeout": "30s", "experiment": "songs"', "no setting experiment",
    ),
    _planted(
        "MLflow does not know the host of the plugin's endpoint",
        SETTINGS_RULE, CONFIG, "tagscale-mlflow.tagscale-servers:5000", "mlflow:5000", "refuses the host mlflow:5000",
    ),
    _planted(
        "the plugin names its secret, which is refused",
        CREDENTIALS_RULE, PROFILE, '{"usernameKey"', '{"name": "mine", "usernameKey"', "credentialSecretRef.name is",
    ),
    _planted(
        "the plugin looks for a key that its secret lacks",
        CREDENTIALS_RULE, PROFILE, '"MLFLOW_TRACKING_USERNAME"', '"username"', "usernameKey is username",
    ),
    _planted(
        "the plugin is another user of MLflow, who owns the experiments that it makes",
        CREDENTIALS_RULE, PAGE, f"get secret {CLIENT} -o json | jq", "get secret admin -o json | jq", "tasks' own user",
    ),
    _planted(
        "no policy lets Kubeflow's API server in",
        POLICY_RULE, POLICY, "app: ml-pipeline", "app: ml-pipeline-ui", "has no way to MLflow",
    ),
    _planted(
        "the policy for Kubeflow's API server is in another namespace than MLflow",
        POLICY_RULE, POLICY, "namespace: tagscale-servers", "namespace: tagscale", "has no way to MLflow",
    ),
]  # fmt: skip
