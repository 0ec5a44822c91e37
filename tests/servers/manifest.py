"""How the cluster's manifests start MLflow: commands, arguments and environment, with this test's values put in."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

K8S = Path(__file__).parents[2] / "k8s"


class MlflowManifest:
    """Containers of k8s/servers/mlflow.yaml.

    Args:
        secrets: (secret, key) -> value, for what create.sh makes
        settings: values of config maps that are other on this machine
    """

    def __init__(self, secrets: Mapping[tuple[str, str], str], settings: Mapping[str, str]) -> None:
        deployment = next(one for one in _documents("mlflow.yaml") if one["kind"] == "Deployment")
        self.pod = deployment["spec"]["template"]["spec"]
        self.secrets = dict(secrets)
        self.settings = {
            one["metadata"]["name"]: one["data"] | {key: value for key, value in settings.items() if key in one["data"]}
            for one in _documents("config.yaml")
        }

    def container(self, name: str) -> dict[str, Any]:
        found: dict[str, Any]
        (found,) = [one for one in self.pod["initContainers"] + self.pod["containers"] if one["name"] == name]
        return found

    def environment(self, name: str) -> dict[str, str]:
        """What the container's process has in its environment; a value that nobody gives fails."""
        container = self.container(name)
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= self.settings[source["configMapRef"]["name"]]
        for variable in container["env"]:
            found[variable["name"]] = self._value(variable)
        return found

    def command(self, name: str, changes: Mapping[str, str]) -> list[str]:
        """The container's command; `changes`: option -> its value on this machine."""
        container, environment = self.container(name), self.environment(name)
        words = [*container["command"], *container.get("args", [])]
        words = [re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], word) for word in words]
        for option, value in changes.items():
            (place,) = [place for place, word in enumerate(words) if word.startswith(f"{option}=")]
            words[place] = f"{option}={value}"
        return words

    def _value(self, variable: Mapping[str, Any]) -> str:
        if "value" in variable:
            return str(variable["value"])
        ((kind, reference),) = variable["valueFrom"].items()
        if kind == "configMapKeyRef":
            return self.settings[reference["name"]][reference["key"]]
        return self.secrets[reference["name"], reference["key"]]


def champion_command(model: str, version: str) -> list[str]:
    """How the champion's Deployment starts its server, for another registered model."""
    text = (K8S / "components" / "champion-deployment" / "champion.yaml").read_text()
    deployment = next(one for one in yaml.safe_load_all(text) if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    words = [*container["command"], *container["args"]]
    return [word.replace("tagscale-tagger", model).replace("$(CHAMPION_VERSION)", version) for word in words]


def basic_auth(database_uri: str) -> str:
    """Content of basic_auth.ini as create.sh writes it."""
    script = (K8S / "secrets" / "create.sh").read_text()
    (layout,) = re.findall(r"basic_auth\.ini=<\(printf '([^']+)'", script)
    return layout.replace("\\n", "\n").replace("%s", database_uri.replace("%", "%%"))


def job_command(name: str) -> list[str]:
    """The command of a CronJob's container, with its scripts where they are here."""
    jobs = [one for file in (K8S / "servers").glob("*.yaml") for one in _documents(file.name)]
    (job,) = [one for one in jobs if one["kind"] == "CronJob" and one["metadata"]["name"] == name]
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    words = [
        word.replace("/scripts/", f"{K8S}/servers/") for word in [*container["command"], *container.get("args", [])]
    ]
    return [sys.executable if word == "python" else word for word in words]


def _documents(file: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((K8S / "servers" / file).read_text()) if one]
