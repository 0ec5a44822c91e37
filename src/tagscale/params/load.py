"""The only reader of params.yaml: typed, complete, and strict about names.

No setting has a default here: params.yaml states all of them, and a preset states only the differences. Two kinds of
block may leave out keys: a named capacity (model.waveform-x4) takes the others from `model.backend`, and a stage's
resources on a cluster take them from `kubernetes.tasks.default`.
"""

from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError, model_validator

from tagscale.models.spec import GROUPS, MODELS, NETWORKS, base_model, group_of
from tagscale.params.blocks import (
    NAMED,
    WORDS,
    BaselineParams,
    DatasetParams,
    EvaluateParams,
    FineTuningParams,
    ModelParams,
    PartitionParams,
    PreprocessParams,
    RegistryParams,
    SynthParams,
    TrackingParams,
    TrainParams,
    ValidationParams,
)
from tagscale.params.kubernetes import KubernetesParams
from tagscale.runtime.block import Block
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json
from tagscale.runtime.words import suggestion
from tagscale.runtime.yaml_text import parse_yaml

B = TypeVar("B", bound=Block)
LONGEST_SHOWN = 200  # characters of a wrong value
PARAMS = Path("params.yaml")
REGISTERED = "tagscale-tagger"  # the registered model, where there are no settings


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
    kubernetes: KubernetesParams

    @model_validator(mode="after")
    def models_have_blocks(self) -> "Params":
        blocks = [name for name in self.model.model_dump() if name != "backend"]
        known = [*blocks, *(name for name in MODELS if name not in NETWORKS)]
        for group in GROUPS:
            fitting = [name for name in known if group_of(name) == group]
            for name in getattr(self.train, group):
                if name in known and name not in fitting:
                    raise ValueError(f"train.{group}: {name!r} belongs in train.{group_of(name)}")
                if name not in fitting:
                    raise ValueError(
                        f"train.{group}: no block model.{name} says what {name!r} is; there are "
                        f"{', '.join(fitting) or 'none for this list'}"
                    )
        return self


class _Evaluation(Block):
    evaluate: EvaluateParams


def load(path: Path = PARAMS, preset: Path | None = None) -> Params:
    """Read and check params.yaml, with a preset laid over it where one is given.

    Raises:
        TagscaleError: file missing or not YAML, unknown or missing key, value of the wrong type or out of range.
            The message names the file, the key and, for an unknown key, the nearest known one.
    """
    content = read_yaml(Path(path))
    if preset is not None:
        content = laid_over(content, read_yaml(Path(preset)))
    return parse(content, origin=f"{path}" if preset is None else f"{path} with {preset}")


def registered_model(path: Path = PARAMS) -> str:
    """Name of the registered model: registry.name of the settings where they have it; whoever tags needs none."""
    block = read_yaml(path).get("registry") if path.is_file() or path != PARAMS else None
    name = block.get("name") if isinstance(block, dict) else None
    return name if isinstance(name, str) else REGISTERED


def parse(content: dict[str, Any], origin: str = "params") -> Params:
    """Check settings that are a dictionary already, as in a pipeline. Raises as `load`."""
    return checked(Params, content, origin)


def load_json(path: Path) -> Params:
    """Read settings from the JSON file that a pipeline hands on. Raises as `load`."""
    return parse(read_json(path), origin=str(path))


def evaluate_of(content: dict[str, Any], origin: str = "params") -> EvaluateParams:
    """Check the block `evaluate` alone: whoever uses a trained run needs no other. Raises as `load`."""
    return checked(_Evaluation, {"evaluate": content.get("evaluate")}, origin).evaluate


def dataset_of(content: dict[str, Any]) -> DatasetParams:
    """Check the block `dataset` alone, as the command line gives it. Raises as `load`."""
    return checked(DatasetParams, content, "the dataset")


def training_settings(params: Params, name: str) -> TrainParams:
    """The block `train`, with what the model's own block says instead."""
    if not NETWORKS[base_model(name)].finetunes:
        return params.train
    own = getattr(params.model, name).model_dump()
    return params.train.model_copy(update={key: own[key] for key in FineTuningParams.model_fields})


def checked(block: type[B], content: dict[str, Any], origin: str) -> B:
    """Check what a file says. Raises as `load`."""
    try:
        return block.model_validate(content)
    except ValidationError as error:
        lines = [f"  {_explain(block, problem)}" for problem in error.errors()]
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
    """Read a YAML mapping (`runtime.yaml_text`). Raises TagscaleError naming the file, and line and key in it."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError:
        raise TagscaleError(f"{path}: no such file. Run from the project's folder or give --params FILE.") from None
    except UnicodeDecodeError as error:
        raise TagscaleError(f"{path}: not UTF-8 text ({error}). Save it as UTF-8.") from None
    if not isinstance(content, dict):
        raise TagscaleError(f"{path}: expected blocks of `key: value`, found {type(content).__name__}.")
    return content


def _explain(block: type[Block], problem: Any) -> str:
    """One line on one of pydantic's errors: the key, what is wrong, what to do."""
    *parents, key = (str(part) for part in problem["loc"] or ("",))
    where = ".".join([*parents, key])
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key; {suggestion(key, _known_keys(block, parents), ' here')}"
    if problem["type"] == "missing":
        shown = " (params.yaml in the repository shows a value for every key)" if block is Params else ""
        return f"{where}: missing; add it{shown}."
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("model_type", "model_attributes_type"):
        message = f"expected a block of {', '.join(_known_keys(block, [*parents, key]))}"
    if problem["type"] == "string_pattern_mismatch":
        message = f"expected {WORDS.get(problem['ctx']['pattern'], problem['ctx']['pattern'])}"
    value = "" if isinstance(problem["input"], dict) else f", found {_short(problem['input'])}"
    return f"{where}: {message}{value}.".removeprefix(": ")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} ... ({len(text):,} characters)"


def _known_keys(block: Any, parents: list[str]) -> list[str]:
    for parent in parents:
        if inner := get_args(block):  # the parent is an index of a list or a key of a dict
            block = inner[-1]
        elif parent in block.model_fields:
            block = block.model_fields[parent].annotation
        else:
            block = NAMED[base_model(parent)]
    return list(block.model_fields)
