from pathlib import Path

import pandas as pd

from tagscale.params.load import laid_over, parse, read_yaml
from tagscale.stages import synth

ROOT = Path(__file__).parents[2]


def settings(**blocks):
    return parse(laid_over(read_yaml(ROOT / "params.yaml"), blocks))


def test_the_stage_makes_the_corpus_that_params_describe(tmp_path):
    small = settings(synth={"tracks": 4, "artists": 2, "seconds": 1.0})
    synth.run(small, corpus=tmp_path / "corpus", workers=1)
    table = pd.read_csv(tmp_path / "corpus/tracks.csv")
    assert (len(table), table["artist"].nunique()) == (4, 2)
    assert (table["seconds"] == 1).all()


def test_a_users_own_folder_is_left_as_it_is(tmp_path, capsys):
    (tmp_path / "tracks.csv").write_text("mine")
    synth.run(settings(dataset={"source": "folder"}), corpus=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tracks.csv"]
    assert (tmp_path / "tracks.csv").read_text() == "mine"
    assert "no corpus to make" in capsys.readouterr().out


def test_a_users_own_folder_may_not_be_there_yet(tmp_path):
    synth.run(settings(dataset={"source": "folder"}), corpus=tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()
