"""A study small enough to make in a second: real audio, real models with random weights, real predictions."""

import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch

from stores import write_store
from tagscale.catalog.tables import Catalog, catalog_of
from tagscale.evaluation.metrics import METRICS
from tagscale.models.build import Architecture, build, parameter_count
from tagscale.params.blocks import AudioLimits
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.partition.divide import Partition
from tagscale.registry import package
from tagscale.registry.scorers.network import NetworkScorer
from tagscale.registry.tagger import AudioTagger
from tagscale.runtime.files import read_json, replacing, write_json
from tagscale.runtime.identity import RunIdentity, run_name
from tagscale.store.read import Store
from tagscale.study.tables import PER_TAG
from tagscale.training import checkpoint

ROOT = Path(__file__).parents[2]
KINDS = {"rock": "classification", "jazz": "classification", "energy": "regression"}
PATCH_SECONDS, HOP_SECONDS = 1.5, 0.5
TRACKS = 12
LIMITS = AudioLimits(min_seconds=3.0, silence_dbfs=-60.0, max_clipped=0.05, max_dc=0.05)


def empty_store(config: pytest.Config, folder: Path) -> Path:
    """Put an empty mlflow.db into a folder; MLflow's migrations (10 s) run once and pytest keeps their result."""
    template = config.cache.mkdir("mlflow") / f"{mlflow.__version__}.db"  # type: ignore[union-attr]
    if not template.exists():
        with replacing(template) as fresh:
            mlflow.MlflowClient(f"sqlite:///{fresh}").search_experiments()
    shutil.copy(template, folder / "mlflow.db")
    return folder


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MLflow store in a fresh current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return empty_store(request.config, tmp_path)


def package_little_code(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let versions be packaged with one file in place of the 400 of tagscale, which test_package.py looks at."""
    code = folder / "code" / "tagscale" / "__init__.py"
    code.parent.mkdir(parents=True, exist_ok=True)
    code.touch()
    patch.setattr(package, "tagscale", SimpleNamespace(__file__=str(code)))


def tiny_tagger(model: str = "spectrogram", seed: int = 0, tags: tuple[str, ...] = tuple(KINDS)) -> AudioTagger:
    """A tagger with random weights whose scores differ from song to song."""
    return AudioTagger(tiny_network(model, seed, tags), dict.fromkeys(tags[:2], "genre"))


def tiny_network(model: str = "spectrogram", seed: int = 0, tags: tuple[str, ...] = tuple(KINDS)) -> NetworkScorer:
    """A network with random weights whose scores differ from song to song."""
    capacity: dict[str, Any] = {"width": 0.125, "filters": 8, "units": 8, "dropout": 0.5}
    if model == "waveform":
        capacity["layers"] = 7
    kinds = tuple(KINDS.get(tag, "classification") for tag in tags)
    architecture = Architecture(model, capacity, tags, kinds, PATCH_SECONDS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = build(architecture).eval()
    return NetworkScorer(made, architecture, HOP_SECONDS)


def song(number: int, seconds: float = 2.0) -> np.ndarray:
    """int16 samples: a tone of its own in noise of its own loudness."""
    random = np.random.default_rng(number)
    time = np.arange(round(seconds * 16_000)) / 16_000
    tone = np.sin(2 * np.pi * random.uniform(100, 2000) * time) * random.uniform(0.1, 0.5)
    return ((tone + random.normal(0, random.uniform(0.01, 0.2), len(time))).clip(-1, 1) * 32767).astype(np.int16)


@dataclass
class TinyStudy:
    """Folders as the stages write them, and the settings that go with them."""

    root: Path
    params: Params

    def paths(self) -> dict[str, Any]:
        """The arguments of the register stage."""
        names = [run_name(model, "all", 0) for model in ("waveform", "spectrogram", "descriptors")]
        data = {name: self.root / name for name in ("partition", "store", "catalog", "registration")}
        return {
            "runs": [self.root / "runs" / n for n in names],
            "results": [self.root / "results" / n for n in names],
        } | data

    def set_metrics(self, model: str, valid: float, test: float, metric: str = "pr_auc") -> None:
        """Change what the results of a model's run say."""
        file = self.root / "results" / run_name(model, "all", 0) / "metrics.json"
        content = read_json(file)
        content["valid"][metric], content["test"][metric] = valid, test
        write_json(file, content)

    def set_skill(self, model: str, skill: float, seed: int = 0) -> None:
        """Let a model score the tracks of both parts by their labels: 0 is guessing, 5 nearly perfect.

        Which model the study chooses is left to `set_metrics`.
        """
        catalog, parts = Catalog.load(self.root / "catalog"), Partition.load(self.root / "partition")
        ids = [track for part in ("valid", "test") for track in parts.tracks(part)]
        labels = catalog.labels.loc[ids, parts.tags].to_numpy()
        noise = np.random.default_rng(seed).standard_normal(labels.shape)
        scores = 1 / (1 + np.exp(-(skill * (2 * labels - 1) + noise)))
        _write_predictions(self.root, parts, model, pd.DataFrame(scores.astype(np.float32), ids, parts.tags))

    def registration(self, file: str = "registration.json") -> dict[str, Any]:
        content: dict[str, Any] = read_json(self.root / "registration" / file)
        return content


def make_study(
    root: Path, *, seed: int = 0, tags: tuple[str, ...] = tuple(KINDS), split: int = 0, tracks: int = TRACKS
) -> TinyStudy:
    """Write catalog, store, partition, runs and results; on validation the spectrogram is best.

    Args:
        seed: of the models' weights
        split: another number, another partition of the same tracks
        tracks: a third of them in each part, each by an artist of its own
    """
    shutil.copytree(_made(seed, tags, split, tracks).name, root)
    return TinyStudy(root, _settings())


@cache
def _made(seed: int, tags: tuple[str, ...], split: int, tracks: int) -> tempfile.TemporaryDirectory:
    """The study, made once in this process; it goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="tiny-")
    _make(TinyStudy(Path(folder.name), _settings()), seed, tags, split, tracks)
    return folder


@cache
def _settings() -> Params:
    settings = laid_over(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "tests" / "tiny.yaml"))
    settings = laid_over(
        settings, {"train": {"sizes": ["all"], "ensembles": []}, "evaluate": {"hop_seconds": HOP_SECONDS}}
    )
    return parse(settings)


def _make(study: TinyStudy, seed: int, tags: tuple[str, ...], split: int, tracks: int) -> None:
    root, catalog = study.root, _catalog(tags, tracks)
    catalog.save(root / "catalog", source="synth")
    ids = enumerate(catalog.tracks["track_id"])
    write_store(root / "store", ((track, song(number), {"audio_sha256": f"{number}"}) for number, track in ids))
    partition = _partition(catalog, split)
    partition.save(root / "partition")
    for model in ("waveform", "spectrogram", "descriptors"):
        _run(root, catalog, partition, model, seed)
    for model, value in (("waveform", 0.5), ("spectrogram", 0.6), ("descriptors", 0.4)):
        study.set_metrics(model, valid=value, test=round(value - 0.05, 6))


def _catalog(tags: tuple[str, ...], tracks: int) -> Catalog:
    random = np.random.default_rng(0)
    ids = [f"t{number:02d}" for number in range(tracks)]
    labels = {tag: (random.random(tracks) if KINDS.get(tag) == "regression" else np.arange(tracks) % 2) for tag in tags}
    table = pd.DataFrame({"track_id": ids, "path": "", "artist": ids, "seconds": 2.0})
    kinds = [KINDS.get(tag, "classification") for tag in tags]
    facts = pd.DataFrame({"group": "genre", "kind": kinds, "exclusive": ""}, index=pd.Index(tags, name="tag"))
    return catalog_of("tiny", table, pd.DataFrame(labels), facts, None)


def _partition(catalog: Catalog, split: int) -> Partition:
    table = catalog.tracks[["track_id", "artist"]].copy()
    order = np.roll(np.repeat(["train", "valid", "test"], len(table) // 3), split)
    table["part"] = order
    table["rank"] = np.where(order == "train", (order == "train").cumsum() - 1, -1)
    return Partition(table, list(catalog.tags.index))


def _run(root: Path, catalog: Catalog, partition: Partition, model: str, seed: int) -> None:
    name = run_name(model, "all", 0)
    identity = RunIdentity(model, "all", 0, "tiny", catalog.hash, partition.hash, f"settings{seed}")
    facts: dict[str, Any] = {"identity": identity.as_dict(), "parameters": 0}
    facts["train_tracks"] = len(partition.tracks("train"))
    run, results = root / "runs" / name, root / "results" / name
    run.mkdir(parents=True)
    results.mkdir(parents=True)
    ids = [track for part in ("valid", "test") for track in partition.tracks(part)]
    if model != "descriptors":
        network = tiny_network(model, seed, tuple(partition.tags))
        facts["parameters"] = parameter_count(network.model)
        checkpoint.write(run, network.model, network.architecture)
        (run / "history.csv").write_text("step,train_loss,valid_loss\n1,0.7,0.7\n")
    if model == "spectrogram":  # the best on validation
        scores = network.predict(Store.open(root / "store"), ids)
    else:
        random = np.random.default_rng(seed).random((len(ids), len(partition.tags)), np.float32)
        scores = pd.DataFrame(random, ids, partition.tags)
    _write_predictions(root, partition, model, scores)
    write_json(run / "run.json", facts | {"seconds": 1.0})
    numbers = {part: dict.fromkeys(METRICS, 0.5) | {"rmse": 0.3} for part in ("valid", "test")}
    write_json(results / "metrics.json", facts | numbers | {"unscored": {"valid": {}, "test": {}}})
    (results / "per_tag.csv").write_text(",".join(PER_TAG) + "\n")


def _write_predictions(root: Path, partition: Partition, model: str, scores: pd.DataFrame) -> None:
    table = scores.rename_axis("track_id").reset_index()
    table.insert(1, "part", [part for part in ("valid", "test") for _ in partition.tracks(part)])
    table.to_parquet(root / "results" / run_name(model, "all", 0) / "predictions.parquet", index=False)
