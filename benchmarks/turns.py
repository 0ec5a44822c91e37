"""What the two speed benchmarks share: tracks, models, ways that take turns in processes of their own, the page.

Every way of a comparison runs in a process that lives through all rounds. In each round the ways do the same work one
after the other, so that what else the machine does meets all of them alike; ratios are taken within a round, and the
median over the rounds is printed.
"""

import os
import platform
import resource
import statistics
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import processor
from torch import Tensor, nn

from tagscale import SAMPLE_RATE
from tagscale.audio.logmel import LogMel
from tagscale.models import kernels
from tagscale.models.architecture import architecture_of
from tagscale.models.build import Architecture, build, shortest_samples
from tagscale.models.spec import NETWORKS
from tagscale.params.load import load

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # last: tests have names that benchmarks have too

from stores import write_store

SECONDS, TAGS = 30, 50  # of a track
ROOT = Path(__file__).parents[1]
OF_THREE_SECONDS = {"timbre_cnn": {"mels": 128}}  # where params.yaml's design wants longer patches

Turn = Callable[[dict[str, Any]], None]  # tells what a way measured, and waits until it is its turn again


@dataclass(frozen=True)
class Way:
    """One side of a comparison."""

    name: str
    ours: bool
    plain: bool = False  # ours, without the fast paths of tagscale.models.kernels
    precision: str = "32-true"
    compile: bool = False
    workers: int = 0


def architecture(model: str, seconds: float, full: bool) -> Architecture:
    """A model at patches of this length, or of the shortest that it can take where that is longer.

    Its capacity is the paper's, or that of params.yaml with a quarter of the filters.
    """
    params = load(ROOT / "params.yaml", ROOT / "presets" / "basic.yaml" if full else None)
    found = architecture_of(params, model, [f"tag {number}" for number in range(TAGS)], ["classification"] * TAGS)
    width = {"width": 1.0 if full else 0.25}
    found = replace(found, capacity=found.capacity | width | OF_THREE_SECONDS.get(model, {}), patch_seconds=seconds)
    samples = max(found.patch_samples, shortest_samples(found))
    return replace(found, patch_seconds=samples / SAMPLE_RATE)


def prepared(built: Architecture) -> nn.Module:
    """The same model in every process: random weights, spectrograms and batch norms that fit the made-up tracks."""
    torch.manual_seed(0)
    model = build(built)
    waves = waves_of(4, built.patch_samples)
    for layer in model.modules():
        if isinstance(layer, LogMel):
            layer.fit_normalisation([waves])
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum, norm.usual = 1.0, norm.momentum
    with torch.no_grad():
        model(waves)
    for norm in norms:
        norm.momentum = norm.usual
    return model


def layers(way: Way) -> AbstractContextManager[None]:
    """The fast paths of tagscale's layers, or none, while the block runs."""
    return kernels.plain() if way.plain else nullcontext()


def waves_of(count: int, samples: int) -> Tensor:
    """(count, samples) float32, as int16 can hold them."""
    patches = [track(number)[-samples:] for number in range(count)]
    return torch.from_numpy(np.stack([np.resize(patch, samples) for patch in patches])).float() / 32768


def track(number: int) -> np.ndarray:
    """A made-up track: three notes with overtones that swell and fade, and noise; int16."""
    rng = np.random.default_rng(number)
    moments = np.arange(SAMPLE_RATE * SECONDS) / SAMPLE_RATE
    sound = rng.normal(0, 0.01, len(moments))
    for pitch in rng.uniform(80, 800, 3):
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 3) * moments)
        sound += swell * sum(np.sin(2 * np.pi * pitch * overtone * moments) / overtone for overtone in (1, 2, 3, 5)) / 8
    return (sound * 32767).clip(-32768, 32767).astype(np.int16)


def write_tracks(folder: Path, tracks: int) -> None:
    """The same tracks as our store and as one float32 .npy each."""
    (folder / "npy").mkdir()
    different = [track(number) for number in range(min(20, tracks))]
    contents = [different[number % len(different)] for number in range(tracks)]
    named = ((f"t{number}", content, {}) for number, content in enumerate(contents))
    write_store(folder / "store", named, shard_megabytes=128)
    for number, content in enumerate(contents):
        np.save(folder / "npy" / f"{number:05}.npy", content.astype(np.float32) / 32768)


def labels_of(tracks: int) -> np.ndarray:
    return (np.random.default_rng(0).random((tracks, TAGS)) < 0.1).astype(np.float32)


# --- processes that take turns -----------------------------------------------------------------------------------


def compare(ways: list[Way], run: Callable[[Way, Turn], None], limit: float = 300) -> list[list[dict[str, Any]]]:
    """Let all ways take turns until they are through; what each told in each of its turns, in the order of `ways`.

    Args:
        run: does a way's work in a process of its own; between two turns it does nothing that lasts
        limit: seconds that a turn may take
    Raises:
        RuntimeError: a way failed.
    """
    context = get_context("fork")  # nothing to import again
    pipes, processes = [], []
    for way in ways:
        ours, theirs = context.Pipe()
        process = context.Process(target=_run, args=(theirs, run, way))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    told: list[list[dict[str, Any]]] = [[] for _ in ways]
    try:
        open_ = set(range(len(ways)))
        while open_:
            for number in sorted(open_):
                pipes[number].send("go")
                if not pipes[number].poll(limit):
                    raise RuntimeError(f"{ways[number].name}: a turn took more than {limit:g} s")
                kind, content = pipes[number].recv()
                if kind == "failed":
                    raise RuntimeError(f"{ways[number].name} failed:\n{content}")
                if kind == "through":
                    open_.discard(number)
                else:
                    told[number].append(content)
    finally:
        for process, pipe in zip(processes, pipes, strict=True):
            pipe.close()
            process.join(20)
            if process.is_alive():
                process.kill()
                process.join()
    return told


def _run(pipe: Any, run: Callable[[Way, Turn], None], way: Way) -> None:
    sys.stdout = sys.stderr  # the page alone goes to standard output

    def turn(content: dict[str, Any]) -> None:
        pipe.send(("told", content))
        pipe.recv()

    try:
        pipe.recv()
        run(way, turn)
        pipe.send(("through", None))
    except (EOFError, BrokenPipeError):  # the comparison has ended
        pass
    except BaseException:
        pipe.send(("failed", traceback.format_exc()))
    os._exit(0)  # whatever a library would still want to do


def device_of(wanted: str) -> str:
    """cuda where there is a GPU and nobody asked for the CPU. Asked in another process: a fork wants CUDA untouched."""
    if wanted == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # training and prediction take a GPU that they see
    if wanted != "auto":
        return wanted
    with get_context("fork").Pool(1) as pool:
        return "cuda" if pool.apply(torch.cuda.is_available) else "cpu"


def gpu_name() -> str:
    with get_context("fork").Pool(1) as pool:
        return pool.apply(torch.cuda.get_device_name)


def peak_megabytes(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


# --- the page ----------------------------------------------------------------------------------------------------


def median(values: list[float]) -> float:
    return statistics.median(values) if values else float("nan")


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median over the rounds of ours / theirs in the same round."""
    return median([a / b for a, b in zip(ours, theirs, strict=False) if b])


def facts(device: str, threads: int, script: str) -> str:
    names = ["torch", "torchaudio", "lightning-fabric", "numpy"]
    place = f"{gpu_name()}, {processor()}" if device == "cuda" else processor()
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {place}, {os.cpu_count()} cores ({threads} used by each way; load average "
        f"{os.getloadavg()[0]:.1f}), Python {platform.python_version()}, "
        + ", ".join(f"{name} {_version(name)}" for name in names)
        + f". Made by benchmarks/{script}."
    )


def write(path: Path, page: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def chosen_models(names: list[str] | None) -> list[str]:
    unknown = set(names or ()) - set(NETWORKS)
    if unknown:
        raise SystemExit(f"--models: unknown {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}.")
    return names or [name for name, entry in NETWORKS.items() if not entry.on_encoder]
