"""The default corpus on disk, a folder in the format of a user's own data. An interrupted run resumes.

tracks.csv, tags.yaml        what `catalog` reads
audio/00/track_00001.flac    16 kHz, mono, 16 bit
corpus.json, .finished.jsonl see finished.py
"""

import csv
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from tagscale import SAMPLE_RATE
from tagscale.params.blocks import SynthParams
from tagscale.runtime.disk import full_disk_explained
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, sha256_of
from tagscale.runtime.machine import workers_for
from tagscale.runtime.processes import Lost, answers
from tagscale.runtime.progress import progress_bar
from tagscale.synth.finished import FinishedTracks, audio_path
from tagscale.synth.label_noise import mistaken
from tagscale.synth.tags import CLASSIFICATION, TAGS
from tagscale.synth.track import Track, default_soundfont, make_track

WORTHWHILE = 600.0  # seconds of audio: a process takes two seconds to begin
COLUMNS = ("track_id", "path", "artist", "album", "title", "seconds")


def soundfont_of(settings: SynthParams) -> Path:
    """The soundfont that plays the corpus. Raises TagscaleError where the file is missing or not a soundfont."""
    path = Path(settings.soundfont) if settings.soundfont else default_soundfont()
    if not path.is_file():
        raise TagscaleError(
            f"synth.soundfont: {path}: no such file. Give the path of a General MIDI .sf2 file, "
            "or null for the soundfont inside the pretty_midi package."
        )
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise TagscaleError(
            f"synth.soundfont: {path}: not a SoundFont 2 file (it does not begin with RIFF … sfbk). "
            "Give the path of a General MIDI .sf2 file, or null for the soundfont inside the pretty_midi package."
        )
    return path


def recipe(settings: SynthParams, soundfont: Path) -> dict[str, Any]:
    """Everything that decides a track. It excludes `tracks` and `label_noise`: changing them keeps the audio."""
    code = sha256_of(*sorted(Path(__file__).parent.glob("*.py")))[:12]
    return {
        "made_by": "tagscale synth",
        "artists": settings.artists,
        "seconds": settings.seconds,
        "seed": settings.seed,
        "soundfont": sha256_of(soundfont)[:12],
        "generator": code,
    }


def make_corpus(folder: Path, settings: SynthParams, workers: int | None = None) -> int:
    """Make a corpus, or its missing tracks, and write its tables.

    The same settings give the same bytes for any number of workers and interruptions.

    Args:
        workers: number of processes; None: one per core, fewer for little audio

    Returns:
        number of tracks made

    Raises:
        TagscaleError: there are more artists than tracks, the soundfont is missing or silent, the folder holds
            another dataset, or a worker is killed twice.
    """
    if settings.artists > settings.tracks:
        raise TagscaleError(
            f"synth.artists: {settings.artists} artists for {settings.tracks} tracks, but every artist has at least "
            "one. Lower synth.artists or raise synth.tracks in params.yaml."
        )
    soundfont = soundfont_of(settings)
    started = time.monotonic()
    decisive = recipe(settings, soundfont)
    finished = FinishedTracks(folder, decisive)
    if finished.replaced:
        print(f"{folder}: made with other settings or another version before; making it again")
    finished.limit(settings.tracks)
    missing = [number for number in range(settings.tracks) if number not in finished.records]
    if missing and finished.records:
        print(f"{folder}: {len(finished.records):,} of {settings.tracks:,} tracks are done; making the rest")

    def kept() -> str:
        return f"{len(finished.records):,} of {settings.tracks:,} tracks are finished and kept in {folder}."

    with (
        full_disk_explained(folder, kept),
        progress_bar("tracks", transient=True, disable=not missing) as progress,
    ):
        records = _made(folder, settings, soundfont, missing, workers)
        for record in progress.track(records, total=len(missing), description="composing"):
            finished.add(record)
    finished.sort()
    _write_tables(folder, [finished.records[number] for number in range(settings.tracks)], settings)
    finished.seal(decisive)
    took = f"made {len(missing):,} in {time.monotonic() - started:.0f} s" if missing else "all there already"
    print(f"{folder}: {settings.tracks:,} tracks by {settings.artists:,} artists, {len(TAGS)} tags; {took}")
    return len(missing)


def _made(
    folder: Path, settings: SynthParams, soundfont: Path, missing: Sequence[int], workers: int | None
) -> Iterator[dict[str, Any]]:
    """Make the missing tracks and yield their records in order of completion."""
    workers = min(workers or workers_for(len(missing) * settings.seconds, WORTHWHILE), len(missing))
    compose = partial(
        make_track, seed=settings.seed, artists=settings.artists, seconds=settings.seconds, soundfont=soundfont
    )
    make = partial(_make_file, folder, compose)
    if workers <= 1:
        yield from map(make, missing)
        return
    for number, record in answers(make, missing, workers, in_order=False):
        if isinstance(record, Lost):
            raise TagscaleError(
                f"{folder / audio_path(number)}: its process was killed twice (too little memory?). The finished "
                "tracks are kept. Run again with fewer --workers."
            )
        yield record


def _make_file(folder: Path, compose: Callable[[int], Track], number: int) -> dict[str, Any]:
    """Make a track's audio file and return its record for the journal."""
    track = compose(number)
    path = folder / audio_path(number)
    with replacing(path, durable=False) as fresh:  # the journal's size finds one that a power cut emptied
        samples = np.round(track.samples * 32767).astype(np.int16)
        soundfile.write(fresh, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    row = {"artist": track.artist.name, "album": track.album, "title": track.title}
    row["seconds"] = f"{len(samples) / SAMPLE_RATE:g}"
    return {"number": number, "bytes": path.stat().st_size, "row": row, "labels": track.labels}


def _write_tables(folder: Path, records: Sequence[dict[str, Any]], settings: SynthParams) -> None:
    """Write tracks.csv and tags.yaml."""
    clean = np.array([[record["labels"][tag] for tag in TAGS] for record in records])
    labels = mistaken(clean, settings.label_noise, settings.seed, [record["number"] for record in records])
    classified = [tag in CLASSIFICATION for tag in TAGS]
    with replacing(folder / "tracks.csv") as fresh, open(fresh, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *TAGS])
        for record, row in zip(records, labels, strict=True):
            path = audio_path(record["number"])
            values = [f"{value:.0f}" if whole else f"{value:.3f}" for value, whole in zip(row, classified, strict=True)]
            writer.writerow([Path(path).stem, path, *(record["row"][key] for key in COLUMNS[2:]), *values])
    with replacing(folder / "tags.yaml") as fresh:
        entries = {name: tag.as_entry() for name, tag in TAGS.items()}
        fresh.write_text(yaml.safe_dump({"columns": entries}, sort_keys=False), encoding="utf-8")
