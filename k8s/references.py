"""Every name in a manifest must exist in its namespace: in the overlay or, for secrets, in k8s/secrets/create.sh."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from k8s.render import Fault, Resource
from k8s.rules import SERVERS, containers, pods, pods_namespace
from tagscale.runtime.errors import TagscaleError

Keys = dict[str, set[str]]  # name -> keys
DEFAULT_ACCOUNT = "default"  # every namespace has it


class Reference(NamedTuple):
    """A name in a resource, and what it stands for."""

    field: str
    kind: str
    name: str
    namespace: str | None  # None: of the whole cluster
    key: str | None = None  # of a secret or config map; None: any


def secrets_of(template: Path) -> dict[str, Keys]:
    """Names and keys of the secrets that the commands of a template create in each namespace, `servers` and `tasks`.

    Raises:
        TagscaleError: the template is missing, or creates none.
    """
    if not template.is_file():
        raise TagscaleError(f"{template}: no such file; expected the commands that create the secrets.")
    secrets: dict[str, Keys] = {"servers": {}, "tasks": {}}
    for command in template.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        matched = re.match(
            r'\s*kubectl create secret (generic|tls|docker-registry) ([\w.-]+) "\$\{(servers|tasks)\[@\]\}"(.*)',
            command,
        )
        if matched:
            kind, name, side, rest = matched.groups()
            named = re.findall(r"--from-(?:literal|file)=([\w.-]+)=", rest)
            keys = {"tls.crt", "tls.key"} if kind == "tls" else set(named)
            secrets[side].setdefault(name, set()).update(keys)
    if not any(secrets.values()):
        raise TagscaleError(f"{template}: found no `kubectl create secret` command; expected one for each secret.")
    return secrets


def reference_faults(resources: list[Resource], secrets: dict[str, Keys]) -> Iterator[Fault]:
    """A fault for every name in a resource that its namespace lacks.

    Args:
        secrets: names and keys of the secrets that are created for each namespace, `servers` and `tasks`.
    """
    config_maps: dict[str | None, Keys] = {}
    names: dict[tuple[str | None, str], set[str]] = {}
    for one in resources:
        names.setdefault((one.namespace, one.kind), set()).add(one.name)
        if one.kind == "ConfigMap":
            keys = {*one.body.get("data", {}), *one.body.get("binaryData", {})}
            config_maps.setdefault(one.namespace, {})[one.name] = keys
    for namespace in {one.namespace for one in resources}:
        names.setdefault((namespace, "ServiceAccount"), set()).add(DEFAULT_ACCOUNT)
    for resource in resources:
        for field, kind, name, namespace, key in _references(resource, resources):
            place = f"namespace {namespace}" if namespace else "this overlay"
            if kind in ("Secret", "ConfigMap"):
                if kind == "Secret":
                    side = "servers" if namespace == SERVERS else "tasks"
                    known, place = secrets[side], f"k8s/secrets/create.sh for the {side}"
                else:
                    known = config_maps.get(namespace, {})
                if name not in known:
                    yield Fault(resource, field, f"{kind} `{name}` is not in {place}; there are {_listed(known)}.")
                elif key is not None and key not in known[name]:
                    what = f"{kind} `{name}` has no key `{key}`; it has {_listed(known[name])}."
                    yield Fault(resource, field, what)
            elif name not in (there := names.get((namespace, kind), set())):
                yield Fault(resource, field, f"{kind} `{name}` is not in {place}; there are {_listed(there)}.")


def secrets_named(resources: list[Resource]) -> set[tuple[str, str]]:
    """Namespace and name of the secrets that an overlay's resources refer to."""
    references = [one for resource in resources for one in _references(resource, resources)]
    return {(str(one.namespace), one.name) for one in references if one.kind == "Secret"}


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def _references(resource: Resource, resources: list[Resource]) -> Iterator[Reference]:
    """Everything that a resource refers to."""
    home = pods_namespace(resource, resources)
    for path, container, _ in containers(resource):
        for number, source in enumerate(container.get("envFrom") or []):
            for group, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if group in source and not source[group].get("optional"):
                    yield Reference(f"{path}.envFrom[{number}].{group}", kind, source[group]["name"], home)
        for number, variable in enumerate(container.get("env") or []):
            source = variable.get("valueFrom", {})
            for group, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if group in source and not source[group].get("optional"):
                    field = f"{path}.env[{number}].valueFrom.{group}"
                    yield Reference(field, kind, source[group]["name"], home, source[group]["key"])
    for path, pod in [*pods(resource), ("", resource.body if resource.kind == "ServiceAccount" else {})]:
        for number, secret in enumerate(pod.get("imagePullSecrets") or []):
            field = f"{path}.imagePullSecrets[{number}]".lstrip(".")
            yield Reference(field, "Secret", secret["name"], home, ".dockerconfigjson")
        if account := pod.get("serviceAccountName"):
            yield Reference(f"{path}.serviceAccountName", "ServiceAccount", account, home)
        for number, volume in enumerate(pod.get("volumes") or []):
            yield from _of_volume(f"{path}.volumes[{number}]", volume, home)
    yield from _of_other_kinds(resource)


def _of_volume(path: str, volume: dict[str, Any], home: str | None) -> Iterator[Reference]:
    if claim := volume.get("persistentVolumeClaim"):
        yield Reference(f"{path}.persistentVolumeClaim", "PersistentVolumeClaim", claim["claimName"], home)
    for group, kind, called in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
        if group in volume and not volume[group].get("optional"):
            for key in [item["key"] for item in volume[group].get("items", [])] or [None]:
                yield Reference(f"{path}.{group}", kind, volume[group][called], home, key)


def _of_other_kinds(resource: Resource) -> Iterator[Reference]:
    spec, home = resource.body.get("spec", {}), resource.namespace
    if resource.kind == "Ingress":
        for number, entry in enumerate(spec.get("tls", [])):
            yield Reference(f"spec.tls[{number}].secretName", "Secret", entry["secretName"], home, "tls.crt")
        for number, rule in enumerate(spec.get("rules", [])):
            for place, path in enumerate(rule.get("http", {}).get("paths", [])):
                field = f"spec.rules[{number}].http.paths[{place}].backend.service"
                yield Reference(field, "Service", path["backend"]["service"]["name"], home)
    if resource.kind in ("RoleBinding", "ClusterRoleBinding"):
        role = resource.body["roleRef"]
        yield Reference("roleRef", role["kind"], role["name"], None if role["kind"] == "ClusterRole" else home)
        for number, subject in enumerate(resource.body.get("subjects", [])):
            if subject["kind"] == "ServiceAccount":
                yield Reference(f"subjects[{number}]", "ServiceAccount", subject["name"], subject["namespace"])
    if resource.kind == "StatefulSet":
        yield Reference("spec.serviceName", "Service", spec["serviceName"], home)
