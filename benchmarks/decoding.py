"""Decoding speed: tracks per second and core, beside librosa, torchaudio and an ffmpeg subprocess, on the same files.

    python benchmarks/decoding.py                      # prints the page; --out FILE writes it as well

Each decoder makes mono 16 kHz samples of the same 30 s of stereo noise and tones at 44.1 kHz, on one core, file after
file; the decoders take turns within each round. Counted are seconds of processor time (of ffmpeg: of its process, from
start to end), which other work on the machine changes less than the clock. librosa is no dependency of the project:
install it into another environment (`python -m venv ~/bench; ~/bench/bin/pip install librosa soundfile soxr`) and
name its interpreter with --librosa. What is not there is left out of the table.
"""

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the first import of numpy or torch

import numpy as np
import soundfile
import soxr
import torch
import torchaudio
from machine import processor

from tagscale.decoding.batch import Source
from tagscale.decoding.decode import QUALITY, decode

SECONDS, RATE = 30, 44100
LIBROSA = """
import sys, time, librosa
librosa.load(sys.argv[1], sr=16000)
print(librosa.__version__, flush=True)
for line in sys.stdin:
    begin = time.process_time()
    librosa.load(line.strip(), sr=16000)
    print(time.process_time() - begin, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--librosa", default=sys.executable, help="Interpreter that has librosa.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # children too
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = _files(Path(folder))
        decoders = _decoders(arguments.librosa, files[0])
        seconds = {(name, file.name): [] for name in decoders for file in files}
        for round_ in range(arguments.rounds + 1):
            for file in files:
                for name, measure in decoders.items():
                    took = measure(file)
                    if round_:  # the first one warms up
                        seconds[name, file.name].append(took)
    page = _page(seconds, list(decoders), [file.name for file in files], arguments.rounds)
    print(page, end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(page, encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    time_ = np.arange(SECONDS * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * 110 * 2**octave * time_) for octave in range(6)) / 12
    noise = np.random.default_rng(0).normal(0, 0.05, (len(time_), 2))
    found = [folder / f"a.{extension}" for extension in ("mp3", "ogg", "flac", "wav")]
    for file in found:
        soundfile.write(file, tones[:, None] + noise, RATE)
    return found


def _decoders(interpreter: str, first: Path) -> dict[str, Callable[[Path], float]]:
    """Name and version -> seconds for one file."""
    found: dict[str, Callable[[Path], float]] = {}
    found["tagscale, with facts and SHA-256 of file and samples"] = _timed(lambda file: (Source.of(file), decode(file)))
    helper = subprocess.Popen(
        [interpreter, "-c", LIBROSA, str(first)], stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True
    )
    assert helper.stdin
    assert helper.stdout
    if version := helper.stdout.readline().strip():

        def librosa(file: Path) -> float:
            helper.stdin.write(f"{file}\n")
            helper.stdin.flush()
            return float(helper.stdout.readline())

        found[f"librosa {version}: load(sr=16000)"] = librosa
    else:
        print("librosa is not there; give an interpreter that has it with --librosa", file=sys.stderr)
    try:
        torchaudio.load(first)
        found[f"torchaudio {torchaudio.__version__}: load, mean, resample"] = _timed(_torchaudio)
    except (ImportError, RuntimeError) as error:  # since 2.9 load() needs torchcodec
        print(
            f"torchaudio.load does not work here ({str(error).splitlines()[0]}); its resampler alone", file=sys.stderr
        )
        found[f"soundfile, mean, torchaudio {torchaudio.__version__} resample"] = _timed(_resampled_by_torchaudio)
    if shutil.which("ffmpeg"):
        said = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True).stdout.split()
        found[f"ffmpeg {said[2].partition('-')[0]}, one process a file"] = _timed(_ffmpeg)
    return found


def _timed(work: Callable[[Path], object]) -> Callable[[Path], float]:
    def measure(file: Path) -> float:
        begin = _processor_seconds()
        work(file)
        return _processor_seconds() - begin

    return measure


def _processor_seconds() -> float:
    """Of this process and of those that it ran and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _torchaudio(file: Path) -> torch.Tensor:
    wave, rate = torchaudio.load(file)
    return torchaudio.functional.resample(wave.mean(0), rate, 16000)


def _resampled_by_torchaudio(file: Path) -> torch.Tensor:
    wave, rate = soundfile.read(file, dtype="float32")
    return torchaudio.functional.resample(torch.from_numpy(wave).mean(1), rate, 16000)


def _ffmpeg(file: Path) -> np.ndarray:
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-threads",
        "1",
        "-i",
        str(file),
        "-ac",
        "1",
        "-ar",
        "16000",
        "-f",
        "s16le",
        "-",
    ]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.int16)


def _page(seconds: dict[tuple[str, str], list[float]], decoders: list[str], files: list[str], rounds: int) -> str:
    lines = [
        "# Decoding: tracks per second and core",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, one core, Python {platform.python_version()}, NumPy "
        f"{np.__version__}, soundfile {soundfile.__version__}, soxr {soxr.__version__} ({QUALITY}). {SECONDS} s of "
        f"stereo at {RATE} Hz to mono at 16 kHz; median of {rounds} rounds, decoders taking turns; processor "
        "time. Made by benchmarks/decoding.py.",
        "",
        "| decoder | " + " | ".join(Path(file).suffix[1:].upper() for file in files) + " |",
        "|---|" + "---:|" * len(files),
    ]
    for name in decoders:
        lines.append(f"| {name} | " + " | ".join(f"{1 / np.median(seconds[name, f]):.1f}" for f in files) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
