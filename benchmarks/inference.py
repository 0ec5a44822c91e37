"""Tagging whole songs: tagscale beside a straightforward implementation (`straightforward.py`), in the same run.

    python benchmarks/inference.py                     # prints the page; --out FILE writes it as well
    python benchmarks/inference.py --models waveform spectrogram --seconds 3 --quick

Both sides have the same weights and tag the same songs of 30 s with the same moving window; that their scores agree is
made sure of before anything is timed. On a CPU the models have the size of params.yaml's default, on a GPU the paper's.
"""

import argparse
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")

import straightforward
import torch
import turns
from turns import Turn, Way

from tagscale.evaluation.predict import predict
from tagscale.models.build import Architecture
from tagscale.runtime.memory import keep_freed_memory
from tagscale.store.read import Store

TOLERANCE = {"cpu": 1e-4, "cuda": 1e-3}  # of scores in [0, 1], without TF32, which each side would round in its own way
WAYS = [
    Way("straightforward", ours=False),
    Way("tagscale, plain layers", ours=True, plain=True),
    Way("tagscale", ours=True),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--seconds", nargs="+", type=float, default=[3.0, 15.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--songs", type=int, help="Songs in a round; default 8 on a CPU, 200 on a GPU.")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="Two rounds of two songs: shows that it runs.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    device = turns.device_of(arguments.device)
    rounds = 2 if arguments.quick else arguments.rounds
    songs = 2 if arguments.quick else arguments.songs or (200 if device == "cuda" else 8)
    found, facts = {}, turns.facts(device, arguments.threads, "inference.py")
    with tempfile.TemporaryDirectory() as folder:
        turns.write_tracks(Path(folder), songs)
        for seconds, model in product(arguments.seconds, turns.chosen_models(arguments.models)):
            built = turns.architecture(model, seconds, full=device == "cuda")
            case = (model, built.patch_seconds)
            if case not in found:
                print(f"{model}, {built.patch_seconds:.3g} s", file=sys.stderr)
                found[case] = compared(built, Path(folder), rounds, device, arguments.threads)
                if arguments.out:  # after every comparison: a run that is ended leaves what it has
                    turns.write(arguments.out, _page(found, rounds, songs, facts))
    print(_page(found, rounds, songs, facts), end="")


def compared(built: Architecture, folder: Path, rounds: int, device: str, threads: int) -> list[list[dict[str, Any]]]:
    """What each way measured of each round, after all agree on the scores. Raises RuntimeError where they do not."""

    def run(way: Way, turn: Turn) -> None:
        torch.set_num_threads(threads)
        model = turns.prepared(built).eval()
        if way.ours:
            keep_freed_memory()  # as the evaluate stage does
            store = Store.open(folder / "store")

            def tag() -> Any:
                return predict(model, built, store, store.track_ids, hop_seconds=built.patch_seconds).to_numpy()
        else:
            network, transform = straightforward.reference(model)
            network.to(device)
            files, samples = sorted((folder / "npy").glob("*.npy")), built.patch_samples

            def tag() -> Any:
                return straightforward.tag(network, transform, files, samples, samples, device).numpy()

        with turns.layers(way):
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                scores = tag()
            turn({"scores": scores})
            for _ in range(rounds):
                begin, processor = time.perf_counter(), time.process_time()
                scores = tag()
                turn(
                    {
                        "songs": len(scores) / (time.perf_counter() - begin),
                        "processor": (time.process_time() - processor) / len(scores),
                        "peak": turns.peak_megabytes(device),
                    }
                )

    sides = turns.compare(WAYS, run)
    expected = sides[0][0]["scores"]
    for way, (first, *_) in zip(WAYS, sides, strict=True):
        first["difference"] = float(abs(first.pop("scores") - expected).max())
        if not first["difference"] < TOLERANCE[device]:
            raise RuntimeError(f"{built.model}: scores of {way.name} differ by {first['difference']:.1e}")
    return sides


def _page(found: dict[Any, list[list[dict[str, Any]]]], rounds: int, songs: int, facts: str) -> str:
    lines = [
        "# Inference: whole songs per second",
        "",
        f"{facts} {songs} songs of {turns.SECONDS} s a round, window and hop as the patch, median of {rounds} rounds, "
        "ways taking turns.",
        "",
        *table(found),
    ]
    return "\n".join([*lines, "", *NOTES]) + "\n"


def table(found: dict[Any, list[list[dict[str, Any]]]]) -> list[str]:
    """Markdown: of each (model, seconds) what each of WAYS measured; ratios are to the first."""
    lines = ["| model | window | way | songs | processor time per song | memory | scores differ by |"]
    lines.append("|---|---:|---|" + "---:|" * 4)
    for (model, seconds), sides in found.items():
        columns = [{name: [told[name] for told in side[1:]] for name in side[1]} for side in sides]
        for way, side, own in zip(WAYS, sides, columns, strict=True):
            lines.append(
                f"| {model} | {seconds:.3g} s | {way.name} | "
                f"{turns.median(own['songs']):,.2f} ({turns.ratio(own['songs'], columns[0]['songs']):.2f}) | "
                f"{turns.median(own['processor']) * 1e3:,.1f} ms "
                f"({turns.ratio(columns[0]['processor'], own['processor']):.2f}) | "
                f"{max(own['peak']):,.0f} MB | {side[0]['difference']:.0e} |"
            )
    return lines


NOTES = [
    "Songs per second. In brackets: how many times faster than the straightforward way, by the clock and by processor "
    "time (of the process's own threads), the median over the rounds of the ratio within a round.",
    "",
    "- Reading is part of it: int16 from the store, several songs to a batch, beside a float32 .npy a song.",
    "- Plain layers: tagscale without the fast paths of its layers (`tagscale.models.kernels.plain`). The "
    "straightforward way has them, too, but for the paper's two models, which are written a second time.",
    "- Where a model cannot take so short a window, it has the shortest that it can take.",
    "- multiscale: its spectrograms of several scales are made by the same layers on all sides.",
]


if __name__ == "__main__":
    main()
