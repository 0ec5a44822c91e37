"""The block `kubernetes` of params.yaml: how the tasks of a pipeline run on a cluster. No result depends on it."""

from typing import Literal

from pydantic import Field, model_validator

from tagscale.params.stage_names import STAGES
from tagscale.runtime.block import Block

DEFAULT = "default"
QUANTITY = r"^\d+([EPTGM]i?|Ki?)?$"  # of bytes, as kfp takes it


class Resources(Block):
    """What a task gets, as request and as limit."""

    cpu: float = Field(gt=0)
    memory: str = Field(pattern=QUANTITY)
    gpus: int = Field(ge=0)
    hours: float = Field(gt=0)  # after which the task is ended


class TaskParams(Block):
    """What a stage's tasks get; what it does not say comes from `default`."""

    cpu: float | None = Field(default=None, gt=0)
    memory: str | None = Field(default=None, pattern=QUANTITY)
    gpus: int | None = Field(default=None, ge=0)
    hours: float | None = Field(default=None, gt=0)


class Toleration(Block):
    """A taint of nodes that does not keep GPU tasks away, in the words of Kubernetes."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] | None = None
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None


class GpuParams(Block):
    """Where tasks with GPUs run."""

    resource: str = Field(min_length=1)  # the device plugin's name for a GPU
    node_selector: dict[str, str]
    tolerations: list[Toleration]
    most: int | None = Field(ge=1)


class KubernetesParams(Block):
    """All of the block."""

    volume: str = Field(min_length=1)
    mount: str = Field(pattern=r"^/.+$")
    config: str = Field(min_length=1)
    secret: str | None = Field(min_length=1)
    shards: int = Field(ge=1, le=1000)
    parallel: int = Field(ge=1)
    retries: int = Field(ge=0)
    tasks: dict[str, TaskParams]
    gpu: GpuParams

    @model_validator(mode="after")
    def tasks_are_known(self) -> "KubernetesParams":
        unknown = [name for name in self.tasks if name != DEFAULT and name not in STAGES]
        if unknown:
            raise ValueError(f"tasks.{unknown[0]}: no such stage; there are {DEFAULT}, {', '.join(STAGES)}")
        given = self.tasks.get(DEFAULT, TaskParams()).model_dump()
        missing = [name for name, value in given.items() if value is None]
        if missing:
            raise ValueError(f"tasks.{DEFAULT} must say {', '.join(missing)}, for the stages that do not")
        return self

    def task(self, stage: str) -> Resources:
        """What a stage's tasks get."""
        own = self.tasks.get(stage, TaskParams()).model_dump(exclude_none=True)
        return Resources.model_validate(self.tasks[DEFAULT].model_dump() | own)
