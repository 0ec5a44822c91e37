"""Network policies are decided as Kubernetes decides them."""

from typing import Any

import pytest
from k8s.policies import Address, Network, Pod, selects

A = Pod("a", "one", {"app": "a", "tier": "front"})
B = Pod("b", "two", {"app": "b"}, {"http": 8080})


def policy(namespace: str, selector: Any, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "policy", "namespace": namespace}, "spec": {"podSelector": selector, **spec}}


def passes(*policies: dict[str, Any], source: Any = A, target: Any = B, port: int = 8080, **more: Any) -> bool:
    namespaces = {"one": {"team": "x"}, "two": {"team": "y"}}
    return not Network(policies, namespaces).refusals(source, target, port, **more)


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ({}, True),
        ({"matchLabels": {"app": "a"}}, True),
        ({"matchLabels": {"app": "a", "tier": "back"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "zone", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_selectors(selector: dict[str, Any], holds: bool) -> None:
    assert selects(selector, A.labels) is holds


def test_a_pod_that_no_policy_selects_talks_to_everybody() -> None:
    assert passes()
    assert passes(policy("two", {"matchLabels": {"app": "other"}}))
    assert passes(policy("one", {}))  # of the other namespace, and for what comes in


def test_a_policy_without_rules_denies_its_own_direction() -> None:
    assert not passes(policy("two", {}))  # Ingress, where nothing is said
    assert not passes(policy("one", {}, egress=[]))  # said by the field's presence
    assert not passes(policy("one", {}, policyTypes=["Egress"]))
    assert passes(policy("one", {}, policyTypes=["Egress"], egress=[{}]))
    assert passes(policy("two", {}, policyTypes=["Egress"]))


def test_policies_add_up() -> None:
    deny = policy("two", {})
    assert passes(deny, policy("two", {}, ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "x"}}}]}]))


def test_both_selectors_of_an_entry_hold_and_one_of_several_entries() -> None:
    place, pod = {"namespaceSelector": {"matchLabels": {"team": "x"}}}, {"podSelector": {"matchLabels": {"app": "b"}}}
    assert not passes(policy("two", {}, ingress=[{"from": [place | pod]}]))
    assert passes(policy("two", {}, ingress=[{"from": [place, pod]}]))
    assert not passes(policy("two", {}, ingress=[{"from": [{"podSelector": {}}]}]))  # of its own namespace
    assert passes(policy("two", {}, ingress=[{"from": [{"namespaceSelector": {}}]}]))
    name = {"kubernetes.io/metadata.name": "one"}
    assert passes(policy("two", {}, ingress=[{"from": [{"namespaceSelector": {"matchLabels": name}}]}]))


@pytest.mark.parametrize(
    ("entry", "holds"),
    [
        ({"port": 8080}, True),
        ({"port": 80}, False),
        ({"port": "http"}, True),
        ({"port": "web"}, False),
        ({"port": 8000, "endPort": 8100}, True),
        ({"port": 8080, "protocol": "UDP"}, False),
        ({"protocol": "TCP"}, True),
    ],
)
def test_ports_are_those_of_the_pod(entry: dict[str, Any], holds: bool) -> None:
    assert passes(policy("two", {}, ingress=[{"ports": [entry]}])) is holds


def test_address_blocks() -> None:
    out = policy("one", {}, egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}])
    assert passes(out, target=Address("near", "10.2.0.1"))
    assert not passes(out, target=Address("excepted", "10.1.0.1"))
    assert not passes(out, target=Address("far", "192.0.2.1"))
    assert not passes(out)
    assert passes(out, blocks=True)  # where a network's driver counts pods in


def test_a_refusal_names_side_and_policies() -> None:
    network = Network([policy("two", {})], {})
    (refusal,) = network.refusals(A, B, 8080)
    assert refusal == "a to b, port 8080/TCP: refused at the Ingress, where the policies are policy"
    assert network.refusals(A, B, 8080, sides=("Egress",)) == []
