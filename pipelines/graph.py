"""The graph of a compiled pipeline: all its tasks, however deeply nested, and which task reads from which."""

import json
from dataclasses import dataclass, field
from typing import Any

from tagscale.runtime.yaml_text import parse_documents

FIRST, END = ("begin", "plan"), "end"  # tasks with the settings; the task that comes last whatever happened


@dataclass(frozen=True)
class Loop:
    """A loop of a compiled pipeline: its name, its items, and how many of them run at once."""

    name: str
    items: list[dict[str, Any]]
    at_once: int | None


@dataclass
class Graph:
    """A compiled pipeline, flat.

    Attributes:
        tasks: name of a task -> its specification; loops and inner pipelines are no tasks.
        functions: name of a task -> the component's function, for instance "train".
        labels: name of a task -> its name on Kubeflow's page.
        inside: name of a task -> the loop around it.
        edges: (task that writes, task that reads), by artifacts and parameters.
    """

    pipeline: dict[str, Any]
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    inside: dict[str, Loop] = field(default_factory=dict)
    edges: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def of(cls, pipeline: dict[str, Any]) -> "Graph":
        graph = cls(pipeline)
        graph._walk(pipeline["root"]["dag"]["tasks"], {})
        return graph

    @property
    def executors(self) -> dict[str, dict[str, Any]]:
        return self.pipeline["deploymentSpec"]["executors"]

    @property
    def loops(self) -> list[Loop]:
        loops: list[Loop] = []
        for loop in self.inside.values():
            if loop not in loops:
                loops.append(loop)
        return loops

    @property
    def components(self) -> dict[str, Any]:
        return self.pipeline["components"]

    def constant(self, task: str, parameter: str) -> Any:
        return self.tasks[task]["inputs"]["parameters"][parameter]["runtimeValue"]["constant"]

    @property
    def settings(self) -> str:
        """The settings of which it was compiled, as JSON. Raises KeyError where there are none."""
        first = next((task for task in FIRST if task in self.tasks), FIRST[0])
        return str(self.constant(first, "params"))

    @property
    def direct_edges(self) -> set[tuple[str, str]]:
        """The edges that no longer way implies."""
        return {(writer, reader) for writer, reader in self.edges if not self._implied(writer, reader)}

    def _implied(self, writer: str, reader: str) -> bool:
        """Whether the reader also waits for another task that reads from the writer."""
        others = {to for source, to in self.edges if source == writer} - {reader}
        return any(reaches(self.edges, other, reader) for other in others)

    def _executor(self, component: str) -> str | None:
        label = self.components[component].get("executorLabel")
        return None if label is None else str(label)

    def _producer(self, tasks: dict[str, Any], task: str, kind: str, key: str) -> str:
        """The task that makes this output, however many loops and inner pipelines hand it on."""
        component = tasks[task]["componentRef"]["name"]
        if self._executor(component):
            return task
        dag = self.components[component]["dag"]
        if kind == "artifacts":
            (inner,) = dag["outputs"]["artifacts"][key]["artifactSelectors"]
            return self._producer(dag["tasks"], inner["producerSubtask"], kind, inner["outputArtifactKey"])
        inner = dag["outputs"]["parameters"][key]["valueFromParameter"]
        return self._producer(dag["tasks"], inner["producerSubtask"], kind, inner["outputParameterKey"])

    def _walk(self, tasks: dict[str, Any], outside: dict[str, str], loop: Loop | None = None) -> None:
        for name, task in tasks.items():
            sources: dict[str, str] = {}
            for kind, singular in (("artifacts", "Artifact"), ("parameters", "Parameter")):
                for key, source in task.get("inputs", {}).get(kind, {}).items():
                    if made := source.get(f"taskOutput{singular}"):
                        output = made[f"output{singular}Key"]
                        sources[key] = self._producer(tasks, made["producerTask"], kind, output)
                    elif (given := source.get(f"componentInput{singular}")) in outside:
                        sources[key] = outside[given]
            component = task["componentRef"]["name"]
            if label := self._executor(component):
                self.tasks[name] = task
                self.functions[name] = self.executors[label]["container"]["args"][-1]
                self.labels[name] = task["taskInfo"]["name"]
                self.edges |= {(source, name) for source in sources.values()}
                if loop:
                    self.inside[name] = loop
            else:
                within = loop
                if "parameterIterator" in task:
                    items = json.loads(task["parameterIterator"]["items"]["raw"])
                    at_once = task.get("iteratorPolicy", {}).get("parallelismLimit")
                    within = Loop(task["taskInfo"]["name"], items, at_once)
                self._walk(self.components[component]["dag"]["tasks"], sources, within)


def reaches(edges: set[tuple[str, str]], writer: str, reader: str) -> bool:
    """Whether the reader gets, directly or through other tasks, what the writer writes; a task reaches itself."""
    reached: set[str] = set()
    ahead = {writer}
    while ahead:
        reached |= ahead
        ahead = {to for source, to in edges if source in ahead} - reached
    return reader in reached


def graph_of(text: str) -> Graph:
    """The graph of a compiled pipeline's YAML."""
    return Graph.of(parse_documents(text, "the compiled pipeline")[0])
