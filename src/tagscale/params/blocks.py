"""The blocks of params.yaml, one class each: their keys, with types and ranges.

No key has a default here, see `tagscale.params.load`. The blocks under `model` are made from the entries of
`models.spec`.
"""

import re
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tagscale.models.spec import GROUPS, NETWORKS, TRAINED, Entry, Role, SharedBackend, base_model
from tagscale.runtime.block import Block

NAME = r"^\w[\w.-]*$"
TITLE = r"^\S(?:[^\x00-\x1f]*\S)?$"
WORDS = {  # what a pattern asks for
    NAME: "letters, digits, `_`, `.` and `-`, with a letter or digit first",
    TITLE: "text of one line, without spaces at its ends",
}


class DatasetParams(Block):
    name: str = Field(pattern=NAME, max_length=200)
    version: str | None = Field(pattern=r"^[\w.-]+@[0-9a-f]{12}$")
    source: Literal["synth", "folder", "mtt", "msd", "jamendo", "fma", "gtzan", "mgphot"]
    root: str = Field(min_length=1)
    table: str
    tags: str | None
    split: str | None
    variant: str | None


class SynthParams(Block):
    tracks: int = Field(ge=1)
    artists: int = Field(ge=1)
    seconds: float = Field(ge=1, le=600)
    seed: int = Field(ge=0)
    label_noise: float = Field(ge=0, le=0.5)
    soundfont: str | None


class PreprocessParams(Block):
    shard_megabytes: int = Field(ge=1, le=4096)


class AudioLimits(Block):
    """What an audio file must keep to. A registered model carries the limits that were in force in its training."""

    min_seconds: float = Field(ge=0)
    silence_dbfs: float = Field(le=0)
    max_clipped: float = Field(ge=0, le=1)
    max_dc: float = Field(ge=0, le=1)

    @classmethod
    def of(cls, block: "AudioLimits") -> "AudioLimits":
        """These limits alone, of a block that has more settings."""
        return cls(**{name: getattr(block, name) for name in cls.model_fields})


class ValidationParams(AudioLimits):
    seconds_tolerance: float = Field(ge=0)
    max_quarantined: float = Field(ge=0, le=1)
    min_positives: int = Field(ge=1)


class PartitionParams(Block):
    train: float = Field(gt=0, lt=1)
    valid: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    folds: int | None = Field(ge=3, le=50)  # 3: one to test, one to validate, one to train

    @model_validator(mode="after")
    def shares_add_up(self) -> "PartitionParams":
        total = self.train + self.valid + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, valid and test must add up to 1, not {total:g}")
        return self


def _span(value: Any) -> Any:
    """A number of optimiser steps, or of epochs as text; `epochs_of` reads the latter."""
    steps = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not steps and (not isinstance(value, str) or epochs_of(value) is None):
        raise PydanticCustomError("span", "expected a number of steps, or of epochs as in `600 epochs`")
    return value


def _positive(value: Any) -> Any:
    if value == 0 or epochs_of(value) == 0:
        raise PydanticCustomError("span", "expected at least 1")
    return value


Span = Annotated[int | str, BeforeValidator(_span)]
PositiveSpan = Annotated[Span, AfterValidator(_positive)]


def epochs_of(span: int | str) -> int | None:
    """The number of epochs that a span of a training is stated in; None: it is a number of steps.

    >>> epochs_of("600 epochs"), epochs_of("1 epoch"), epochs_of(4000)
    (600, 1, None)
    """
    match = re.fullmatch(r"(\d+) epochs?", str(span))
    return int(match[1]) if match else None


class FineTuningParams(Block):
    """How a network is trained further; `train` has these keys, and so has a model that starts from an encoder."""

    max_steps: PositiveSpan
    learning_rate: float = Field(gt=0)
    body_rate: float = Field(gt=0, le=1)
    freeze_norms: bool


class OwnPatches(Block):
    """The patch length of a model that may have its own; its block states it beside the capacity."""

    patch_seconds: float | None = Field(ge=0.1, le=120)  # None: the published length, or that of the block `train`


def _stated(entry: Entry) -> type[Block]:
    """The block that states a model's capacity. The keys of the shared back-end stand in `model.backend` instead."""
    fields = _fields(entry.capacity)
    if entry.shares_backend:
        fields = {key: field for key, field in fields.items() if key not in SharedBackend.model_fields}
    base = OwnPatches if entry.own_patches else FineTuningParams if entry.finetunes else Block
    return create_model(entry.name, __base__=base, **fields)


def _named(entry: Entry) -> type[Block]:
    """The block of a further capacity such as waveform-x4: it may also replace single keys of `model.backend`."""
    backend = _fields(SharedBackend) if entry.shares_backend else {}
    optional: Any = {key: (kind | None, None) for key, (kind, _) in backend.items()}
    return create_model(entry.name, __base__=_stated(entry), **optional)


def _fields(capacity: type[Block]) -> dict[str, Any]:
    """Fields for `create_model`, none with a default: params.yaml states all of them."""
    return {
        key: (Annotated[field.annotation, *field.metadata, Field()], ...)
        for key, field in capacity.model_fields.items()
    }


def _type(problem: Any) -> Any:
    """The type of one of pydantic's errors as a new error takes it: our own are no names to pydantic."""
    known = "url" in problem
    return problem["type"] if known else PydanticCustomError(problem["type"], problem["msg"])


NAMED = {name: _named(entry) for name, entry in NETWORKS.items()}  # what a block such as vgg-narrow may say
_blocks: dict[str, Any] = {name: (_stated(entry), ...) for name, entry in NETWORKS.items()}
_Models: Any = create_model(
    "_Models",
    __base__=Block,
    backend=(create_model("backend", __base__=Block, **_fields(SharedBackend)), ...),
    **_blocks,
)


class ModelParams(_Models):
    """A block per model, the back-end, and further capacities of the models under names such as waveform-x4."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def check_capacities(cls, content: Any) -> Any:
        """Check the named capacities: a model's name, a hyphen, a word; each block is complete by itself."""
        if not isinstance(content, dict):
            return content
        capacities: dict[str, Block] = {}
        problems: list[Any] = []
        for name in (key for key in content if key not in cls.model_fields):
            if not re.fullmatch(r"[a-z_]+-[\w-]+", name) or base_model(name) not in NAMED:
                problems.append({"type": "extra_forbidden", "loc": (name,), "input": content[name]})
                continue
            try:
                capacities[name] = NAMED[base_model(name)].model_validate(content[name])
            except ValidationError as error:
                problems += [
                    {**problem, "type": _type(problem), "loc": (name, *problem["loc"])} for problem in error.errors()
                ]
        if problems:
            raise ValidationError.from_exception_data("model", problems)
        return content | capacities


def _size(value: Any) -> Any:
    number = value if isinstance(value, (int, float)) else int(value) if str(value).isdecimal() else 0
    if value != "all" and (number < 1 or number != int(number)):
        raise PydanticCustomError("size", "expected a number of tracks from 1 up, or `all`")
    return value


class AugmentParams(Block):
    """What happens to training patches; each part is off at 0."""

    gain: float = Field(ge=0, le=60)
    polarity: bool
    speed: float = Field(ge=0, le=0.5)
    noise: float = Field(ge=0, le=1)
    mix: float = Field(ge=0, le=10)
    band_mask: float = Field(ge=0, le=1)
    time_mask: float = Field(ge=0, le=1)


FEWEST_MEMBERS = 2  # that an ensemble is made of


class TrainParams(FineTuningParams):
    models: list[str]
    probes: list[str]
    baselines: list[str]
    ensembles: list[str]
    members: list[str] | None = Field(min_length=FEWEST_MEMBERS)  # None: all of `trained`
    sizes: list[Annotated[int | Literal["all"], BeforeValidator(_size)]] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0, lt=1 << 32)]] = Field(min_length=1)
    start_from: str | None = Field(min_length=1)
    loss: Literal["cross_entropy", "mse"]
    class_weights: Literal["none", "balanced"]
    patch_seconds: float = Field(ge=0.5, le=120)
    patches_per_track: int = Field(ge=1)
    batch: int = Field(ge=2)
    optimizer: Literal["adam", "adamw", "sgd"]
    schedule: Literal["trapezoid", "cosine", "constant", "halving"]
    weight_decay: float = Field(ge=0)
    min_steps: Span
    patience: PositiveSpan
    validate_every: PositiveSpan | None
    ema: float | None = Field(gt=0, lt=1)
    keep: Literal["last", "best"]
    augment: AugmentParams
    label_smoothing: float = Field(ge=0, lt=1)
    clip_norm: float | None = Field(gt=0)
    accumulate: int = Field(ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] | None
    compile: bool
    workers: int | None = Field(ge=0)
    devices: int | None = Field(ge=1)
    nodes: int = Field(ge=1)

    @property
    def everyone(self) -> list[str]:
        """Every model of the study, in the order of its tables."""
        return [name for group in GROUPS for name in getattr(self, group)]

    @property
    def trained(self) -> list[str]:
        """Every model but the ensembles, which are made of these."""
        return [name for group in TRAINED for name in getattr(self, group)]

    @property
    def library(self) -> list[str]:
        """The models that an ensemble may hold."""
        return [name for name in self.trained if self.members is None or name in self.members]

    @property
    def cells(self) -> list[tuple[str, int | str, int]]:
        """Model, size and seed of every run of the study."""
        return list(product(self.everyone, self.sizes, self.seeds))

    @model_validator(mode="after")
    def micro_batches_have_two_patches(self) -> "TrainParams":
        if 2 * self.accumulate > self.batch:
            raise ValueError(f"accumulate {self.accumulate} leaves less than 2 of the {self.batch} patches of `batch`")
        return self

    @model_validator(mode="after")
    def some_model_is_named(self) -> "TrainParams":
        if not self.trained:
            raise ValueError(f"no model to train; name one at least in {', '.join(TRAINED)}")
        return self

    @model_validator(mode="after")
    def members_are_trained(self) -> "TrainParams":
        unknown = [name for name in self.members or () if name not in self.trained]
        if self.ensembles and unknown:
            raise ValueError(
                f"members: {unknown[0]!r} is not in the study, which trains {', '.join(self.trained)}. "
                f"Add it to {', '.join(TRAINED)}, or take it out of members (null: all)"
            )
        return self

    @field_validator(*GROUPS, "members", "sizes", "seeds")
    @classmethod
    def each_once(cls, values: list[Any] | None) -> list[Any] | None:
        if values and (twice := [value for value in dict.fromkeys(values) if values.count(value) > 1]):
            raise PydanticCustomError("twice", "{value} more than once; name each once", {"value": repr(twice[0])})
        return values


class BaselineParams(Block):
    trees: int | None = Field(ge=1)
    leaves: int = Field(ge=2)
    leaf: float | None = Field(ge=0)
    learning_rate: float = Field(gt=0)


class WantedPrecision(Block):
    precision: float = Field(gt=0, lt=1)


def _threshold_rule(value: Any) -> Any:
    try:
        return value if value == "f1" else WantedPrecision.model_validate(value)
    except ValidationError:
        found = f", found {value}" if isinstance(value, dict) else ""  # of others whoever explains it says so
        expected = "expected f1, or {precision: P} with a P between 0 and 1"
        raise PydanticCustomError("thresholds", expected + found) from None


ThresholdRule = Literal["f1"] | WantedPrecision


class EvaluateParams(Block):
    window_seconds: float | None = Field(ge=0.5, le=120)
    hop_seconds: float = Field(gt=0)
    resamples: int = Field(ge=0, le=100_000)
    confidence: float = Field(gt=0, lt=1)
    thresholds: Annotated[ThresholdRule, BeforeValidator(_threshold_rule)]


class GateParams(Block):
    """What a candidate must show before it replaces the champion."""

    rule: Literal["superior", "non_inferior"]
    margin: float = Field(ge=0, lt=1)
    reasons: list[Literal["smaller", "faster", "newer_data"]]
    floor: list[str]
    guard: dict[str, Annotated[float, Field(ge=0, lt=1)]]
    most_ms: float | None = Field(gt=0)
    most_megabytes: float | None = Field(gt=0)
    error: float = Field(gt=0, lt=0.5)
    looks: int = Field(ge=1, le=10_000)

    @model_validator(mode="after")
    def non_inferior_says_how_much_and_why(self) -> "GateParams":
        if self.rule == "non_inferior" and not (self.margin and self.reasons):
            raise ValueError("non_inferior needs a margin above 0 and at least one of the reasons")
        return self

    @property
    def bar(self) -> float:
        """What the difference to the champion must be above; positive is better, whatever the metric's direction."""
        return self.margin if self.rule == "superior" else -self.margin


class RegistryParams(Block):
    name: str = Field(pattern=NAME, max_length=256)  # 256: of MLflow's databases
    metric: str = Field(pattern=r"^[a-z0-9_]+$")  # a key of evaluation/metrics.py, whom its readers ask
    candidates: list[Role] = Field(min_length=1)
    gate: GateParams


class TrackingParams(Block):
    experiment: str = Field(pattern=TITLE, max_length=256)  # 256: of MLflow's databases
