"""Training: tagscale beside a straightforward implementation (`straightforward.py`), in the same run.

    python benchmarks/training.py                      # prints the page; --out FILE writes it as well
    python benchmarks/training.py --models waveform spectrogram --seconds 3 --quick
    python benchmarks/training.py --device cuda --out benchmarks/results/training-gpu.md    # under 8 minutes

Measured are a training step on a batch that is there already, and a whole epoch with loading: ours with the loop, the
int16 store and everything that a run of tagscale does; theirs a plain loop. Both sides begin with the same weights, and
that they compute the same loss and the same gradients is made sure of before anything is timed. On a CPU the models
have the size of params.yaml's default, on a GPU the paper's.
"""

import argparse
import os
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import numpy as np
import straightforward
import torch
import turns
from torch import nn
from turns import Turn, Way

from tagscale.audio.loading import loader
from tagscale.audio.patches import RandomPatches, SpacedPatches, to_wave
from tagscale.models.build import Architecture
from tagscale.params.blocks import TrainParams
from tagscale.params.load import load
from tagscale.runtime.memory import keep_freed_memory
from tagscale.store.read import Store
from tagscale.training.batch_norm import RunningStatistics
from tagscale.training.budget import Budget
from tagscale.training.compilation import compiled
from tagscale.training.loop import train
from tagscale.training.recipe import masked_loss, optimizer_of
from tagscale.training.steps import Step, steps_of

ROOT = Path(__file__).parents[1]
RATE = 1e-3  # of learning, on both sides
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-3, 2e-2  # relative; float32 through batch norms of few values
WORKERS = min(8, os.cpu_count() or 1)
PLAIN = Way("straightforward", ours=False)
CPU_WAYS = [
    PLAIN,
    Way("tagscale, plain layers", ours=True, plain=True),
    Way("tagscale", ours=True),
    Way("tagscale, bf16", ours=True, precision="bf16-mixed"),
]
GPU_WAYS = [
    PLAIN,
    Way("straightforward, workers", ours=False, workers=WORKERS),
    Way("tagscale, TF32", ours=True, workers=WORKERS),
    Way("tagscale, bf16, no workers", ours=True, precision="bf16-mixed"),
    Way("tagscale, bf16", ours=True, precision="bf16-mixed", workers=WORKERS),
    Way("tagscale, bf16, compiled", ours=True, precision="bf16-mixed", compile=True, workers=WORKERS),
]
GPU_WAYS_OF_OTHERS = [GPU_WAYS[1], GPU_WAYS[4]]
TWO = ("waveform", "spectrogram")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--seconds", nargs="+", type=float, help="Default 3 and 15, on a GPU 15.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch", type=int, help="Default 48 s of audio on a CPU, at least 4 patches; 64 on a GPU.")
    parser.add_argument("--budget", type=float, default=420, help="Seconds after which no comparison begins (GPU).")
    parser.add_argument("--quick", action="store_true", help="Two short rounds: shows that it runs.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = turns.device_of(arguments.device)
    rounds = 2 if arguments.quick else arguments.rounds
    facts = turns.facts(device, arguments.threads, "training.py")
    tracks = 32 if arguments.quick else 400 if device == "cuda" else 64
    lengths = arguments.seconds or ([15.0] if device == "cuda" else [3.0, 15.0])
    begin, found, left_out = time.perf_counter(), {}, []
    with tempfile.TemporaryDirectory() as folder:
        turns.write_tracks(Path(folder), tracks)
        for seconds, model in product(lengths, turns.chosen_models(arguments.models)):
            built = turns.architecture(model, seconds, full=device == "cuda")
            for number, name, samples in _steps(built):
                case = (f"{model} {name}".strip(), samples / 16000)
                if case in found:
                    continue
                if device == "cuda" and time.perf_counter() - begin > arguments.budget:
                    left_out.append(f"{case[0]}, {case[1]:.3g} s")
                    continue
                print(f"{time.perf_counter() - begin:.0f} s: {case[0]}, {case[1]:.3g} s", file=sys.stderr)
                batch = arguments.batch or (64 if device == "cuda" else max(4, round(48 * 16000 / samples)))
                ways = CPU_WAYS if device == "cpu" else GPU_WAYS if model in TWO else GPU_WAYS_OF_OTHERS
                bench = Bench(built, number, Path(folder), batch, rounds, device, arguments.threads)
                bench.short = arguments.quick
                bench.check()
                found[case] = batch, list(zip(ways, turns.compare(ways, bench.run), strict=True))
                if arguments.out:  # after every comparison: a run that is ended leaves what it has
                    turns.write(arguments.out, _page(found, rounds, facts, device, left_out))
    print(_page(found, rounds, facts, device, left_out), end="")


def _steps(built: Architecture) -> list[tuple[int, str, int]]:
    """Number, name and patch length of what is trained of a model; of one made of parts the longest part."""

    def run(way: Way, turn: Turn) -> None:
        steps = steps_of(turns.build(built), built.patch_samples)
        found = [(number, step.name, step.patch_samples) for number, step in enumerate(steps)]
        turn({"steps": [max(found[:-1] or found, key=lambda step: step[2])]})

    ((told,),) = turns.compare([Way("", ours=True)], run)  # in another process: what forks must not compute
    return told["steps"]


class Bench:
    """One model, or one part of it, at one length of patches."""

    short = False

    def __init__(
        self, built: Architecture, step: int, folder: Path, batch: int, rounds: int, device: str, threads: int
    ) -> None:
        self.built, self.number, self.folder, self.batch = built, step, folder, batch
        self.rounds, self.device, self.threads = rounds, device, threads

    def step(self) -> Step:
        return steps_of(turns.prepared(self.built), self.built.patch_samples)[self.number]

    def check(self) -> None:
        """Loss and gradients of both sides on one batch, dropout off. Raises RuntimeError where they differ."""

        def run(way: Way, turn: Turn) -> None:
            torch.set_num_threads(self.threads)
            torch.backends.cudnn.allow_tf32 = False  # each side would round in its own way
            step = self.step()
            waves = turns.waves_of(self.batch, step.patch_samples)
            labels = torch.from_numpy(turns.labels_of(self.batch))
            if way.ours:
                network, inputs = step.network, waves
            else:
                network, transform = straightforward.reference(step.network)
                inputs = torch.stack([transform(wave) for wave in waves]) if transform else waves
            for module in network.modules():
                if isinstance(module, nn.Dropout):
                    module.p = 0.0
            network.to(self.device).train()
            inputs, labels = inputs.to(self.device), labels.to(self.device)
            logits = network(inputs)
            if way.ours:
                loss = masked_loss(logits, labels, torch.zeros(turns.TAGS, device=self.device) > 0, "cross_entropy")
            else:
                loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
            loss.backward()
            sizes = [p.grad.double().norm().item() for p in network.parameters() if p.grad is not None]
            turn({"loss": loss.item(), "gradient": float(np.linalg.norm(sizes))})

        (ours,), (theirs,) = turns.compare([Way("tagscale", ours=True), PLAIN], run)
        for name, tolerance in (("loss", LOSS_TOLERANCE), ("gradient", GRADIENT_TOLERANCE)):
            if not abs(ours[name] / theirs[name] - 1) < tolerance:
                raise RuntimeError(f"{self.built.model}: {name} {ours[name]:.6g}, straightforward {theirs[name]:.6g}")

    def run(self, way: Way, turn: Turn) -> None:
        """Rounds of steps, then rounds of epochs; the first of each warms up."""
        torch.set_num_threads(self.threads)
        with turns.layers(way):
            (self.run_ours if way.ours else self.run_theirs)(way, turn)

    def run_ours(self, way: Way, turn: Turn) -> None:
        keep_freed_memory()  # as the train stage does
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high")  # as the loop
            torch.backends.cudnn.benchmark = True
        step, store = self.step(), Store.open(self.folder / "store")
        labels = turns.labels_of(len(store))
        per_track = -(-self.steps_of_epoch(way) * self.batch // len(store))
        patches = RandomPatches(store, store.track_ids, labels, step.patch_samples, per_track, seed=0)
        fixed = SpacedPatches(store, store.track_ids[:1], labels[:1], step.patch_samples, 1)
        changes = {"patches_per_track": per_track, "batch": self.batch, "learning_rate": RATE, "schedule": "constant"}
        epochs = f"{self.rounds + 1} epochs"
        changes |= {"max_steps": epochs, "patience": epochs, "validate_every": "1 epoch", "precision": way.precision}
        settings = load(ROOT / "params.yaml").train.model_copy(update=changes | {"compile": way.compile})
        self.time_steps(way, step, settings, patches, turn)
        loaders = [loader(part, self.batch, way.workers, self.device == "cuda") for part in (patches, fixed)]
        objective = {"loss": settings.loss, "regression": torch.zeros(turns.TAGS, dtype=torch.bool)}

        budget = Budget.of(settings, len(patches), len(fixed))

        def report(row: dict[str, float]) -> None:
            if row["step"] > budget.validate_every:
                turn({name: row[name] for name in ("patches_per_second", "data_wait")} | self.peak())

        turn({})
        train(step, settings, budget, (0,), objective, lambda: loaders, on_row=report)

    def time_steps(self, way: Way, step: Step, settings: TrainParams, patches: RandomPatches, turn: Turn) -> None:
        """Steps without loading and without the loop."""
        network = step.network.to(self.device).train()
        waves, labels = (part.to(self.device) for part in patches.__getitems__(list(range(self.batch))))
        regression, optimizer = torch.zeros(turns.TAGS, device=self.device) > 0, optimizer_of(network, settings)

        def half() -> AbstractContextManager[object]:
            return torch.autocast(self.device, torch.bfloat16) if way.precision == "bf16-mixed" else nullcontext()

        runnable = compiled(network, to_wave(waves), half) if way.compile else network
        if way.compile and runnable is network:
            raise RuntimeError("torch.compile does not work here: the line above says why")

        def one() -> None:
            with half():
                loss = masked_loss(runnable(to_wave(waves)), labels, regression, "cross_entropy")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        with RunningStatistics(network, compiled=runnable is not network):
            self.timed(one, turn)

    def run_theirs(self, way: Way, turn: Turn) -> None:
        step = self.step()
        network, transform = straightforward.reference(step.network)
        network.to(self.device).train()
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        paths = sorted((self.folder / "npy").glob("*.npy"))
        per_track = -(-self.steps_of_epoch(way) * self.batch // len(paths))
        labels = torch.from_numpy(turns.labels_of(len(paths)))
        files = straightforward.Files(paths, labels, step.patch_samples, transform, per_track)
        inputs, targets = (
            torch.stack(part).to(self.device)
            for part in zip(*(files[number] for number in range(self.batch)), strict=True)
        )
        self.timed(lambda: straightforward.train_step(network, inputs, targets, optimizer), turn)
        batches = straightforward.loader(files, self.batch, way.workers)
        for epoch in range(self.rounds + 1):
            begin = time.perf_counter()
            waits = list(straightforward.train_epoch(network, batches, optimizer, self.device))
            seconds = time.perf_counter() - begin
            if epoch:
                rate = len(waits) * self.batch / seconds
                turn({"patches_per_second": rate, "data_wait": sum(waits) / seconds} | self.peak())
            else:
                turn({})

    def timed(self, step: Any, turn: Turn) -> None:
        """Rounds of some steps each, after one that warms up."""
        for _ in range(3):
            step()
        self.wait()
        count = 1 if self.short else 20 if self.device == "cuda" else 3
        for _ in range(self.rounds):
            turn({})
            begin, processor = time.perf_counter(), time.process_time()
            for _ in range(count):
                step()
            self.wait()
            patches = count * self.batch
            turn(
                {
                    "step": patches / (time.perf_counter() - begin),
                    "processor": (time.process_time() - processor) / patches,
                }
            )

    def steps_of_epoch(self, way: Way) -> int:
        """So many that an epoch takes about a second or more on a GPU; on a CPU the same for all."""
        if self.short:
            return 2
        return 5 if self.device == "cpu" else 100 if way.ours else 20 if way.workers else 6

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def peak(self) -> dict[str, float]:
        return {"peak": turns.peak_megabytes(self.device)}


def _page(found: dict[Any, Any], rounds: int, facts: str, device: str, left_out: list[str]) -> str:
    lines = [
        "# Training: patches per second",
        "",
        f"{facts} Median of {rounds} rounds, ways taking turns; {turns.TAGS} tags.",
        "",
        *table(found),
    ]
    if left_out:
        lines += ["", f"Left out, for want of time (--budget): {'; '.join(left_out)}."]
    return "\n".join([*lines, "", *NOTES, *(GPU_NOTES if device == "cuda" else CPU_NOTES)]) + "\n"


def table(found: dict[Any, Any]) -> list[str]:
    """Markdown: of each (model, seconds) the batch, and each way with what it measured; ratios are to the first way."""
    lines = [
        "| model | patch | batch | way | step | processor time per patch | epoch | data wait | peak memory |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for (model, seconds), (batch, sides) in found.items():
        plain = _columns(sides[0][1])
        for way, told in sides:
            own = _columns(told)
            work = turns.median(own["processor"]) * 1e3
            lines.append(
                f"| {model} | {seconds:.3g} s | {batch} | {way.name} | "
                f"{turns.median(own['step']):,.1f} ({turns.ratio(own['step'], plain['step']):.2f}) | "
                f"{work:,.1f} ms ({turns.ratio(plain['processor'], own['processor']):.2f}) | "
                f"{turns.median(own['patches_per_second']):,.1f} "
                f"({turns.ratio(own['patches_per_second'], plain['patches_per_second']):.2f}) | "
                f"{turns.median(own['data_wait']):.1%} | {max(own['peak']):,.0f} MB |"
            )
    return lines


def _columns(told: list[dict[str, Any]]) -> dict[str, list[float]]:
    names = ("step", "processor", "patches_per_second", "data_wait", "peak")
    return {name: [each[name] for each in told if name in each] for name in names}


NOTES = [
    "Patches per second. In brackets: how many times faster than the straightforward way (the first row of the model), "
    "the median over the rounds of the ratio within a round.",
    "",
    "- Step: forward, loss, backward, Adam, on a batch that is on the device; ours from int16 samples with the "
    "spectrogram in the model, the straightforward one from what its dataset makes, spectrogram included. Its epoch "
    "pays for that.",
    "- Epoch: with loading, the files in the page cache, the first epoch left out; ours is what `tagscale train` does, "
    "without validation. Data wait: share of an epoch in which the next batch was not there yet.",
    "- Where a model cannot take so short a patch, it has the shortest that it can take. Of models that are trained in "
    "parts: the longest part.",
    "- Plain layers: tagscale without the fast paths of its layers (`tagscale.models.kernels.plain`). The "
    "straightforward way has them, too, but for the paper's two models, which are written a second time.",
]
CPU_NOTES = [
    "- The size is that of params.yaml's default (width 0.25). Memory: the most that the process took, libraries "
    "included. Processor time leaves out what other work takes from the clock.",
]
GPU_NOTES = [
    f"- The paper's size (width 1, 512 filters, 500 units). Workers: {WORKERS}. Memory: the most that tensors took on "
    "the GPU. Epochs of the straightforward ways are shorter, so that all take seconds.",
]


if __name__ == "__main__":
    main()
