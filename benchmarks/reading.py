"""Reading speed: random patches from the int16 store, beside other ways to keep music for training, on the same tracks.

    python benchmarks/reading.py                       # prints the page; --out FILE writes it as well

Made-up tracks of 30 s at 16 kHz are written as the store, one .npy a track (int16, and float32), LitData chunks,
WebDataset tar shards and OGG. Each way gives batches of 32 random patches through a PyTorch data loader; the ways take
turns, each measurement in a process of its own. LitData and WebDataset are no dependencies of the project: install
them into an environment that has it (`pip install litdata webdataset`). What is not there is left out of the table.
"""

import argparse
import importlib
import io
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before the first import of numpy or torch

import numpy as np
import soundfile
import torch
from machine import processor
from torch.utils.data import DataLoader, Dataset

from tagscale.audio.loading import loader
from tagscale.audio.patches import RandomPatches
from tagscale.store.read import Store

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # last: tests have names that benchmarks have too

from stores import write_store

RATE, SECONDS, BATCH = 16000, 30, 32
WARM_SECONDS = 0.6  # that a warm measurement lasts at least
ROUNDS = 3
CELLS = [(seconds, workers) for seconds in (3, 15) for workers in (0, 2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, default=400)
    parser.add_argument("--folder", type=Path, help="Where to write the tracks; default the system's temporary folder.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.tracks < 2 * BATCH:
        parser.error(f"--tracks must be at least {2 * BATCH}")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        ways = _written(Path(folder), arguments.tracks)
        found: dict[tuple, list[tuple[float, float]]] = {}
        for round_ in range(ROUNDS):
            for cell in CELLS:
                for way in list(ways)[:: 1 if round_ % 2 else -1]:
                    for cold in (True, False):
                        result = _measured(ways[way], Path(folder) / way, *cell, cold, arguments.tracks)
                        found.setdefault((way, *cell, cold), []).append(result)
                print(f"round {round_ + 1} of {ROUNDS}, {cell[0]} s, {cell[1]} workers", file=sys.stderr)
        sizes = {way: sum(file.stat().st_size for file in _files(Path(folder) / way)) for way in ways}
    page = _page(found, sizes, arguments.tracks)
    print(page, end="")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(page, encoding="utf-8")


# --- the ways: how tracks are written, and how a loader reads them -----------------------------------------------


def _track(number: int) -> np.ndarray:
    rng = np.random.default_rng(number)
    tones = sum(np.sin(2 * np.pi * tone * np.arange(RATE * SECONDS) / RATE) for tone in rng.integers(80, 4000, 3))
    return ((tones / 8 + rng.normal(0, 0.03, RATE * SECONDS)) * 32767).clip(-32768, 32767).astype(np.int16)


def _written(folder: Path, tracks: int) -> dict[str, Callable[[Path, int, int], Iterable[Any]]]:
    """Write every way's files into folder/<way>; returns way -> what makes its loader: (folder, samples, workers)."""
    different = [_track(number) for number in range(min(20, tracks))]  # content matters to no way but OGG
    ways: dict[str, tuple[Callable, Callable]] = {
        "tagscale": (_write_store, _read_store),
        "npy int16, memory map": (lambda f, d, n: _write_npy(f, d, n, np.int16), _read_files(_npy_patch, "npy")),
        "npy float32, memory map": (lambda f, d, n: _write_npy(f, d, n, np.float32), _read_files(_npy_patch, "npy")),
        "LitData": (_write_litdata, _read_litdata),
        "WebDataset": (_write_webdataset, _read_webdataset),
        "OGG, decoded": (_write_ogg, _read_files(_ogg_patch, "ogg")),
    }
    found = {}
    for name, (write, read) in ways.items():
        (folder / name).mkdir()
        try:
            write(folder / name, different, tracks)
        except ImportError as error:
            print(f"{name} is left out ({error}); pip install litdata webdataset", file=sys.stderr)
            continue
        found[name] = read
    os.sync()  # what is not on the disk cannot be dropped from memory
    return found


def _write_store(folder: Path, different: list[np.ndarray], tracks: int) -> None:
    contents = ((f"t{track}", different[track % len(different)], {}) for track in range(tracks))
    write_store(folder, contents, shard_megabytes=128)


def _read_store(folder: Path, samples: int, workers: int) -> Iterable[Any]:
    store = Store.open(folder)
    tracks = store.track_ids
    patches = RandomPatches(store, tracks, np.zeros((len(tracks), 1), np.float32), samples, 50, int(time.time_ns()))
    return _endless(loader(patches, BATCH, workers, pin_memory=False))


def _write_npy(folder: Path, different: list[np.ndarray], tracks: int, kind: type) -> None:
    for track in range(tracks):
        content = different[track % len(different)]
        np.save(folder / f"{track}.npy", content if kind is np.int16 else content.astype(kind) / 32768)


def _write_ogg(folder: Path, different: list[np.ndarray], tracks: int) -> None:
    for track in range(min(len(different), tracks)):
        soundfile.write(folder / f"{track}.ogg", different[track], RATE, format="OGG", subtype="VORBIS")
    for track in range(len(different), tracks):
        (folder / f"{track}.ogg").write_bytes((folder / f"{track % len(different)}.ogg").read_bytes())


def _npy_patch(file: str, start: int, samples: int) -> np.ndarray:
    return np.array(np.load(file, mmap_mode="r")[start : start + samples])


def _ogg_patch(file: str, start: int, samples: int) -> np.ndarray:
    with soundfile.SoundFile(file) as sound:
        sound.seek(start)
        return sound.read(samples, dtype="int16")


class _Files(Dataset):
    """A random patch of a file per item."""

    def __init__(self, files: list[Path], patch: Callable, samples: int) -> None:
        self.files, self.patch, self.samples = [str(file) for file in files], patch, samples

    def __len__(self) -> int:
        return len(self.files) * 50

    def __getitem__(self, item: int) -> np.ndarray:
        return self.patch(self.files[item % len(self.files)], _start(self.samples), self.samples)


def _read_files(patch: Callable, extension: str) -> Callable[[Path, int, int], Iterable[Any]]:
    def read(folder: Path, samples: int, workers: int) -> Iterable[Any]:
        files = _Files(sorted(folder.glob(f"*.{extension}")), patch, samples)
        return _endless(DataLoader(files, BATCH, True, num_workers=workers, persistent_workers=workers > 0))

    return read


def _litdata_item(path_and_rows: tuple[str, int]) -> np.ndarray:
    path, row = path_and_rows
    return np.load(path)[row]


def _write_litdata(folder: Path, different: list[np.ndarray], tracks: int) -> None:
    litdata = importlib.import_module("litdata")
    with tempfile.TemporaryDirectory() as scratch:
        np.save(f"{scratch}/tracks.npy", np.stack(different))
        inputs = [(f"{scratch}/tracks.npy", track % len(different)) for track in range(tracks)]
        with redirect_stdout(sys.stderr):  # it reports there, where the page belongs
            litdata.optimize(_litdata_item, inputs, str(folder), chunk_bytes="64MB", num_workers=1)


def _read_litdata(folder: Path, samples: int, workers: int) -> Iterable[Any]:
    litdata = importlib.import_module("litdata")

    class Patches(litdata.StreamingDataset):
        def __getitem__(self, index: Any) -> np.ndarray:
            start = _start(samples)
            return np.array(super().__getitem__(index)[start : start + samples])

    tracks = Patches(str(folder), shuffle=True)
    return _endless(
        litdata.StreamingDataLoader(tracks, batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0)
    )


def _write_webdataset(folder: Path, different: list[np.ndarray], tracks: int) -> None:
    webdataset = importlib.import_module("webdataset")
    with webdataset.ShardWriter(f"{folder}/%05d.tar", maxsize=64e6, verbose=0) as writer:
        for track in range(tracks):
            content = io.BytesIO()
            np.save(content, different[track % len(different)])
            writer.write({"__key__": f"t{track}", "npy": content.getvalue()})


def _read_webdataset(folder: Path, samples: int, workers: int) -> Iterable[Any]:
    webdataset = importlib.import_module("webdataset")

    def patch(sample: tuple) -> np.ndarray:
        start = _start(samples)
        return sample[0][start : start + samples]

    files = [str(file) for file in sorted(folder.glob("*.tar"))]
    tracks = webdataset.WebDataset(files, shardshuffle=100, empty_check=False).repeat()
    batches = tracks.decode().shuffle(100).to_tuple("npy").map(patch).batched(BATCH, collation_fn=np.stack)
    return DataLoader(batches, batch_size=None, num_workers=workers)


_random = np.random.default_rng()


def _start(samples: int) -> int:
    return int(_random.integers(RATE * SECONDS - samples + 1))


def _endless(batches: Any) -> Iterator[Any]:
    while True:
        yield from batches


# --- measuring ---------------------------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def _measured(read: Callable, folder: Path, seconds: int, workers: int, cold: bool, tracks: int) -> tuple[float, float]:
    """Patches per second, and the most megabytes that the reading process and its workers took (NaN: failed)."""
    for file in _files(folder):
        if cold:
            with file.open("rb") as handle:
                os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            file.read_bytes()
    context = get_context("fork")  # nothing to import again
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_read, args=(theirs, read, folder, seconds * RATE, workers, cold, tracks))
    process.start()
    theirs.close()
    peak, ended = [0.0], threading.Event()
    watch = threading.Thread(target=_watch, args=(process.pid, peak, ended))
    watch.start()
    try:
        rate = ours.recv() if ours.poll(60) else float("nan")
    except EOFError:
        rate = float("nan")
    ended.set()
    watch.join()
    process.join(10)
    if process.is_alive():
        process.kill()
        process.join()
    return rate, peak[0]


def _read(to: Any, read: Callable, folder: Path, samples: int, workers: int, cold: bool, tracks: int) -> None:
    begin = time.perf_counter()
    batches = iter(read(folder, samples, workers))
    done = 0
    if cold:  # every track about once; starting is part of it
        for _ in islice(batches, tracks // BATCH):
            done += BATCH
    else:
        for _ in islice(batches, 1 + 2 * workers):  # the first, and what workers have read ahead by then
            pass
        begin = time.perf_counter()
        while time.perf_counter() - begin < WARM_SECONDS or done < 8 * BATCH:
            next(batches)
            done += BATCH
    to.send(done / (time.perf_counter() - begin))


def _watch(process: int, peak: list[float], ended: threading.Event) -> None:
    while not ended.wait(0.05):
        peak[0] = max(peak[0], sum(_pss(each) for each in [process, *_children(process)]))


def _children(process: int) -> list[int]:
    try:
        found = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []
    return found + [below for child in found for below in _children(child)]


def _pss(process: int) -> float:
    """Megabytes of memory, shared pages divided among those who share them; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:")), 0.0)


# --- the page ----------------------------------------------------------------------------------------------------


def _page(found: dict[tuple, list[tuple[float, float]]], sizes: dict[str, int], tracks: int) -> str:
    lines = ["# Reading: random patches per second", "", _facts(tracks), ""]
    for seconds in (3, 15):
        lines += [f"## Patches of {seconds} s", ""]
        names = [f"{state}, {workers} workers" for state in ("warm", "cold") for workers in (0, 2)]
        lines += [
            f"| way | {' | '.join(names)} | memory, 0 workers | memory, 2 workers | on disk |",
            "|---|" + "---:|" * 7,
        ]
        for way, size in sizes.items():
            cells = []
            for cold in (False, True):
                for workers in (0, 2):
                    rate = _median(found[way, seconds, workers, cold])
                    ours = _median(found["tagscale", seconds, workers, cold])
                    cells.append(f"{rate:,.0f} ({rate / ours:.2f})")
            for workers in (0, 2):
                peaks = [peak for cold in (False, True) for _, peak in found[way, seconds, workers, cold]]
                cells.append(f"{max(peaks):,.0f} MB")
            lines.append(f"| {way} | {' | '.join(cells)} | {size / 1e6:,.0f} MB |")
        lines.append("")
    return "\n".join(lines + NOTES) + "\n"


NOTES = [
    "In brackets: ratio to tagscale. Memory: most that the reading process and its workers took (PSS, asked every "
    "50 ms); pages of a memory map count, the page cache of ordinary reads does not, and what Python and the libraries "
    "take is shared with the process that started the measurement.",
    "",
    f"- Warm: all files in the page cache, at least {WARM_SECONDS} s, after the first batches. Cold: files dropped "
    "from the cache, as many whole batches as the tracks make at one patch each, with opening and starting "
    "workers counted.",
    "- LitData and WebDataset read whole tracks one after another and cut one patch out of each: that is their design, "
    "made for streaming from an object store. They pay for 30 s whatever the patch, and WebDataset fills a shuffle "
    "buffer of 100 tracks before its first patch.",
    "- OGG is decoded from the sought place on: little on disk, much work per patch.",
    "- tagscale reads a whole batch into one array; the others give patch after patch, and the loader "
    "(WebDataset: the pipeline) stacks them, as their documentation shows. That is part of the difference.",
    "- Other ways may take less memory (the store keeps its index and a whole batch at once) or less disk (OGG "
    "is compressed); tagscale trades both for speed.",
]


def _median(results: list[tuple[float, float]]) -> float:
    return statistics.median(rate for rate, _ in results)


def _facts(tracks: int) -> str:
    versions = []
    for name in ("litdata", "webdataset"):
        try:
            versions.append(f"{name} {importlib.import_module(name).__version__}")
        except (ImportError, AttributeError):
            continue
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, PyTorch {torch.__version__}, soundfile {soundfile.__version__}"
        + "".join(f", {version}" for version in versions)
        + f". {tracks} tracks of {SECONDS} s, batches of {BATCH}, median of {ROUNDS} rounds, ways taking turns. Made "
        "by benchmarks/reading.py."
    )


if __name__ == "__main__":
    main()
