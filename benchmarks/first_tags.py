"""How long a process takes from its start to the first tags of a song, and what a batch of recordings saves.

    python benchmarks/first_tags.py SONG --project PROJECT [--before PYTHON] [--rounds 5] [--output FILE]

PROJECT is a study with a champion, a folder `pretrained` and params.yaml. --before is the Python of another environment
with an earlier tagscale, whose commands take turns with those of this one. Of each command the fastest round counts:
others may use the machine meanwhile. Processor time is that of the process and its children, all threads.
"""

import argparse
import datetime
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from machine import processor

import tagscale
from tagscale.decoding.decode import decode
from tagscale.registry.scorers import Scorer

API = "import sys, tagscale; print(tagscale.load(sys.argv[1]).tag(sys.argv[2]).top(3))"
MAIN = "import sys; from tagscale.cli import main; main(sys.argv[1:])"
MODELS = ("champion", "msd-musicnn")
BATCH, SECONDS, BATCH_ROUNDS = 8, (5, 30), 1


def commands(song: Path) -> dict[str, list[str]]:
    """What a user does -> arguments of Python."""
    table = {"`import tagscale`": ["-c", "import tagscale"], "`tagscale --version`": ["-c", MAIN, "--version"]}
    for model in MODELS:
        chosen = [] if model == "champion" else ["--model", model]
        table[f"`tagscale tag song.mp3`, {model}"] = ["-c", MAIN, "tag", *chosen, str(song)]
        table[f'`tagscale.load("{model}").tag("song.mp3")`'] = ["-c", API, model, str(song)]
    return table


def run(python: str, arguments: list[str], project: Path) -> tuple[float, float, float]:
    """Seconds, seconds of processor time and megabytes of one process; infinite where it fails."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [python, *arguments], cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        return (float("inf"),) * 3
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, used.ru_maxrss / 1024


def starts(song: Path, project: Path, pythons: dict[str, str], rounds: int) -> list[str]:
    """The table of first tags."""
    best: dict[tuple[str, str], tuple[float, ...]] = {}
    for _ in range(rounds):
        for what, arguments in commands(song).items():
            for which, python in pythons.items():
                measured = run(python, arguments, project)
                known = best.get((what, which), (float("inf"),) * 3)
                best[what, which] = tuple(map(min, known, measured))
    heads = [f"{measure}, {which}" for measure in ("seconds", "processor", "memory") for which in pythons]
    lines = [f"| what | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for what in commands(song):
        cells = [
            "-" if best[what, which][measure] == float("inf") else form.format(best[what, which][measure])
            for measure, form in enumerate(("{:.1f} s", "{:.1f} s", "{:,.0f} MB"))
            for which in pythons
        ]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return lines


def fastest(work: Callable[[], np.ndarray], rounds: int) -> tuple[np.ndarray, float]:
    """What the work gives, and the seconds of its fastest round after one that warms up."""
    result, times = work(), []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return result, min(times)


def batches(song: Path, rounds: int) -> list[str]:
    """The table of recordings one by one and in a batch."""
    lines = ["| model | recordings | alone, ms each | in a batch | ratio | scores differ by |"]
    lines.append("|---|---|---:|---:|---:|---:|")
    samples = decode(song).samples
    for model in MODELS:
        scorer = tagscale.load(model).audio.scorer
        for seconds in SECONDS:
            long = np.resize(samples, seconds * tagscale.SAMPLE_RATE)
            recordings = [np.roll(long, 1000 * number) for number in range(BATCH)]
            apart, alone = fastest(partial(one_by_one, scorer, recordings), rounds)
            scores, together = fastest(partial(scorer.scores_of, recordings), rounds)
            lines.append(
                f"| {model} | {BATCH} of {seconds} s | {alone / BATCH * 1000:.0f} | {together / BATCH * 1000:.0f} | "
                f"{alone / together:.2f} | {np.abs(scores - apart).max():.0e} |"
            )
    return lines


def one_by_one(scorer: Scorer, recordings: list[np.ndarray]) -> np.ndarray:
    return np.stack([scorer.scores(one) for one in recordings])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", type=Path)
    parser.add_argument("--project", type=Path, required=True)
    parser.add_argument("--before", help="Python of an environment with an earlier tagscale")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    song, output = arguments.song.absolute(), arguments.output and arguments.output.absolute()
    pythons = ({"before": arguments.before} if arguments.before else {}) | {"now": sys.executable}
    os.chdir(arguments.project)
    lines = [
        "# First tags, and batches",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}. "
        f"`python benchmarks/first_tags.py SONG --project PROJECT`: from the start of a process to the tags of a song "
        f"of {decode(song).source_seconds:.0f} s; the fastest of {arguments.rounds} rounds, ways taking turns.",
        "",
        *starts(song, arguments.project, pythons, arguments.rounds),
    ]
    write(lines, output)
    lines += [
        "",
        f"Recordings one by one and in one batch, fastest of {BATCH_ROUNDS} rounds, ways one after the other:",
    ]
    write([*lines, "", *batches(song, BATCH_ROUNDS)], output)


def write(lines: list[str], output: Path | None) -> None:
    """Print the page as far as it is measured, and write it where an output is given."""
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    if output:
        output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
