"""The block `kubernetes` of params.yaml: how a pipeline's tasks run on a cluster. No result depends on it."""

from typing import Literal

from pydantic import Field, model_validator

from tagscale.params.stage_names import STAGES
from tagscale.runtime.block import Block

DEFAULT = "default"
QUANTITY = r"^\d+([EPTGM]i?|Ki?)?$"  # of bytes, as kfp writes it


class Resources(Block):
    """What a task gets: its request and its limit at once."""

    cpu: float = Field(gt=0)
    memory: str = Field(pattern=QUANTITY)
    gpus: int = Field(ge=0)
    hours: float = Field(gt=0)  # the longest that a task may run


class TaskParams(Block):
    """What a stage's tasks get. A key that is left out comes from `default`."""

    cpu: float | None = Field(default=None, gt=0)
    memory: str | None = Field(default=None, pattern=QUANTITY)
    gpus: int | None = Field(default=None, ge=0)
    hours: float | None = Field(default=None, gt=0)


class Toleration(Block):
    """A taint of nodes that GPU tasks tolerate, in the words of Kubernetes."""

    key: str | None = None
    operator: Literal["Equal", "Exists"] | None = None
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] | None = None


class GpuParams(Block):
    """Which nodes run the tasks with GPUs."""

    resource: str = Field(min_length=1)  # the device plugin's name for a GPU
    node_selector: dict[str, str]
    tolerations: list[Toleration]
    most: int | None = Field(ge=1)


class KubernetesParams(Block):
    """The whole block."""

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
            raise ValueError(f"tasks.{unknown[0]}: no such stage; expected {DEFAULT}, {', '.join(STAGES)}")
        given = self.tasks.get(DEFAULT, TaskParams()).model_dump()
        missing = [name for name, value in given.items() if value is None]
        if missing:
            raise ValueError(f"tasks.{DEFAULT} must state {', '.join(missing)}, for the stages that do not")
        return self

    def task(self, stage: str) -> Resources:
        """What a stage's tasks get, the keys of `default` filled in."""
        own = self.tasks.get(stage, TaskParams()).model_dump(exclude_none=True)
        return Resources.model_validate(self.tasks[DEFAULT].model_dump() | own)
