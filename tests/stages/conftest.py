"""A run trained by the train stage on sounds that a small model tells apart, for the tests of train and evaluate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.tiny import empty_store, package_little_code
from sounds import write_study
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.stages import evaluate, train, train_baseline

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "model": {
        "waveform": {"width": 0.125},
        "spectrogram": {"width": 0.0625},
        "backend": {"filters": 8, "units": 16, "dropout": 0.2},
    },
    "train": {
        "patch_seconds": 1.5,
        "batch": 8,
        "learning_rate": 0.005,
        "max_steps": "8 epochs",
        "validate_every": "1 epoch",
        "patches_per_track": 2,
        "precision": "32-true",
    },
    "baseline": {"trees": 20, "leaves": 4},
    "evaluate": {"hop_seconds": 0.5},
    "registry": {"gate": {"floor": []}},  # what little training gives stands above nothing
    "tracking": {"experiment": "sounds"},
}


@dataclass
class SoundStudy:
    """Folders catalog, store, partition and descriptors, and mlflow.db, in one place."""

    root: Path

    def params(self, **changes: dict[str, Any]) -> Params:
        return parse(laid_over(laid_over(read_yaml(ROOT / "params.yaml"), SETTINGS), changes))

    def train(self, params: Params, model: str, size: int | str, seed: int, run: str) -> Path:
        folders = {name: self.root / name for name in ("catalog", "partition")}
        baseline = model == "descriptors"
        inputs, stage = self.root / ("descriptors" if baseline else "store"), train_baseline if baseline else train
        stage.run(params, model=model, size=size, seed=seed, inputs=inputs, run=self.root / run, **folders)
        return self.root / run

    def evaluate(self, params: Params, run: Path, results: str) -> Path:
        folders = {name: self.root / name for name in ("catalog", "partition")}
        inputs = self.root / ("descriptors" if run.name.startswith("descriptors") else "store")
        evaluate.run(params, run=run, inputs=inputs, results=self.root / results, **folders)
        return self.root / results


@pytest.fixture(scope="session")
def sound_study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SoundStudy:
    root = tmp_path_factory.mktemp("sounds")
    write_study(root)
    empty_store(request.config, root)
    return SoundStudy(root)


@pytest.fixture
def study(sound_study: SoundStudy, monkeypatch: pytest.MonkeyPatch) -> SoundStudy:
    """The study of sounds, with its folder as the current one, so that MLflow lands there."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(sound_study.root)
    package_little_code(monkeypatch, sound_study.root)
    return sound_study


@pytest.fixture(scope="session")
def trained(sound_study: SoundStudy) -> Path:
    """The run spectrogram-all-0, trained once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(sound_study.root)
        return sound_study.train(sound_study.params(), "spectrogram", "all", 0, "runs/spectrogram-all-0")
