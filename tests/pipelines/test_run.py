"""`python -m pipelines run` refuses what cannot run. (tests/test_orchestrators.py runs it for real.)"""

from pathlib import Path

import pytest
from pipelines.__main__ import app, run
from typer.testing import CliRunner

from tagscale.errors import TagscaleError

ROOT = Path(__file__).parents[2]
TINY = ROOT / "tests" / "tiny.yaml"


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "preset.yaml").write_text("dataset: {source: folder}")
    with pytest.raises(TagscaleError, match="nowhere: no such folder; give the dataset's"):
        run(params=ROOT / "params.yaml", preset=tmp_path / "preset.yaml", root=Path("nowhere"), output=tmp_path)


def test_a_root_for_a_composed_corpus(tmp_path):
    with pytest.raises(TagscaleError, match="which reads no folder"):
        run(params=ROOT / "params.yaml", preset=TINY, root=tmp_path, output=tmp_path)


def test_an_unknown_runner():
    told = CliRunner().invoke(app, ["run", "--runner", "docker"])
    assert told.exit_code == 2
    assert "'docker' is not one of" in told.output
