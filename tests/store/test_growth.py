"""Stores that are interrupted, grow, shrink, are cut into slices: always the content of one that was made in one go."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from seals import reseal
from tagscale.catalog.tables import catalog_of
from tagscale.decoding import batch
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import OLD, TEMPORARY
from tagscale.stages import preprocess
from tagscale.store.grow import partial_of, writing
from tagscale.store.merge import merge
from tagscale.store.previous import load_seen
from tagscale.store.read import Store
from user_folder import settings

SETTINGS = settings(preprocess={"shard_megabytes": 1})
SECONDS = 6.0  # five tracks a shard


def decoded_here(jobs: Iterable[batch.Job], workers: int | None) -> Iterator[tuple[batch.Job, batch.Outcome]]:
    return ((job, batch._attempt(job)) for job in jobs)


@pytest.fixture(autouse=True)
def without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding happens here: a process for it takes as long as a test. Those of decoding and preprocess start some."""
    monkeypatch.setattr(preprocess, "decode_all", decoded_here)


def write(folder: Path, numbers: list[int], changed: int = 0) -> None:
    """Tracks of noise, each its own; `changed` makes them others. The catalog lists them and one broken file."""
    (folder / "music").mkdir(exist_ok=True)
    for number in numbers:
        wave = np.random.default_rng([number, changed]).integers(-9999, 9999, int(16000 * SECONDS), dtype=np.int16)
        soundfile.write(folder / "music" / f"{number:03d}.wav", wave, 16000, subtype="PCM_16")
    (folder / "music" / "text.wav").write_text("no audio")
    listed(folder, [path.stem for path in (folder / "music").glob("*.wav")])


def listed(folder: Path, names: list[str]) -> None:
    tracks = pd.DataFrame({"track_id": names, "path": [f"{name}.wav" for name in names]})
    labels = pd.DataFrame({"tag": np.zeros(len(names))})
    tags = pd.DataFrame({"group": ["all"]}, index=["tag"])
    catalog_of("noise", tracks, labels, tags, None).save(folder / "catalog")


def run(folder: Path, store: str = "store", **options: object) -> Store:
    folders = {"root": folder / "music", "catalog": folder / "catalog", "store": folder / store}
    preprocess.run(SETTINGS, workers=1, **folders, **options)  # type: ignore[arg-type]
    return Store.open(folder / store)


def content(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.iterdir())}


def decoded(capsys: pytest.CaptureFixture[str]) -> tuple[int, int, int]:
    """Decoded, reused and rejected, as the stage's last line says."""
    line = next(line for line in capsys.readouterr().out.splitlines() if "decoded/s" in line)
    counts = line.partition("decoded/s): ")[2].split()
    return int(counts[0]), int(counts[2]), int(counts[4])


def same_audio(one: Store, other: Store) -> None:
    assert one.hash == other.hash
    assert sorted(one.track_ids) == sorted(other.track_ids)
    for track in one.track_ids:
        np.testing.assert_array_equal(
            one.read(track, 0, one.samples(track)), other.read(track, 0, other.samples(track))
        )


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_byte_identical(tmp_path: Path) -> None:
    write(tmp_path, list(range(60)))
    run(tmp_path, "whole")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    code = (
        "import sys; from pathlib import Path; from tagscale.stages import preprocess\n"
        "from user_folder import settings\n"
        "f = Path(sys.argv[1])\n"
        "if __name__ == '__main__':\n"
        "    preprocess.run(settings(preprocess={'shard_megabytes': 1}), root=f / 'music', catalog=f / 'catalog',"
        " store=f / 'store', workers=1)\n"
    )
    script = tmp_path / "alone.py"
    script.write_text(code)
    moments, kills = random.Random(0), 0
    journal = partial_of(tmp_path / "store") / "journal.jsonl"
    for _ in range(5):
        process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=environment, stdout=-3)
        before = journal.stat().st_size if journal.is_file() else 0
        while process.poll() is None and (not journal.is_file() or journal.stat().st_size <= before):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.05))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not journal.is_file():
            break
    assert kills >= 2
    run(tmp_path)
    assert content(tmp_path / "store") == content(tmp_path / "whole")
    assert not journal.parent.exists()


@pytest.mark.parametrize("damage", ["torn line", "lost samples", "wrong samples", "samples without a line", "none"])
def test_only_what_is_whole_is_continued(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, list(range(12)))
    run(tmp_path, "whole")
    stop_after(monkeypatch, 9)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    assert not (tmp_path / "store").exists()
    partial = partial_of(tmp_path / "store")
    journal, shard = partial / "journal.jsonl", partial / "shard-00001.bin"
    if damage == "torn line":
        journal.write_bytes(journal.read_bytes()[:-5])
    elif damage == "lost samples":
        os.truncate(shard, shard.stat().st_size - 2)
    elif damage == "wrong samples":
        held = bytearray(shard.read_bytes())
        held[1000] ^= 1
        shard.write_bytes(held)
    elif damage == "samples without a line":
        shard.write_bytes(shard.read_bytes() + b"more")
    capsys.readouterr()
    run(tmp_path)
    left = {"torn line": 8, "lost samples": 8, "wrong samples": 5}.get(damage, 9)
    assert f"resuming: {left} of 13" in capsys.readouterr().out
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def stop_after(monkeypatch: pytest.MonkeyPatch, tracks: int, error: type[BaseException] = KeyboardInterrupt) -> None:
    decode_all = decoded_here

    def interrupted(*arguments: object) -> object:
        for number, outcome in enumerate(decode_all(*arguments)):  # type: ignore[arg-type]
            if number == tracks:
                raise error
            yield outcome

    monkeypatch.setattr(preprocess, "decode_all", interrupted)


def test_work_for_another_plan_is_not_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, list(range(8)))
    stop_after(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    write(tmp_path, [8])
    run(tmp_path, "whole")
    run(tmp_path)
    assert content(tmp_path / "store") == content(tmp_path / "whole")


@pytest.mark.parametrize("seen", [True, False])
def test_only_new_and_changed_tracks_are_decoded(
    tmp_path: Path, seen: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocess, "RECENT_NS", 0)
    write(tmp_path, list(range(12)))
    run(tmp_path)
    assert decoded(capsys) == (12, 0, 1)
    first = content(tmp_path / "store")
    write(tmp_path, [3, 20, 21], changed=1)
    if not seen:
        (tmp_path / ".store-seen.parquet").unlink()
    (tmp_path / "store" / "shard-00000.bin").chmod(0o444)
    grown = run(tmp_path)
    assert decoded(capsys) == (3, 11, 1)
    for name in first:
        if name.startswith("shard"):
            assert (tmp_path / "store" / name).read_bytes() == first[name]
    same_audio(grown, run(tmp_path, "fresh"))
    capsys.readouterr()
    before = content(tmp_path / "store")
    run(tmp_path)
    assert decoded(capsys) == (0, 14, 1)
    assert content(tmp_path / "store") == before


def test_a_changed_file_whose_time_was_set_back_is_decoded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same size and the same time of modification, as after `cp -p`, or with a clock that was set back."""
    monkeypatch.setattr(preprocess, "RECENT_NS", 0)
    write(tmp_path, [0, 1])
    run(tmp_path)
    song = tmp_path / "music" / "000.wav"
    before = song.stat()
    write(tmp_path, [0], changed=1)
    os.utime(song, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (song.stat().st_size, song.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    capsys.readouterr()
    changed = run(tmp_path)
    assert decoded(capsys) == (1, 1, 1)
    same_audio(changed, run(tmp_path, "fresh"))


@pytest.mark.parametrize("seconds", [-1, 3600])
def test_a_file_that_may_change_unseen_is_hashed_again(tmp_path: Path, seconds: int) -> None:
    """Changed a second before it was hashed; or an hour after, by a clock that was set back since."""
    write(tmp_path, [0])
    later = time.time_ns() + seconds * 10**9
    os.utime(tmp_path / "music" / "000.wav", ns=(later, later))
    run(tmp_path)
    assert load_seen(tmp_path / "store") == {}


def test_a_rejected_file_that_was_mended_is_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [0, 1])
    run(tmp_path)
    shutil.copy(tmp_path / "music" / "000.wav", tmp_path / "music" / "text.wav")
    capsys.readouterr()
    assert "text" in run(tmp_path)
    assert decoded(capsys) == (1, 2, 0)


@pytest.mark.parametrize("file", ["store.json", "index.parquet", "sources.parquet", "rejected.csv"])
def test_a_damaged_store_is_made_again(tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, [0, 1])
    run(tmp_path)
    before, damaged = content(tmp_path / "store"), tmp_path / "store" / file
    damaged.write_bytes(damaged.read_bytes()[:5])
    if file in ("store.json", "index.parquet"):
        with pytest.raises(TagscaleError, match=rf"{file}: not .* Run `tagscale preprocess` again"):
            Store.open(tmp_path / "store")
    capsys.readouterr()
    run(tmp_path)
    assert decoded(capsys) == (2, 0, 1)
    assert content(tmp_path / "store") == before


def test_growth_that_is_interrupted_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, list(range(7)))
    run(tmp_path)
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    before = content(tmp_path / "store")
    write(tmp_path, list(range(7, 20)))
    run(tmp_path, "other")
    stop_after(monkeypatch, 15)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.undo()
    assert content(tmp_path / "store") == before  # the old one stays until the new one is whole
    run(tmp_path)
    assert content(tmp_path / "store") == content(tmp_path / "other")


def test_a_store_that_is_mostly_dead_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, list(range(20)))
    run(tmp_path)
    listed(tmp_path, [f"{number:03d}" for number in (0, 1, 5, 10, 15)])
    capsys.readouterr()
    run(tmp_path)
    assert decoded(capsys) == (0, 5, 0)
    run(tmp_path, "fresh")
    assert content(tmp_path / "store") == content(tmp_path / "fresh")


@pytest.mark.parametrize("moment", ["old moved", "new moved", "before"])
def test_killed_while_the_store_is_replaced(tmp_path: Path, moment: str) -> None:
    write(tmp_path, [0, 1])
    run(tmp_path)
    before, left = content(tmp_path / "store"), tmp_path / f".store.killed{TEMPORARY}"
    shutil.copytree(tmp_path / "store", left / "store")
    if moment == "old moved":
        (tmp_path / "store").rename(left / OLD)
    elif moment == "new moved":
        (left / "store").rename(left / OLD)
    else:
        (left / "store" / "store.json").unlink()
    with writing(tmp_path / "store"):
        assert content(tmp_path / "store") == before
        assert not left.exists()


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    write(tmp_path, [0])
    code = (
        "import sys; from pathlib import Path; from tagscale.store.grow import writing\n"
        "with writing(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "store")]
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(TagscaleError, match=rf"process {holder.pid} on \S+ is writing this store"):
            run(tmp_path)
        holder.kill()
    assert len(run(tmp_path)) == 1  # a killed holder leaves no lock behind


def test_no_space_left_keeps_what_is_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, list(range(12)))
    run(tmp_path, "whole")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1400k", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a file system of 1.4 MB cannot be mounted without the right to")
    try:
        with pytest.raises(
            TagscaleError,
            match=r"The disk is full: .*store could .* \d of 13 tracks are finished and kept in .*run the same",
        ):
            run(tmp_path, "disk/store")
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        capsys.readouterr()
        run(tmp_path, "disk/store")
        assert "resuming: " in capsys.readouterr().out
        assert content(disk / "store") == content(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_paths_that_leave_the_folder_are_rejected_and_links_are_followed(tmp_path: Path) -> None:
    write(tmp_path, [0, 1])
    (tmp_path / "elsewhere.wav").write_bytes((tmp_path / "music" / "000.wav").read_bytes())
    (tmp_path / "music" / "link.wav").symlink_to(tmp_path / "elsewhere.wav")
    listed(tmp_path, ["000", "link", "../elsewhere", str(tmp_path / "elsewhere")])
    assert run(tmp_path).track_ids == ["000", "link"]
    rejected = pd.read_csv(tmp_path / "store" / "rejected.csv")
    assert rejected["reason"].tolist() == ["its path leaves the dataset's folder"] * 2


def test_slices_merge_to_the_hash_of_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, list(range(13)))
    whole = run(tmp_path, "whole")
    slices = [tmp_path / f"slice{number}" for number in (1, 2, 3)]
    for number in (1, 2, 3):
        run(tmp_path, f"slice{number}", shard=(number, 3))
    assert [len(Store.open(part)) for part in slices] == [4, 5, 4]
    merge([slices[2], slices[0], slices[1]], tmp_path / "store")
    merged = Store.open(tmp_path / "store")
    same_audio(merged, whole)
    assert merged.track_ids == whole.track_ids
    assert (tmp_path / "store" / "rejected.csv").read_bytes() == (tmp_path / "whole" / "rejected.csv").read_bytes()
    capsys.readouterr()
    before = merged.hash
    assert run(tmp_path).hash == before  # it grows like any other
    assert decoded(capsys) == (0, 13, 1)


def test_slices_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write(tmp_path, list(range(4)))
    for number in (1, 2):
        run(tmp_path, f"slice{number}", shard=(number, 2))
    one, two = tmp_path / "slice1", tmp_path / "slice2"
    run(tmp_path, "whole")
    run(tmp_path, "third", shard=(1, 3))
    with pytest.raises(TagscaleError, match=r"of 2 slices 2 missing"):
        merge([one], tmp_path / "store")
    with pytest.raises(TagscaleError, match=r"2 missing, 1 given twice"):
        merge([one, one], tmp_path / "store")
    with pytest.raises(TagscaleError, match="not a slice"):
        merge([one, tmp_path / "whole"], tmp_path / "store")
    with pytest.raises(TagscaleError, match="slices 3 and 2"):
        merge([one, tmp_path / "third"], tmp_path / "store")
    facts = json.loads((one / "store.json").read_text())
    reseal(one, "store.json", slice=facts["slice"] | {"number": 2})
    shutil.copytree(two, tmp_path / "copy")
    reseal(tmp_path / "copy", "store.json", slice=facts["slice"])
    with pytest.raises(TagscaleError, match="overlap: track"):
        merge([tmp_path / "copy", two], tmp_path / "store")
    with pytest.raises(TagscaleError, match="--shard 3/2"):
        run(tmp_path, "wrong", shard=(3, 2))
    assert not (tmp_path / "store").exists()


def test_a_file_that_may_not_grow_keeps_what_is_finished(tmp_path: Path) -> None:
    """The same end without a file system of its own: the limit on a file's size, met in the middle of a shard."""
    write(tmp_path, list(range(7)))
    run(tmp_path, "whole")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, before[1]))
    try:
        with pytest.raises(TagscaleError, match=r"The disk is full: .*may not grow.* 3 of 8 tracks are finished"):
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run(tmp_path)
    assert content(tmp_path / "store") == content(tmp_path / "whole")
