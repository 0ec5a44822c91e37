"""Zip files, whole and cut, are unpacked as `unzip` would, or refused before anything is written."""

import errno
import hashlib
import io
import os
import random
import re
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tagscale.fetch import archives, members
from tagscale.fetch.archives import Joined, is_unpacked, unpack
from tagscale.fetch.published import Archive, File
from tagscale.runtime.disk import FULL
from tagscale.runtime.errors import TagscaleError

MEMBERS = {f"{folder}/clip {index}.mp3": random.Random(index).randbytes(9000) for index, folder in enumerate("00fa")}
MEMBERS |= {"0/empty.mp3": b"", "f/deep/er/é.csv": b"tag\n" * 5000}


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def put(root: Path, content: bytes, parts: int = 1, inner: str = "", most: int = 10**6) -> Archive:
    """Write the archive's parts to `root`, as a download leaves them."""
    step = -(-len(content) // parts)
    files = []
    for index in range(parts):
        part = content[index * step : (index + 1) * step]
        files.append(File(f"mp3.zip.{index + 1:03}", f"sha256:{hashlib.sha256(part).hexdigest()}", len(part)))
        (root / files[-1].name).write_bytes(part)
    return Archive(tuple(files), folder=inner or "mp3", inner=inner, unpacked=50_000, most=most)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but tagscale's note."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != archives.NOTE]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def only_parts(root: Path) -> bool:
    return all(path.name.startswith("mp3.zip.") for path in root.iterdir())


@pytest.mark.parametrize("parts", [1, 2, 3, 7])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_parts_are_unpacked_as_one(tmp_path: Path, parts: int, compression: int) -> None:
    archive = put(tmp_path, zipped(MEMBERS, compression), parts)
    assert not is_unpacked(archive, tmp_path)
    seen: list[tuple[str, int, int | None]] = []
    unpack(archive, tmp_path, lambda *report: seen.append(report))
    assert tree(tmp_path / "mp3") == MEMBERS
    assert is_unpacked(archive, tmp_path)
    total = sum(map(len, MEMBERS.values()))
    assert seen[-1] == ("unpack", total, total)
    assert not (tmp_path / "mp3.unpacking").exists()


@pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")
def test_the_same_as_cat_and_unzip(tmp_path: Path) -> None:
    archive = put(tmp_path, zipped(MEMBERS), 3)
    unpack(archive, tmp_path)
    joined = tmp_path / "joined.zip"
    joined.write_bytes(b"".join((tmp_path / part.name).read_bytes() for part in archive.parts))
    subprocess.run(["unzip", "-q", joined, "-d", tmp_path / "unzip"], check=True)
    assert tree(tmp_path / "mp3") == tree(tmp_path / "unzip")


def test_reading_parts_is_reading_the_joined_file(tmp_path: Path) -> None:
    """Random seeks and reads, against the bytes themselves; one part is empty."""
    draw = random.Random(5)
    content = draw.randbytes(5000)
    cuts = [0, 700, 700, 2500, 2501, 5000]
    paths = [tmp_path / str(index) for index in range(5)]
    for path, first, last in zip(paths, cuts[:-1], cuts[1:], strict=True):
        path.write_bytes(content[first:last])
    reference = io.BytesIO(content)
    with io.BufferedReader(Joined(paths), 64) as joined:
        for _ in range(500):
            if draw.random() < 0.5:
                whence = draw.choice([os.SEEK_SET, os.SEEK_END, os.SEEK_CUR])
                offset = {os.SEEK_SET: draw.randrange(5100), os.SEEK_END: -draw.randrange(5000), os.SEEK_CUR: 3}[whence]
                assert joined.seek(offset, whence) == reference.seek(offset, whence)
            size = draw.randrange(1000)
            assert joined.read(size) == reference.read(size)


def test_one_folder_of_the_archive_becomes_the_folder(tmp_path: Path) -> None:
    archive = put(tmp_path, zipped({f"fma_small/{name}": content for name, content in MEMBERS.items()}), 1, "fma_small")
    unpack(archive, tmp_path)
    assert tree(tmp_path / "fma_small") == MEMBERS


OUTSIDE = ["../evil", "0/../../evil", "/evil", "//evil", "0/./evil", "0//evil", "..", "C:evil", "c:/evil", "..\\evil"]


@pytest.mark.parametrize("name", [*OUTSIDE, "0\\evil", "0/ev\nil", "0/ev\x00il", archives.NOTE, "../evil/"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    """After good members, so that unpacking as one goes would have written something. Names are put in byte by byte."""
    root = tmp_path / "in" / "root"
    root.mkdir(parents=True)
    stand_in = "~" * len(name)
    content = zipped(MEMBERS | {stand_in: b""}).replace(stand_in.encode(), name.encode())
    archive = put(root, content)
    with pytest.raises(
        TagscaleError, match=rf"mp3\.zip\.001: member {re.escape(repr(name))}: .*nothing of it was unpacked"
    ):
        unpack(archive, root)
    assert only_parts(root)
    assert not list(tmp_path.rglob("*evil*"))


def with_mode(name: str, mode: int, content: bytes = b"/etc/passwd") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("0/good.mp3", b"good")
        member = zipfile.ZipInfo(name)
        member.create_system, member.external_attr = 3, mode << 16
        file.writestr(member, content)
        file.writestr(f"{name}/inside", b"through the link")
    return out.getvalue()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    archive = put(tmp_path, with_mode("0/link", kind | 0o777))
    with pytest.raises(TagscaleError, match="'0/link': a link or a device"):
        unpack(archive, tmp_path)
    assert only_parts(tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("names", "why"), [(["a", "b", "a"], "another member"), (["a/b", "a"], "file and a folder")])
def test_names_that_collide_are_refused(tmp_path: Path, names: list[str], why: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, name)
    archive = put(tmp_path, out.getvalue())
    with pytest.raises(TagscaleError, match=f"member 'a': .*{why}"):
        unpack(archive, tmp_path)
    assert only_parts(tmp_path)


def test_members_outside_the_expected_folder_are_refused(tmp_path: Path) -> None:
    archive = put(tmp_path, zipped({"fma_small/a": b"", "other/b": b""}), 1, "fma_small")
    with pytest.raises(TagscaleError, match="'other/b': outside fma_small/"):
        unpack(archive, tmp_path)
    archive = put(tmp_path, zipped({"fma_small": b"a file"}), 1, "fma_small")
    with pytest.raises(TagscaleError, match="'fma_small': outside fma_small/"):
        unpack(archive, tmp_path)


def test_encrypted_members_and_empty_archives_are_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a": b"a"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    with pytest.raises(TagscaleError, match="'a': encrypted"):
        unpack(put(tmp_path, bytes(content)), tmp_path)
    with pytest.raises(TagscaleError, match="no files in it"):
        unpack(put(tmp_path, zipped({})), tmp_path)


def test_members_that_would_take_much_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TagscaleError, match="'a': compressed by method 14, expected stored, deflated or bzip2"):
        unpack(put(tmp_path, zipped({"a": b"a"}, zipfile.ZIP_LZMA)), tmp_path)
    with pytest.raises(TagscaleError, match="30001 folders deep, expected at most 20"):
        unpack(put(tmp_path, zipped({"a/" * 30_000 + "a": b"a"})), tmp_path)
    monkeypatch.setattr(members, "MOST_MEMBERS", 2)
    with pytest.raises(TagscaleError, match="3 members, expected at most 2"):
        unpack(put(tmp_path, zipped(dict.fromkeys("abc", b""))), tmp_path)
    assert only_parts(tmp_path)


def test_an_archive_that_says_it_is_a_bomb_is_refused(tmp_path: Path) -> None:
    content = zipped({"bomb": bytes(2_000_000)})
    assert len(content) < 3000
    with pytest.raises(TagscaleError, match="2,000,000 bytes unpacked, expected at most 1,000,000"):
        unpack(put(tmp_path, content), tmp_path)
    assert only_parts(tmp_path)


@pytest.mark.parametrize("claimed", [100, 1_999_999, 2_000_001])
def test_an_archive_that_lies_about_its_size_is_found_out(tmp_path: Path, claimed: int) -> None:
    """The directory and the member's own header say `claimed`, the data are 2,000,000 bytes."""
    content = zipped({"bomb": bytes(2_000_000)}).replace(struct.pack("<I", 2_000_000), struct.pack("<I", claimed))
    with pytest.raises(TagscaleError, match="member 'bomb' is damaged"):
        unpack(put(tmp_path, content, most=10**7), tmp_path)
    assert only_parts(tmp_path)


def test_every_member_is_checked(tmp_path: Path) -> None:
    content = bytearray(zipped(MEMBERS, zipfile.ZIP_STORED))
    content[content.index(MEMBERS["a/clip 3.mp3"]) + 4000] ^= 1
    with pytest.raises(TagscaleError, match=r"member 'a/clip 3\.mp3' is damaged \(Bad CRC-32"):
        unpack(put(tmp_path, bytes(content), 3), tmp_path)
    assert only_parts(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "no zip", "empty", "parts in the wrong order"])
def test_what_is_no_zip_file(tmp_path: Path, damage: str) -> None:
    content = zipped(MEMBERS)
    archive = put(tmp_path, {"cut": content[:-30], "no zip": b"<html>", "empty": b""}.get(damage, content), 2)
    if damage.startswith("parts"):
        archive = Archive(archive.parts[::-1], archive.folder, "", archive.unpacked, archive.most)
    with pytest.raises(TagscaleError, match=r"mp3\.zip\.00\d: "):
        unpack(archive, tmp_path)
    assert only_parts(tmp_path)


def test_too_little_room_is_found_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = put(tmp_path, zipped(MEMBERS))
    needed = sum(len(content) + 4096 for content in MEMBERS.values())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(TagscaleError, match=rf"unpacking .*zip\.001 needs {needed:,} bytes, {needed - 1:,} are free"):
        unpack(archive, tmp_path)
    assert only_parts(tmp_path)


def test_a_disk_that_fills_up_leaves_nothing_half(tmp_path: Path) -> None:
    archive = put(tmp_path, zipped(MEMBERS))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(TagscaleError, match=rf"er/é\.csv could not be written \({FULL[errno.EFBIG]}.*kept"):
            unpack(archive, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert only_parts(tmp_path)
    unpack(archive, tmp_path)
    assert tree(tmp_path / "mp3") == MEMBERS


def test_a_folder_of_the_user_s_own_is_left_alone(tmp_path: Path) -> None:
    archive = put(tmp_path, zipped(MEMBERS))
    (tmp_path / "mp3").mkdir()
    (tmp_path / "mp3" / "mine").write_text("mine")
    for act in (unpack, is_unpacked):
        with pytest.raises(TagscaleError, match=r"mp3: .*[Mm]ove it away"):
            act(archive, tmp_path)
    assert tree(tmp_path / "mp3") == {"mine": b"mine"}


def test_what_was_changed_since_is_noticed(tmp_path: Path) -> None:
    archive = put(tmp_path, zipped(MEMBERS))
    unpack(archive, tmp_path)
    (tmp_path / "mp3" / ".DS_Store").write_text("a file manager's")
    assert is_unpacked(archive, tmp_path)
    (tmp_path / "mp3" / "0" / "clip 0.mp3").write_bytes(b"cut")
    with pytest.raises(TagscaleError, match=r"6 files with .* expected 6 with .*changed since"):
        is_unpacked(archive, tmp_path)
    other = put(tmp_path, zipped({"a": b"a"}))
    with pytest.raises(TagscaleError, match="unpacked from"):
        is_unpacked(other, tmp_path)


PROCESS = """
import sys, time
from pathlib import Path
from tagscale.fetch.archives import unpack
from tagscale.fetch.published import Archive, File
unpack(Archive((File("mp3.zip.001", "sha256:"),), "mp3", "", 0, 10**6), Path(sys.argv[1]), lambda *_: time.sleep(0.05))
"""


def test_a_killed_process_leaves_no_folder_and_the_next_begins_again(tmp_path: Path) -> None:
    archive = put(tmp_path, zipped({f"{index}.mp3": b"clip" for index in range(200)}))
    process = subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)])
    deadline = time.monotonic() + 30
    while len(list(tmp_path.glob("mp3.unpacking/*"))) < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not is_unpacked(archive, tmp_path)
    assert not (tmp_path / "mp3").exists()
    (tmp_path / "mp3.unpacking" / "left over").write_text("of the killed process")
    unpack(archive, tmp_path)
    assert len(tree(tmp_path / "mp3")) == 200
    assert not (tmp_path / "mp3.unpacking").exists()
