"""What similar tracks cost: reading an index of so many tracks, its memory, and one look-up.

    python benchmarks/neighbours.py --output benchmarks/results/neighbours.md

Embeddings are random; their number and width decide the cost. Each size runs in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from machine import processor

DIMS = 200  # of the published musicnn encoder's last layer, and of the default networks
SIZES = (1_000, 10_000, 100_000)
LOOKUPS = 30
MEASURE = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from tagscale.serving.neighbours import Neighbours
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begin = time.perf_counter()
index = Neighbours.load(Path(sys.argv[1]), "store", "0" * 64)
read, times = time.perf_counter() - begin, []
for vector in np.random.default_rng(1).standard_normal((int(sys.argv[3]), int(sys.argv[2])), np.float32):
    begin = time.perf_counter()
    index.nearest(vector, 11)
    times.append(time.perf_counter() - begin)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([read, float(np.median(times)), max(times), (peak - before) / 1024]))
"""


class Silent:
    """The part of a store that `index` needs, with tracks of one sample."""

    hash = "store"

    def __init__(self, tracks: int) -> None:
        self.track_ids = [f"track_{number:07d}" for number in range(tracks)]

    def samples(self, track_id: str) -> int:
        return 1

    def read(self, track_id: str, start: int, count: int) -> np.ndarray:
        return np.zeros(count, np.int16)


def measure(tracks: int) -> list[float]:
    """Seconds to write, MB on disk, seconds to read, median and longest look-up, MiB that it takes at most."""
    from tagscale.serving.neighbours import folder_of, index

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        data, begin = Path(folder), time.perf_counter()
        for _ in index(data, Silent(tracks), "0" * 64, lambda samples: random.standard_normal(DIMS, np.float32)):  # type: ignore[arg-type]
            pass
        written = time.perf_counter() - begin
        size = sum(file.stat().st_size for file in folder_of(data, "store", "0" * 64).iterdir()) / 1e6
        command = [sys.executable, "-c", MEASURE, folder, str(DIMS), str(LOOKUPS)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return [written, size, *json.loads(told)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    arguments = parser.parse_args()
    rows = []
    for tracks in arguments.sizes:
        written, size, read, median, longest, peak = measure(tracks)
        rows.append(
            {
                "tracks": f"{tracks:,}",
                "written, s": f"{written:.1f}",
                "on disk, MB": f"{size:.0f}",
                "read, s": f"{read:.2f}",
                "look-up, ms": f"{1000 * median:.2f}",
                "longest, ms": f"{1000 * longest:.1f}",
                "memory at most, MiB": f"{peak:.0f}",
            }
        )
        print(rows[-1], flush=True)
    head = f"# What similar tracks cost\n\n`python benchmarks/neighbours.py --output {arguments.output}`\n\n"
    head += f"{date.today()}, {processor()}, one thread, other work on the machine. Embeddings of {DIMS} numbers; a "
    head += (
        "look-up computes all cosines and takes the 11 largest. Written: beside the time of the model that embeds.\n\n"
    )
    table = pd.DataFrame(rows)
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(row) + " |" for row in table.to_numpy()]
    arguments.output.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
