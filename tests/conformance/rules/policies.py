"""Network policies, ours beside Kubeflow's: what has to talk can, and nothing else."""

from collections.abc import Callable, Iterator
from typing import Any

import yaml
from k8s.policies import OUTSIDE, Address, Network, Pod, clients_of, policies_of, reachable
from k8s.render import Resource
from k8s.rules import KUBEFLOW

from conformance.kit import UPSTREAM, Installation, Planted, Rule
from conformance.profiles import installed

PLATFORM = "kubeflow-network-policies.yaml"
PIPELINES = "kfp-seaweedfs-network-policy.yaml"
# Kubeflow's servers that a task asks, and the ports of their pods: Kubeflow Pipelines 2.17.0, manifests/kustomize.
STORE = Pod("the artifact store", KUBEFLOW, {"app": "seaweedfs"})
SERVERS = (
    (Pod("the API of Pipelines", KUBEFLOW, {"app": "ml-pipeline"}), 8888),
    (Pod("the API of Pipelines", KUBEFLOW, {"app": "ml-pipeline"}), 8887),
    (Pod("the metadata server", KUBEFLOW, {"component": "metadata-grpc-server"}), 8080),
    (STORE, 8333),
)
KUBERNETES = (
    (Address("the API of Kubernetes", "10.96.0.1"), 443),
    (Address("the API of Kubernetes", "10.0.0.5"), 6443),
)
ISTIOD = Pod("istiod", "istio-system", {"app": "istiod"})
INGRESS = Pod("the ingress", "ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"})
ANYBODY = Pod("a pod of another namespace", "elsewhere", {"app": "shop"})


def network_of(resources: list[Resource], namespaces: dict[str, dict[str, str]]) -> Network:
    """The policies of an overlay, and Kubeflow's.

    Args:
        namespaces: labels of each.
    """
    alone = any(client.pod.namespace == KUBEFLOW for client in clients_of(resources))
    upstream = [
        body
        for file in ([PIPELINES] if alone else [PIPELINES, PLATFORM])
        for body in yaml.safe_load_all((UPSTREAM / file).read_text())
    ]
    return Network([*policies_of(resources), *upstream], namespaces)


def _ours(installation: Installation) -> Iterator[str]:
    for overlay in installation.overlays:
        yield from (f"{overlay}: {fault}" for fault in reachable(installation.overlay(overlay)))


def _kubeflows(installation: Installation) -> Iterator[str]:
    namespaces = installed(installation).namespaces
    for overlay in installation.overlays:
        network = network_of(installation.overlay(overlay), namespaces)
        pods = {client.pod.name: client.pod for client in clients_of(installation.overlay(overlay))}
        flows: list[tuple[Any, Any, int]] = [(pods["a task"], *server) for server in (*SERVERS, *KUBERNETES)]
        proxy = Pod("Kubeflow's proxy for artifacts", pods["a task"].namespace, {"app": "ml-pipeline-ui-artifact"})
        flows += [(proxy, STORE, 8333), (Pod("Kubeflow's page", KUBEFLOW, {"app": "ml-pipeline-ui"}), proxy, 3000)]
        if champion := pods.get("tagscale-champion"):
            flows.append((ANYBODY, champion, 8080))
        if any(one.kind == "Ingress" for one in installation.overlay(overlay)):
            flows.append((INGRESS, pods["tagscale-mlflow"], 5000))
        for flow in flows:
            yield from (f"{overlay}: {refusal}" for refusal in network.refusals(*flow))


def _foreign_audio(installation: Installation) -> Iterator[str]:
    for overlay in installation.overlays:
        network = Network(policies_of(installation.overlay(overlay)), {})
        for client in clients_of(installation.overlay(overlay)):
            if client.pod.name == "tagscale-champion" and not network.refusals(client.pod, OUTSIDE, 443):
                yield f"{overlay}: the champion, which parses foreign audio, reaches addresses outside the cluster"


def _in(file: str, old: str, new: str) -> Callable[[Installation], None]:
    return lambda installation: installation.replace(f"k8s/{file}", old, new)


API = "Kubernetes 1.34: networking.k8s.io/v1"
OURS = Rule(
    "our pods reach what they ask, names above all, and nothing else",
    f"{API}; kubernetes/kubernetes: cluster/addons/dns/nodelocaldns; openshift/cluster-dns-operator: assets/dns; "
    "Kubeflow Pipelines 2.17.0: backend/src/apiserver/template/v2_template.go (pipeline/runid, the label of tasks)",
    _ours,
)
KUBEFLOWS = Rule(
    "tasks reach Kubeflow's servers through its policies",
    "Kubeflow manifests v1.11.0: common/networkpolicies/base; Kubeflow Pipelines 2.17.0: third-party/seaweedfs, "
    "installs/multi-user/pipelines-profile-controller/sync.py",
    _kubeflows,
)
FOREIGN = Rule("the champion has no way out of the cluster", API, _foreign_audio)
RULES = [OURS, KUBEFLOWS, FOREIGN]
PLANTED = [
    Planted(
        "tasks are selected by a label of Kubeflow Pipelines 1",
        OURS,
        _in("tasks/network.yaml", "key: pipeline/runid", "key: pipelines.kubeflow.org/v2_component"),
        "a task to tagscale-mlflow, port 5000/TCP: refused at the Egress",
    ),
    Planted(
        "names from kube-system alone: a node-local cache",
        OURS,
        _in("default-deny/network.yaml", "        - ipBlock: {cidr: 169.254.20.10/32}", "        #"),
        "to NodeLocal DNSCache, port 53/UDP: refused at the Egress",
    ),
    Planted(
        "a node-local cache by its own address alone, which kube-proxy's mode iptables leaves unused",
        OURS,
        _in("default-deny/network.yaml", "        - ipBlock: {cidr: 10.0.0.0/8}\n", ""),
        "to NodeLocal DNSCache at the address of kube-dns, port 53/UDP: refused at the Egress",
    ),
    Planted(
        "names from kube-system alone: OpenShift",
        OURS,
        _in("default-deny/network.yaml", "kubernetes.io/metadata.name: openshift-dns", "name: openshift-dns"),
        "to OpenShift's DNS, port 5353/UDP: refused at the Egress",
    ),
    Planted(
        "two entries of `from` in place of one",
        OURS,
        _in(
            "components/s3-local/s3.yaml",
            "              kubernetes.io/metadata.name: tagscale\n          podSelector:",
            "              kubernetes.io/metadata.name: tagscale\n        - podSelector:",
        ),
        "a pod of namespace tagscale that is not ours reaches tagscale-s3, port 7070",
    ),
    Planted(
        "the servers admit pods of their own namespace alone",
        OURS,
        _in("servers/network.yaml", "metadata.name: tagscale\n", "metadata.name: tagscale-servers\n"),
        "a task to tagscale-mlflow, port 5000/TCP: refused at the Ingress",
    ),
    Planted(
        "a port by a name that no container has",
        OURS,
        _in("servers/network.yaml", "port: 5000", "port: web"),
        "a task to tagscale-mlflow, port 5000/TCP: refused at the Ingress",
    ),
    Planted(
        "a job that asks the database and is not admitted",
        OURS,
        _in("servers/backup.yaml", "component: database-client", "component: database"),
        "tagscale-backup to tagscale-postgres, port 5432/TCP: refused at the",
    ),
    Planted(
        "tasks have no way to Kubeflow",
        KUBEFLOWS,
        _in("tasks/network.yaml", "metadata.name: kubeflow", "metadata.name: kubeflow-pipelines"),
        "a task to the metadata server, port 8080/TCP: refused at the Egress",
    ),
    Planted(
        "the default deny cuts off Kubeflow's proxy for artifacts",
        KUBEFLOWS,
        _in("tasks/network.yaml", "app: ml-pipeline-ui-artifact", "app: ml-pipeline-ui"),
        "Kubeflow's page to Kubeflow's proxy for artifacts, port 3000/TCP: refused at the Ingress",
    ),
    Planted(
        "the namespace of the tasks is no profile to Kubeflow's policies",
        KUBEFLOWS,
        lambda installation: installation.replace(
            "docs/cluster.md", "kubectl apply -f k8s/namespaces\n", "kubectl create namespace tagscale\n"
        ),
        "a task to the artifact store, port 8333/TCP: refused at the Ingress",
    ),
    Planted(
        "the champion's way out",
        FOREIGN,
        _in(
            "tasks/network.yaml",
            "app.kubernetes.io/name: tagscale-volume-shell",
            "app.kubernetes.io/name: tagscale-champion",
        ),
        "the champion, which parses foreign audio, reaches",
    ),
]
