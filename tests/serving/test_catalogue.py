"""What a catalogue names: folders, tables, lists and objects, whatever their names."""

import io
import os
import shutil
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tagscale.runtime.errors import TagscaleError
from tagscale.serving.catalogue import entries, shard_of
from tagscale.serving.reading import Job, read_all


@pytest.fixture
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder `music` with two files, in the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music" / "album").mkdir(parents=True)
    for name in ("a.mp3", "album/b, c.wav", "album/cover.jpg", ".hidden.mp3"):
        (tmp_path / "music" / name).touch()
    return tmp_path / "music"


def places(*arguments: str) -> dict[str, str]:
    return {name: str(entry.path()) for name, entry in entries(arguments).items()}


def test_folders_and_files_are_named_as_they_are_written(music: Path) -> None:
    assert list(entries(["music", "music/a.mp3", "nowhere.mp3"])) == [
        "music/a.mp3",
        "music/album/b, c.wav",
        "nowhere.mp3",
    ]
    (music / "none").mkdir()
    (empty,) = entries(["music/none"]).values()
    assert empty.reason.startswith("no audio files in this folder")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_names_files_relative_to_its_folder(music: Path, delimiter: str) -> None:
    rows = [
        ["track_id", "path", "rock"],
        ["1", "a.mp3", "0"],
        ["2", '"album/b, c.wav"', "1"],
        ["3", "s3://x/y.mp3", "1"],
    ]
    (music / "tracks.csv").write_text("\n".join(delimiter.join(row) for row in rows), encoding="utf-8-sig")
    table = entries(["music/tracks.csv"])
    assert list(table) == ["a.mp3", "album/b, c.wav", "s3://x/y.mp3"]
    assert table["a.mp3"].path() == Path("music/a.mp3")
    assert table["s3://x/y.mp3"].is_remote


def test_a_table_may_spell_a_name_otherwise_than_the_disk(music: Path) -> None:
    (music / "Bj\u00f6rk.mp3").touch()
    (music / "tracks.csv").write_text("path\nBjo\u0308rk.mp3\n", encoding="utf-8")
    (entry,) = entries(["music/tracks.csv"]).values()
    assert entry.path().exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("track_id,artist\n1,2\n", "expected one column `path`"),
        ("", "expected one column `path`, with the audio files; found none"),
        ("path,path\n1,2\n", "expected one column `path`"),
        ("path,artist\na.mp3\n", "line 2: 1 cells, but the header has 2"),
        ("path,artist\n,x\n", "line 2: an empty cell in the column `path`"),
        ('path,artist\n"a.mp3,x\n', "not a well-formed table"),
    ],
)
def test_a_table_that_is_none_is_named_with_its_line(music: Path, content: str, words: str) -> None:
    (music / "tracks.csv").write_text(content)
    with pytest.raises(TagscaleError, match=words):
        entries(["music/tracks.csv"])


def test_a_list_holds_any_name(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = os.fsdecode(b"caf\xe9\nbar.wav")
    shutil.copy(music / "a.mp3", music / odd)
    (music / "list.m3u").write_bytes(b"#EXTM3U\r\na.mp3\r\n\r\nalbum/b, c.wav\r\n")
    assert places("music/list.m3u") == {"a.mp3": "music/a.mp3", "album/b, c.wav": "music/album/b, c.wav"}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"music/a.mp3\0music/" + os.fsencode(odd) + b"\0")))
    assert places("-") == {"music/a.mp3": "music/a.mp3", "music/caf\\xe9\nbar.wav": f"music/{odd}"}


def test_blank_lines_name_nothing(music: Path) -> None:
    (music / "tracks.csv").write_text("path,artist\r\n\r\na.mp3,x\r\n  \r\n , \r\n")
    (music / "list.txt").write_text("\n  \na.mp3\n\t\n")
    for catalogue in ("music/tracks.csv", "music/list.txt"):
        assert list(entries([catalogue])) == ["a.mp3"]


def test_one_name_of_two_files_is_refused(music: Path) -> None:
    for folder in ("one", "two"):
        (music / folder).mkdir()
        (music / folder / "list.txt").write_text("a.mp3\n")
    with pytest.raises(TagscaleError, match=r"a.mp3: the catalogue names two files so, music/one/a.mp3 and music/two"):
        entries(["music/one/list.txt", "music/two/list.txt"])


def test_shards_divide_a_catalogue_evenly_and_for_ever(music: Path) -> None:
    (music / "list.txt").write_text("\n".join(f"{number}.mp3" for number in range(3000)))
    parts = [entries(["music/list.txt"], (number, 3)) for number in (1, 2, 3)]
    assert sorted(name for part in parts for name in part) == sorted(entries(["music/list.txt"]))
    assert all(900 < len(part) < 1100 for part in parts)
    assert [shard_of(f"{number}.mp3", 3) for number in range(5)] == [3, 3, 1, 3, 1], "as in every version of tagscale"


def test_a_prefix_names_the_audio_below_it(tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    for key in ("songs/a.mp3", "songs/album/b.FLAC", "songs/cover.jpg", "songs/.trash/c.mp3", "one"):
        files.pipe_file(f"/catalogue/{key}", b"12345")
    listing = entries(["memory://catalogue/songs"])
    assert list(listing) == ["memory:///catalogue/songs/a.mp3", "memory:///catalogue/songs/album/b.FLAC"]
    assert all(entry.state.startswith("5 ") for entry in listing.values())
    assert list(entries(["memory://catalogue/one"])) == ["memory://catalogue/one"]
    (nothing,) = entries(["memory://catalogue/elsewhere"]).values()
    assert nothing.reason.startswith("no audio files in this place")


def test_a_file_system_may_have_names_that_are_no_utf_8(music: Path) -> None:
    (music / os.fsdecode(b"caf\xe9.wav")).touch()
    ((name, entry),) = entries([f"file://{music}/caf\udce9.wav"]).items()
    assert name in entries([f"file://{music}"])
    assert (name, entry.place) == (f"file://{music}/caf\\xe9.wav", f"file://{music}/caf\udce9.wav")


def test_an_address_that_cannot_be_had_has_the_servers_reason() -> None:
    pytest.importorskip("aiohttp", reason="needs fsspec's HTTP")

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(int(self.path[1:4]))

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        addresses = [f"{root}/404.mp3", f"{root}/403.mp3", "http://127.0.0.1:1/song.mp3"]
        jobs = [Job(entry) for entry in entries(addresses).values()]
        reasons = {job.entry.name: outcome.reason for job, outcome in read_all(jobs, 60, 1)}
        server.shutdown()
    missing, forbidden, nobody = (reasons[address] for address in addresses)
    assert missing == "no such object"
    assert forbidden.startswith("could not be read (403, message='Forbidden'")
    assert nobody.startswith("could not be read (Cannot connect to host 127.0.0.1:1")
