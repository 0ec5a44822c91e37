"""Results are replaced whole: by files and folders, over links, beside killed processes and beside living ones."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tagscale.runtime import files
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import TEMPORARY, own, replacing, scratch, settle
from tagscale.runtime.journal import Journal

HOLD = (
    "import sys; from pathlib import Path; from tagscale.runtime.files import replacing\n"
    "with replacing(Path(sys.argv[1])) as fresh: fresh.mkdir(); print('held', flush=True); sys.stdin.read()"
)


def write(target: Path, kind: str, content: str) -> None:
    if kind == "folder":
        target.mkdir()
        target = target / "file"
    target.write_text(content)


def read(target: Path) -> str:
    return (target / "file" if target.is_dir() else target).read_text()


@pytest.fixture(params=["exchanged", "in two steps"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the system call that exchanges two paths, and on a file system without it."""
    if request.param == "in two steps":
        monkeypatch.setattr(files, "exchange", lambda one, other: False)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *((old, new) for old in ("nothing", "file", "link to nothing") for new in ("file", "folder")),
        ("folder", "folder"),
    ],
)
def test_the_new_takes_the_place_of_the_old(way: None, tmp_path: Path, old: str, new: str) -> None:
    target = tmp_path / "result"
    if old == "link to nothing":
        target.symlink_to("nowhere")
    elif old != "nothing":
        write(target, old, "old")
    with replacing(target) as fresh:
        write(fresh, new, "new")
    assert read(target) == "new"
    assert target.is_dir() == (new == "folder")
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("target", ["result", "link", "result/.."])
def test_no_file_takes_the_place_of_a_folder(way: None, tmp_path: Path, target: str) -> None:
    write(tmp_path / "result", "folder", "old")
    (tmp_path / "link").symlink_to("result")
    with pytest.raises(TagscaleError, match="this is a folder"), replacing(tmp_path / target) as fresh:
        write(fresh, "file", "new")
    assert read(tmp_path / "result") == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "result"]


def test_an_error_changes_nothing(way: None, tmp_path: Path) -> None:
    write(tmp_path / "result", "folder", "old")

    def interrupted() -> None:
        with replacing(tmp_path / "result") as fresh:
            write(fresh, "folder", "new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert read(tmp_path / "result") == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "result"]


def test_there_is_no_moment_without_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is exchanged by one system call: never is it renamed away first."""
    write(tmp_path / "result", "folder", "old")
    monkeypatch.setattr(os, "replace", lambda *paths: pytest.fail(f"{paths}"))
    with replacing(tmp_path / "result") as fresh:
        write(fresh, "folder", "new")
    assert read(tmp_path / "result") == "new"


@pytest.mark.parametrize("moment", ["before the renames", "between them", "with the new one lost"])
def test_what_a_killed_process_left_is_put_right(tmp_path: Path, moment: str) -> None:
    target, left = tmp_path / "result", tmp_path / f".result.abcdefgh{TEMPORARY}"
    left.mkdir()
    if moment == "before the renames":
        write(target, "folder", "old")
        write(left / "result", "folder", "half")
    else:
        write(left / files.OLD, "folder", "old")
    if moment == "between them":
        write(left / "result", "folder", "new")
    settle(target)
    assert read(target) == ("new" if moment == "between them" else "old")
    assert list(tmp_path.iterdir()) == [target]


def test_folders_of_living_processes_stay_and_those_of_killed_ones_go(tmp_path: Path) -> None:
    target = tmp_path / "result"
    with subprocess.Popen([sys.executable, "-c", HOLD, target], stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with replacing(target) as fresh:
            write(fresh, "folder", "ours")
        (held,) = tmp_path.glob(f".result.*{TEMPORARY}")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert held.is_dir()
    (tmp_path / ".result.versions").mkdir()  # of somebody else
    with replacing(target) as fresh:
        write(fresh, "folder", "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".result.versions", "result"]


def test_files_of_a_process_go_with_it_and_those_of_a_killed_one_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f".work.killed{TEMPORARY}" / "uploads").mkdir(parents=True)
    with scratch("work") as one, scratch("work") as other:
        assert sorted(tmp_path.iterdir()) == sorted([one, other])
        (one / "file").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_link_into_a_cache_is_replaced_and_a_linked_folder_is_followed(tmp_path: Path) -> None:
    """As DVC links outputs, and as users link data/store to a larger disk."""
    (tmp_path / "cache").write_text("cached")
    (tmp_path / "result").symlink_to("cache")
    with replacing(tmp_path / "result") as fresh:
        fresh.write_text("new")
    assert (tmp_path / "cache").read_text() == "cached"
    assert not (tmp_path / "result").is_symlink()
    write(tmp_path / "elsewhere", "folder", "old")
    (tmp_path / "linked").symlink_to("elsewhere")
    with replacing(tmp_path / "linked") as fresh:
        write(fresh, "folder", "new")
    assert (tmp_path / "linked").is_symlink()
    assert read(tmp_path / "elsewhere") == "new"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_journal_never_writes_through_a_link(tmp_path: Path, link: object) -> None:
    cached, path = tmp_path / "cached", tmp_path / "journal.jsonl"
    cached.write_text('{"a": 1}\n{"a": 2}\n')
    cached.chmod(0o444)
    link(cached, path)  # type: ignore[operator]
    journal = Journal(path)
    journal.append({"a": 3})
    journal.truncate(9)
    assert cached.read_text() == '{"a": 1}\n{"a": 2}\n'
    assert [line.record for line in journal.lines()] == [{"a": 1}]
    own(tmp_path / "nothing")


def test_content_is_on_the_disk_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of every file and folder, then the rename, then fsync of the folder around it."""
    events, fsync, replace = list[str](), os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        events.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def noted_replace(one: Path, other: Path) -> None:
        events.append("rename")
        replace(one, other)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    with replacing(tmp_path / "result") as fresh:
        write(fresh, "folder", "new")
    assert events == ["file", "result", "rename", tmp_path.name]
    events.clear()
    with replacing(tmp_path / "quick", durable=False) as fresh:
        write(fresh, "file", "new")
    assert events == ["rename"]
