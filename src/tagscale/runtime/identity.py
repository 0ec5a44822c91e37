"""What makes a run this run and no other: in its file names, in MLflow and on the registered version alike."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagscale.runtime.files import read_json, sha256_of


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


def content_of_run(folder: Path) -> str:
    """Hash of what a finished run is: its identity and its weights or trees, not how long it took."""
    model = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors"))
    return hash_of([read_json(folder / "run.json")["identity"], sha256_of(*(p for p in model if p.name != "run.json"))])
