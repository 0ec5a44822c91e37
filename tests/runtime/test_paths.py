"""A path of a table finds its file in whatever form the disk has its name."""

import unicodedata
from pathlib import Path

import pytest

from tagscale.runtime.paths import Ambiguous, Locator


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


@pytest.mark.parametrize(
    ("written", "on_disk"),
    [
        ("Björk/Jóga.mp3", unicodedata.normalize("NFD", "Björk/Jóga.mp3")),
        (unicodedata.normalize("NFD", "Björk/Jóga.mp3"), "Björk/Jóga.mp3"),
        ("a b/c.mp3", "a\u00a0b/c.mp3"),
        ("a/song.mp3", "a/song.mp3 "),
        ("a/so\u200bng.mp3", "a/song.mp3"),
        ("audio\\song.mp3", "audio/song.mp3"),
        ("Audio/Song.MP3", "audio/song.mp3"),
    ],
)
def test_the_one_file_that_resembles_it(tmp_path: Path, written: str, on_disk: str) -> None:
    touch(tmp_path, on_disk, "audio/other.mp3")
    assert Locator(tmp_path).locate(written) == tmp_path / on_disk


def test_the_file_as_written_comes_first(tmp_path: Path) -> None:
    touch(tmp_path, "Song.mp3", "song.mp3")
    assert Locator(tmp_path).locate("song.mp3") == tmp_path / "song.mp3"
    with pytest.raises(Ambiguous, match=r"no such file, and 'Song\.mp3' and 'song\.mp3' resemble it"):
        Locator(tmp_path).locate("SONG.mp3")
    touch(tmp_path, "x/SONG.mp3", "x/so\u200bng.mp3")
    assert Locator(tmp_path).locate("x/song.mp3") == tmp_path / "x/so\u200bng.mp3", "another case comes last"


def test_what_is_not_there_stays_as_written(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.mp3")
    for path in ("a/c.mp3", "b/b.mp3", "a/b.mp3/c.mp3", f"a/{'x' * 300}.mp3", "a/\0.mp3"):
        assert Locator(tmp_path).locate(path) == tmp_path / path
