"""Which tracks of a corpus are finished, kept so that a killed run continues where it stopped.

`corpus.json` holds the recipe: all that decides a track. `.finished.jsonl` gets a line whenever a track's audio is in
place: its row, its labels before annotators' mistakes, and the size of its file. One process writes it, so the only
damage that a kill can do is half a last line, and that track is made again.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, replacing, write_json

RECIPE = "corpus.json"
FINISHED = ".finished.jsonl"
AUDIO = "audio"
TABLES = ("tracks.csv", "tags.yaml")
OURS = re.compile(r"\.?track_\d+\.flac.*")  # audio of a corpus, and what a killed run left of one


def audio_path(number: int) -> str:
    """Path of a track's audio in its corpus.

    >>> audio_path(0), audio_path(1234)
    ('audio/00/track_00001.flac', 'audio/12/track_01235.flac')
    """
    return f"{AUDIO}/{number // 100:02d}/track_{number + 1:05d}.flac"


class Journal:
    """The finished tracks of the corpus in a folder.

    Args:
        folder: made if it is not there
        recipe: what decides a track. If the folder was made by another recipe, everything in it is made again.

    Raises:
        TagscaleError: the folder holds a dataset that is not a corpus of ours.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        self.folder = folder
        self.records: dict[int, dict[str, Any]] = {}
        self.replaced = False
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RECIPE).exists():
            self._refuse_foreign()
        if self._recipe_on_disk() != recipe:
            # This order, so that a kill anywhere leaves either recipe with no track that the other one made.
            self.replaced = (folder / FINISHED).exists()
            (folder / FINISHED).unlink(missing_ok=True)
            write_json(folder / RECIPE, recipe)
        self._read()

    def _refuse_foreign(self) -> None:
        foreign = [name for name in (*TABLES, AUDIO) if (self.folder / name).exists()]
        if foreign:
            raise TagscaleError(
                f"{self.folder / foreign[0]}: this folder holds a dataset that `tagscale synth` did not make, and it "
                f"was left untouched. Set dataset.source to `folder` in params.yaml to use it, or dataset.root to "
                "another folder for the default corpus."
            )

    def _recipe_on_disk(self) -> Any:
        try:
            return read_json(self.folder / RECIPE)
        except (FileNotFoundError, ValueError):
            return None

    def _read(self) -> None:
        """Take over the tracks whose audio is there as it was written."""
        try:
            lines = (self.folder / FINISHED).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                record = json.loads(line)
                number, size = record["number"], record["bytes"]
            except (ValueError, KeyError, TypeError):
                continue  # half a line
            audio = self.folder / audio_path(number)
            if audio.is_file() and audio.stat().st_size == size:
                self.records[number] = record
        self.rewrite()

    def add(self, record: dict[str, Any]) -> None:
        """Note that a track is finished."""
        self.records[record["number"]] = record
        with open(self.folder / FINISHED, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def limit(self, tracks: int) -> int:
        """Forget the tracks beyond the first so many, remove their audio and what a killed run left; how many."""
        self.records = {number: record for number, record in self.records.items() if number < tracks}
        kept = {self.folder / audio_path(number) for number in self.records}
        removed = 0
        for found in sorted((self.folder / AUDIO).glob("*/*")):
            if found in kept or not OURS.fullmatch(found.name):
                continue
            removed += found.suffix == ".flac"
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()
            if not any(found.parent.iterdir()):
                found.parent.rmdir()
        return removed

    def rewrite(self) -> None:
        """Write the lines again, in the order of the tracks."""
        with replacing(self.folder / FINISHED) as fresh:
            lines = (json.dumps(self.records[number]) + "\n" for number in sorted(self.records))
            fresh.write_text("".join(lines), encoding="utf-8")
