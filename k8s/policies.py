"""Which pod may talk to which, as Kubernetes decides by network policies, and a rule for an overlay's pods.

A pod that some policy selects for a direction is isolated in that direction: only what a rule of one of these policies
names may pass. A connection needs both sides. Ports are those of the pods, not of services. An entry of `from` or `to`
holds where its pod selector and its namespace selector both do. Source: Kubernetes 1.34, networking.k8s.io/v1.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from k8s.render import Fault, Resource
from k8s.rules import KUBEFLOW, TASKS_ACCOUNT, config_of, containers, pods_namespace, tasks_namespace, templates

NAME = "kubernetes.io/metadata.name"  # Kubernetes gives every namespace this label
RUN = "pipeline/runid"  # Kubeflow Pipelines 2.17.0 gives a run's pods this label (backend/src/common/util/consts.go)
DATABASE = "tagscale-postgres"
CONFIG = "tagscale-config"  # of tasks
FIELD = "(network policies)"


@dataclass(frozen=True)
class Pod:
    """One end of a connection.

    Attributes:
        ports: named ports of its containers, and their numbers
    """

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    ports: Mapping[str, int] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Address:
    """The other end, where it is no pod: outside the cluster, or a node."""

    name: str
    ip: str


End = tuple[Pod | Address, int]  # and the port of the pod
OUTSIDE = Address("an address outside the cluster", "203.0.113.10")
METADATA = Address("the cloud's metadata service", "169.254.169.254")
NAMES: tuple[End, ...] = (  # who resolves names, and at which port of the pod
    (Pod("kube-dns", "kube-system", {"k8s-app": "kube-dns"}), 53),
    # kubernetes/kubernetes, cluster/addons/dns/nodelocaldns: a pod on the node's network, found by its addresses alone,
    # its own and, with kube-proxy in the mode iptables, that of the service kube-dns
    (Address("NodeLocal DNSCache", "169.254.20.10"), 53),
    (Address("NodeLocal DNSCache at the address of kube-dns", "10.96.0.10"), 53),
    (Address("NodeLocal DNSCache at the address of kube-dns", "172.20.0.10"), 53),
    # openshift/cluster-dns-operator, assets/dns/{service,daemonset}.yaml: the service's port 53 leads to 5353
    (Pod("OpenShift's DNS", "openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}), 5353),
)


class Network:
    """The policies of a cluster.

    Args:
        policies: bodies of NetworkPolicies.
        namespaces: labels of each namespace; one that is left out has its name's label alone.
    """

    def __init__(self, policies: Iterable[Mapping[str, Any]], namespaces: Mapping[str, Mapping[str, str]]) -> None:
        self.policies = list(policies)
        self.namespaces = namespaces

    def refusals(
        self,
        source: Pod | Address,
        target: Pod | Address,
        port: int,
        protocol: str = "TCP",
        blocks: bool = False,
        sides: tuple[str, ...] = ("Egress", "Ingress"),
    ) -> list[str]:
        """Why a connection does not pass; nothing where it passes.

        Args:
            port: of the target's pod.
            blocks: address blocks cover pods, too, which Kubernetes leaves to the network's driver.
            sides: whose policies count, the source's (Egress) and the target's (Ingress).
        """
        what = f"{source.name} to {target.name}, port {port}/{protocol}"
        return [
            f"{what}: refused at the {side}, where the policies are {', '.join(names)}"
            for own, other, side in ((source, target, "Egress"), (target, source, "Ingress"))
            if side in sides and (names := self._refusing(own, other, side, (target, port, protocol), blocks))
        ]

    def _refusing(
        self, own: Pod | Address, other: Pod | Address, side: str, at: tuple[Pod | Address, int, str], blocks: bool
    ) -> list[str]:
        """Names of the policies that isolate a pod on one side, where none lets the other end pass."""
        if isinstance(own, Address):
            return []
        isolating = [policy for policy in self.policies if self._isolates(policy, own, side)]
        rules = [
            (rule, policy["metadata"]["namespace"])
            for policy in isolating
            for rule in policy["spec"].get(side.lower()) or []
        ]
        peers = "to" if side == "Egress" else "from"
        for rule, namespace in rules:
            entries = rule.get(peers)
            if _has_port(rule.get("ports"), *at) and (
                not entries or any(self._is_peer(entry, other, namespace, blocks) for entry in entries)
            ):
                return []
        return [policy["metadata"]["name"] for policy in isolating]

    def _isolates(self, policy: Mapping[str, Any], pod: Pod, side: str) -> bool:
        spec = policy["spec"]
        sides = spec.get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in spec else [])]
        same = policy["metadata"]["namespace"] == pod.namespace
        return same and side in sides and selects(spec.get("podSelector") or {}, pod.labels)

    def _is_peer(self, entry: Mapping[str, Any], other: Pod | Address, namespace: str, blocks: bool) -> bool:
        if block := entry.get("ipBlock"):
            return blocks if isinstance(other, Pod) else _covers(block, other.ip)
        if isinstance(other, Address):
            return False
        if "namespaceSelector" in entry:
            labels = {NAME: other.namespace} | dict(self.namespaces.get(other.namespace, {}))
            if not selects(entry["namespaceSelector"] or {}, labels):
                return False
        elif other.namespace != namespace:
            return False
        return selects(entry.get("podSelector") or {}, other.labels)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A label selector of Kubernetes; an empty one selects everything."""
    for expression in selector.get("matchExpressions") or []:
        key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }[operator]
        if not holds:
            return False
    return labels.items() >= (selector.get("matchLabels") or {}).items()


def _has_port(ports: Any, target: Pod | Address, port: int, protocol: str) -> bool:
    if not ports:
        return True
    for entry in ports:
        number = entry.get("port")
        if isinstance(number, str):
            number = target.ports.get(number) if isinstance(target, Pod) else None
        last = entry.get("endPort", number)
        anywhere = "port" not in entry
        if entry.get("protocol", "TCP") == protocol and (anywhere or (number is not None and number <= port <= last)):
            return True
    return False


def _covers(block: Mapping[str, Any], ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    excepted = any(address in ipaddress.ip_network(cidr) for cidr in block.get("except") or [])
    return address in ipaddress.ip_network(block["cidr"]) and not excepted


@dataclass(frozen=True)
class Client:
    """A pod of an overlay, the resource that makes it, and what it knows of servers.

    Attributes:
        settings: values of the config maps in its environment
        secrets: keys of secrets in its environment
    """

    pod: Pod
    resource: Resource
    settings: Mapping[str, str] = field(default_factory=dict, hash=False)
    secrets: frozenset[str] = frozenset()


def policies_of(resources: list[Resource]) -> list[dict[str, Any]]:
    return [one.body for one in resources if one.kind == "NetworkPolicy"]


def clients_of(resources: list[Resource]) -> list[Client]:
    """The pods that an overlay makes, and, first, a task of a pipeline."""
    maps = {(str(one.namespace), one.name): config_of(one) for one in resources}
    clients = [
        Client(
            Pod("a task", str(account.namespace), {RUN: "0"}),
            account,
            maps.get((str(account.namespace), CONFIG), {}),
            frozenset({"AWS_ACCESS_KEY_ID"}),  # of stores and the DVC remote, which the task brings
        )
        for account in resources
        if (account.kind, account.name) == ("ServiceAccount", TASKS_ACCOUNT)
    ]
    for resource in resources:
        namespace = str(pods_namespace(resource, resources))
        for path, metadata, _ in templates(resource):
            own = [container for place, container, _ in containers(resource) if place.startswith(path)]
            settings, secrets = _environment(
                own, {name: data for (home, name), data in maps.items() if home == namespace}
            )
            ports = {port.get("name"): port["containerPort"] for one in own for port in one.get("ports") or []}
            pod = Pod(resource.name, namespace, metadata.get("labels", {}), ports)
            clients.append(Client(pod, resource, settings, secrets))
    return clients


def _environment(pod: list[dict[str, Any]], maps: dict[str, dict[str, str]]) -> tuple[dict[str, str], frozenset[str]]:
    """What a pod's containers have in their environment: values of config maps, and keys of secrets."""
    settings: dict[str, str] = {}
    secrets = set()
    for container in pod:
        for source in container.get("envFrom") or []:
            settings |= maps.get(source.get("configMapRef", {}).get("name"), {})
        for variable in container.get("env") or []:
            source = variable.get("valueFrom", {})
            if key := source.get("secretKeyRef"):
                secrets.add(key["key"])
            if key := source.get("configMapKeyRef"):
                settings[variable["name"]] = maps.get(key["name"], {}).get(key["key"], "")
    return settings, frozenset(secrets)


def behind(url: str, namespace: str, resources: list[Resource]) -> list[End]:
    """The pods, and their port, behind the address of a service; else an address outside the cluster."""
    matched = re.fullmatch(r"http://([\w-]+)(?:\.([\w-]+))?:(\d+)", url)
    if matched is None:
        return [(OUTSIDE, 443)]
    name, place, port = matched[1], matched[2] or namespace, int(matched[3])
    services = [r for r in resources if (r.kind, r.name, r.namespace) == ("Service", name, place)]
    ends: list[End] = []
    for service in services:
        spec = service.body["spec"]
        target = next((one.get("targetPort", port) for one in spec["ports"] if one["port"] == port), port)
        for pod in [client.pod for client in clients_of(resources)]:
            if pod.namespace == place and selects({"matchLabels": spec["selector"]}, pod.labels):
                ends.append((pod, pod.ports[target] if isinstance(target, str) else target))
    return ends


def calls(client: Client, resources: list[Resource]) -> Iterator[End]:
    """The servers that a pod asks, by the settings and secrets that it has."""
    home = client.pod.namespace
    if "MLFLOW_TRACKING_URI" in client.settings:
        yield from behind(client.settings["MLFLOW_TRACKING_URI"], home, resources)
    if "AWS_ACCESS_KEY_ID" in client.secrets and "AWS_ENDPOINT_URL" in client.settings:
        yield from behind(client.settings["AWS_ENDPOINT_URL"], home, resources)
    if "MLFLOW_BACKEND_STORE_URI" in client.secrets:
        yield from behind(f"http://{DATABASE}:5432", home, resources) or [(OUTSIDE, 5432)]


def reachable(resources: list[Resource]) -> Iterator[Fault]:
    """Every pod reaches the servers that it asks and who resolves names, and no server that it has no business with."""
    network = Network(policies_of(resources), {})
    asked = [(client, list(calls(client, resources))) for client in clients_of(resources)]
    for client, ends in asked:
        flows = [(*end, "TCP") for end in ends]
        flows += [(target, port, protocol) for target, port in NAMES for protocol in ("UDP", "TCP")]
        for target, port, protocol in flows:
            for refusal in network.refusals(client.pod, target, port, protocol):
                yield Fault(client.resource, FIELD, f"{refusal}.")
    servers = {end for _, ends in asked for end in ends if isinstance(end[0], Pod)}
    for client, ends in asked:
        own = {target for target, _ in ends} | {client.pod}
        forbidden = {(target, port) for target, port in servers if target not in own}
        if client.pod.namespace != KUBEFLOW:  # where no policy of ours is
            forbidden.add((METADATA, 80))
        yield from _reached(network, client, forbidden)
    if servers:  # whose own policies hold, whatever way out a caller has
        anything = {"app.kubernetes.io/name": "tagscale-mlflow", RUN: "0"}
        for namespace, labels in (("elsewhere", anything), (str(tasks_namespace(resources)), {"app": "notebook"})):
            stranger = Pod(f"a pod of namespace {namespace} that is not ours", namespace, labels)
            yield from _reached(network, Client(stranger, asked[0][0].resource), servers, ("Ingress",))


def _reached(
    network: Network, client: Client, forbidden: Iterable[End], sides: tuple[str, ...] = ("Egress", "Ingress")
) -> Iterator[Fault]:
    for target, port in sorted(forbidden, key=str):
        if not network.refusals(client.pod, target, port, blocks=True, sides=sides):
            what = f"{client.pod.name} reaches {target.name}, port {port}, and never asks it: a policy is too wide."
            yield Fault(client.resource, FIELD, what)
