"""The pages of `tagscale register` and `tagscale watch`, as a browser shows them: docs/images/gate.png and drift.png.

    python benchmarks/page_pictures.py PROJECT [--songs 100] [--output docs/images]

PROJECT is a finished study, as `make run` leaves it, and stays as it is. In a project beside it, the study's best
descriptors are registered first and become champion; then its best run of any kind meets them at the gate. Copies at
8 kHz of test tracks are tagged with that run, and watched. What to look for: no text is cut or too small.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from drift import copy_at
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from serving.chromium import Page, browser
from tagscale.catalog.tables import Catalog
from tagscale.params.load import load
from tagscale.partition.divide import Partition

WIDTH = 1000
FOLDERS = ("data", "runs", "results", "ensembles", "pretrained")
RATE = 8000  # Hz


def tagscale(project: Path, *words: str | Path, expected: int = 0) -> None:
    """Run a command in a project. Raises RuntimeError for another exit status than the expected one."""
    done = subprocess.run([Path(sys.executable).with_name("tagscale"), *words], cwd=project)
    if done.returncode != expected:
        raise RuntimeError(f"tagscale {words[0]}: exit status {done.returncode}, expected {expected}")


def beside(project: Path, folder: Path) -> None:
    """Register in a project with the same data and runs, and with an MLflow store of its own."""
    for name in FOLDERS:
        if (project / name).exists():
            (folder / name).symlink_to(project / name)
    settings = yaml.safe_load((project / "params.yaml").read_text())
    for candidates in (["descriptors"], settings["registry"]["candidates"]):
        settings["registry"]["candidates"] = candidates
        (folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
        tagscale(folder, "register")


def watched(project: Path, folder: Path, songs: int) -> None:
    """Tag copies of test tracks at a low rate, in a folder an artist, and compare them with the version's profile."""
    catalog, parts = Catalog.load(project / "data" / "catalog"), Partition.load(project / "data" / "partition")
    tracks = parts.tracks("test")[:songs]
    root = project / load(folder / "params.yaml").dataset.root
    path_of = catalog.tracks.set_index("track_id")["path"]
    for track, artist in zip(tracks, parts.artist_of(tracks), strict=True):
        (folder / "music" / str(artist)).mkdir(parents=True, exist_ok=True)
        copy_at(RATE, root / path_of[track], folder / "music" / str(artist) / f"{track}.flac")
    tagscale(folder, "tag", "music", "--version", "challenger", "--out", "scores.parquet")
    tagscale(folder, "watch", "scores.parquet", expected=3)


def take(tab: Page, page: Path, picture: Path, sections: int) -> None:
    """The page down to the end of some of its sections."""
    tab.resize(WIDTH, WIDTH)
    tab.go(page.as_uri())
    last = f"document.querySelectorAll('section')[{sections - 1}]"
    tab.picture(picture, tab.value(f"Math.ceil({last}.getBoundingClientRect().bottom) + 8"))
    Image.open(picture).quantize().save(picture, optimize=True)  # a third of the bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--songs", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path("docs/images"))
    arguments = parser.parse_args()
    project = arguments.project.resolve()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        beside(project, folder)
        watched(project, folder, arguments.songs)
        with browser(folder / "browser") as tab:
            take(tab, folder / "registration" / "gate.html", arguments.output / "gate.png", 3)
            take(tab, folder / "drift.html", arguments.output / "drift.png", 3)


if __name__ == "__main__":
    main()
