"""Resources against their schemas; a field that the schema lacks is a fault.

The schemas of Kubernetes come from the package kubernetes-validate, those of custom kinds from k8s/schemas (its README
names their sources). Conditions between fields (x-kubernetes-validations, which the API server runs) are not checked.
"""

import difflib
import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from kubernetes_validate.utils import schema_contents
from referencing import Registry
from referencing import Resource as Document

from k8s.render import Fault, Resource
from tagscale.runtime.yaml_text import parse_yaml

KUBERNETES = "1.34.0"  # the version of the schemas
SCHEMAS = Path(__file__).parent / "schemas"
DEFINITIONS = "https://kubernetes.io/api/_definitions.json#/$defs/"
POD_SPEC = "io.k8s.api.core.v1.PodSpec"
OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
CUSTOM = {
    ("kubeflow.org/v1", "Profile"): "kubeflow_profiles.json.gz",
    ("trainer.kubeflow.org/v1alpha1", "ClusterTrainingRuntime"): "trainer_clustertrainingruntimes.json.gz",
    ("trainer.kubeflow.org/v1alpha1", "TrainJob"): "trainer_trainjobs.json.gz",
    ("serving.kserve.io/v1beta1", "InferenceService"): "kserve_inferenceservices.yaml",
}


def schema_faults(resource: Resource) -> Iterator[Fault]:
    """A fault for everything in a resource that its schema refuses, or for a kind without a schema."""
    validator = _validator(str(resource.body.get("apiVersion")), resource.kind)
    if validator is None:
        what = f"no schema for {resource.body.get('apiVersion')}, kind {resource.kind}. Check the spelling"
        yield Fault(resource, "kind", f"{what}; a custom kind needs its schema in k8s/schemas.")
        return
    for error in validator.iter_errors(resource.body):
        for field, what in _messages(error):
            yield Fault(resource, field, what)


@cache
def _validator(api_version: str, kind: str) -> Draft202012Validator | None:
    schema = _custom(api_version, kind) if (api_version, kind) in CUSTOM else _known(api_version, kind)
    return None if schema is None else Draft202012Validator(schema, registry=_definitions_registry())


def _known(api_version: str, kind: str) -> dict[str, Any] | None:
    """The schema of a kind of Kubernetes itself, from a file such as deployment-apps-v1.json."""
    group, _, version = api_version.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)
    try:
        return _read(f"{name}.json")
    except FileNotFoundError:
        return None


def _custom(api_version: str, kind: str) -> dict[str, Any]:
    file = SCHEMAS / CUSTOM[api_version, kind]
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    definition = parse_yaml(text.decode(), str(file)) if file.suffix == ".yaml" else json.loads(text)
    version = api_version.rpartition("/")[2]
    schema = next(v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"] if v["name"] == version)
    whole: dict[str, Any] = closed(schema)
    whole["required"] = ["apiVersion", "kind", "metadata", "spec"]
    whole["properties"] |= {
        "apiVersion": {"const": api_version},
        "kind": {"const": kind},
        "metadata": {"$ref": DEFINITIONS + OBJECT_META},
    }
    return whole


def closed(schema: Any) -> Any:
    """The schema with unknown fields refused; the API server would drop them silently."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: closed(value) for key, value in schema.items()}
    if strict.pop("x-tagscale-pod-spec", False):  # our own keyword: the fields of a pod, too
        pod = _definitions()["$defs"][POD_SPEC]["properties"]
        refs = {name: {"$ref": f"{DEFINITIONS}{POD_SPEC}/properties/{name}"} for name in pod}
        strict["properties"] = refs | strict["properties"]
    is_object = strict.get("type") == "object"
    if is_object and not strict.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in strict:
        strict["additionalProperties"] = False
    return strict


def _read(name: str) -> dict[str, Any]:
    contents: dict[str, Any] = schema_contents(f"kubernetes-json-schema/v{KUBERNETES}-local-strict/{name}", KUBERNETES)
    return contents


@cache
def _definitions() -> dict[str, Any]:
    return _read("_definitions.json")


@cache
def _definitions_registry() -> Registry:
    return Document.from_contents(_definitions()) @ Registry()


def _messages(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Field and message of an error of jsonschema, one for every unknown field."""
    place = field_path(error.absolute_path)
    if error.validator != "additionalProperties":
        yield place or "(all)", f"{_short(error.message)}."
        return
    allowed = list(error.schema.get("properties", {}))
    for name in sorted(set(error.instance) - set(allowed)):
        close = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(sorted(allowed)) or 'none'}."
        yield f"{place}.{name}".lstrip("."), f"unknown field; {hint}"


def field_path(steps: Any) -> str:
    """spec.containers[0].image"""
    return re.sub(r"\.\[", "[", ".".join(f"[{step}]" if isinstance(step, int) else str(step) for step in steps))


def _short(message: str, most: int = 300) -> str:
    return message if len(message) <= most else f"{message[:most]} ..."
