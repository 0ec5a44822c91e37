"""The finished tracks of a corpus, from which an interrupted run resumes.

`corpus.json` holds the recipe: everything that decides a track. The journal `.finished.jsonl` has one line per track
with complete audio: its row of tracks.csv, its labels without noise, and its file size.
"""

import re
import shutil
from pathlib import Path
from typing import Any

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import SEAL, read_json, seal, write_json
from tagscale.runtime.journal import Journal

RECIPE = "corpus.json"
FINISHED = ".finished.jsonl"
AUDIO = "audio"
TABLES = ("tracks.csv", "tags.yaml")
OURS = re.compile(r"\.?track_\d+\.flac.*")  # audio of a corpus, and temporary files of a killed run


def audio_path(number: int) -> str:
    """Path of a track's audio in its corpus.

    >>> audio_path(0), audio_path(1234)
    ('audio/00/track_00001.flac', 'audio/12/track_01235.flac')
    """
    return f"{AUDIO}/{number // 100:02d}/track_{number + 1:05d}.flac"


class FinishedTracks:
    """The finished tracks of the corpus in a folder.

    Args:
        folder: created if missing
        recipe: everything that decides a track. Tracks of another recipe are stale.

    Attributes:
        records: number -> record
        replaced: whether the folder held tracks of another recipe

    Raises:
        TagscaleError: the folder holds a dataset that `tagscale synth` did not make.
    """

    def __init__(self, folder: Path, recipe: dict[str, Any]) -> None:
        self.folder = folder
        self.records: dict[int, dict[str, Any]] = {}
        self.replaced = False
        self._journal = Journal(folder / FINISHED)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RECIPE).exists() and not (folder / FINISHED).exists():
            self._refuse_foreign()
        if self._recipe_on_disk() != recipe:
            # The journal goes first: a kill between the steps never pairs the new recipe with stale tracks.
            self.replaced = (folder / FINISHED).exists()
            self._journal.remove()
            write_json(folder / RECIPE, recipe)
        self._read()

    def _refuse_foreign(self) -> None:
        foreign = [name for name in (*TABLES, AUDIO) if (self.folder / name).exists()]
        if foreign:
            raise TagscaleError(
                f"{self.folder / foreign[0]}: this folder holds a dataset that `tagscale synth` did not make. It was "
                f"left untouched. Set dataset.source to `folder` in params.yaml to use it, or dataset.root to "
                "another folder for the default corpus."
            )

    def _recipe_on_disk(self) -> Any:
        try:
            facts = read_json(self.folder / RECIPE)
            return {key: value for key, value in facts.items() if key not in ("files", SEAL)}
        except (FileNotFoundError, IsADirectoryError, ValueError, AttributeError):  # made again
            return None

    def _read(self) -> None:
        """Load the records whose audio file exists with the recorded size."""
        for line in self._journal.lines():
            if line.record and {"number", "bytes"} <= line.record.keys():
                audio = self.folder / audio_path(line.record["number"])
                if audio.is_file() and audio.stat().st_size == line.record["bytes"]:
                    self.records[line.record["number"]] = line.record
        self.sort()

    def add(self, record: dict[str, Any]) -> None:
        """Record a finished track."""
        self.records[record["number"]] = record
        self._journal.append(record)

    def seal(self, recipe: dict[str, Any]) -> None:
        """Vouch for the tables, which are complete: `catalog` refuses others."""
        seal(self.folder, RECIPE, recipe, TABLES)

    def limit(self, tracks: int) -> int:
        """Keep the first `tracks` tracks. Delete other audio and temporary files of a killed run.

        Returns:
            number of deleted audio files
        """
        self.records = {number: record for number, record in self.records.items() if number < tracks}
        kept = {self.folder / audio_path(number) for number in self.records}
        removed = 0
        for path in sorted((self.folder / AUDIO).glob("*/*")):
            if path in kept or not OURS.fullmatch(path.name):
                continue
            removed += path.suffix == ".flac"
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
        return removed

    def sort(self) -> None:
        """Rewrite the journal in the order of the tracks."""
        self._journal.rewrite(self.records[number] for number in sorted(self.records))
