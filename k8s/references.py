"""Everything that a manifest names must exist: in the overlay, or, for secrets, in k8s/secrets/create.sh."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k8s.render import Fault, Resource
from k8s.rules import containers, pods
from tagscale.runtime.errors import TagscaleError

Keys = dict[str, set[str]]  # name -> keys
DEFAULT_ACCOUNT = "default"  # every namespace has it


def secrets_of(template: Path) -> Keys:
    """Names and keys of the secrets that the commands of a template create.

    Raises:
        TagscaleError: the template is missing, or creates none.
    """
    if not template.is_file():
        raise TagscaleError(f"{template}: no such file; expected the commands that create the secrets.")
    secrets: Keys = {}
    for command in template.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        matched = re.match(r"\s*kubectl create secret (generic|tls) ([\w.-]+)(.*)", command)
        if matched:
            kind, name, rest = matched.groups()
            named = re.findall(r"--from-(?:literal|file)=([\w.-]+)=", rest)
            keys = {"tls.crt", "tls.key"} if kind == "tls" else set(named)
            secrets.setdefault(name, set()).update(keys)
    if not secrets:
        raise TagscaleError(f"{template}: found no `kubectl create secret` command; expected one for each secret.")
    return secrets


def reference_faults(resources: list[Resource], secrets: Keys) -> Iterator[Fault]:
    """A fault for every name in a resource that nothing has."""
    config_maps = {
        r.name: {*r.body.get("data", {}), *r.body.get("binaryData", {})} for r in _all(resources, "ConfigMap")
    }
    names = {kind: {r.name for r in _all(resources, kind)} for kind in {r.kind for r in resources}}
    names.setdefault("ServiceAccount", set()).add(DEFAULT_ACCOUNT)
    for resource in resources:
        for field, kind, name, key in _references(resource):
            if kind in ("Secret", "ConfigMap"):
                known, source = (
                    (secrets, "k8s/secrets/create.sh") if kind == "Secret" else (config_maps, "this overlay")
                )
                if name not in known:
                    yield Fault(resource, field, f"{kind} `{name}` is not in {source}; there are {_listed(known)}.")
                elif key is not None and key not in known[name]:
                    what = f"{kind} `{name}` has no key `{key}`; it has {_listed(known[name])}."
                    yield Fault(resource, field, what)
            elif name not in names.get(kind, set()):
                what = f"{kind} `{name}` is not in this overlay; there are {_listed(names.get(kind, set()))}."
                yield Fault(resource, field, what)


def secrets_named(resources: list[Resource]) -> set[str]:
    """The secrets that an overlay's resources refer to."""
    return {name for resource in resources for _, kind, name, _ in _references(resource) if kind == "Secret"}


def _all(resources: list[Resource], kind: str) -> list[Resource]:
    return [resource for resource in resources if resource.kind == kind]


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def _references(resource: Resource) -> Iterator[tuple[str, str, str, str | None]]:
    """Field, kind, name and key (None: any) of everything that a resource refers to."""
    for path, container, _ in containers(resource):
        for number, source in enumerate(container.get("envFrom") or []):
            for group, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if group in source and not source[group].get("optional"):
                    yield f"{path}.envFrom[{number}].{group}", kind, source[group]["name"], None
        for number, variable in enumerate(container.get("env") or []):
            source = variable.get("valueFrom", {})
            for group, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if group in source and not source[group].get("optional"):
                    yield f"{path}.env[{number}].valueFrom.{group}", kind, source[group]["name"], source[group]["key"]
    for path, pod in pods(resource):
        if account := pod.get("serviceAccountName"):
            yield f"{path}.serviceAccountName", "ServiceAccount", account, None
        for number, volume in enumerate(pod.get("volumes") or []):
            yield from _of_volume(f"{path}.volumes[{number}]", volume)
    yield from _of_other_kinds(resource)


def _of_volume(path: str, volume: dict[str, Any]) -> Iterator[tuple[str, str, str, str | None]]:
    if claim := volume.get("persistentVolumeClaim"):
        yield f"{path}.persistentVolumeClaim", "PersistentVolumeClaim", claim["claimName"], None
    for group, kind, called in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
        if group in volume and not volume[group].get("optional"):
            for key in [item["key"] for item in volume[group].get("items", [])] or [None]:
                yield f"{path}.{group}", kind, volume[group][called], key


def _of_other_kinds(resource: Resource) -> Iterator[tuple[str, str, str, str | None]]:
    spec = resource.body.get("spec", {})
    if resource.kind == "Ingress":
        for number, entry in enumerate(spec.get("tls", [])):
            yield f"spec.tls[{number}].secretName", "Secret", entry["secretName"], "tls.crt"
        for number, rule in enumerate(spec.get("rules", [])):
            for place, path in enumerate(rule.get("http", {}).get("paths", [])):
                field = f"spec.rules[{number}].http.paths[{place}].backend.service"
                yield field, "Service", path["backend"]["service"]["name"], None
    if resource.kind in ("RoleBinding", "ClusterRoleBinding"):
        yield "roleRef", resource.body["roleRef"]["kind"], resource.body["roleRef"]["name"], None
        for number, subject in enumerate(resource.body.get("subjects", [])):
            if subject["kind"] == "ServiceAccount":
                yield f"subjects[{number}]", "ServiceAccount", subject["name"], None
    if resource.kind == "StatefulSet":
        yield "spec.serviceName", "Service", spec["serviceName"], None
