"""`tagscale tag CATALOGUE --out FILE`: every file gets a row, once, whatever happens on the way."""

import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile

from cli.tag_project import TAGS, tag
from killed import run_command, start
from registry.tiny import song
from tagscale.decoding.decode import Decoded
from tagscale.registry.scorers.network import NetworkScorer
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.tags import Tags
from tagscale.runtime.journal import Record
from tagscale.runtime.signals import Interrupted
from tagscale.serving.rows import read_records, read_rows, write_rows

NAMES = ["music/Björk - 楽.wav", "music/good.wav", "music/short.wav", "music/silent.wav", "music/words.wav"]


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows of all songs of the project."""
    out = tmp_path_factory.mktemp("whole") / "scores.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        assert tag("music", "other", "nowhere.wav", "--out", str(out), "--workers", "1") == 0
    return out


@pytest.fixture
def scores(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path))


def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of recordings that the tagger hears from now on, batch by batch."""
    batches: list[int] = []
    known = AudioTagger.hear

    def counted(tagger: AudioTagger, recordings: Sequence[Decoded], embed: bool = False) -> list[Tags]:
        batches.append(len(recordings))
        return known(tagger, recordings, embed)

    monkeypatch.setattr(AudioTagger, "hear", counted)
    return batches


def assert_same(records: list[Record], expected: list[Record]) -> None:
    """Scores may differ by the rounding of another batch."""
    for record, other in zip(records, expected, strict=True):
        assert record["scores"] == pytest.approx(other["scores"], abs=1e-6)
        assert record | {"scores": 0} == other | {"scores": 0}


def test_rows_say_what_printing_says(project: Path, whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tag("music", "other", "nowhere.wav", "--json") == 1
    printed = json.loads(capsys.readouterr().out)["files"]
    records = list(read_records(whole))
    assert [record["path"] for record in records] == [*NAMES, r"other/caf\xe9.wav", "nowhere.wav"]
    for file, record in zip(printed, records, strict=True):
        assert record["path"] == file["path"]
        assert record["error"] == file.get("error")
        assert record["warnings"] == file.get("warnings", [])
        assert record["scores"] == pytest.approx(file.get("scores", {}), abs=1e-6)
    read = read_rows(whole)
    assert list(read.scores.columns) == list(TAGS)
    assert set(read.files["model"]) == {"tagscale-tagger"}
    assert set(read.files["version"]) == {"1"}
    assert read.files["seconds"].tolist()[1:3] == [4.0, 1.0]
    assert read.files["format"].tolist()[1] == "WAV"
    assert not whole.with_name("_scores.jsonl.partial").exists()


def test_what_is_done_and_unchanged_is_skipped(
    project: Path, scores: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batches, before = heard(monkeypatch), scores.read_bytes()
    assert tag("music", "other", "--out", str(scores), "--workers", "1") == 0
    assert sum(batches) == 0
    assert scores.read_bytes() == before
    said = capsys.readouterr().out
    assert "6 files (6 unchanged and kept)" in said
    assert "Rows of 1 file that this catalogue does not name stay in it." in said
    assert "1 without scores: silent: -120.0 dBFS" in said


def test_a_changed_file_and_one_that_was_not_there_are_tagged_again(
    project: Path, scores: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = {record["path"]: record for record in read_records(scores)}
    soundfile.write(tmp_path / "new.wav", song(5, seconds=4), 16_000)
    lines = [json.loads(line) for line in scores.read_text().splitlines()]
    lines[0]["state"] = "1 2"  # as if the file were another one since
    lines[6]["path"] = str(tmp_path / "new.wav")  # as if it had been missing then
    scores.write_text("".join(json.dumps(line) + "\n" for line in lines))
    batches = heard(monkeypatch)
    arguments = ("music", str(tmp_path / "new.wav"), "--out", str(scores), "--workers", "1")
    assert tag(*arguments) == 0
    assert sum(batches) == 2
    after = {record["path"]: record for record in read_records(scores)}
    assert list(after) == [*NAMES, str(tmp_path / "new.wav"), r"other/caf\xe9.wav"]
    assert after[str(tmp_path / "new.wav")]["scores"]
    assert after[NAMES[0]] == before[NAMES[0]]


def test_strict_is_an_exit_status(project: Path, scores: Path) -> None:
    assert tag("music", "--out", str(scores), "--workers", "1", "--strict") == 1
    assert tag("music/good.wav", "--out", str(scores), "--workers", "1", "--strict") == 0


def test_rows_of_another_model_are_not_mixed(project: Path, scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sha256 = next(read_records(scores))["sha256"]
    scores.write_text(scores.read_text().replace(sha256, "0" * 64))
    before = scores.read_bytes()
    assert tag("music", "--out", str(scores)) == 1
    said = capsys.readouterr().err
    assert (
        f"{scores}: its rows are of tagscale-tagger (1, sha256 000000000000), and this model is tagscale-tagger" in said
    )
    assert "--anew" in said
    assert scores.read_bytes() == before
    assert tag("music/good.wav", "--out", str(scores), "--anew", "--workers", "1") == 0
    assert [record["sha256"] for record in read_records(scores)] == [sha256]
    assert [path.name for path in scores.parent.iterdir()] == [scores.name], "no folder of rows is left"


def test_embeddings_are_of_all_rows_or_of_none(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("music/good.wav", "music/words.wav", "--out", str(tmp_path / "scores.parquet"), "--workers", "1")
    assert tag(*arguments, "--embeddings") == 0
    embeddings = read_rows(tmp_path / "scores.parquet").embeddings
    assert embeddings is not None
    assert np.isfinite(embeddings).all(axis=1).tolist() == [True, False]
    assert tag(*arguments) == 1
    assert "its rows are with embeddings, and this command is without --embeddings" in capsys.readouterr().err


def test_a_model_that_gives_no_embedding_is_an_error_before_any_file_is_tagged(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NetworkScorer, "dims", 0)
    assert tag("music/good.wav", "--out", str(tmp_path / "scores.parquet"), "--embeddings") == 1
    assert "This model gives no embedding" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_shards_together_are_the_whole(
    project: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = "\n".join([*NAMES, os.fsdecode(b"other/caf\xe9.wav"), "nowhere.wav"])
    for part in ("1/2", "2/2"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(os.fsencode(names))))
        assert tag("-", "--out", str(tmp_path / "scores.parquet"), "--shard", part, "--workers", "1") == 0
    assert sorted(path.name for path in (tmp_path / "scores.parquet").iterdir()) == [
        "part-1-of-2.parquet",
        "part-2-of-2.parquet",
    ]
    together = sorted(read_records(tmp_path / "scores.parquet"), key=lambda record: str(record["path"]))
    assert_same(together, sorted(read_records(whole), key=lambda record: str(record["path"])))


def test_a_shard_fits_those_beside_it(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("music", "--out", str(tmp_path / "scores.parquet"), "--workers", "1", "--shard")
    assert tag(*words, "1/2") == 0
    assert tag(*words, "1/3") == 1
    assert "part-1-of-2.parquet is of another number of shards than 3" in capsys.readouterr().err
    first = tmp_path / "scores.parquet" / "part-1-of-2.parquet"
    write_rows(first, [row | {"sha256": "0" * 64} for row in list(read_records(first))], TAGS)
    assert tag(*words, "2/2") == 1
    assert "a shard is there, and its rows are of" in " ".join(capsys.readouterr().err.split())
    assert tag(*words, "2/2", "--anew") == 0


def test_an_interrupted_run_resumes(
    project: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.csv"
    known, batches = AudioTagger.hear, list[int]()

    def interrupted(tagger: AudioTagger, recordings: Sequence[Decoded], embed: bool = False) -> list[Tags]:
        if batches:
            raise Interrupted(signal.SIGINT)
        batches.append(len(recordings))
        return known(tagger, recordings, embed)

    monkeypatch.setattr("tagscale.serving.tag_catalogue.BATCH_SECONDS", 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(AudioTagger, "hear", interrupted)
        assert tag("music", "other", "nowhere.wav", "--out", str(out), "--workers", "1") == 130
    said = " ".join(capsys.readouterr().err.split())
    partial = tmp_path / "_scores.csv.partial"
    assert f"The rows so far are kept in {partial}. Run the same command again to go on." in said
    assert len(read_rows(partial)) == 1
    with open(partial / "rows.jsonl", "a") as file:
        file.write('{"path": "half a row of a killed process')
    batches = heard(monkeypatch)
    assert tag("music", "other", "nowhere.wav", "--out", str(out), "--workers", "1") == 0
    assert sum(batches) == 4, "of five files that are decoded"
    assert_same(list(read_records(out)), list(read_records(whole)))


def test_what_cannot_be_done_is_said_before_any_file_is_tagged(
    project: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for words, expected in (
        (("music", "--strict"), "--strict: only with --out FILE"),
        (("music", ""), "An argument is empty"),
        (("ftp://127.0.0.1:1/a.mp3", "--out", "scores.csv"), "ftp://127.0.0.1:1/a.mp3: ConnectionRefusedError"),
        (("music", "--out", "scores.jsonl", "--json", "--top", "3"), "--top, --json: only without --out"),
        (("-",), "-: add --out FILE"),
        (("music", "--out", "scores.xlsx"), "scores.xlsx: found the suffix '.xlsx', expected one of .parquet"),
        (("music", "--out", "scores.csv", "--shard", "3/2"), "--shard 3/2: expected I/N"),
        (("music", "--out", "scores.csv", "--shard", "a"), "--shard a: expected I/N"),
    ):
        assert tag(*words) == 1
        assert expected in capsys.readouterr().err
    assert not list(project.glob("*scores*"))


@pytest.mark.slow
def test_a_kill_costs_at_most_the_rows_in_work(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"{number:03}.wav" for number in range(150)]  # so many that the kill comes before the last of them
    for name in names:
        (tmp_path / name).hardlink_to(project / "music" / "good.wav")
    out = tmp_path / "scores.parquet"
    rows = tmp_path / "_scores.parquet.partial" / "rows.jsonl"
    running = start(run_command, project, "tag", str(tmp_path), "--out", str(out))
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not (rows.exists() and rows.stat().st_size):
        time.sleep(0.01)
    running.kill()
    running.join(60)
    assert running.exitcode == -signal.SIGKILL
    done = len(read_rows(rows))
    assert 0 < done < len(names)
    assert tag(str(tmp_path), "--out", str(out)) == 0
    assert f"{len(names)} files ({len(names) - done} tagged, {done} unchanged and kept)" in capsys.readouterr().out
    read = read_rows(out)
    assert list(read.files["path"]) == [str(tmp_path / name) for name in names]
    assert np.ptp(read.scores.to_numpy(), axis=0).max() < 1e-6, "of one song"


@pytest.mark.slow
def test_a_bucket_is_tagged_and_its_changes_are_noticed(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto = pytest.importorskip("moto.server", reason="needs the S3 server of the dev extra")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in (keys | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
            monkeypatch.setenv(name, value)
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        files.makedirs("music", exist_ok=True)
        for path in sorted((project / "music").iterdir()):
            files.pipe_file(f"music/2024/{path.name}", path.read_bytes())
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        arguments = ("s3://music/2024", "s3://music/nowhere.mp3", "--out", str(tmp_path / "scores.jsonl"))
        assert tag(*arguments, "--workers", "1") == 0
        assert tag("music", "--out", str(tmp_path / "local.jsonl"), "--workers", "1") == 0
        records = {record["path"]: record for record in read_records(tmp_path / "scores.jsonl")}
        for local in read_records(tmp_path / "local.jsonl"):
            record = records.pop(f"s3://music/2024/{Path(local['path']).name}")
            assert record["scores"] == pytest.approx(local["scores"], abs=1e-6)
            assert (record["error"], record["seconds"]) == (local["error"], local["seconds"])
        assert [record["error"][:25] for record in records.values()] == ["no audio files in this pl"]
        files.pipe_file("music/2024/good.wav", (project / "music" / "short.wav").read_bytes())
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        batches = heard(monkeypatch)
        assert tag(*arguments, "--workers", "1") == 0
        assert sum(batches) == 1
        seconds = {record["path"]: record["seconds"] for record in read_records(tmp_path / "scores.jsonl")}
        assert seconds["s3://music/2024/good.wav"] == 1.0
    finally:
        server.stop()
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # the next test has another server


def peak_of(project: Path, file: Path) -> int:
    """MB of memory of its own that `tagscale tag` takes for a file, at most."""
    words = ("tag", str(file), "--out", str(file.with_suffix(".jsonl")), "--workers", "1")
    running, most = start(run_command, project, *words), 0
    while running.is_alive():
        with suppress(OSError, StopIteration):
            status = Path(f"/proc/{running.pid}/status").read_text().splitlines()
            most = max(most, next(int(line.split()[1]) >> 10 for line in status if line.startswith("RssAnon")))
        time.sleep(0.05)
    assert running.exitcode == 0
    return most


@pytest.mark.slow
def test_half_an_hour_of_music_is_in_memory_once(project: Path, tmp_path: Path) -> None:
    noise = song(1, seconds=60)
    for name, minutes in (("minute", 1), ("mix", 31)):
        with soundfile.SoundFile(tmp_path / f"{name}.wav", "w", 16_000, 1) as file:
            for _ in range(minutes):
                file.write(noise)
    minute, mix = (peak_of(project, tmp_path / f"{name}.wav") for name in ("minute", "mix"))
    assert mix - minute < 400, "MB; the samples take 60 once, and batches of them the rest"
    assert read_rows(tmp_path / "mix.jsonl").files["seconds"].tolist() == [1860.0]
