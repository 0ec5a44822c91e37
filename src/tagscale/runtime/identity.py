"""What makes a run this run and no other: in its file names, in MLflow and on the registered version alike."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NotRequired

from pydantic import FiniteFloat, NonNegativeInt
from typing_extensions import TypedDict

from tagscale.runtime.absent import absence_in
from tagscale.runtime.reading import Output, Seal

ENSEMBLE = "ensemble"  # the model that a stage of this name makes of the others, all its runs in one go
RUN = "run.json"  # in the folder of a finished run, with the SHA-256 of the files beside it


def hash_of(content: Any) -> str:
    """First 12 hex digits of the SHA-256 of `content` as sorted JSON.

    >>> hash_of({"b": 1, "a": [2.0, "x"]}) == hash_of({"a": [2.0, "x"], "b": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def data_hash(catalog: str, store: str) -> str:
    """Hash of a data version, from the hashes of its catalog (tracks, labels, tags) and its store (decoded audio)."""
    return hash_of({"catalog": catalog, "store": store})


@dataclass(frozen=True)
class RunIdentity:
    """One cell of the study's grid, on one version of the data, with one set of settings."""

    model: str  # waveform | spectrogram | descriptors
    size: str  # number of training tracks as params.yaml says it: "300", or "all"
    seed: int
    dataset: str  # name in params.yaml
    dataset_hash: str  # of the data version: catalog and decoded audio
    partition_hash: str
    settings_hash: str  # capacity and training settings: hash_of what decides this run beside the fields above

    @property
    def name(self) -> str:
        """File name of the run: "waveform-300-0"."""
        return run_name(self.model, self.size, self.seed)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_name(model: str, size: int | str, seed: int) -> str:
    """Name of a run's folder under runs/ and results/.

    >>> run_name("waveform", 300, 0)
    'waveform-300-0'
    """
    return f"{model}-{size}-{seed}"


def command_of(stage: str, folder: Path | str) -> str:
    """The command of a stage that makes a run's folder, which has the run's name.

    >>> command_of("train", Path("runs/waveform-x4-all-0"))
    'tagscale train --model waveform-x4 --size all --seed 0'
    >>> command_of("evaluate", Path("ensembles/results/ensemble-all-0"))
    'tagscale ensemble'
    """
    folder = Path(folder)
    if re.fullmatch(r"fold-\d+", folder.name):  # of a run in folds
        folder = folder.parent
    cell = re.fullmatch(r"(.+)-(\d+|all)-(\d+)", folder.name)
    if cell and cell[1] == ENSEMBLE:
        return f"tagscale {ENSEMBLE}"
    return f"tagscale {stage} --model {cell[1]} --size {cell[2]} --seed {cell[3]}" if cell else f"tagscale {stage}"


class RunFacts(TypedDict):
    """The content of run.json."""

    identity: RunIdentity
    train_tracks: NonNegativeInt
    parameters: NonNegativeInt
    seconds: FiniteFloat
    kept_step: NotRequired[NonNegativeInt]  # of a network: steps before the validation whose weights it has
    folds: NotRequired[NonNegativeInt]  # of which each has a folder like a run's, fold-1, fold-2 ...
    unlearned: NotRequired[dict[str, str]]  # tags that the training tracks say nothing about -> why


def run_output(folder: Path) -> Output:
    """The folder of a finished run."""
    return Output(folder, RUN, command_of("train", folder))


def content_of_run(folder: Path) -> str:
    """Hash of what a finished run is: its identity and what it learned, in each fold; not how long it took.

    Raises:
        Damaged: run.json is missing or not as it was written.
    """
    if absence := absence_in(folder):
        return hash_of(absence)
    output = run_output(folder)
    identity, files = output.facts(RunFacts)["identity"], output.facts(Seal).get("files", {})
    folds = [content_of_run((folder / name).parent) for name in files if Path(name).name == RUN]
    histories = RUN, ".csv"  # files that say, among other things, how long it took
    learned = {name: digest for name, digest in files.items() if not name.endswith(histories)}
    return hash_of([identity.as_dict(), learned, folds])
