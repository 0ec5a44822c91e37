"""The preprocess stage: one store for any number of workers, in which bad files are rejected with their reason."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tagscale.runtime.errors import TagscaleError
from tagscale.stages import catalog, preprocess
from tagscale.store.read import Store
from user_folder import rows, settings, tone, write_audio, write_table

BAD = {
    "song01": ("no such file", None),
    "song04": ("empty file (0 bytes)", b""),
    "song05": ("not audio in a known format", b"this is a text"),
    "song09": ("truncated: 0.4 s of the 1.0 s that it announces", "cut"),
}


@pytest.fixture
def music(tmp_path: Path) -> Path:
    write_table(tmp_path / "music", rows())
    write_audio(tmp_path / "music", rows())
    catalog.run(settings(), root=tmp_path / "music", catalog=tmp_path / "catalog")
    return tmp_path


def run(folder: Path, store: str = "store", workers: int = 1, megabytes: int = 1) -> Store:
    params = settings(preprocess={"shard_megabytes": megabytes})
    folders = {"root": folder / "music", "catalog": folder / "catalog", "store": folder / store}
    preprocess.run(params, workers=workers, **folders)
    return Store.open(folder / store)


def test_every_track_is_in_the_store(music: Path) -> None:
    store = run(music)
    assert store.track_ids == [row["track_id"] for row in rows()]
    assert (store.facts["source_rate"] == 8000).all()
    assert (store.facts["samples"] == 16000).all()
    decoded = store.read("song03", 1000, 10000) / 32768
    np.testing.assert_allclose(decoded, tone(1.0, 16000, 260)[1000:11000], atol=1e-3)
    assert pd.read_csv(music / "store" / "rejected.csv").empty


def test_workers_change_nothing(music: Path) -> None:
    run(music, "one", workers=1)
    run(music, "three", workers=3)
    files = sorted(path.name for path in (music / "one").iterdir())
    assert files == ["index.parquet", "rejected.csv", "shard-00000.bin", "sources.parquet", "store.json"]
    for file in files:
        assert (music / "one" / file).read_bytes() == (music / "three" / file).read_bytes()


def test_bad_files_are_rejected_with_their_reason(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for track, (_, content) in BAD.items():
        path = music / "music" / "audio" / f"{track}.wav"
        if content is None:
            path.unlink()
        else:
            whole = path.read_bytes()
            path.write_bytes(whole[: int(0.4 * len(whole))] if isinstance(content, str) else content)
    store = run(music, workers=2)
    assert store.track_ids == [row["track_id"] for row in rows() if row["track_id"] not in BAD]
    rejected = pd.read_csv(music / "store" / "rejected.csv")
    assert rejected["track_id"].tolist() == sorted(BAD)
    for row in rejected.itertuples():
        assert row.reason.startswith(BAD[row.track_id][0])
        assert row.path == f"audio/{row.track_id}.wav"
    printed = capsys.readouterr().out
    assert "4 of 12 tracks rejected" in printed
    assert "audio/song01.wav: no such file" in printed


def test_wrong_root_is_said_and_leaves_the_old_store(music: Path) -> None:
    before = run(music).hash
    (music / "music" / "audio").rename(music / "music" / "elsewhere")
    with pytest.raises(
        TagscaleError, match=r"none of the 12 tracks could be decoded. Check dataset\.root.*no such file"
    ):
        run(music)
    assert Store.open(music / "store").hash == before
    assert [path.name for path in music.iterdir() if path.is_dir()].count(".store.partial") == 0
