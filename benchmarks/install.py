"""From `pip install` in an empty environment to the first tags of a song: seconds, bytes, and what of it is download.

    python benchmarks/install.py SONG --output benchmarks/results/install.md

Builds the wheel of the last commit, makes an empty environment in a temporary folder (8 GB are free there), and lets
its pip install the wheel with the extra `serve`, without pip's cache. A published encoder then tags the song.
"""

import argparse
import datetime
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

from machine import processor

ROOT = Path(__file__).parents[1]
MODEL = "msd-musicnn"
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
GPU = re.compile(r"(nvidia|cuda|triton|torch-)")  # what a build of torch without CUDA does without, or is
AGAIN = "the same again"


class Clock:
    """Steps with their seconds by the clock and of the processor."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float, float]] = []
        self.now()

    def now(self) -> None:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.begin = time.monotonic(), used.ru_utime + used.ru_stime

    def done(self, step: str) -> None:
        wall, cpu = self.begin
        self.now()
        self.steps.append((step, self.begin[0] - wall, self.begin[1] - cpu))


def build_wheel(folder: Path) -> Path:
    """The wheel of the last commit, from a copy: pip builds in place."""
    source = folder / "source"
    source.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "x"], cwd=source, input=archive, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), "."], cwd=source, check=True)
    return next(folder.glob("*.whl"))


def install(python: Path, what: str) -> tuple[dict[str, float], float]:
    """Let pip install it; returns the bytes of each file that it downloaded, and the seconds until all are there."""
    command = [python, "-m", "pip", "install", "--no-cache-dir", "--progress-bar", "off", "--no-input", what]
    downloads: dict[str, float] = {}
    begin, downloaded = time.monotonic(), 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if match := re.match(r"\s*Downloading (\S+\.(?:whl|gz))(?:\.metadata)? \(([\d.]+) (kB|MB|GB)\)", line):
                downloads[Path(match[1]).name] = float(match[2]) * UNITS[match[3]]  # the wheel after its metadata
            if line.startswith("Installing collected packages"):
                downloaded = time.monotonic() - begin
    assert process.returncode == 0
    return downloads, downloaded


def page(
    wheel: Path, steps: list[tuple[str, float, float]], downloads: dict[str, float], until: float, disk: float
) -> str:
    """The page. `until`: seconds of `pip install` until everything is downloaded; `disk`: bytes of the environment."""
    size, members = wheel.stat().st_size, len(zipfile.ZipFile(wheel).namelist())
    whole, for_gpus = sum(downloads.values()), sum(size for name, size in downloads.items() if GPU.match(name))
    total = sum(wall for name, wall, _ in steps if name != AGAIN)
    return "\n".join(
        [
            "# From `pip install` to the first tags of a song",
            "",
            "Measured by `python benchmarks/install.py SONG`: the wheel with the extra `serve`, in an empty "
            "environment, by pip without its cache and without a lock; then `tagscale fetch-encoders` and "
            f"`tagscale tag SONG --model {MODEL}`.",
            "",
            f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, on which {os.getloadavg()[1]:.1f} "
            "processes wanted to run in the last five minutes.",
            "",
            f"- The wheel of tagscale has {size / 1e6:.2f} MB in {members} files.",
            f"- pip downloaded {whole / 1e9:.2f} GB in {len(downloads)} files, {for_gpus / 1e9:.2f} GB of it torch and "
            f"what it needs for GPUs. The environment takes {disk / 1e9:.1f} GB.",
            f"- **{total:.0f} s by the clock** from nothing to the tags, {until:.0f} s of it until pip had chosen and "
            "downloaded everything.",
            "",
            "| step | seconds by the clock | of the processor |",
            "|---|---|---|",
            *(f"| {name} | {wall:.1f} | {cpu:.1f} |" for name, wall, cpu in steps),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", type=Path)
    parser.add_argument("--folder", type=Path, help="Of the temporary environment; the system's when not given.")
    parser.add_argument("--output", type=Path, help="a Markdown file to write the page to as well")
    arguments = parser.parse_args()
    song, clock = arguments.song.resolve(), Clock()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        wheel, bare = build_wheel(Path(temporary)), Path(temporary) / "bare"
        clock.now()
        venv.create(bare, with_pip=True)
        clock.done("an empty environment")
        downloads, until = install(bare / "bin" / "python", f"{wheel}[serve]")
        clock.done("`pip install`")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "TAGSCALE_"))}
        for step, *words in (
            ("`tagscale fetch-encoders`", "fetch-encoders"),
            ("the first tags", "tag", str(song), "--model", MODEL),
            (AGAIN, "tag", str(song), "--model", MODEL),
        ):
            program = str(bare / "bin" / "tagscale")
            subprocess.run([program, *words], cwd=temporary, env=kept | {"HOME": temporary}, check=True)
            clock.done(step)
        disk = sum(file.lstat().st_size for file in bare.rglob("*") if not file.is_dir())
        text = page(wheel, clock.steps, downloads, until, disk)
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
