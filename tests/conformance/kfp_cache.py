"""The cache of Kubeflow Pipelines 2.17.0: which tasks of a pipeline that is submitted twice come from it.

After backend/src/v2/cacheutils/cache.go (the key and its fingerprint), driver/cache.go (claims are sorted, hits belong
to a pipeline), metadata/converter.go (the name of an artifact is its id) and metadata/client.go (a task that runs makes
new artifacts). test_kfp_cache.py holds the fingerprints to upstream's own.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Ids = dict[str, list[str]]  # of artifacts, by the names of an input or output


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
    stored: dict[str, Ids] = field(default_factory=dict)  # fingerprint -> artifacts
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    done: list[Done] = field(default_factory=list)
    submissions: int = 0

    def submit(self) -> list[Done]:
        """Every task of one more run. What tasks return beside artifacts is the same each time, as in the best case."""
        self.submissions, self.done = self.submissions + 1, []
        root = self.documents[0]["root"]
        given = root.get("inputDefinitions", {}).get("parameters", {})
        self._dag(root["dag"], {name: one.get("defaultValue") for name, one in given.items()}, {})
        return self.done

    def _dag(self, dag: dict[str, Any], parameters: dict[str, Any], artifacts: Ids) -> Ids:
        made: dict[str, Ids] = {}

        def of(name: str) -> Ids:
            if name not in made:
                made[name] = self._task(name, dag["tasks"][name], parameters, artifacts, of)
            return made[name]

        for name in dag["tasks"]:
            of(name)
        selected = dag.get("outputs", {}).get("artifacts", {})
        parts = {name: one["artifactSelectors"] for name, one in selected.items()}
        return {
            name: [number for one in several for number in of(one["producerSubtask"])[one["outputArtifactKey"]]]
            for name, several in parts.items()
        }

    def _task(self, name: str, task: dict[str, Any], outer: dict[str, Any], ids: Ids, of: Callable[[str], Ids]) -> Ids:
        inputs, loop = task.get("inputs", {}), task.get("parameterIterator")
        component = self.documents[0]["components"][task["componentRef"]["name"]]
        artifacts = {
            key: of(made["producerTask"])[made["outputArtifactKey"]] if made else ids[one["componentInputArtifact"]]
            for key, one in inputs.get("artifacts", {}).items()
            for made in [one.get("taskOutputArtifact")]
        }
        collected: Ids = {}
        for element in json.loads(loop["items"]["raw"]) if loop else [None]:
            item = {loop["itemInput"]: element} if loop else {}
            given = inputs.get("parameters", {}).items()
            parameters = item | {key: self._value(one, outer | item) for key, one in given}
            if "dag" in component:
                outputs = self._dag(component["dag"], parameters, artifacts)
            else:
                outputs = self._run(name, task, component, parameters, artifacts)
            for key, new in outputs.items():
                collected.setdefault(key, []).extend(new)
        return collected

    def _value(self, source: dict[str, Any], outer: dict[str, Any]) -> Any:
        if made := source.get("taskOutputParameter"):
            return f"what {made['producerTask']} returns as {made['outputParameterKey']}"
        if "taskFinalStatus" in source:
            return f"status {self.submissions}"
        if "runtimeValue" in source:
            constant = source["runtimeValue"]["constant"]
            of_run = isinstance(constant, str) and "{{$.pipeline_" in constant
            return f"{constant} {self.submissions}" if of_run else constant
        content, selector = outer[source["componentInputParameter"]], source.get("parameterExpressionSelector")
        return content[selector.split('"')[1]] if selector else content

    def _run(
        self, name: str, task: dict[str, Any], component: dict[str, Any], parameters: dict[str, Any], artifacts: Ids
    ) -> Ids:
        outputs, executor = component.get("outputDefinitions", {}), component["executorLabel"]
        container = self.documents[0]["deploymentSpec"]["executors"][executor]["container"]
        mounts = self.documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"][executor].get(
            "pvcMount", []
        )
        files = outputs.get("artifacts", {})
        key = {
            "inputArtifactNames": {one: {"artifactNames": numbers} for one, numbers in artifacts.items()},
            "inputParameterValues": parameters,
            "outputArtifactsSpec": {one: {"name": one, "type": spec["artifactType"]} for one, spec in files.items()},
            "outputParametersSpec": {one: spec["parameterType"] for one, spec in outputs.get("parameters", {}).items()},
            "containerSpec": {
                "image": container["image"],
                "cmdArgs": [*container["command"], *container["args"]],
                "pvcNames": sorted({mount["constant"] for mount in mounts}),
            },
        }
        known = fingerprint(key)
        hit = bool(task.get("cachingOptions", {}).get("enableCache")) and known in self.stored
        if not hit:
            self.stored[known] = {one: [str(next(self.ids))] for one in files}
        self.done.append(Done(name, task, key, hit))
        return self.stored[known]
