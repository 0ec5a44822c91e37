"""Namespaces as the commands of docs and Kubeflow's profile controller make them.

Source: kubeflow/dashboard d842464, components/profile-controller/controllers/profile_controller.go, Reconcile and
setNamespaceLabels; the labels are those of upstream/kubeflow-profile-labels.yaml.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from k8s.policies import NAME
from k8s.render import Resource, read

from conformance.kit import UPSTREAM, Installation

PAGE = "docs/cluster.md"
KUBEFLOWS = ("default", "istio-system", "kube-system", "kubeflow", "openshift-dns", "ingress-nginx", "elsewhere")
PROFILE_LABELS: dict[str, str] = yaml.safe_load((UPSTREAM / "kubeflow-profile-labels.yaml").read_text())


@dataclass
class Cluster:
    """A cluster with Kubeflow, and what the commands have made of it.

    Attributes:
        namespaces: labels of each
        owners: the annotation `owner` of namespaces that have one
        announced: namespaces that a controller makes, and that no command has waited for
        complaints: what goes wrong
    """

    namespaces: dict[str, dict[str, str]] = field(default_factory=lambda: {name: {NAME: name} for name in KUBEFLOWS})
    owners: dict[str, str] = field(default_factory=dict)
    announced: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def create(self, name: str, labels: dict[str, str]) -> None:
        """`kubectl create namespace` and `kubectl apply`: the labels of a namespace that exists are overwritten."""
        self.namespaces[name] = self.namespaces.get(name, {NAME: name}) | labels

    def reconcile(self, profile: dict[str, Any]) -> None:
        """What the controller does with a Profile."""
        name, owner = profile["metadata"]["name"], profile["spec"]["owner"]["name"]
        if name not in self.namespaces:
            self.announced.add(name)
            self.owners[name] = owner
            self.create(name, {"istio-injection": "enabled"})
        elif self.owners.get(name) != owner:
            self.complaints.append(f"Profile {name} fails: namespace already exist, but not owned by profile creator")
            return
        self.namespaces[name] = PROFILE_LABELS | self.namespaces[name]  # a label that is there stays as it is

    def apply(self, resources: list[Resource], command: str) -> None:
        """`kubectl apply`."""
        for resource in resources:
            if resource.kind == "Namespace":
                self.create(resource.name, resource.body["metadata"].get("labels", {}))
            elif resource.kind == "Profile":
                self.reconcile(resource.body)
        self.need({one.namespace for one in resources if one.namespace}, command)

    def need(self, names: set[str], command: str) -> None:
        for name in sorted(names):
            if name not in self.namespaces:
                self.complaints.append(f"`{command}`: namespace {name} is missing")
            elif name in self.announced:
                self.complaints.append(f"`{command}`: nothing waited until Kubeflow had made namespace {name}")

    def wait(self, command: str) -> None:
        """`kubectl wait --for=create`."""
        if matched := re.search(r"namespace/([\w-]+)", command):
            self.announced.discard(matched[1])
        if "configmap/kfp-launcher" in command:
            # Kubeflow Pipelines 2.17.0, pipelines-profile-controller/decorator-controller.yaml selects by this label
            matched = re.search(r"(?:-n|--namespace) ([\w-]+)", command)
            if not matched or self.namespaces.get(matched[1], {}).get("pipelines.kubeflow.org/enabled") != "true":
                self.complaints.append(f"`{command}` waits for ever: the namespace lacks Kubeflow Pipelines' label")


def commands(text: str) -> Iterator[str]:
    """The commands in the code blocks of a page, a line each."""
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def installed(installation: Installation) -> Cluster:
    """The cluster after the commands with which the runbook installs tagscale in a profile, in their order."""
    cluster = Cluster()
    _, _, section = installation.text(PAGE).partition("\n## 2. ")
    for command in commands(section.partition("\n## ")[0]):
        command = re.sub(r"^(?:[A-Z_]+=\S+\s+)+", "", command)
        if matched := re.match(r"kubectl create namespace ([\w-]+)", command):
            cluster.create(matched[1], {})
        elif command.startswith("kubectl") and "wait --for=create" in command:
            cluster.wait(command)
        elif matched := re.match(r"kubectl apply -f (k8s/namespaces\S*)", command):
            folder = installation.folder / matched[1]
            found = read(folder.parent) if folder.suffix else read(folder)
            cluster.apply([one for one in found if not folder.suffix or one.file.endswith(folder.name)], command)
        elif matched := re.match(r"kubectl apply -k k8s/overlays/([\w-]+)", command):
            cluster.apply(installation.overlay(matched[1]), command)
        elif command.startswith("k8s/secrets/create.sh"):
            cluster.need({"tagscale", "tagscale-servers"}, command)
    return cluster
