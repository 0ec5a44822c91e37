"""The only reader of params.yaml: typed, complete, and strict about names.

No setting has a default here: params.yaml shows all of them, and a preset states only what differs from it.
"""

import difflib
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


class ModelParams(Block):
    waveform: WaveformParams
    spectrogram: SpectrogramParams
    backend: BackendParams


class TrainParams(Block):
    models: list[Literal["waveform", "spectrogram"]] = Field(min_length=1)
    baselines: list[Literal["descriptors"]]
    sizes: list[int | Literal["all"]] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    loss: Literal["cross_entropy", "mse"]
    patch_seconds: float = Field(ge=0.5, le=120)
    patches_per_track: int = Field(ge=1)
    batch: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    max_epochs: int = Field(ge=1)
    patience: int = Field(ge=1)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]


class BaselineParams(Block):
    trees: int = Field(ge=1)
    leaves: int = Field(ge=2)
    learning_rate: float = Field(gt=0)


class EvaluateParams(Block):
    hop_seconds: float = Field(gt=0)


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
        block = block.model_fields[parent].annotation
    return list(block.model_fields)
