"""Spark over a column of songs, by the lines of docs/python.md. It needs pyspark and Java, which tagscale does not."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from registry.tiny import song, tiny_tagger
from tagscale.registry.package import package

pytest.importorskip("pyspark", reason="pyspark is not installed: `pip install pyspark` beside tagscale runs this test")
if shutil.which("java") is None:
    pytest.skip("Java, which pyspark needs, is not installed", allow_module_level=True)

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", False).getOrCreate()
        yield session
        session.stop()


@pytest.mark.slow
def test_songs_have_scores_and_all_others_a_reason(spark: Any, tmp_path: Path) -> None:
    package(tiny_tagger(), tmp_path / "model")
    songs = tmp_path / "songs"
    songs.mkdir()
    soundfile.write(songs / "good.wav", song(1, seconds=2), 16_000)
    soundfile.write(songs / "silent.wav", 0 * song(1, seconds=2), 16_000)
    (songs / "words.mp3").write_text("words, no song")
    expected = {"good.wav": None, "silent.wav": "silent", "words.mp3": "not audio in a known format"}
    table = spark.createDataFrame([(f"{songs}/{name}",) for name in [*expected, "gone.wav"]] + [(None,)], "path string")
    scope: dict[str, Any] = {"spark": spark, "table": table}
    lines = lines_of_the_page().replace("models:/tagscale-tagger@champion", str(tmp_path / "model"))
    exec(lines.replace('load("songs")', f"load({str(songs)!r})"), scope)
    more = {"gone.wav": "no such file", "None": "nothing in place of a file's bytes"}
    for rows, reasons in ((scope["rows"], expected), (scope["of_paths"], expected | more)):
        said = {str(row["path"]).rpartition("/")[2]: row for row in rows.collect()}
        assert {name: row["error"] and row["error"].partition(":")[0] for name, row in said.items()} == reasons
        scores = tiny_tagger().tag(songs / "good.wav").scores
        assert said["good.wav"]["scores"] == pytest.approx(scores, abs=1e-5)
        assert [row["scores"] is None for row in said.values()] == [bool(row["error"]) for row in said.values()]


def lines_of_the_page() -> str:
    (lines,) = re.findall(r"```python\n(from pyspark.*?)```", PAGE.read_text(), re.DOTALL)
    return re.sub(r"^spark = .*\n", "", lines, flags=re.MULTILINE)
