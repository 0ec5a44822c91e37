"""The cache of Kubeflow Pipelines 2.17.0: which tasks of a pipeline that is submitted twice come from it.

After backend/src/v2/cacheutils/cache.go (the key and its fingerprint), driver/cache.go (claims are sorted, hits belong
to a pipeline), metadata/converter.go (the name of an artifact is its id) and metadata/client.go (a task that runs makes
new artifacts). test_kfp_cache.py holds the fingerprints to upstream's own.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]  # parameters by name, or lists of artifacts' ids by name


def fingerprint(key: Mapping[str, Any]) -> str:
    """SHA-256 of a key as Go's encoding/json writes it, which has escapes for HTML."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for sign in "&<>\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Done:
    """A task of one submission: its name, its specification, its cache key, and whether it came from the cache."""

    name: str
    task: dict[str, Any]
    key: dict[str, Any]
    hit: bool


@dataclass
class Server:
    """A server on which one pipeline is submitted again and again."""

    documents: list[dict[str, Any]]
    stored: dict[str, Values] = field(default_factory=dict)  # fingerprint -> artifacts
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    done: list[Done] = field(default_factory=list)
    submissions: int = 0

    def submit(self) -> list[Done]:
        """Every task of one more run. What tasks return is the same each time, as in the best case."""
        self.submissions, self.done = self.submissions + 1, []
        root = self.documents[0]["root"]
        given = root.get("inputDefinitions", {}).get("parameters", {})
        self._dag(root["dag"], {name: one.get("defaultValue") for name, one in given.items()}, {})
        return self.done

    def _dag(self, dag: dict[str, Any], parameters: Values, artifacts: Values) -> tuple[Values, Values]:
        made: dict[str, tuple[Values, Values]] = {}

        def of(name: str) -> tuple[Values, Values]:
            if name not in made:
                made[name] = self._task(name, dag["tasks"][name], parameters, artifacts, of)
            return made[name]

        for name in dag["tasks"]:
            of(name)
        outputs = dag.get("outputs", {})
        returned = {
            name: of(one["valueFromParameter"]["producerSubtask"])[0][one["valueFromParameter"]["outputParameterKey"]]
            for name, one in outputs.get("parameters", {}).items()
        }
        selected = {
            name: [
                id_
                for part in one["artifactSelectors"]
                for id_ in of(part["producerSubtask"])[1][part["outputArtifactKey"]]
            ]
            for name, one in outputs.get("artifacts", {}).items()
        }
        return returned, selected

    def _task(self, name: str, task: dict[str, Any], outer: Values, ids: Values, of: Any) -> tuple[Values, Values]:
        def value(source: dict[str, Any]) -> Any:
            if "runtimeValue" in source:
                constant = source["runtimeValue"]["constant"]
                filled = isinstance(constant, str) and "{{$.pipeline_" in constant
                return f"{constant} {self.submissions}" if filled else constant
            if made := source.get("taskOutputParameter"):
                return of(made["producerTask"])[0].get(made["outputParameterKey"])
            if "taskFinalStatus" in source:
                return f"status {self.submissions}"
            content = item.get(source["componentInputParameter"], outer.get(source["componentInputParameter"]))
            expression = source.get("parameterExpressionSelector", "")
            return content[expression.split('"')[1]] if expression else content

        def artifact(source: dict[str, Any]) -> list[str]:
            if made := source.get("taskOutputArtifact"):
                return list(of(made["producerTask"])[1][made["outputArtifactKey"]])
            return list(ids[source["componentInputArtifact"]])

        inputs, loop = task.get("inputs", {}), task.get("parameterIterator")
        items = json.loads(loop["items"]["raw"]) if loop else [None]
        collected: tuple[Values, Values] = ({}, {})
        for element in items:
            item = {loop["itemInput"]: element} if loop else {}
            parameters = item | {key: value(one) for key, one in inputs.get("parameters", {}).items()}
            artifacts = {key: artifact(one) for key, one in inputs.get("artifacts", {}).items()}
            component = self.documents[0]["components"][task["componentRef"]["name"]]
            inner = component.get("dag")
            made = self._dag(inner, parameters, artifacts) if inner else self._run(name, task, parameters, artifacts)
            collected[0].update(made[0])
            for key, new in made[1].items():
                collected[1].setdefault(key, []).extend(new)
        return collected

    def _run(self, name: str, task: dict[str, Any], parameters: Values, artifacts: Values) -> tuple[Values, Values]:
        component = self.documents[0]["components"][task["componentRef"]["name"]]
        outputs, executor = component.get("outputDefinitions", {}), component["executorLabel"]
        container = self.documents[0]["deploymentSpec"]["executors"][executor]["container"]
        mounts = self.documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"][executor].get(
            "pvcMount", []
        )
        files = outputs.get("artifacts", {})
        key = {
            "inputArtifactNames": {one: {"artifactNames": ids} for one, ids in artifacts.items()},
            "inputParameterValues": parameters,
            "outputArtifactsSpec": {one: {"name": one, "type": spec["artifactType"]} for one, spec in files.items()},
            "outputParametersSpec": {one: spec["parameterType"] for one, spec in outputs.get("parameters", {}).items()},
            "containerSpec": {
                "image": container["image"],
                "cmdArgs": [*container["command"], *container["args"]],
                "pvcNames": sorted({mount["constant"] for mount in mounts}),
            },
        }
        print_of_key = fingerprint(key)
        hit = bool(task.get("cachingOptions", {}).get("enableCache")) and print_of_key in self.stored
        if not hit:
            self.stored[print_of_key] = {one: [str(next(self.ids))] for one in files}
        self.done.append(Done(name, task, key, hit))
        return dict.fromkeys(outputs.get("parameters", {}), f"what {name} returns"), self.stored[print_of_key]
