"""How many seconds of windows a model should hear at once on a CPU: `evaluation.predict.BATCH_SECONDS`.

    python benchmarks/batches.py                       # prints the page; --out FILE writes it as well
    python benchmarks/batches.py --models waveform spectrogram --quick

Songs of 30 s in windows as long as the patch, one thread, the fastest of some rounds in which the lengths take turns.
Once freed memory is kept (`runtime.memory`), as in stage evaluate, `tagscale tag` and the server; once it is returned
to the kernel, as in any other process that imports tagscale. The models have the size of params.yaml's default with a
quarter of the filters; published encoders, where they are fetched, their own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import turns

from tagscale.evaluation import predict as module
from tagscale.runtime.memory import keep_freed_memory
from tagscale.store.read import Store
from tagscale.training import checkpoint
from tagscale.training.encoders import pretrained_folder

SECONDS = (12, 24, 48, 96, 240)
MEMORY = {"kept": "Freed memory is kept", "returned": "Freed memory is returned"}
ENCODERS = ("msd_musicnn", "msd_vgg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="One round of two songs: shows that it runs.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", choices=[*MEMORY], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    songs, rounds = (2, 1) if arguments.quick else (arguments.songs, arguments.rounds)
    if arguments.memory:
        print(json.dumps(measured(arguments.models, arguments.memory, songs, rounds)))
        return
    page = (
        f"# Seconds of windows at once\n\n{turns.facts('cpu', 1, 'batches.py')} Processor time of {songs} songs of "
        f"30 s, as a share of that with {SECONDS[-1]} s at once; the fastest of {rounds} rounds.\n"
    )
    for memory, words in MEMORY.items():
        again = [sys.executable, __file__, *sys.argv[1:], "--memory", memory]
        done = subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True)
        page += (
            f"\n{words}:\n\n| model | window | {' | '.join(f'{one} s' for one in SECONDS)} | seconds with the last |\n"
        )
        page += "|---|---:|" + "---:|" * (len(SECONDS) + 1) + "\n"
        for model, (window, times) in json.loads(done.stdout.splitlines()[-1]).items():
            shares = " | ".join(f"{one / times[-1]:.2f}" for one in times)
            page += f"| {model} | {window:.3g} s | {shares} | {times[-1]:.2f} |\n"
    print(page)
    if arguments.out:
        turns.write(arguments.out, page)


def measured(models: list[str] | None, memory: str, songs: int, rounds: int) -> dict[str, tuple[float, list[float]]]:
    """Model -> its window, and its processor seconds for each of SECONDS."""
    torch.set_num_threads(1)
    if memory == "kept":
        keep_freed_memory()
    built = {name: turns.architecture(name, 3.0, full=False) for name in turns.chosen_models(models)}
    networks = {name: (turns.prepared(one), one) for name, one in built.items()}
    if models is None:
        there = [name for name in ENCODERS if (pretrained_folder() / name).is_dir()]
        networks |= {name: checkpoint.load(pretrained_folder() / name) for name in there}
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        turns.write_tracks(Path(folder), songs)
        store, tracks = Store.open(Path(folder) / "store"), [f"t{number}" for number in range(songs)]
        for name, (network, described) in networks.items():
            times = [float("inf")] * len(SECONDS)
            for _ in range(rounds):
                for place, module.BATCH_SECONDS in enumerate(SECONDS):
                    begin = time.process_time()
                    module.predict(network, described, store, tracks, described.patch_seconds)
                    times[place] = min(times[place], time.process_time() - begin)
            results[name] = described.patch_seconds, times
            print(name, file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
