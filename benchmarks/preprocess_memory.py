"""Memory while 5,000 tracks are preprocessed: the resident memory of all processes, over the course of the run.

    python benchmarks/preprocess_memory.py             # prints the page; --out FILE writes it as well

The tracks are short ones in WAV, FLAC and MP3, made on the spot. What counts is that the figures at 25 %, 50 %, 75 %
and at the end are the same: what grows with the number of tracks would fill the memory at a million.
"""

import argparse
import platform
import tempfile
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import soundfile

from tagscale.catalog.tables import catalog_of
from tagscale.params.load import load
from tagscale.stages import preprocess
from tagscale.store.grow import partial_of

ROOT = Path(__file__).parents[1]
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _music(folder, arguments.tracks, arguments.seconds)
        watch = Watch(partial_of(folder / "store") / "journal.jsonl")
        watch.start()
        begin = time.monotonic()
        preprocess.run(
            load(ROOT / "params.yaml"), root=folder / "music", catalog=folder / "catalog", store=folder / "store"
        )
        seconds = time.monotonic() - begin
        watch.done.set()
        watch.join()
    page = _page(watch.seen, arguments.tracks, arguments.seconds, seconds)
    print(page, end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(page, encoding="utf-8")


def _music(folder: Path, tracks: int, seconds: float) -> None:
    (folder / "music").mkdir()
    names = [f"{number:05d}.{('wav', 'flac', 'mp3')[number % 3]}" for number in range(tracks)]
    for number, name in enumerate(names):
        wave = np.random.default_rng(number).normal(0, 0.1, (int(22050 * seconds), 2))
        soundfile.write(folder / "music" / name, np.clip(wave, -1, 1), 22050)
    table = pd.DataFrame({"track_id": names, "path": names})
    tags = pd.DataFrame({"group": ["all"]}, index=["tag"])
    catalog_of("noise", table, pd.DataFrame({"tag": np.zeros(tracks)}), tags, None).save(folder / "catalog")


class Watch(threading.Thread):
    """Looks five times a second at how many tracks are finished and what memory all processes hold.

    seen: (tracks finished, MB of this process, MB of its workers).
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(daemon=True)
        self.done = threading.Event()
        self.seen: list[tuple[int, float, float]] = []
        self._journal = journal

    def run(self) -> None:
        this, finished, at = psutil.Process(), 0, 0
        while not self.done.wait(0.2):
            try:
                with open(self._journal, "rb") as file:
                    file.seek(at)
                    content = file.read()
            except FileNotFoundError:
                continue
            at += len(content)
            finished += content.count(b'"track_id"')
            workers = 0
            for child in this.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    workers += child.memory_info().rss
            self.seen.append((finished, this.memory_info().rss / 1e6, workers / 1e6))


def _page(seen: list[tuple[int, float, float]], tracks: int, length: float, seconds: float) -> str:
    lines = [
        f"# Memory while preprocessing {tracks:,} tracks",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {psutil.cpu_count()} cores, Python {platform.python_version()}; {tracks:,} "
        f"tracks of {length:g} s (WAV, FLAC, MP3, stereo) in {seconds:.0f} s: {tracks / seconds:.0f} a second. "
        "Resident memory; at the end the workers have gone. Made by benchmarks/preprocess_memory.py.",
        "",
        "| tracks finished | main process, MB | workers, MB | all, MB |",
        "|---:|---:|---:|---:|",
    ]
    started = [row for row in seen if row[0] > tracks * 0.02]  # workers have loaded their libraries
    for share in SHARES:
        finished, main_, workers = min(started, key=lambda row: abs(row[0] - share * tracks * 0.999))
        lines.append(f"| {finished:,} | {main_:.0f} | {workers:.0f} | {main_ + workers:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
