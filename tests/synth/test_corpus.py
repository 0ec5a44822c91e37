import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from tagscale.params.blocks import SynthParams
from tagscale.runtime.errors import TagscaleError
from tagscale.synth.corpus import make_corpus
from tagscale.synth.tags import TAGS

SMALL = {"tracks": 6, "artists": 3, "seconds": 2.0, "seed": 1, "label_noise": 0.02, "soundfont": None}


def make(folder, workers=1, **changes):
    return make_corpus(folder, SynthParams(**(SMALL | changes)), workers)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    make(folder)
    return folder


def test_the_tables_describe_the_audio(corpus):
    table = pd.read_csv(corpus / "tracks.csv")
    assert len(table) == 6
    assert table["artist"].nunique() == 3
    assert list(table["track_id"]) == [f"track_{number:05d}" for number in range(1, 7)]
    for row in table.itertuples():
        info = soundfile.info(corpus / row.path)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16_000, 1, "FLAC", "PCM_16")
        assert info.frames == row.seconds * 16_000 == 32_000
        samples = soundfile.read(corpus / row.path)[0]
        assert 0.01 < np.abs(samples).max() < 1.0


def test_every_column_is_a_tag_or_known_by_name(corpus):
    table = pd.read_csv(corpus / "tracks.csv")
    entries = yaml.safe_load((corpus / "tags.yaml").read_text())["columns"]
    assert list(table.columns) == ["track_id", "path", "artist", "album", "title", "seconds", *entries]
    for name, entry in entries.items():
        values = table[name]
        assert values.between(0, 1).all()
        assert entry["kind"] == "regression" or set(values) <= {0, 1}
    exclusive = pd.Series({name: entry.get("exclusive") for name, entry in entries.items()}).dropna()
    for members in exclusive.groupby(exclusive).groups.values():
        assert (table[list(members)].sum(axis=1) == 1).all()


def test_made_again_it_makes_nothing(corpus, capsys):
    before = contents(corpus)
    assert make(corpus) == 0
    assert "all there already" in capsys.readouterr().out
    assert contents(corpus) == before


@pytest.mark.slow
def test_two_processes_make_the_same_bytes(corpus, tmp_path):
    assert make(tmp_path / "corpus", workers=2) == 6
    assert contents(tmp_path / "corpus") == contents(corpus)


def test_what_is_missing_or_damaged_is_made_again(corpus, tmp_path):
    folder = tmp_path / "corpus"
    make(folder)
    (folder / "audio/00/track_00002.flac").unlink()
    (folder / "audio/00/track_00005.flac").write_bytes(b"fLaC and no more")
    (folder / "audio/00/.track_00003.flac.tmp12345").mkdir()
    (folder / "tracks.csv").unlink()
    with open(folder / ".finished.jsonl", "a") as journal:
        journal.write('{"number": 3, "by')
    assert make(folder) == 2
    assert contents(folder) == contents(corpus)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    sizes = {"tracks": 40, "artists": 20, "seconds": 2.0}
    folder, whole = tmp_path / "corpus", tmp_path / "whole"
    program = (
        "from pathlib import Path; from tagscale.params.blocks import SynthParams\n"
        "from tagscale.synth.corpus import make_corpus\n"
        f"if __name__ == '__main__': make_corpus(Path({str(folder)!r}), SynthParams(**{SMALL | sizes!r}), 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    journal, deadline = folder / ".finished.jsonl", time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and journal.stat().st_size > 10_000):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    finished = len(journal.read_text().splitlines())
    assert 0 < finished < 40
    assert not (folder / "tracks.csv").exists()
    assert make(folder, **sizes) <= 40 - finished + 1
    make(whole, **sizes)
    assert contents(folder) == contents(whole)


def test_more_tracks_keep_the_first_and_fewer_remove_the_last(corpus, tmp_path):
    folder = tmp_path / "corpus"
    assert make(folder, tracks=4) == 4
    four = contents(folder)
    assert {path: data for path, data in contents(corpus).items() if path in four and "audio" in path} == {
        path: data for path, data in four.items() if "audio" in path
    }
    assert make(folder, tracks=6) == 2
    assert contents(folder) == contents(corpus)
    assert make(folder, tracks=4) == 0
    assert contents(folder) == four


def test_label_noise_changes_the_table_alone(corpus, tmp_path):
    folder = tmp_path / "corpus"
    make(folder)
    assert make(folder, label_noise=0.0) == 0
    changed = {path for path, data in contents(folder).items() if data != contents(corpus)[path]}
    assert changed == {"tracks.csv", "corpus.json"}, "and the digest of the table"
    clean = [json.loads(line)["labels"] for line in (folder / ".finished.jsonl").read_text().splitlines()]
    table = pd.read_csv(folder / "tracks.csv")[list(TAGS)]
    assert np.abs(table.to_numpy() - pd.DataFrame(clean).to_numpy()).max() < 0.001


@pytest.mark.parametrize("change", [{"seed": 2}, {"seconds": 1.5}, {"artists": 2}])
def test_other_settings_replace_everything(tmp_path, capsys, change):
    folder = tmp_path / "corpus"
    make(folder, tracks=3)
    assert make(folder, tracks=3, **change) == 3
    assert "making it again" in capsys.readouterr().out
    make(tmp_path / "fresh", tracks=3, **change)
    assert contents(folder) == contents(tmp_path / "fresh")


def test_more_artists_than_tracks(tmp_path):
    with pytest.raises(TagscaleError, match=r"synth.artists: 7 artists for 6 tracks.*Lower synth.artists"):
        make(tmp_path, artists=7)


def test_a_soundfont_that_is_not_there(tmp_path):
    with pytest.raises(TagscaleError, match=r"synth.soundfont: .*grand.sf2: no such file"):
        make(tmp_path, soundfont=str(tmp_path / "grand.sf2"))


def test_a_soundfont_that_is_none(tmp_path):
    (tmp_path / "grand.sf2").write_bytes(b"RIFFxxxxWAVE")
    with pytest.raises(TagscaleError, match="not a SoundFont 2 file"):
        make(tmp_path, soundfont=str(tmp_path / "grand.sf2"))


def test_somebody_elses_data_is_left_alone(tmp_path):
    (tmp_path / "tracks.csv").write_text("track_id,path\n1,song.mp3\n")
    with pytest.raises(TagscaleError, match=r"did not make.*dataset.source"):
        make(tmp_path)
    assert contents(tmp_path) == {"tracks.csv": b"track_id,path\n1,song.mp3\n"}
