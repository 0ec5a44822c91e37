"""Reading compiled pipelines: all tasks of the graph, wherever they are nested, and who gets what from whom."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Graph:
    """A compiled pipeline, flat.

    Attributes:
        tasks: name of a task -> its specification; loops and inner pipelines are no tasks.
        functions: name of a task -> the component's function, as "train".
        edges: (function that writes, function that reads), by artifacts and parameters.
    """

    pipeline: dict[str, Any]
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
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
    def loops(self) -> list[dict[str, Any]]:
        """The tasks that are loops."""
        dags = [part["dag"]["tasks"] for part in (self.pipeline["root"], *self.components.values()) if "dag" in part]
        return [task for tasks in dags for task in tasks.values() if "parameterIterator" in task]

    @property
    def components(self) -> dict[str, Any]:
        return self.pipeline["components"]

    def constant(self, task: str, parameter: str) -> Any:
        return self.tasks[task]["inputs"]["parameters"][parameter]["runtimeValue"]["constant"]

    def reaches(self, writer: str, reader: str) -> bool:
        """Whether what one function writes is there before the other reads, directly or through others."""
        seen, ahead = set(), {writer}
        while ahead:
            seen |= ahead
            ahead = {to for source, to in self.edges if source in ahead} - seen
        return reader in seen

    def _executor(self, component: str) -> str | None:
        return self.components[component].get("executorLabel")

    def _producer(self, tasks: dict[str, Any], task: str, kind: str, key: str) -> str:
        """The function whose output this is, through loops and inner pipelines."""
        component = tasks[task]["componentRef"]["name"]
        if label := self._executor(component):
            return self.executors[label]["container"]["args"][-1]
        dag = self.components[component]["dag"]
        if kind == "artifacts":
            (inner,) = dag["outputs"]["artifacts"][key]["artifactSelectors"]
            return self._producer(dag["tasks"], inner["producerSubtask"], kind, inner["outputArtifactKey"])
        inner = dag["outputs"]["parameters"][key]["valueFromParameter"]
        return self._producer(dag["tasks"], inner["producerSubtask"], kind, inner["outputParameterKey"])

    def _walk(self, tasks: dict[str, Any], outside: dict[str, str]) -> None:
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
                self.edges |= {(source, self.functions[name]) for source in sources.values()}
            else:
                self._walk(self.components[component]["dag"]["tasks"], sources)
