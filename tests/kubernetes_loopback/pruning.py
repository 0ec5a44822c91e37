"""What an API server keeps of a custom resource: the fields that the kind's definition has, and nothing is said."""

import gzip
import json
from pathlib import Path
from typing import Any

UPSTREAM = Path(__file__).parents[1] / "conformance" / "upstream"


def trainjob_schema(version: str) -> dict[str, Any]:
    """The schema of TrainJobs of a version of Kubeflow Trainer."""
    definition = json.loads(gzip.decompress((UPSTREAM / f"trainer_trainjobs_{version}.json.gz").read_bytes()))
    (served,) = definition["spec"]["versions"]
    schema: dict[str, Any] = served["schema"]["openAPIV3Schema"]
    return schema


def pruned(value: Any, schema: dict[str, Any]) -> Any:
    """The value without the fields that its schema does not have (Kubernetes: structural-schema pruning)."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    if isinstance(value, list):
        return [pruned(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    kept = {key: pruned(inner, properties[key]) for key, inner in value.items() if key in properties}
    if isinstance(others, dict):
        kept |= {key: pruned(inner, others) for key, inner in value.items() if key not in properties}
    elif not properties:
        return value  # metadata: its schema is Kubernetes' own
    return kept
