"""Downloads from a real server on this machine that truncates, ignores ranges, lies, stalls and dies."""

import errno
import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from loopback import Loopback, serving
from tagscale.fetch import download as module
from tagscale.fetch.download import Patience, download
from tagscale.fetch.part import Part
from tagscale.fetch.published import PUBLISHED, Archive, File
from tagscale.runtime.disk import FULL
from tagscale.runtime.errors import TagscaleError

CONTENT = random.Random(1).randbytes(300_000)
OTHER = random.Random(2).randbytes(300_000)
QUICK = Patience(connect=20, stall=20, tries=3, pause=0.01)
STALLS = Patience(connect=20, stall=0.3, tries=3, pause=0.01)


def file_of(content: bytes, sized: bool = True, algorithm: str = "sha256") -> File:
    digest = hashlib.new(algorithm, content).hexdigest()
    return File("a.zip", f"{algorithm}:{digest}", len(content) if sized else None)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving({"/a.zip": CONTENT}) as running:
        yield running


def bring(server: Loopback, folder: Path, file: File | None = None, patience: Patience = QUICK) -> bool:
    with requests.Session() as session:
        return download(
            f"{server.address}/a.zip", folder / "a.zip", file or file_of(CONTENT), session=session, patience=patience
        )


def arrived(folder: Path) -> bool:
    """The right file is there, and nothing else."""
    return [path.name for path in folder.iterdir()] == ["a.zip"] and (folder / "a.zip").read_bytes() == CONTENT


def interrupted(server: Loopback, folder: Path, size: int = 98_304) -> None:
    """Leave a half of `size` bytes, as a first process would that gave up."""
    server.always = f"truncate:{size}"
    server.script = [f"truncate:{size}"] + ["500"] * 10
    with pytest.raises(TagscaleError, match="500"):
        bring(server, folder)
    assert Part(folder / "a.zip").size == size
    server.always, server.script = "", []
    server.asked.clear()


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("algorithm", ["sha256", "sha1"])
def test_a_file_comes_whole_and_only_once(server: Loopback, tmp_path: Path, sized: bool, algorithm: str) -> None:
    file = file_of(CONTENT, sized, algorithm)
    assert bring(server, tmp_path, file)
    assert arrived(tmp_path)
    assert not bring(server, tmp_path, file)
    assert len(server.asked) == 1


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("fault", ["truncate:81920", "die:140000", "stall:140000"])
def test_an_answer_that_ends_early_is_continued(server: Loopback, tmp_path: Path, fault: str, sized: bool) -> None:
    server.script = [fault, fault]
    assert bring(server, tmp_path, file_of(CONTENT, sized), STALLS if fault.startswith("stall") else QUICK)
    assert arrived(tmp_path)
    first, second, third = server.asked
    assert "Range" not in first[1]
    starts = [int(headers["Range"].removeprefix("bytes=").removesuffix("-")) for _, headers in (second, third)]
    assert 0 < starts[0] < starts[1] < len(CONTENT)
    assert second[1]["If-Range"] == '"first"'


def test_a_server_that_ignores_ranges_is_read_from_the_beginning(server: Loopback, tmp_path: Path) -> None:
    server.script = ["truncate:81920", "whole"]
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.ranges() == [None, "bytes=81920-"]


def test_a_server_that_ignores_ranges_and_truncates_is_given_up(server: Loopback, tmp_path: Path) -> None:
    """Every answer brings bytes, but never more than there were."""
    server.script = ["truncate:81920"] * 20
    server.ignores_ranges = True
    with pytest.raises(TagscaleError, match=r"3 tries in a row.*81,920 of 300,000 bytes.*run the same command"):
        bring(server, tmp_path)
    assert len(server.asked) == 4
    assert Part(tmp_path / "a.zip").size == 81_920


def test_a_refused_range_begins_again(server: Loopback, tmp_path: Path) -> None:
    server.script = ["truncate:81920", "416"]
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.ranges() == [None, "bytes=81920-", None]


def test_a_complete_half_needs_no_request(server: Loopback, tmp_path: Path) -> None:
    """The process ended between the last byte and the rename."""
    interrupted(server, tmp_path)
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert not server.asked


def test_a_complete_half_of_a_file_whose_size_nobody_knows(server: Loopback, tmp_path: Path) -> None:
    note = {"address": f"{server.address}/a.zip", "etag": None, "last_modified": None, "size": None}
    (tmp_path / "a.zip.part").write_bytes(CONTENT)
    (tmp_path / "a.zip.part.json").write_text(json.dumps(note))
    assert bring(server, tmp_path, file_of(CONTENT, sized=False))
    assert arrived(tmp_path)
    assert server.ranges() == ["bytes=300000-"]  # answered with 416 and the size


def test_another_range_than_asked_for_is_not_taken(server: Loopback, tmp_path: Path) -> None:
    server.script = ["truncate:98304", "shifted"]
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.ranges() == [None, "bytes=98304-", None]


def test_a_wrong_byte_is_found_and_the_file_gets_no_name(server: Loopback, tmp_path: Path) -> None:
    server.script = ["wrong-byte"]
    with pytest.raises(TagscaleError) as raised:
        bring(server, tmp_path)
    message = str(raised.value)
    wrong = CONTENT[:-3] + bytes([CONTENT[-3] ^ 1]) + CONTENT[-2:]
    for text in (server.address, hashlib.sha256(wrong).hexdigest(), hashlib.sha256(CONTENT).hexdigest(), "--mirror"):
        assert text in message
    assert not list(tmp_path.iterdir())
    assert bring(server, tmp_path)


def test_a_wrong_old_half_is_thrown_away_once(server: Loopback, tmp_path: Path) -> None:
    interrupted(server, tmp_path)
    (tmp_path / "a.zip.part").write_bytes(OTHER[:98_304])
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.ranges() == ["bytes=98304-", None]


def test_a_changed_file_is_not_glued_to_an_old_half(server: Loopback, tmp_path: Path) -> None:
    server.files["/a.zip"] = OTHER
    server.script = ["truncate:98304", "500", "500", "500", "500"]
    with pytest.raises(TagscaleError):
        bring(server, tmp_path)
    server.files["/a.zip"], server.etag, server.script = CONTENT, '"second"', []
    server.asked.clear()
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.asked[0][1]["If-Range"] == '"first"'
    assert len(server.asked) == 1  # answered with the whole new file, not with its second half


def test_a_file_that_changes_unnoticed_between_two_tries_begins_again(server: Loopback, tmp_path: Path) -> None:
    """Same size, and the server has neither ETag nor date: only the digest can tell."""
    server.etag = server.date = ""
    server.old, server.script = OTHER, ["old:98304"]
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.ranges() == [None, "bytes=98304-", None]


@pytest.mark.parametrize(("kind", "expected"), [("weak", "Sat, 01 Jan 2000 00:00:00 GMT"), ("no-state", None)])
def test_what_a_state_is_known_by(server: Loopback, tmp_path: Path, kind: str, expected: str | None) -> None:
    server.etag, server.date = ("W/x", server.date) if kind == "weak" else ("", "")
    server.script = ["truncate:98304"]
    if kind == "no-state":
        note = {"address": f"{server.address}/a.zip", "etag": None, "last_modified": None, "size": len(CONTENT)}
        (tmp_path / "a.zip.part").write_bytes(CONTENT[:100])
        (tmp_path / "a.zip.part.json").write_text(json.dumps(note))
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert next(headers.get("If-Range") for _, headers in server.asked if "Range" in headers) == expected


def test_another_server_continues_what_the_first_began(server: Loopback, tmp_path: Path) -> None:
    interrupted(server, tmp_path)
    with serving({"/a.zip": CONTENT}) as other:
        other.etag = '"elsewhere"'
        assert bring(other, tmp_path)
        assert other.ranges() == ["bytes=98304-"]
        assert "If-Range" not in other.asked[0][1]
    assert arrived(tmp_path)


@pytest.mark.parametrize("note", ["", "{", "[]", '{"address": 1}', '{"address": "a\\nb", "etag": null, "size": "x"}'])
def test_bytes_without_a_sound_note_are_not_continued(server: Loopback, tmp_path: Path, note: str) -> None:
    (tmp_path / "a.zip.part").write_bytes(OTHER[:100])
    (tmp_path / "a.zip.part.json").write_text(note)
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.ranges() == [None]


def test_a_server_that_is_busy_is_asked_again(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=pauses.append))
    server.script = ["500", "503:7"]
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert pauses == [0.02, 7.0]  # doubled; as long as the server asks


def test_the_end_after_some_tries_keeps_the_half(server: Loopback, tmp_path: Path) -> None:
    server.script = ["truncate:98304"]
    server.always = "503"
    with pytest.raises(TagscaleError, match=r"503.*3 tries in a row.*a\.zip\.part keeps 98,304 of 300,000 bytes"):
        bring(server, tmp_path)
    assert len(server.asked) == 1 + 3
    server.always = ""
    assert bring(server, tmp_path)
    assert server.ranges()[-1] == "bytes=98304-"


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with serving({}) as gone:
        pass
    with pytest.raises(TagscaleError, match=r"127\.0\.0\.1.*the connection failed.*3 tries in a row"):
        bring(gone, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_stall_is_named(server: Loopback, tmp_path: Path) -> None:
    server.always = "stall:0"
    with pytest.raises(TagscaleError, match=r"no byte for 0\.3 s"):
        bring(server, tmp_path, patience=STALLS)


@pytest.mark.parametrize("status", ["403", "404", "410"])
def test_a_file_that_is_not_there_is_asked_for_once(server: Loopback, tmp_path: Path, status: str) -> None:
    server.always = status
    with pytest.raises(TagscaleError, match=rf"a\.zip: HTTP {status}.*--mirror"):
        bring(server, tmp_path)
    assert len(server.asked) == 1


def test_redirects_are_followed(server: Loopback, tmp_path: Path) -> None:
    server.moved = {"/a.zip": "/elsewhere"}
    server.files["/elsewhere"] = server.files.pop("/a.zip")
    assert bring(server, tmp_path)
    assert arrived(tmp_path)


def test_redirects_without_end_are_not(server: Loopback, tmp_path: Path) -> None:
    server.moved = {"/a.zip": "/a.zip"}
    with pytest.raises(TagscaleError, match="redirects"):
        bring(server, tmp_path)


def test_another_length_is_refused_before_anything_is_lost(server: Loopback, tmp_path: Path) -> None:
    interrupted(server, tmp_path)
    server.etag = '"second"'
    server.script = ["length:10"]
    with pytest.raises(TagscaleError, match=r"announces 300,010 bytes.*expected 300,000"):
        bring(server, tmp_path)
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:98_304]


def test_a_length_that_is_a_lie(server: Loopback, tmp_path: Path) -> None:
    """The size is not known beforehand, and what the server announces never comes."""
    server.always = "length:10"
    with pytest.raises(TagscaleError, match=r"Content-Range.*3 tries in a row"):
        bring(server, tmp_path, file_of(CONTENT, sized=False))
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("sized", [True, False])
def test_no_length_at_all(server: Loopback, tmp_path: Path, sized: bool) -> None:
    server.script = ["no-length"]
    assert bring(server, tmp_path, file_of(CONTENT, sized))
    assert arrived(tmp_path)


def test_no_length_and_an_early_end(server: Loopback, tmp_path: Path) -> None:
    server.script = ["no-length:98304"]
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.ranges() == [None, "bytes=98304-"]


def test_more_than_the_file_has_is_not_written_on_and_on(server: Loopback, tmp_path: Path) -> None:
    server.always = "endless"
    with pytest.raises(TagscaleError, match="more than the 300,000 bytes"):
        bring(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_changed_on_the_way(server: Loopback, tmp_path: Path) -> None:
    server.always = "gzip"
    with pytest.raises(TagscaleError, match="Content-Encoding gzip"):
        bring(server, tmp_path)


def test_a_user_s_own_file_is_left_alone(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(OTHER)
    with pytest.raises(TagscaleError, match=f"{hashlib.sha256(OTHER).hexdigest()}.*left as it is"):
        bring(server, tmp_path)
    (tmp_path / "a.zip").write_bytes(b"12")
    with pytest.raises(TagscaleError, match="found 2 bytes, expected 300,000"):
        bring(server, tmp_path)
    assert (tmp_path / "a.zip").read_bytes() == b"12"
    assert not server.asked


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    with serving({"/a.zip": CONTENT}) as server, requests.Session() as session:
        server.always = "404"
        address = f"http://me:secret@127.0.0.1:{server.server_address[1]}/a.zip?key=secret"
        with pytest.raises(TagscaleError) as raised:
            download(address, tmp_path / "a.zip", file_of(CONTENT), session=session, patience=QUICK)
    assert "secret" not in str(raised.value)


def test_proxies_of_the_environment_are_used(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["http://music.example/a.zip"] = CONTENT  # what a proxy is asked for
    monkeypatch.setenv("http_proxy", server.address)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with requests.Session() as session:
        assert download(
            "http://music.example/a.zip", tmp_path / "a.zip", file_of(CONTENT), session=session, patience=QUICK
        )
    assert arrived(tmp_path)


def test_too_little_room_is_found_before_writing(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=299_999))
    with pytest.raises(TagscaleError, match=r"the rest of a\.zip needs 300,000 bytes, 299,999 are free"):
        bring(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_keeps_what_is_there(server: Loopback, tmp_path: Path) -> None:
    """A file that may not grow: the write itself fails, in the middle of a block."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, before[1]))
    try:
        message = rf"a\.zip\.part could not be written \({FULL[errno.EFBIG]}.*kept.*same command again"
        with pytest.raises(TagscaleError, match=message):
            bring(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "a.zip.part").read_bytes() == CONTENT[:100_001]
    assert bring(server, tmp_path)
    assert arrived(tmp_path)
    assert server.ranges()[-1] == "bytes=100001-"


def test_a_full_disk(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on a file system of 128 kB, where one may be mounted; another process took the room meanwhile."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a small file system")
    try:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
        with pytest.raises(TagscaleError, match=rf"{FULL[errno.ENOSPC]}.*kept.*same command again"):
            bring(server, small)
        half = (small / "a.zip.part").read_bytes()
        assert half
        assert CONTENT.startswith(half)
        subprocess.run(["mount", "-o", "remount,size=1m", small], check=True)
        assert bring(server, small)
        assert arrived(small)
        assert server.ranges()[-1] == f"bytes={len(half)}-"
    finally:
        subprocess.run(["umount", small], check=True)


PROCESS = """
import sys, requests
from pathlib import Path
from tagscale.fetch.download import Patience, download
from tagscale.fetch.published import File
address, target, digest, size = sys.argv[1:]
with requests.Session() as session:
    download(address, Path(target), File("a.zip", digest, int(size)), session=session, patience=Patience())
"""


def test_a_killed_process_is_continued_by_the_next(server: Loopback, tmp_path: Path) -> None:
    content = CONTENT * 20
    server.files["/a.zip"] = content
    server.script = ["slow:65536"]
    file = file_of(content)
    arguments = [f"{server.address}/a.zip", str(tmp_path / "a.zip"), file.digest, str(len(content))]
    process = subprocess.Popen([sys.executable, "-c", PROCESS, *arguments])
    deadline = time.monotonic() + 30
    part = tmp_path / "a.zip.part"
    while not part.exists() or part.stat().st_size < 500_000:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    size = part.stat().st_size
    assert size < len(content)
    assert not (tmp_path / "a.zip").exists()
    subprocess.run([sys.executable, "-c", PROCESS, *arguments], check=True)
    assert server.ranges() == [None, f"bytes={size}-"]
    assert (tmp_path / "a.zip").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_what_is_published_is_well_formed() -> None:
    lengths = {"sha256": 64, "sha1": 40}
    for dataset in PUBLISHED.values():
        assert dataset.address.startswith("https://")
        assert dataset.address.endswith("/")
        items = [*dataset.annotations, *dataset.audio.values()]
        files = [file for item in items for file in (item.parts if isinstance(item, Archive) else [item])]
        assert len({file.name for file in files}) == len({file.digest for file in files}) == len(files)
        for file in files:
            algorithm, _, digest = file.digest.partition(":")
            assert len(bytes.fromhex(digest)) * 2 == lengths[algorithm]
            assert file.expected > 0
        for archive in dataset.audio.values():
            assert sum(part.expected for part in archive.parts) <= archive.most


def test_sizes_and_digests_are_those_of_the_published_annotations() -> None:
    folder = Path(os.environ.get("TAGSCALE_SHARED_DATA", Path(__file__).parents[2] / ".." / "shared" / "data")) / "mtt"
    if not folder.is_dir():
        pytest.skip("MagnaTagATune's annotations are not on this machine")
    for file in PUBLISHED["mtt"].annotations:
        assert isinstance(file, File)
        content = gzip.decompress((folder / f"{file.name}.gz").read_bytes())
        assert file.size == len(content)
        assert file.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
