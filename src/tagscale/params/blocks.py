"""The blocks of params.yaml, one class each: which keys they have, of which types, in which range.

None has a default here, see `tagscale.params.load`.
"""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class Block(BaseModel):
    """One block of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatasetParams(Block):
    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    version: str | None = Field(pattern=r"^[\w.-]+@[0-9a-f]{12}$")
    source: Literal["synth", "folder", "mtt", "msd", "jamendo", "fma", "gtzan", "mgphot"]
    root: str
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


class ValidationParams(Block):
    min_seconds: float = Field(ge=0)
    seconds_tolerance: float = Field(ge=0)
    silence_dbfs: float = Field(le=0)
    max_clipped: float = Field(ge=0, le=1)
    max_dc: float = Field(ge=0, le=1)
    max_quarantined: float = Field(ge=0, le=1)
    min_positives: int = Field(ge=1)


class PartitionParams(Block):
    train: float = Field(gt=0, lt=1)
    valid: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def shares_add_up(self) -> "PartitionParams":
        total = self.train + self.valid + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train, valid and test must add up to 1, not {total:g}")
        return self


class WaveformParams(Block):
    layers: Literal[7, 9]
    width: float = Field(gt=0, le=16)


class SpectrogramParams(Block):
    width: float = Field(gt=0, le=16)


class BackendParams(Block):
    filters: int = Field(ge=1)
    units: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    pooling: Literal["max_mean", "attention"]


class OtherModel(Block):
    """A model that is whole by itself, without the shared back-end."""

    width: float = Field(gt=0, le=16)
    patch_seconds: float | None = Field(ge=0.1, le=120)


class ShortChunkParams(OtherModel):
    dropout: float = Field(ge=0, lt=1)


class TransformerParams(OtherModel):
    layers: int = Field(ge=1, le=48)
    dropout: float = Field(ge=0, lt=1)


class SampleCNNParams(OtherModel):
    dropout: float = Field(ge=0, lt=1)


class DielemanParams(OtherModel):
    frames: int = Field(ge=1)


class VGGParams(OtherModel):
    filters: list[int] = Field(min_length=4, max_length=4)
    time_pools: list[int] = Field(min_length=4, max_length=4)
    dropout: float = Field(ge=0, lt=1)


class TimbreCNNParams(OtherModel):
    mels: Literal[96, 128]
    dropout: float = Field(ge=0, lt=1)


class CRNNParams(OtherModel):
    dropout: float = Field(ge=0, lt=1)


class MultiscaleParams(OtherModel):
    frames: list[int] = Field(min_length=1)
    units: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)


class SampleCNNMultiscaleParams(OtherModel):
    samples: list[int] = Field(min_length=1)
    units: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)


class OwnBackend(Block):
    """What a named capacity may say of the back-end, in place of the block `backend`."""

    filters: int | None = Field(default=None, ge=1)
    units: int | None = Field(default=None, ge=1)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    pooling: Literal["max_mean", "attention"] | None = None


class WaveformCapacity(WaveformParams, OwnBackend):
    """A waveform model of another capacity."""


class SpectrogramCapacity(SpectrogramParams, OwnBackend):
    """A spectrogram model of another capacity."""


CAPACITIES: dict[str, type[Block]] = {  # what a block such as waveform-x4 or vgg-narrow may say
    "waveform": WaveformCapacity,
    "spectrogram": SpectrogramCapacity,
    "short_chunk": ShortChunkParams,
    "transformer": TransformerParams,
    "samplecnn": SampleCNNParams,
    "dieleman": DielemanParams,
    "vgg": VGGParams,
    "timbre_cnn": TimbreCNNParams,
    "crnn": CRNNParams,
    "multiscale": MultiscaleParams,
    "samplecnn_multiscale": SampleCNNMultiscaleParams,
}


class ModelParams(Block):
    """A block per model, the back-end, and further capacities of the models under names such as waveform-x4."""

    model_config = ConfigDict(extra="allow")

    waveform: WaveformParams
    spectrogram: SpectrogramParams
    backend: BackendParams
    short_chunk: ShortChunkParams
    transformer: TransformerParams
    samplecnn: SampleCNNParams
    dieleman: DielemanParams
    vgg: VGGParams
    timbre_cnn: TimbreCNNParams
    crnn: CRNNParams
    multiscale: MultiscaleParams
    samplecnn_multiscale: SampleCNNMultiscaleParams

    @model_validator(mode="before")
    @classmethod
    def check_capacities(cls, content: Any) -> Any:
        """Every name beyond the models' must be a model's, a hyphen and a word; its block stands by itself."""
        if not isinstance(content, dict):
            return content
        capacities: dict[str, Block] = {}
        problems: list[Any] = []
        for name in (key for key in content if key not in cls.model_fields):
            if not re.fullmatch(r"[a-z_]+-[\w-]+", name) or base_model(name) not in CAPACITIES:
                problems.append({"type": "extra_forbidden", "loc": (name,), "input": content[name]})
                continue
            try:
                capacities[name] = CAPACITIES[base_model(name)].model_validate(content[name])
            except ValidationError as error:
                problems += [{**problem, "loc": (name, *problem["loc"])} for problem in error.errors()]
        if problems:
            raise ValidationError.from_exception_data("model", problems)
        return content | capacities


def base_model(name: str) -> str:
    """The model that a name in train.models means: the name itself, or what stands before a capacity's hyphen.

    >>> base_model("waveform"), base_model("waveform-x4")
    ('waveform', 'waveform')
    """
    return name.partition("-")[0]


class TrainParams(Block):
    models: list[str] = Field(min_length=1)
    baselines: list[Literal["descriptors"]]
    sizes: list[int | Literal["all"]] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    loss: Literal["cross_entropy", "mse"]
    class_weights: Literal["none", "balanced"]
    patch_seconds: float = Field(ge=0.5, le=120)
    patches_per_track: int = Field(ge=1)
    batch: int = Field(ge=2)
    optimizer: Literal["adam", "adamw", "sgd"]
    learning_rate: float = Field(gt=0)
    schedule: Literal["cosine", "constant", "halving"]
    weight_decay: float = Field(ge=0)
    max_epochs: int = Field(ge=1)
    patience: int = Field(ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]
    compile: bool
    workers: int | None = Field(ge=0)
    devices: int | None = Field(ge=1)
    nodes: int = Field(ge=1)


class BaselineParams(Block):
    trees: int = Field(ge=1)
    leaves: int = Field(ge=2)
    learning_rate: float = Field(gt=0)


class EvaluateParams(Block):
    window_seconds: float | None = Field(ge=0.5, le=120)
    hop_seconds: float = Field(gt=0)
    resamples: int = Field(ge=0, le=100_000)
    confidence: float = Field(gt=0, lt=1)


class RegistryParams(Block):
    name: str = Field(min_length=1, pattern=r"^[\w.-]+$")
    metric: Literal["pr_auc", "roc_auc", "rmse"]


class TrackingParams(Block):
    experiment: str = Field(min_length=1)
