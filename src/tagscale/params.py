"""The only reader of params.yaml: typed, complete, and strict about names.

No setting has a default here: params.yaml shows all of them, and a preset states only what differs from it. Only a
named capacity (model.waveform-x4) may leave out what it takes from the block `backend`.
"""

import difflib
import re
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tagscale.errors import TagscaleError


class Block(BaseModel):
    """One block of params.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)


B = TypeVar("B", bound=Block)


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


class Params(Block):
    """All of params.yaml."""

    dataset: DatasetParams
    synth: SynthParams
    preprocess: PreprocessParams
    validation: ValidationParams
    partition: PartitionParams
    model: ModelParams
    train: TrainParams
    baseline: BaselineParams
    evaluate: EvaluateParams
    registry: RegistryParams
    tracking: TrackingParams

    @model_validator(mode="after")
    def models_have_blocks(self) -> "Params":
        known = [name for name in self.model.model_dump() if name != "backend"]
        unknown = [name for name in self.train.models if name not in known]
        if unknown:
            raise ValueError(
                f"train.models: no block model.{unknown[0]} says what {unknown[0]!r} is; there are {', '.join(known)}"
            )
        return self


def load(path: Path = Path("params.yaml"), preset: Path | None = None) -> Params:
    """Read and check params.yaml, with a preset laid over it where one is given.

    Raises:
        TagscaleError: file missing or not YAML, unknown or missing key, value of the wrong type or out of range.
            The message names the file, the key and, for an unknown key, the nearest known one.
    """
    content = read_yaml(Path(path))
    if preset is not None:
        content = laid_over(content, read_yaml(Path(preset)))
    return parse(content, origin=f"{path}" if preset is None else f"{path} with {preset}")


def parse(content: dict[str, Any], origin: str = "params") -> Params:
    """Check settings that are already a dictionary, as the pipeline passes them. Raises as `load`."""
    return _checked(Params, content, origin)


def dataset_of(content: dict[str, Any]) -> DatasetParams:
    """The block `dataset` alone, as the command line gives it. Raises as `load`."""
    return _checked(DatasetParams, content, "the dataset")


def _checked(block: type[B], content: dict[str, Any], origin: str) -> B:
    try:
        return block.model_validate(content)
    except ValidationError as error:
        lines = [f"  {_explain(problem)}" for problem in error.errors()]
        raise TagscaleError(f"{origin}: {len(lines)} setting(s) to mend:\n" + "\n".join(lines)) from None


def laid_over(base: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `preset`, block by block; lists are replaced whole.

    >>> laid_over({"train": {"batch": 32, "sizes": [100]}}, {"train": {"sizes": [5, 6]}})
    {'train': {'batch': 32, 'sizes': [5, 6]}}
    """
    merged = dict(base)
    for key, value in preset.items():
        both_blocks = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both_blocks else value
    return merged


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping without executing anything from it. Raises TagscaleError naming the file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TagscaleError(f"{path}: no such file. Run from the project's folder or give --params FILE.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TagscaleError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(content, dict):
        raise TagscaleError(f"{path}: expected blocks of `key: value`, found {type(content).__name__}.")
    return content


def _explain(problem: Any) -> str:
    """One line on one of pydantic's findings."""
    *parents, key = (str(part) for part in problem["loc"] or ("",))
    where = ".".join([*parents, key])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(parents)
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known here: {', '.join(known)}."
        return f"{where}: unknown key; {hint}"
    if problem["type"] == "missing":
        return f"{where}: missing; add it (params.yaml in the repository shows a value for every key)."
    return f"{where}: {problem['msg']}, found {problem['input']!r}."


def _known_keys(parents: list[str]) -> list[str]:
    block: Any = Params
    for parent in parents:
        field = block.model_fields.get(parent)
        block = field.annotation if field else CAPACITIES[base_model(parent)]
    return list(block.model_fields)
