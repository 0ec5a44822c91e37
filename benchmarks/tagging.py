"""Tagging a catalogue: `tagscale tag --out` beside a plain script and the way of the published `musicnn` extractor.

    python benchmarks/tagging.py                       # prints the page; --out FILE writes it as well
    python benchmarks/tagging.py --librosa ~/bench/lib/python3.11/site-packages
    python benchmarks/tagging.py --rows 20000          # prints what a row of 50 tags takes on disk, and nothing else

All ways tag the same MP3s (30 s, stereo, 44.1 kHz) with the weights of MSD_musicnn, in windows of 3 s side by side:

- tagscale: `tagscale tag CATALOGUE --model msd-musicnn --out scores.parquet`, decoding in two processes.
- plain: a file after another, read by soundfile, resampled by torchaudio, and the network in one batch a file.
- librosa: a file after another, `librosa.load` and `librosa.feature.melspectrogram` as musicnn's extractor calls them,
  and the network on that spectrogram.

The network of `plain` and `librosa` is tagscale's, without the fast paths of `tagscale.models.kernels`: what PyTorch
makes of the layers as they are written. TensorFlow, which the published package runs it with, is not measured, nor that
its extractor builds the network anew for each file. Every way is a process that starts afresh, once with one file and
once with all; what the others add is its cost a song. The clock says what a user waits for on free cores, where a way
that takes a file after another leaves a core idle while it decodes. Processor seconds are of all its processes; other
work on the machine changes them less than the clock. librosa is no dependency of the project: install it into another
environment of the same Python and name its folder of packages.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from machine import processor

SECONDS, RATE, WINDOW = 30, 44_100, 3 * 16_000
MODEL = "msd-musicnn"
MEASURES = ("clock", "cpu", "start", "memory", "differs")
TAGSCALE = [sys.executable, "-c", "import sys; from tagscale.cli import main; main(sys.argv[1:])"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--librosa", type=Path, help="Folder of packages that has librosa.")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=int, help="Measure the size of so many rows.")
    parser.add_argument("--way", choices=["plain", "librosa"], help=argparse.SUPPRESS)
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        _tag_one_by_one(arguments.way, arguments.files, arguments.librosa)
        return
    if arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            print(_sizes(Path(folder), arguments.rows))
        return
    with tempfile.TemporaryDirectory() as folder:
        page = _page(arguments, _measured(arguments, Path(folder)))
    print(page)
    if arguments.out:
        arguments.out.write_text(page, encoding="utf-8")


def _sizes(folder: Path, rows: int) -> str:
    """A table of bytes a row: 50 tags with random scores, paths of 70 characters, embeddings of 200 numbers."""
    from tagscale.serving.rows import SUFFIXES, Row, write_rows

    tags, lines = [f"tag {number:02}" for number in range(50)], ["| rows of 50 tags | " + " | ".join(SUFFIXES) + " |"]
    lines.append("|---|" + "---:|" * len(SUFFIXES))

    def records(probabilities: bool, dims: int) -> Iterator[dict[str, Any]]:
        random = np.random.default_rng(0)
        for row in range(rows):
            facts = dict(zip(("seconds", "rms_dbfs", "peak", "clipped"), random.random(4).tolist(), strict=True))
            scores, calibrated = (dict(zip(tags, random.random(50).tolist(), strict=True)) for _ in range(2))
            name = f"music/artist {row // 100:014}/album {row // 10:014}/{row:08} title of a song.mp3"
            yield Row(
                *(name, MODEL, "published", "ab" * 32),
                **(
                    facts | {"rate": RATE, "channels": 2, "format": "MP3", "state": f"{row + 5_000_000} {row + 10**18}"}
                ),
                scores=scores,
                probabilities=calibrated if probabilities else {},
                embedding=random.normal(size=dims).astype(np.float32) if dims else None,
            ).record()

    for what, kind in {"scores": (False, 0), "with probabilities": (True, 0), "with embeddings": (False, 200)}.items():
        sizes = []
        for suffix in SUFFIXES:
            write_rows(folder / f"rows{suffix}", records(*kind), tags, bool(kind[1]))
            sizes.append(f"{(folder / f'rows{suffix}').stat().st_size / rows:,.0f} bytes")
        lines.append(f"| {what} | {' | '.join(sizes)} |")
    return "\n".join(lines)


def _songs(folder: Path, count: int) -> list[Path]:
    """MP3s of tones in noise, each of its own."""
    files, time_axis = [], np.arange(SECONDS * RATE) / RATE
    for number in range(count):
        random = np.random.default_rng(number)
        tones = [np.sin(2 * np.pi * random.uniform(80, 3000) * time_axis) * 0.2 for _ in range(2)]
        wave = np.stack(tones, axis=1) + random.normal(0, 0.05, (len(time_axis), 2))
        files.append(folder / f"{number:03}.mp3")
        soundfile.write(files[-1], wave.astype(np.float32), RATE, format="MP3")
    return files


def _measured(arguments: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, float]]]:
    """By way and round: seconds a song, of the clock and of processors, processor seconds to start, MB, and how much
    scores differ from tagscale's."""
    files = _songs(folder, 1 + arguments.songs)
    script = [sys.executable, __file__]
    ways = {
        "tagscale": [*TAGSCALE, "tag", "--model", MODEL, "--params", str(arguments.params), "--anew", "--workers", "2"],
        "plain": [*script, "--way", "plain"],
    }
    ways["tagscale"] += ["--out", str(folder / "scores.parquet")]
    if arguments.librosa:
        ways["librosa"] = [*script, "--way", "librosa", "--librosa", str(arguments.librosa)]
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    scores: dict[str, np.ndarray] = {}
    for number in range(arguments.rounds):
        for way, words in ways.items():
            print(f"round {number + 1}: {way}", file=sys.stderr, flush=True)
            one, all_files = _run([*words, str(files[0])]), _run([*words, *map(str, files)])
            scores[way] = _scores_of(way, all_files.pop("said"), folder)
            songs = arguments.songs
            measured[way].append(
                {
                    "clock": (all_files["clock"] - one["clock"]) / songs,
                    "cpu": (all_files["cpu"] - one["cpu"]) / songs,
                    "start": one["cpu"],
                    "memory": all_files["memory"],
                    "differs": float(np.abs(scores[way] - scores["tagscale"]).max()),
                }
            )
            print(f"  {measured[way][-1]}", file=sys.stderr, flush=True)
    return measured


def _scores_of(way: str, said: bytes, folder: Path) -> np.ndarray:
    """(files, tags), in the order of the files."""
    if way != "tagscale":
        return np.array([json.loads(line)[1:] for line in said.splitlines()])
    from tagscale.serving.rows import read_rows

    return np.asarray(read_rows(folder / "scores.parquet").scores)


def _run(words: list[str]) -> dict[str, Any]:
    """Seconds of a command, processor seconds of it and its processes, their peak memory in MB, and what it prints."""
    before, begin, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), [0.0]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def watch() -> None:
        while running.poll() is None:
            peak[0] = max(peak[0], sum(map(_resident, _tree(running.pid))))
            time.sleep(0.1)

    watching = threading.Thread(target=watch)
    watching.start()
    said, problem = running.communicate()
    clock = time.perf_counter() - begin
    watching.join()
    if running.returncode:
        raise SystemExit(f"{' '.join(words[:8])}: {problem.decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"clock": clock, "cpu": cpu, "memory": peak[0] / 1e6, "said": said}


def _tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    try:
        lists = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return [pid]
    return [pid, *(one for child in " ".join(lists).split() for one in _tree(int(child)))]


def _resident(pid: int) -> int:
    """Bytes of a process in memory; pages that several share count in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def _tag_one_by_one(way: str, files: list[str], packages: Path | None) -> None:
    """Print each file's scores, one file after another."""
    if packages:
        sys.path.append(str(packages))
        sys.modules["coverage"] = None  # type: ignore[assignment]  # numba would take ours, of another version
    import torch

    from tagscale.models import kernels
    from tagscale.registry.published import published_tagger

    network = published_tagger(MODEL).scorer.model.eval()  # type: ignore[attr-defined]
    windows = _by_librosa if way == "librosa" else _by_torchaudio
    with torch.inference_mode(), kernels.plain():
        for file in files:
            scores = network.output(network.encode(windows(file, network))).sigmoid().mean(dim=0)
            print(json.dumps([file, *scores.tolist()]))


def _by_torchaudio(file: str, network: Any) -> Any:
    """Windows of a file: (windows, samples)."""
    import torch
    from torchaudio.functional import resample

    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    wave = resample(torch.from_numpy(samples.mean(axis=1)), rate, 16_000)
    return torch.stack([wave[start : start + WINDOW] for start in _starts(len(wave))])


def _by_librosa(file: str, network: Any) -> Any:
    """Windows of a file for a network whose spectrogram is replaced by librosa's: (windows, 96, 187)."""
    import librosa
    import torch

    class Given(torch.nn.Module):
        def forward(self, spectrogram: Any) -> Any:
            return spectrogram

    network.log_mel = Given()
    samples, rate = librosa.load(file, sr=16_000)
    mel = librosa.feature.melspectrogram(y=samples, sr=rate, hop_length=256, n_fft=512, n_mels=96)
    logarithms = torch.from_numpy(np.log10(10_000 * mel + 1).astype(np.float32))
    frames = WINDOW // 256
    starts = [start // 256 for start in _starts(len(samples))]
    return torch.stack([logarithms[:, start : start + frames] for start in starts])


def _starts(samples: int) -> list[int]:
    """Where windows begin, as tagscale places them: side by side, and the last one where the song ends."""
    return [*range(0, samples - WINDOW, WINDOW), samples - WINDOW]


def _page(arguments: argparse.Namespace, measured: dict[str, list[dict[str, float]]]) -> str:
    import torch

    load = os.getloadavg()[0]
    threads = os.environ.get("OMP_NUM_THREADS", "as many as cores")
    lines = [
        "# Tagging a catalogue: songs per second",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {len(os.sched_getaffinity(0))} cores (load average {load:.1f}), "
        f"torch {torch.__version__}, OMP_NUM_THREADS {threads}. Made by benchmarks/tagging.py, `--songs "
        f"{arguments.songs} --rounds {arguments.rounds}`.",
        "",
        "| way | songs/s by the clock | tagscale is so much faster | processor seconds a song | times tagscale's | "
        "start and first song, processor seconds | memory | scores differ by |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    ours = measured["tagscale"]
    for way, rounds in measured.items():
        clock, cpu, start, memory, differs = (statistics.median(one[key] for one in rounds) for key in MEASURES)
        slower, dearer = (
            statistics.median(one[key] / mine[key] for one, mine in zip(rounds, ours, strict=True))
            for key in ("clock", "cpu")
        )
        lines.append(
            f"| {way} | {1 / clock:.1f} | {slower:.2f} | {cpu:.3f} | {dearer:.2f} | {start:.1f} | {memory:,.0f} MB | "
            f"{differs:.0e} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
