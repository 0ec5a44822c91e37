"""A song of 30 s by PyTorch and by onnxruntime: the same network, windows and thread, turn by turn.

    python benchmarks/export.py --out benchmarks/results/export.md
    python benchmarks/export.py --models spectrogram --quick

Networks have the size of params.yaml's default (`turns.architecture`) and random weights; `msd_musicnn` is a published
encoder, where its weights are there. That the scores agree is made sure of before anything is timed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import turns

from tagscale.models import kernels
from tagscale.models.export import to_onnx
from tagscale.models.spec import NETWORKS
from tagscale.registry.published import published_tagger
from tagscale.registry.scorers.network import NetworkScorer

TOLERANCE = 1e-4
SECONDS, SONG = 3.0, 480_000
PUBLISHED = ("msd_musicnn", "msd_vgg")


def scorer(model: str) -> NetworkScorer:
    if model in PUBLISHED:
        found = published_tagger(model).scorer
        assert isinstance(found, NetworkScorer)
        return found
    built = turns.architecture(model, SECONDS, full=False)
    network = turns.prepared(built).eval()
    return NetworkScorer(network, built, built.patch_seconds)


def windows(samples: np.ndarray, window: int, hop: int) -> np.ndarray:
    """(windows, samples) float32, as docs/export.md takes them."""
    starts = [*range(0, len(samples) - window, hop), len(samples) - window]
    return np.stack([samples[start : start + window] for start in starts]).astype(np.float32) / 32768


def milliseconds(ways: list[Callable[[], np.ndarray]], rounds: int) -> list[float]:
    """The median processor time of each way; the ways take turns. Others on the machine hardly change it."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds + 1):
        for way, own in zip(ways, times, strict=True):
            begin = time.process_time()
            way()
            own.append(1000 * (time.process_time() - begin))
    return [statistics.median(own[1:]) for own in times]  # the first warms up


def row(model: str, rounds: int) -> str:
    one = scorer(model)
    song = np.resize(turns.track(0), SONG)
    window, hop = round(one.seconds * 16_000), round(one.hop_seconds * 16_000)
    begin = time.process_time()
    content = to_onnx(one.model, one.architecture).SerializeToString()
    exported = time.process_time() - begin
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def by_onnxruntime() -> np.ndarray:
        return session.run(["scores"], {"wave": windows(song, window, hop)})[0].mean(axis=0)

    def plain() -> np.ndarray:
        with kernels.plain():
            return one.scores(song)

    difference = float(np.abs(by_onnxruntime() - one.scores(song)).max())
    assert difference < TOLERANCE, f"{model}: scores differ by {difference}"
    fast, written, onnx_ms = milliseconds([lambda: one.scores(song), plain, by_onnxruntime], rounds)
    with tempfile.TemporaryDirectory() as folder:
        one.save(Path(folder))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    return (
        f"| {model} | {one.seconds:.3g} s | {fast:.0f} | {written:.0f} | {onnx_ms:.0f} | {onnx_ms / fast:.2f} | "
        f"{size / 1e6:.2f} | {len(content) / 1e6:.2f} | {exported:.0f} s | {difference:.0e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="One round: shows that it runs.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained = [name for name, entry in NETWORKS.items() if not entry.on_encoder]
    lines = [
        "# Export: a song of 30 s by PyTorch and by onnxruntime",
        "",
        f"{turns.facts('cpu', 1, 'export.py')} onnxruntime {version('onnxruntime')}. Median of {arguments.rounds} "
        "songs a way, ways taking turns; windows side by side. Times are of the processor, not of the clock.",
        "",
        "| network | window | PyTorch, ms | its layers as written, ms | onnxruntime, ms | onnxruntime / PyTorch | "
        "checkpoint, MB | ONNX, MB | export | scores differ by |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for model in arguments.models or [*trained, *PUBLISHED]:
        lines.append(row(model, 1 if arguments.quick else arguments.rounds))
        print(lines[-1], flush=True)
    page = "\n".join(lines) + "\n"
    if arguments.out:
        turns.write(arguments.out, page)
    else:
        print(page)


if __name__ == "__main__":
    main()
