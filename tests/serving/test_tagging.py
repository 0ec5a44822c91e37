"""Tagging files: scores for the good ones, reasons for the bad ones, readable by people and by machines."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from audio_files import SUFFIXES, write
from registry.tiny import LIMITS, song, tiny_tagger
from tagscale.evaluation.decisions import Decisions, Sigmoid, TagDecision
from tagscale.registry.tagger import AudioTagger
from tagscale.serving.tagger import Tagger
from tagscale.serving.tagging import as_json, print_tags, tag_files


@pytest.fixture
def tagger() -> AudioTagger:
    return tiny_tagger()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good song in three formats, one of them in a sub-folder, and files that are no songs."""
    (tmp_path / "album").mkdir()
    soundfile.write(tmp_path / "song.wav", song(1), 16_000)
    soundfile.write(tmp_path / "song.flac", song(1), 16_000)
    soundfile.write(tmp_path / "album" / "Song Three.MP3", song(1), 16_000, format="MP3")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "notes.ogg").write_text("words")
    return tmp_path


def printed(file: object, tagger: AudioTagger, **options: int) -> str:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_tags(console, file, tagger, **options)  # type: ignore[arg-type]
    return console.export_text()


def test_a_folder_is_tagged_file_by_file_and_bad_files_give_their_reason(folder: Path, tagger: AudioTagger) -> None:
    files = {Path(file.name).name: file for file in tag_files(tagger, [folder, folder / "nowhere.wav"])}
    assert list(files) == ["Song Three.MP3", "empty.wav", "notes.ogg", "song.flac", "song.wav", "nowhere.wav"]
    assert files["song.wav"].scores == files["song.flac"].scores == tagger.tag(folder / "song.wav").scores
    assert files["empty.wav"].error == "empty file (0 bytes)"
    assert files["notes.ogg"].error.startswith("not audio in a known format")
    assert files["nowhere.wav"].error == "no such file"
    assert all(files[bad].scores == {} for bad in ("empty.wav", "notes.ogg", "nowhere.wav"))


def test_a_folder_is_searched_for_every_format_that_is_decoded(tmp_path: Path, tagger: AudioTagger) -> None:
    for suffix in SUFFIXES:
        write(tmp_path / f"song{suffix}", [song(1) / 32768], 48_000)
    files = {Path(file.name).suffix: file.error for file in tag_files(tagger, [tmp_path])}
    assert files == dict.fromkeys(sorted(SUFFIXES))


def test_folder_without_audio_says_so(tmp_path: Path, tagger: AudioTagger) -> None:
    (only,) = tag_files(tagger, [tmp_path])
    assert only.error.startswith("no audio files in this folder (.aac, .aif")


def names(tagger: AudioTagger, folder: Path) -> list[str]:
    return [Path(file.name).relative_to(folder).as_posix() for file in tag_files(tagger, [folder]) if not file.error]


def test_hidden_files_and_folders_are_left_out_but_not_when_named(folder: Path, tagger: AudioTagger) -> None:
    (folder / ".Trash").mkdir()
    for hidden in ("._song.wav", ".Trash/song.wav"):
        shutil.copy(folder / "song.wav", folder / hidden)
    assert names(tagger, folder) == ["album/Song Three.MP3", "song.flac", "song.wav"]
    (named,) = tag_files(tagger, [folder / "._song.wav"])
    assert named.scores


def test_links_are_followed_and_loops_end(folder: Path, tagger: AudioTagger, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "album" / "Song Three.MP3").rename(elsewhere / "three.mp3")
    for name, target in (("a-link", elsewhere), ("b-link", elsewhere), ("album/up", folder), ("gone.wav", "nowhere")):
        (folder / name).symlink_to(target)
    (folder / "self.wav").symlink_to(folder / "self.wav")
    assert names(tagger, folder) == ["a-link/three.mp3", "song.flac", "song.wav"]


def test_a_folder_that_cannot_be_read_is_named_and_the_others_are_tagged(
    folder: Path, tagger: AudioTagger, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Path.iterdir

    def refusing(path: Path) -> Iterator[Path]:
        if path.name == "album":
            raise PermissionError(13, "Permission denied")
        return known(path)

    monkeypatch.setattr(Path, "iterdir", refusing)  # root, who may run the tests, is refused nothing
    first, *others = tag_files(tagger, [folder])
    assert (first.name, first.error) == (str(folder / "album"), "cannot be read (no permission)")
    assert [Path(file.name).name for file in others if file.scores] == ["song.flac", "song.wav"]


def test_a_name_that_is_too_long_ends_nothing(folder: Path, tagger: AudioTagger) -> None:
    long, good = tag_files(tagger, [folder / ("x" * 300 + ".wav"), folder / "song.wav"])
    assert "name too long" in str(long.error)
    assert good.scores


def test_results_come_one_by_one(folder: Path, tagger: AudioTagger) -> None:
    files = tag_files(tagger, [folder / "song.wav", folder / "song.flac"])
    assert Path(next(files).name).name == "song.wav"


def test_scores_are_sorted_and_between_0_and_1(folder: Path, tagger: AudioTagger) -> None:
    (file,) = tag_files(tagger, [folder / "song.wav"])
    values = list(file.scores.values())
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)
    assert set(file.scores) == set(tagger.tags)


def test_a_long_song_is_the_mean_of_its_windows(tmp_path: Path, tagger: AudioTagger) -> None:
    """A song repeated three times, window by window without overlap, scores as the song alone."""
    whole = song(2, seconds=tagger.scorer.seconds)
    tagger.scorer.hop_seconds = tagger.scorer.seconds  # type: ignore[attr-defined]
    soundfile.write(tmp_path / "once.wav", whole, 16_000)
    soundfile.write(tmp_path / "thrice.wav", np.tile(whole, 3), 16_000)
    once, thrice = tag_files(tagger, [tmp_path / "once.wav", tmp_path / "thrice.wav"])
    assert thrice.scores == pytest.approx(once.scores, abs=1e-5)


def test_table_shows_top_tags_with_bars_and_values_as_dials(folder: Path, tagger: AudioTagger) -> None:
    (file,) = tag_files(tagger, [folder / "song.wav"])
    lines = printed(file, tagger).splitlines()
    assert lines[0].endswith("song.wav")
    first = next(tag for tag in file.scores if tag != "energy")
    assert lines[1].split()[:3] == [first, "genre", f"{file.scores[first]:.2f}"]
    (dial,) = [line for line in lines if "energy" in line]
    assert "●" in dial
    assert "█" not in dial
    assert sum("genre" in line for line in printed(file, tagger, top=1).splitlines()) == 1


def test_bars_and_dials_fit_the_terminal(folder: Path, tagger: AudioTagger) -> None:
    long = replace(tagger, groups=dict.fromkeys(tagger.kinds, "a group of a long name that fills it"))
    (file,) = tag_files(long, [folder / "song.wav"])
    value = replace(file, name="song", scores=file.scores | {"energy": 1.0})
    (dial,) = [line for line in printed(value, long).splitlines() if "energy" in line]
    assert dial.rstrip().endswith("●"), "at its end, not cut off"
    assert len(dial.rstrip()) > 70


def test_what_validation_would_say_of_a_file_stands_above_its_scores(tmp_path: Path, tagger: AudioTagger) -> None:
    tagger.limits = LIMITS
    soundfile.write(tmp_path / "short.wav", song(1)[:8_000], 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(48_000), 16_000)
    short, silent = tag_files(tagger, [tmp_path / "short.wav", tmp_path / "silent.wav"])
    lines = printed(short, tagger).splitlines()
    assert lines[1] == "  warning: 0.50 s long, shorter than 3 s"
    assert lines[2] == "  warning: the model hears it again and again: 67% of the window of 1.5 s is padding"
    assert "genre" in lines[3]
    assert "not tagged: silent: -120.0 dBFS" in printed(silent, tagger)
    assert "genre" not in printed(silent, tagger)
    said, unheard = as_json(Tagger("tagger", "3", tagger), [short, silent])["files"]
    assert said["warnings"] == short.warnings
    assert unheard == {"path": str(tmp_path / "silent.wav"), "error": silent.error}


def test_table_of_a_bad_file_is_its_reason(folder: Path, tagger: AudioTagger) -> None:
    (file,) = tag_files(tagger, [folder / "empty.wav"])
    assert "not tagged: empty file (0 bytes)" in printed(file, tagger)


def test_json_holds_scores_or_errors(folder: Path, tagger: AudioTagger) -> None:
    files = list(tag_files(tagger, [folder / "song.wav", folder / "empty.wav"]))
    content = json.loads(json.dumps(as_json(Tagger("tagger", "3", tagger), files)))
    assert (content["model"], content["version"]) == ("tagger", "3")
    good, bad = content["files"]
    assert good == {"path": str(folder / "song.wav"), "scores": pytest.approx(files[0].scores), "warnings": []}
    assert bad == {"path": str(folder / "empty.wav"), "error": "empty file (0 bytes)"}


def test_decisions_stand_behind_the_bars_and_in_the_json(folder: Path, tagger: AudioTagger) -> None:
    classes = [tag for tag, kind in tagger.kinds.items() if kind == "classification"]
    always, never = (
        TagDecision(calibration=Sigmoid(slope=1, offset=offset), threshold=threshold, positives=3, tracks=9)
        for offset, threshold in ((2, 0.0), (-2, None))
    )
    tagger.decisions = Decisions(tags={tag: always if tag == classes[0] else never for tag in classes})
    (file,) = tag_files(tagger, [folder / "song.wav"])
    rows = {line.split()[0]: line.split() for line in printed(file, tagger).splitlines()[1:] if line.strip()}
    assert rows[classes[0]][-1] == "yes"
    assert rows[classes[1]][-1] == f"{file.decided[classes[1]].probability:.0%}"
    (said,) = json.loads(json.dumps(as_json(Tagger("tagger", "3", tagger), [file])))["files"]
    assert said["scores"] == pytest.approx(file.scores)
    assert said["decisions"].keys() == set(classes), "a regression tag is not decided"
    first, second = said["decisions"][classes[0]], said["decisions"][classes[1]]
    assert (first["decided"], first["threshold"]) == (True, 0.0)
    assert (second["decided"], second["threshold"]) == (False, None)
    expected = never.calibration(np.array(file.scores[classes[1]]))
    assert second["probability"] == pytest.approx(float(expected), rel=1e-9)
