"""The stage brings a small dataset from a server on this machine, and goes on where one file fails."""

import hashlib
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from loopback import Loopback, serving
from tagscale.fetch.download import Patience
from tagscale.fetch.published import PUBLISHED, Archive, Dataset, File
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.lock import exclusive
from tagscale.stages import fetch

QUICK = Patience(connect=20, stall=20, tries=2, pause=0.01)
TABLES = {"annotations_final.csv": b"clip_id\tguitar\r\n" * 900, "clip_info_final.csv": b"clip_id\tartist\r\n" * 700}
CLIPS = {f"{folder}/clip.mp3": folder.encode() * 4000 for folder in "0cf"}


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def file_of(name: str, content: bytes) -> File:
    return File(name, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """In place of what is published: the same names with other content, and a second variant."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    whole, small = zipped(CLIPS), zipped({f"small/{name}": content for name, content in CLIPS.items()})
    third = len(whole) // 3
    cut = {"mp3.zip.001": whole[:third], "mp3.zip.002": whole[third : 2 * third], "mp3.zip.003": whole[2 * third :]}
    parts = tuple(file_of(name, content) for name, content in cut.items())
    audio = {
        "all": Archive(parts, "mp3", "", 20_000, 10**5),
        "small": Archive((file_of("small.zip", small),), "small", "small", 20_000, 10**5),
    }
    tables = tuple(file_of(name, content) for name, content in TABLES.items())
    files = TABLES | cut | {"small.zip": small}
    with serving({f"/mtt/{name}": content for name, content in files.items()}) as running:
        kept = PUBLISHED["mtt"]
        dataset = Dataset(kept.facts, f"{running.address}/mtt/", tables, audio, "mtt")
        monkeypatch.setitem(PUBLISHED, "mtt", dataset)
        yield running


def bring(root: Path, name: str = "mtt", **options: Any) -> str:
    """Run the stage; returns what it printed."""
    out = io.StringIO()
    console = Console(file=out, width=200, soft_wrap=True, highlight=False)
    fetch.run(name, root=root, patience=QUICK, console=console, **options)
    return out.getvalue()


def names(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and path.name[0] != "."}


def asked(server: Loopback) -> list[str]:
    return [path.removeprefix("/mtt/") for path, _ in server.asked]


def test_annotations_and_audio_arrive(server: Loopback, tmp_path: Path) -> None:
    root = tmp_path / "new" / "mtt"
    out = bring(root)
    assert names(root) == {*TABLES, *(f"mp3/{clip}" for clip in CLIPS)}
    for name, content in TABLES.items():
        assert (root / name).read_bytes() == content
    for name, content in CLIPS.items():
        assert (root / "mp3" / name).read_bytes() == content
    for text in ("tagscale preset mtt", f"root: {root}", "CC BY-NC-SA 3.0", "Please cite: E. Law", "ISMIR 2009"):
        assert text in out


def test_nothing_is_brought_twice(server: Loopback, tmp_path: Path) -> None:
    bring(tmp_path)
    server.asked.clear()
    out = bring(tmp_path)
    assert not server.asked
    assert "annotations_final.csv exists, sha256" in out
    assert "mp3 exists, unpacked" in out


def test_the_default_folder_needs_no_setting(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fetch.run("mtt", only="annotations", patience=QUICK, console=Console(file=(out := io.StringIO())))
    assert names(tmp_path / "data" / "mtt") == set(TABLES)
    assert "root:" not in out.getvalue()


def test_archives_are_kept_where_wanted(server: Loopback, tmp_path: Path) -> None:
    bring(tmp_path, only="audio", keep_archives=True)
    assert {"mp3.zip.001", "mp3.zip.002", "mp3.zip.003"} <= names(tmp_path)
    shutil.rmtree(tmp_path / "mp3")
    server.asked.clear()
    out = bring(tmp_path, only="audio", keep_archives=True)
    assert not server.asked
    assert "mp3.zip.002 exists, sha256" in out
    assert (tmp_path / "mp3" / "c" / "clip.mp3").read_bytes() == CLIPS["c/clip.mp3"]


def test_only_one_kind_and_another_variant(server: Loopback, tmp_path: Path) -> None:
    bring(tmp_path, only="annotations")
    assert names(tmp_path) == set(TABLES)
    out = bring(tmp_path, only="audio", variant="small")
    assert asked(server) == [*TABLES, "small.zip"]
    assert "variant: small" in out
    assert names(tmp_path) == {*TABLES, *(f"small/{clip}" for clip in CLIPS)}


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_mirror_takes_the_place_of_the_address(server: Loopback, tmp_path: Path, ending: str) -> None:
    with serving({path.replace("/mtt/", "/deep/mirror/"): body for path, body in server.files.items()}) as mirror:
        bring(tmp_path, mirror=f"{mirror.address}/deep/mirror{ending}")
        assert len(mirror.asked) == 5
    assert not server.asked


@pytest.mark.parametrize("fault", ["404", "wrong-byte"])
def test_the_rest_goes_on_where_one_file_fails(server: Loopback, tmp_path: Path, fault: str) -> None:
    server.script = ["", "", "", fault]  # mp3.zip.002
    with pytest.raises(TagscaleError, match=r"mp3\.zip\.002(.|\n)*1 of 3 failed; what came is in"):
        bring(tmp_path)
    assert names(tmp_path) == {*TABLES, "mp3.zip.001", "mp3.zip.003"}
    server.asked.clear()
    bring(tmp_path)
    assert asked(server) == ["mp3.zip.002"]
    assert names(tmp_path) == {*TABLES, *(f"mp3/{clip}" for clip in CLIPS)}


def test_several_failures_are_all_told(server: Loopback, tmp_path: Path) -> None:
    server.script = ["404", "", "404", "403"]
    with pytest.raises(TagscaleError) as raised:
        bring(tmp_path)
    message = str(raised.value)
    for text in ("annotations_final.csv: HTTP 404", "mp3.zip.001: HTTP 404", "mp3.zip.002: HTTP 403", "2 of 3 failed"):
        assert text in message
    assert names(tmp_path) == {"clip_info_final.csv", "mp3.zip.003"}


def test_a_folder_that_is_taken_is_found_before_the_download(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "mp3").mkdir()
    with pytest.raises(TagscaleError, match=r"mp3: not unpacked by `tagscale fetch`(.|\n)*1 of 3 failed"):
        bring(tmp_path)
    assert asked(server) == list(TABLES)


def test_too_little_room_is_found_before_the_download(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip_info_final.csv").write_bytes(TABLES["clip_info_final.csv"])  # needs no room any more
    size = sum(len(body) for path, body in server.files.items() if not path.endswith(("small.zip", "info_final.csv")))
    free = SimpleNamespace(free=size + 20_000 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(
        TagscaleError,
        match=rf"\({size:,} to download, 20,000 to unpack\) needs {size + 20_000:,} bytes, {free.free:,} are",
    ):
        bring(tmp_path)
    assert not server.asked
    free.free += 100_000
    bring(tmp_path)


def test_a_folder_that_cannot_be_written(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(TagscaleError, match="taken: File exists"):
        bring(tmp_path / "taken")
    with pytest.raises(TagscaleError, match="Not a directory"):
        bring(tmp_path / "taken" / "mtt")


def test_two_processes_do_not_write_the_same_half(server: Loopback, tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / ".fetch.lock", ""),
        pytest.raises(TagscaleError, match="another `tagscale fetch` is at work"),
    ):
        bring(tmp_path)
    assert not server.asked


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "mt"}, "did you mean `mtt`?"),
        ({"name": "jamendo"}, r"known: mtt, fma\. docs/datasets\.md"),
        ({"name": "fma", "variant": "smal"}, "--variant: fma has no `smal`; did you mean `small`?"),
        ({"only": "anotations"}, "--only: found `anotations`; did you mean `annotations`?"),
        ({"mirror": "ftp://127.0.0.1/"}, "No connection adapters"),
        ({"mirror": "127.0.0.1/a"}, "No scheme supplied"),
    ],
)
def test_wrong_options(server: Loopback, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        bring(tmp_path, **options)
    assert not names(tmp_path)


def test_a_hostile_archive_of_the_right_digest_is_refused(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = zipped(CLIPS | {"../../evil.mp3": b"evil"})
    archive = Archive((file_of("evil.zip", evil),), "mp3", "", 0, 10**6)
    server.files["/mtt/evil.zip"] = evil
    monkeypatch.setitem(PUBLISHED["mtt"].audio, "evil", archive)
    root = tmp_path / "a" / "b"
    with pytest.raises(TagscaleError, match=r"evil\.zip: member '\.\./\.\./evil\.mp3'"):
        bring(root, variant="evil", only="audio")
    assert names(tmp_path) == {"a/b/evil.zip"}
