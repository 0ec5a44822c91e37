"""A GPU in one command: does tagscale compute there what it computes on a CPU, and how fast?

    python -m benchmarks.gpu                       # under 8 minutes on a GPU; writes benchmarks/results/gpu.md
    python -m benchmarks.gpu --quick               # minutes on a CPU: shows that every part runs; prints the page
    python -m benchmarks.gpu --parts agreement "tagging: waveform"

It needs torch, torchaudio, lightning-fabric (or lightning, which brings it), numpy, pandas, pyarrow, scikit-learn,
safetensors, pydantic, pyyaml and a clone; tagscale itself need not be installed. Parts run one after the other, the
most telling first, each in processes of its own that are ended when its time is over. A part that fails, crashes or
hangs loses no other; one for which too little time is left is named. The page is written after every part. The exit
status is 1 where a part failed or CPU and GPU disagree.
"""

import argparse
import copy
import functools
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # looks for a GPU without taking it: parts are forks
ROOT = Path(__file__).parents[1]
sys.path += [str(ROOT / "benchmarks"), str(ROOT / "src")]  # last: an installed tagscale wins

import inference  # noqa: E402
import torch  # noqa: E402
import turns  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402
from turns import Way  # noqa: E402

import training  # noqa: E402
from tagscale.audio.logmel import LogMel  # noqa: E402
from tagscale.training.recipe import masked_loss  # noqa: E402

BUDGET = 460.0  # seconds of all parts
LEAST = 10.0  # seconds, with less than which no part begins
TWO = ("waveform", "spectrogram")
STEPS = 10  # of Adam, whose losses are compared

# Relative differences to the CPU in float32 that pass: of the first loss, its gradient and the loss of the last step.
# The bf16 gradient of untrained weights is coarse: a CPU's own differs by .34 (waveform), .13 (spectrogram).
TOLERANCES = {"float32": (1e-4, 5e-3, 1e-2), "TF32": (1e-3, 2e-2, 2e-2), "bf16": (2e-2, 1.0, 5e-2)}
LOG_MEL_TOLERANCE = 1e-4  # in decades; what float32 and float64 differ by at most in the tests of the layer


@dataclass(frozen=True)
class Place:
    """Where the parts run, and on what."""

    device: str
    quick: bool
    folder: Path  # tracks of turns.write_tracks
    threads: int

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 3


@dataclass(frozen=True)
class Part:
    """One question. `run` gives Markdown; a line that holds DISAGREES makes the command fail."""

    name: str
    limit: float  # seconds on a GPU, where a part that hangs may not take the time of the others
    run: Callable[[Place], list[str]]
    gpu_only: bool = False
    long: bool = False  # on long patches, which tell no more of whether it runs


DISAGREES = "**disagrees**"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--budget", type=float, default=BUDGET, help=f"Seconds of all parts. Default {BUDGET:g}.")
    parser.add_argument("--parts", nargs="+", metavar="PART", help="Only these, by the beginnings of their names.")
    parser.add_argument("--quick", action="store_true", help="Narrow models, a few steps: shows that it runs.")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="Default benchmarks/results/gpu.md on a GPU, else none.")
    options = parser.parse_args(arguments)
    begin, device = time.monotonic(), turns.device_of(options.device)
    out = options.out or (None if device == "cpu" or options.quick else ROOT / "benchmarks" / "results" / "gpu.md")
    chosen = [part for part in PARTS if not options.parts or part.name.startswith(tuple(options.parts))]
    if not chosen:
        parser.error(f"--parts: no part begins so; there are {'; '.join(part.name for part in PARTS)}.")
    facts, outcomes = turns.facts(device, options.threads, "gpu.py"), {}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(device, options.quick, Path(folder), options.threads)
        turns.write_tracks(place.folder, 4 if place.quick else 200 if device == "cuda" else 32)
        for part in chosen:
            left = options.budget - (time.monotonic() - begin)
            print(f"{time.monotonic() - begin:.0f} s: {part.name}", file=sys.stderr, flush=True)
            if part.gpu_only and device == "cpu":
                outcomes[part.name] = Outcome("left out: needs a GPU")
            elif part.long and place.quick:
                outcomes[part.name] = Outcome("left out: long, for --quick")
            elif left < LEAST:
                outcomes[part.name] = Outcome(f"left out: {max(0.0, left):.0f} s of {options.budget:g} s were left")
            else:
                outcomes[part.name] = outcome(part, place, left)
            text = page(outcomes, facts, time.monotonic() - begin)
            if out:
                turns.write(out, text)
    print(text, end="")
    return int(any(result.failed for result in outcomes.values()))


# --- parts in processes of their own -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """How a part ended, in words, and what it gave."""

    text: str
    lines: tuple[str, ...] = ()
    failed: bool = False


def outcome(part: Part, place: Place, left: float) -> Outcome:
    """Run a part in a process group of its own, and end the group when the part is through or its time is over.

    Args:
        left: seconds that all parts have left
    """
    limit = min(left, part.limit) if place.device == "cuda" else left
    ours, theirs = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=_run, args=(theirs, part, place))
    begin = time.monotonic()
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            if limit < part.limit:
                return Outcome(f"left out: not through in the {limit:.0f} s that were left")
            return Outcome(f"failed: ended after {limit:.0f} s, which is its limit", failed=True)
        kind, content = ours.recv()
    except EOFError:
        process.join()
        return Outcome(f"failed: its process ended with exit status {process.exitcode}", failed=True)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what it may have left
        process.kill()  # before it has a group of its own
        process.join()
    if kind == "failed":
        lines = content.splitlines()
        return Outcome(f"failed: {lines[-1]}", ("```", *lines, "```"), failed=True)
    disagrees = any(DISAGREES in line for line in content)
    text = f"{time.monotonic() - begin:.0f} s" + (f", {DISAGREES}" if disagrees else "")
    return Outcome(text, tuple(content), disagrees)


def _run(pipe: Any, part: Part, place: Place) -> None:
    os.setsid()
    sys.stdout = sys.stderr  # the page alone goes to standard output
    torch.set_num_threads(place.threads)
    try:
        pipe.send(("through", part.run(place)))
    except BaseException:
        pipe.send(("failed", traceback.format_exc()))
    pipe.close()
    os._exit(0)


def page(outcomes: dict[str, Outcome], facts: str, seconds: float) -> str:
    lines = ["# A GPU in one command", "", f"{facts} {seconds:.0f} s.", "", "| part | result |", "|---|---|"]
    lines += [f"| {name} | {result.text.replace('|', '/')} |" for name, result in outcomes.items()]
    for name, result in outcomes.items():
        if result.lines:
            lines += ["", f"## {name[0].upper()}{name[1:]}", "", *result.lines]
    return "\n".join([*lines, "", *NOTES]) + "\n"


# --- agreement ---------------------------------------------------------------------------------------------------


def agreement(place: Place) -> list[str]:
    """The same weights, batch and steps on the CPU in float32 and on the device in three precisions, dropout off."""
    lines = ["| model | precision | loss | gradient | loss after | agrees |", "|---|---|---:|---:|---:|---|"]
    count, batch = (2 if place.quick else STEPS), 8
    for model in (*TWO, "crnn"):
        built = turns.architecture(model, 1.0 if place.quick else 3.0, full=False)
        network, waves = turns.prepared(built), turns.waves_of(batch, built.patch_samples)
        expected = losses(network, waves, "cpu", "float32", count)
        for precision, tolerances in TOLERANCES.items():
            values = losses(network, waves, place.device, precision, count)
            differences = [abs(value / wanted - 1) for value, wanted in zip(values, expected, strict=True)]
            agrees = all(given < allowed for given, allowed in zip(differences, tolerances, strict=True))
            cells = " | ".join(f"{given:.1e}" for given in differences)
            lines.append(f"| {model} | {precision} | {cells} | {'yes' if agrees else DISAGREES} |")
    allowed = "; ".join(f"{name} {', '.join(f'{value:g}' for value in each)}" for name, each in TOLERANCES.items())
    return [*lines, "", f"Relative differences to the CPU in float32, after {count} steps of Adam. Allowed: {allowed}."]


def losses(network: nn.Module, waves: Tensor, device: str, precision: str, steps: int) -> tuple[float, float, float]:
    """The first loss, the norm of its gradient, and the loss of the last of some steps."""
    network = copy.deepcopy(network).to(device).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    waves, labels = waves.to(device), torch.from_numpy(turns.labels_of(len(waves))).to(device)
    optimizer, sizes, values = torch.optim.Adam(network.parameters(), 1e-4), [], []
    for _ in range(steps):
        with reduced(device, precision):
            loss = classification_loss(network(waves), labels)
            optimizer.zero_grad()
            loss.backward()
        sizes.append(gradient_norm(network))
        optimizer.step()
        values.append(loss.item())
    return values[0], sizes[0], values[-1]


def log_mel(place: Place) -> list[str]:
    """Log-mel spectrograms of the device beside the CPU's, while the process allows reduced precisions."""
    lines = ["| log-mel | process | differs by | allowed |", "|---|---|---:|---:|"]
    waves = turns.waves_of(2, 16_000 * (1 if place.quick else 15))
    for name, layer, unit in (
        ("paper's, 16 kHz", LogMel(), 1),
        ("CRNN's, resampled to 12 kHz, decibels", LogMel(rate=12_000, compression=None), 10),
    ):
        expected = layer(waves)
        for precision in TOLERANCES:
            with reduced(place.device, precision):
                values = copy.deepcopy(layer).to(place.device)(waves.to(place.device)).cpu()
            difference = float((values - expected).abs().max()) / unit
            verdict = "" if difference < LOG_MEL_TOLERANCE else f" {DISAGREES}"
            lines.append(f"| {name} | {precision} | {difference:.1e} | {LOG_MEL_TOLERANCE:g}{verdict} |")
    lines += [""]
    layer, bins = LogMel(), torch.rand(2, 257, 1000)
    expected = layer.filters @ bins
    for precision in TOLERANCES:
        with reduced(place.device, precision):
            bands = (layer.filters.to(place.device) @ bins.to(place.device)).float().cpu()
        error = float((bands / expected).log10().abs().max())
        lines.append(f"- A mel product that the layer would not keep out of this errs by {error:.1e} in {precision}.")
    return [*lines, "", "The largest difference to the CPU in float32, in decades of power: 1e-4 is .001 dB."]


@contextmanager
def reduced(device: str, precision: str) -> Iterator[None]:
    """What a training of this precision sets up: float32 without TF32, with it, or bf16 autocast (and TF32)."""
    tf32 = precision != "float32"
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    half = torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=tf32), half:
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    regression = torch.zeros(turns.TAGS, dtype=torch.bool, device=logits.device)
    return masked_loss(logits, labels, regression, "cross_entropy")


def gradient_norm(network: nn.Module) -> float:
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return float(torch.stack([gradient.double().norm() for gradient in gradients]).norm())


# --- one process of several --------------------------------------------------------------------------------------


def one_process(place: Place) -> list[str]:
    """A step through the back-end of several processes (NCCL on a GPU), of which there is one: as without it."""
    backend = "nccl" if place.device == "cuda" else "gloo"
    store = torch.distributed.FileStore(str(place.folder / "rendezvous"), 1)
    device = torch.device(place.device, 0) if place.device == "cuda" else None
    torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1, device_id=device)
    try:
        number = torch.arange(1000.0, device=place.device)
        torch.distributed.all_reduce(number)
        summed = torch.equal(number.cpu(), torch.arange(1000.0))
        built = turns.architecture("spectrogram", 1.0 if place.quick else 3.0, full=False)
        plain, waves = turns.prepared(built).to(place.device).eval(), turns.waves_of(4, built.patch_samples)
        wrapped = DistributedDataParallel(copy.deepcopy(plain), broadcast_buffers=False, gradient_as_bucket_view=True)
        waves, labels = waves.to(place.device), torch.from_numpy(turns.labels_of(4)).to(place.device)
        norms = []
        for network in (plain, wrapped):
            classification_loss(network(waves), labels).backward()
            norms.append(gradient_norm(network))
    finally:
        torch.distributed.destroy_process_group()
    difference = abs(norms[1] / norms[0] - 1)
    lines = [f"{backend} with one process: the sum over all processes: {'right' if summed else DISAGREES}."]
    verdict = "as without it" if difference < 1e-3 else DISAGREES
    return [*lines, f"Gradient of a step: {verdict} (within {difference:.0e})."]


# --- speed -------------------------------------------------------------------------------------------------------


def steps_and_epochs(place: Place, model: str, seconds: float, compiled: bool = False) -> list[str]:
    """Steps and whole epochs, as benchmarks/training.py measures them."""
    ways = training.CPU_WAYS[:1] + training.CPU_WAYS[2:]
    if place.device == "cuda":
        plain, full, half, compile_ = (training.GPU_WAYS[number] for number in (1, 2, 4, 5))
        ways = [half, compile_] if compiled else [plain, full, half]
    built = turns.architecture(model, 1.0 if place.quick else seconds, full=not place.quick)
    batch = 2 if place.quick else 64
    bench = training.Bench(built, 0, place.folder, batch, place.rounds, place.device, place.threads)
    bench.short = place.quick
    bench.check()
    return training.table({(model, built.patch_seconds): (batch, _told(ways, bench.run))})


def tagging(place: Place, model: str) -> list[str]:
    """Whole songs, as benchmarks/inference.py measures them."""
    built = turns.architecture(model, 1.0 if place.quick else 3.0, full=not place.quick)
    sides = inference.compared(built, place.folder, place.rounds, place.device, place.threads)
    return inference.table({(model, built.patch_seconds): sides})


def _told(ways: list[Way], run: Callable[..., None]) -> list[tuple[Way, list[dict[str, Any]]]]:
    return list(zip(ways, turns.compare(ways, run), strict=True))


PARTS = [
    Part("agreement of losses", 60, agreement),
    Part("log-mel in full precision", 30, log_mel),
    *(
        Part(
            f"training: {model}, {seconds:g} s",
            70,
            functools.partial(steps_and_epochs, model=model, seconds=seconds),
            long=seconds > 3,
        )
        for seconds in (15.0, 3.0)
        for model in TWO
    ),
    *(Part(f"tagging: {model}", 70, functools.partial(tagging, model=model)) for model in TWO),
    Part("one process of several", 30, one_process),
    *(
        Part(
            f"compiled: {model}, {seconds:g} s",
            120,
            functools.partial(steps_and_epochs, model=model, seconds=seconds, compiled=True),
            gpu_only=True,
        )
        for seconds in (15.0, 3.0)
        for model in TWO
    ),
]
NOTES = [
    "The models have the paper's size (width 1); with `--quick` a quarter of its filters, and patches of one second or "
    "of the fewest samples that the model takes. Agreement is always that of the small ones. Rates are medians over "
    "the rounds, in brackets the ratio to the first row. TF32: products and convolutions of float32 in a GPU's reduced "
    "precision; a CPU has none. benchmarks/results/training.md and inference.md say what the columns mean.",
]


if __name__ == "__main__":
    sys.exit(main())
