"""The check of the manifests: every overlay passes, and each thing that it should find, it finds and names."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from k8s.check import check
from k8s.render import render
from k8s.strict import closed

from manifests import K8S, OVERLAYS, copied, faults, replaced
from tagscale.runtime.errors import TagscaleError

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

SECRET = """
---
apiVersion: v1
kind: Secret
metadata:
  name: tagscale-s3
stringData:
  AWS_SECRET_ACCESS_KEY: in-the-repository
"""

RUNTIME = "components/training-runtime/training-runtime.yaml"

# Overlay, file, what is changed to what, and what the check has to say: file, kind, name, field and reason.
SPOILED = {
    "unknown field of a deployment": (
        "cloud", "servers/mlflow.yaml", "  replicas: 2", "  replicaz: 2",
        "servers/mlflow.yaml: Deployment/tagscale-mlflow: spec.replicaz: unknown field; did you mean `replicas`?",
    ),
    "unknown field deep in a deployment": (
        "local", "servers/mlflow.yaml", "timeoutSeconds: 5", "timeout: 5",
        "servers/mlflow.yaml: Deployment/tagscale-mlflow: spec.template.spec.containers[0].readinessProbe.timeout: ",
    ),
    "unknown field of a runtime": (
        "gpu", RUNTIME, "numNodes: 1", "nodes: 1",
        "training-runtime.yaml: ClusterTrainingRuntime/tagscale-torch: spec.mlPolicy.nodes: unknown field",
    ),
    "unknown field of a runtime's pod": (
        "gpu", RUNTIME, "fsGroupChangePolicy:", "groupChangePolicy:",
        "ClusterTrainingRuntime/tagscale-torch: spec.template.spec.replicatedJobs[0].template.spec.template.spec."
        "securityContext.groupChangePolicy: unknown field; did you mean `fsGroupChangePolicy`?",
    ),
    "unknown field of an inference service": (
        "gpu", "components/champion-kserve/champion.yaml", "minReplicas: 1", "minReplica: 1",
        "InferenceService/tagscale-champion: spec.predictor.minReplica: unknown field; did you mean `minReplicas`?",
    ),
    "unknown field of an inference service's container": (
        "cloud", "components/champion-kserve/champion.yaml", "workingDir:", "workDir:",
        "InferenceService/tagscale-champion: spec.predictor.containers[0].workDir: unknown field",
    ),
    "unknown field of the metadata of a custom kind": (
        "gpu", "components/champion-kserve/champion.yaml", "  annotations:\n    serving", "  anotations:\n    serving",
        "InferenceService/tagscale-champion: metadata.anotations: unknown field; did you mean `annotations`?",
    ),
    "value of another type": (
        "gpu", "components/champion-kserve/champion.yaml", "maxReplicas: 4", 'maxReplicas: "4"',
        "InferenceService/tagscale-champion: spec.predictor.maxReplicas: '4' is not of type 'integer'",
    ),
    "unknown kind": (
        "local", "servers/mlflow.yaml", "kind: PodDisruptionBudget", "kind: PodDisruptionBudgets",
        "servers/mlflow.yaml: PodDisruptionBudgets/tagscale-mlflow: kind: no schema for policy/v1, kind PodDisr",
    ),
    "version that is no more": (
        "local", "servers/backup.yaml", "apiVersion: batch/v1\n", "apiVersion: batch/v1beta1\n",
        "servers/backup.yaml: CronJob/tagscale-backup: kind: no schema for batch/v1beta1, kind CronJob",
    ),
    "no limits": (
        "local", "servers/mlflow.yaml", '            limits: {cpu: "2", memory: 3Gi}\n', "",
        "spec.template.spec.containers[0].resources.limits.memory: missing; container `mlflow` must state it.",
    ),
    "no memory request in a runtime": (
        "local", RUNTIME, 'requests: {cpu: "2", memory: 8Gi}', 'requests: {cpu: "2"}',
        "template.spec.template.spec.containers[0].resources.requests.memory: missing; container `node` must state it.",
    ),
    "root file system that can be written": (
        "local", "components/postgres/postgres.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false",
        "StatefulSet/tagscale-postgres: spec.template.spec.containers[0].securityContext.readOnlyRootFilesystem: ",
    ),
    "root": (
        "local", "servers/backup.yaml", "            runAsNonRoot: true\n", "",
        "spec.jobTemplate.spec.template.spec.containers[0].securityContext.runAsNonRoot: found None, expected True.",
    ),
    "kept capabilities": (
        "gpu", "components/champion-kserve/champion.yaml", "drop: [ALL]", "drop: [CHOWN]",
        "spec.predictor.containers[0].securityContext.capabilities.drop: found ['CHOWN'], expected ['ALL'].",
    ),
    "files of the node": (
        "local", "servers/backup.yaml", "emptyDir: {sizeLimit: 64Mi}", "hostPath: {path: /tmp}",
        "CronJob/tagscale-backup: spec.jobTemplate.spec.template.spec.volumes[2].hostPath: no pod may use the node's",
    ),
    "latest": (
        "local", "components/s3-local/s3.yaml", "versitygw:v1.8.0", "versitygw:latest",
        "spec.template.spec.initContainers[0].image: found `ghcr.io/versity/versitygw:latest`; expected a tag",
    ),
    "no tag, and a port": (
        "local", "servers/backup.yaml", "postgres:17.10-bookworm", "registry.example.org:5000/postgres",
        "containers[0].image: found `registry.example.org:5000/postgres`; expected a tag other than latest",
    ),
    "secret with a value": (
        "local", "servers/config.yaml", "", SECRET,
        "servers/config.yaml: Secret/tagscale-s3: stringData: a secret among the manifests gets into the repository",
    ),
    "config map that is not there": (
        "local", "servers/config.yaml", "name: tagscale-mlflow-settings", "name: tagscale-mlflow-setting",
        "containers[0].envFrom[0].configMapRef: ConfigMap `tagscale-mlflow-settings` is not in namespace tagscale-",
    ),
    "key that is not there": (
        "local", "servers/mlflow.yaml", "AUTH_ADMIN_USERNAME, value: admin}",
        "AUTH_ADMIN_USERNAME, valueFrom: {configMapKeyRef: {name: tagscale-mlflow-settings, key: ADMIN}}}",
        "ConfigMap `tagscale-mlflow-settings` has no key `ADMIN`; it has ARTIFACTS_BACKUP, AWS_DEFAULT_REGION, ",
    ),
    "secret that nothing makes": (
        "gpu", "components/champion-kserve/champion.yaml", "name: tagscale-mlflow-reader", "name: tagscale-client",
        "containers[0].envFrom[0].secretRef: Secret `tagscale-client` is not in k8s/secrets/create.sh for the tasks;",
    ),
    "key of a secret that nothing makes": (
        "local", "components/postgres/postgres.yaml", "key: POSTGRES_PASSWORD", "key: PASSWORD",
        "StatefulSet/tagscale-postgres: spec.template.spec.containers[0].env[2].valueFrom.secretKeyRef: Secret "
        "`tagscale-postgres` has no key `PASSWORD`; it has POSTGRES_PASSWORD.",
    ),
    "file of a secret that nothing makes": (
        "local", "servers/mlflow.yaml", "{key: basic_auth.ini, path", "{key: auth.ini, path",
        "spec.template.spec.volumes[0].secret: Secret `tagscale-mlflow-server` has no key `auth.ini`; it has",
    ),
    "claim that is not there": (
        "local", RUNTIME, "claimName: tagscale-data", "claimName: tagscale-stores",
        "PersistentVolumeClaim `tagscale-stores` is not in namespace tagscale; there are",
    ),
    "account that is not there": (
        "local", "servers/backup.yaml", "serviceAccountName: tagscale-backup", "serviceAccountName: tagscale-backups",
        "ServiceAccount `tagscale-backups` is not in namespace tagscale-servers; there are default,",
    ),
    "role that is not there": (
        "cloud", "tasks/pipeline-account.yaml", "kind: Role, name: tagscale-pipeline}", "kind: Role, name: task}",
        "RoleBinding/tagscale-pipeline: roleRef: Role `task` is not in namespace tagscale; there are tagscale-pi",
    ),
    "secret of the other namespace": (
        "local", "components/champion-deployment/champion.yaml", "name: tagscale-mlflow-reader", "name: tagscale-s3",
        "secretRef: Secret `tagscale-s3` is not in k8s/secrets/create.sh for the tasks; there are",
    ),
    "certificate that nothing makes": (
        "cloud", "overlays/cloud/ingress.yaml", "secretName: tagscale-mlflow-tls", "secretName: mlflow-tls",
        "overlays/cloud/ingress.yaml: Ingress/tagscale-mlflow: spec.tls[0].secretName: Secret `mlflow-tls` is not in",
    ),
    "pod without an account": (
        "local", "tasks/volume-shell.yaml", "          serviceAccountName: tagscale-volume-shell\n", "",
        "CronJob/tagscale-volume-shell: spec.jobTemplate.spec.template.spec.serviceAccountName: missing; name an",
    ),
    "pod with a sidecar": (
        "gpu", "components/champion-kserve/champion.yaml", 'inject: "false"', 'inject: "true"',
        "InferenceService/tagscale-champion: spec.predictor.annotations: expected sidecar.istio.io/inject",
    ),
    "pod of a runtime with a sidecar": (
        "gpu", RUNTIME, 'inject: "false"', 'inject: "true"',
        "spec.template.spec.replicatedJobs[0].template.spec.template.metadata.annotations: expected sidecar.istio.io",
    ),
    "namespace of the pipelines": (
        "local", "tasks/config.yaml", "", "\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: tagscale\n",
        "tasks/config.yaml: Namespace/tagscale: metadata.name: found tagscale, expected tagscale-servers alone",
    ),
    "policy in Kubeflow's namespace": (
        "standalone", "overlays/standalone/tasks/kustomization.yaml", "      $patch: delete\n", "",
        "NetworkPolicy/tagscale-default-deny: metadata.namespace: a policy in Kubeflow's own namespace may cut off",
    ),
    "address of no service": (
        "local", "tasks/config.yaml", "tagscale-mlflow.tagscale-servers:5000", "tagscale-mlflow:5000",
        "ConfigMap/tagscale-config: data.MLFLOW_TRACKING_URI: found http://tagscale-mlflow:5000, which is no service",
    ),
    "address that MLflow does not answer": (
        "local", "servers/config.yaml", "tagscale-mlflow.tagscale-servers:5000,", "",
        "data.MLFLOW_TRACKING_URI: found http://tagscale-mlflow.tagscale-servers:5000; MLflow answers to",
    ),
    "pull secret that nothing makes": (
        "gpu", "components/registry/kustomization.yaml", "name: tagscale-registry", "name: registry",
        "ServiceAccount/tagscale-backup: imagePullSecrets[0]: Secret `registry` is not in k8s/secrets/create.sh for",
    ),
    "service without pods": (
        "local", "components/champion-deployment/champion.yaml",
        "selector:\n    app.kubernetes.io/name: tagscale-champion", "selector:\n    app.kubernetes.io/name: champion",
        "Service/tagscale-champion: spec.selector: {'app.kubernetes.io/name': 'champion'} selects no pod",
    ),
}  # fmt: skip


@needs_kubectl
def test_every_overlay_passes(capsys):
    assert [str(fault) for fault in check([])] == []
    printed = capsys.readouterr().out
    assert all(overlay in printed for overlay in OVERLAYS), printed
    for kind in ("Profile", "ClusterTrainingRuntime", "InferenceService", "StatefulSet", "NetworkPolicy", "CronJob"):
        assert re.search(rf"{kind}\W+\d", printed), f"{kind} was not among what was checked"


@needs_kubectl
@pytest.mark.parametrize("case", SPOILED, ids=lambda case: case.replace(" ", "-"))
def test_what_is_wrong_is_named(case, tmp_path):
    overlay, file, old, new, said = SPOILED[case]
    root = copied(tmp_path)
    if old:
        replaced(root, file, old, new)
    else:
        (root / file).write_text((root / file).read_text() + new)
    assert any(said in str(fault) for fault in faults(root, overlay)), [str(f) for f in faults(root, overlay)]


@needs_kubectl
def test_a_fault_ends_with_status_1_and_is_told_once(tmp_path):
    root = copied(tmp_path)
    replaced(root, "servers/mlflow.yaml", "maxUnavailable: 1", "maxUnavailabel: 1")
    command = [sys.executable, "-m", "k8s.check", "--root", str(root), "local", "cloud"]
    done = subprocess.run(command, cwd=K8S.parent, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error servers/mlflow.yaml: PodDisruptionBudget/tagscale-mlflow: spec.maxUnavailabel: "
        "unknown field; did you mean `maxUnavailable`?"
    ]
    assert "gpu" not in done.stdout  # only what was asked for


def test_without_kubectl_it_says_so(tmp_path):
    command = [sys.executable, "-m", "k8s.check", "local"]
    done = subprocess.run(
        command, cwd=K8S.parent, env=os.environ | {"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "error kubectl: no such command on the PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_overlay_is_refused():
    with pytest.raises(TagscaleError, match=r"locale: no such overlay; there are cloud, gpu, local, standalone\."):
        check(["locale"])


@needs_kubectl
def test_what_kustomize_refuses_is_told(tmp_path):
    root = copied(tmp_path)
    replaced(root, "overlays/local/kustomization.yaml", "../../servers", "../../basis")
    with pytest.raises(TagscaleError, match=r"overlays/local: kustomize refuses it\. .*basis"):
        render(root / "overlays" / "local")


def test_a_schema_that_keeps_unknown_fields_stays_open():
    free = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    named = {"type": "object", "additionalProperties": {"type": "string"}}
    schema = closed(
        {"type": "object", "properties": {"free": free, "named": named, "list": {"items": {"type": "object"}}}}
    )
    assert schema["additionalProperties"] is False
    assert "additionalProperties" not in schema["properties"]["free"]
    assert schema["properties"]["named"]["additionalProperties"] == {"type": "string"}
    assert schema["properties"]["list"]["items"]["additionalProperties"] is False
