"""A hundred tracks of four genres, from a CSV to a registered tagger: time of each stage, and scores.

    python benchmarks/own.py FOLDER --output benchmarks/results/own.md

FOLDER holds tracks.csv (track_id, path, artist, genre) and the audio, as magnatune160 does; the first 25 tracks of each
genre are taken. Runs in the project's folder, with its presets and encoders, and leaves nothing there.
"""

import argparse
import csv
import datetime
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from machine import processor

ROOT = Path(__file__).parents[1]
EACH = 25
COLUMNS = ("track_id", "path", "artist", "genre")
TAGSCALE = [sys.executable, "-c", "import sys; from tagscale.cli import main; main(sys.argv[1:])"]


def copy_tracks(folder: Path, target: Path) -> list[dict[str, str]]:
    with (folder / "tracks.csv").open(encoding="utf-8", newline="") as file:
        rows = [{column: row[column] for column in COLUMNS} for row in csv.DictReader(file)]
    counts: dict[str, int] = {}
    chosen = []
    for row in rows:
        counts[row["genre"]] = counts.get(row["genre"], 0) + 1
        if counts[row["genre"]] <= EACH:
            chosen.append(row)
            (target / row["path"]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / row["path"], target / row["path"])
    with (target / "tracks.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(chosen)
    return chosen


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="tracks.csv and audio")
    parser.add_argument("--output", type=Path, help="a Markdown file to write the tables to as well")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        music, work = Path(scratch) / "music", Path(scratch) / "work"
        music.mkdir()
        tracks = copy_tracks(arguments.folder, music)
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db"}
        command = ["learn", str(music / "tracks.csv"), "--name", "four-genres", "--work", str(work)]
        begin, cpu = time.monotonic(), cpu_seconds()
        subprocess.run([*TAGSCALE, *command], cwd=ROOT, env=environment, check=True)
        wall, cpu = time.monotonic() - begin, cpu_seconds() - cpu
        facts = [json.loads(file.read_text()) for file in (work / "timings").glob("*.json")]
        comparison = pd.read_csv(work / "reports" / "comparison.csv")
        tags = pd.read_csv(work / "reports" / "plots" / "per_tag.csv")
    artists = len({row["artist"] for row in tracks})
    load = os.getloadavg()[2]
    lines = [
        "# A hundred tracks of one's own",
        "",
        "`tagscale learn music/tracks.csv --name four-genres`, measured by `python benchmarks/own.py FOLDER`.",
        "",
        f"{len(tracks)} tracks of a minute by {artists} artists, {EACH} of each of four genres (a column `genre`), in "
        "five folds by artists.",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, OMP_NUM_THREADS "
        f"{os.environ.get('OMP_NUM_THREADS', 'not set')}. From the CSV to the registered tagger: **{cpu:.0f} s of "
        f"processor time**, {wall:.0f} s by the clock; in the last fifteen minutes {load:.1f} processes wanted the "
        f"{os.cpu_count()} cores on average, others among them.",
        "",
        "| stage | seconds by the clock |",
        "|---|---|",
        *(f"| {one['stage']} | {one['seconds']:.1f} |" for one in sorted(facts, key=lambda one: one["finished"])),
        "",
        "| model | ROC-AUC | PR-AUC |",
        "|---|---|---|",
    ]
    for row in comparison.to_dict("records"):
        cells = [
            f"{row[f'test_{key}']:.3f} [{row[f'test_{key}_low']:.2f}, {row[f'test_{key}_high']:.2f}]"
            for key in ("roc_auc", "pr_auc")
        ]
        lines.append(f"| {row['model']} | {' | '.join(cells)} |")
    wide = tags.pivot(index="tag", columns="model", values="pr_auc")
    lines += ["", f"| PR-AUC of | {' | '.join(wide.columns)} |", f"|---|{'---|' * len(wide.columns)}"]
    lines += [f"| {tag} | {' | '.join(f'{value:.3f}' for value in values)} |" for tag, *values in wide.itertuples()]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
