"""What pipelines ask a cluster for is what the manifests put there."""

import yaml
from k8s.references import secrets_of
from pipelines.cluster import CONFIG, SECRET
from pipelines.options import TASKS_ACCOUNT

from k8s import rules
from manifests import K8S
from tagscale.params.load import load

KUBERNETES = load(K8S.parent / "params.yaml").kubernetes
TASKS = [
    body for file in (K8S / "tasks").glob("*.yaml") for body in yaml.safe_load_all(file.read_text()) if body is not None
]


def named(kind: str) -> dict[str, dict]:
    return {body["metadata"]["name"]: body for body in TASKS if body["kind"] == kind}


def test_the_config_map_has_the_keys() -> None:
    assert set(CONFIG) <= set(named("ConfigMap")[KUBERNETES.config]["data"])


def test_the_secret_is_made_with_the_keys() -> None:
    assert KUBERNETES.secret is not None
    assert secrets_of(K8S / "secrets" / "create.sh")["tasks"][KUBERNETES.secret] == set(SECRET)


def test_volume_and_account_are_there() -> None:
    assert named("PersistentVolumeClaim")[KUBERNETES.volume]["spec"]["accessModes"] == ["ReadWriteMany"]
    assert TASKS_ACCOUNT == rules.TASKS_ACCOUNT in named("ServiceAccount")
