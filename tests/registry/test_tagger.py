"""What a tagger says of files that its training would not have taken: in words beside the scores, or in their place."""

import base64
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from mlflow.models import Model
from mlflow.pyfunc import PyFuncModel, scoring_server

from registry.tiny import LIMITS, song, tiny_tagger
from tagscale.decoding.opened import AudioError
from tagscale.registry.package import signature
from tagscale.registry.tagger import LISTENING, AudioTagger, _load_pyfunc
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json


@pytest.fixture
def tagger() -> AudioTagger:
    """A tagger whose training took files of 3 s and -60 dBFS; its window is 1.5 s long."""
    tagger = tiny_tagger()
    tagger.limits = LIMITS
    return tagger


def wav(folder: Path, samples: np.ndarray) -> Path:
    soundfile.write(folder / "a.wav", samples, 16_000, subtype="PCM_16")
    return folder / "a.wav"


MUSIC = song(1, seconds=4)
SQUARE = np.where(MUSIC < 0, -1, 1).astype(np.int16)


@pytest.mark.parametrize(
    ("samples", "warnings"),
    [
        (MUSIC, []),
        (MUSIC[:32_000], ["2.00 s long, shorter than 3 s"]),
        (
            MUSIC[:12_000],
            [
                "0.75 s long, shorter than 3 s",
                "the model hears it again and again: 50% of the window of 1.5 s is padding",
            ],
        ),
        (4 * SQUARE, ["silent: -78.3 dBFS, below -60"]),
        (32767 * SQUARE, ["clipped, more than 5.0% of the values at full scale: 100.0%"]),
        (
            np.stack([MUSIC, -MUSIC], axis=1),
            ["channels that cancel each other out, so that one is heard alone: channel 1"],
        ),
    ],
    ids=["good", "short", "shorter than the window", "faint", "square", "inverted"],
)
def test_warnings_stand_beside_scores(
    tagger: AudioTagger, tmp_path: Path, samples: np.ndarray, warnings: list[str]
) -> None:
    heard = tagger.tag(wav(tmp_path, samples))
    assert heard.warnings == warnings
    assert heard.scores.keys() == set(tagger.tags)
    assert heard.scores == tagger.tag(tmp_path / "a.wav").scores


def test_an_inverted_channel_is_scored_as_the_channel(tagger: AudioTagger, tmp_path: Path) -> None:
    inverted = tagger.tag(wav(tmp_path, np.stack([MUSIC, -MUSIC], axis=1))).scores
    assert inverted == tagger.tag(wav(tmp_path, MUSIC)).scores


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (MUSIC[:800], "0.050 s long, too short to be heard"),
        (0 * MUSIC, "silent: -120.0 dBFS, less than a step of 16 bits"),
        (0 * MUSIC[:400], "0.025 s long, too short to be heard; silent: -120.0 dBFS, less than a step of 16 bits"),
    ],
)
def test_nothing_to_hear_gets_no_scores(tagger: AudioTagger, tmp_path: Path, samples: np.ndarray, reason: str) -> None:
    with pytest.raises(AudioError) as caught:
        tagger.tag(wav(tmp_path, samples))
    assert caught.value.reason == reason


def test_the_packaged_model_says_the_same_by_its_log(
    tagger: AudioTagger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [wav(tmp_path, samples).read_bytes() for samples in (MUSIC, MUSIC[:32_000], 0 * MUSIC)]
    with caplog.at_level(logging.WARNING):
        scores = tagger.predict(pd.DataFrame({"audio": rows}))
    assert caplog.messages == [
        "row 1: tagged, but 2.00 s long, shorter than 3 s",
        "row 2: not tagged: silent: -120.0 dBFS, less than a step of 16 bits",
    ]
    assert list(scores) == list(tagger.tags)
    assert scores.notna().all(axis=1).tolist() == [True, True, False]


BODIES = {  # each with two rows: audio, and words
    "dataframe_split": lambda rows: {"columns": ["audio"], "data": [[row] for row in rows]},
    "dataframe_records": lambda rows: [{"audio": row} for row in rows],
    "instances": lambda rows: [{"audio": row} for row in rows],
    "inputs": lambda rows: {"audio": rows},
}


@pytest.mark.parametrize("key", BODIES)
def test_every_format_of_mlflows_server_brings_the_files_and_json_their_reasons(
    tagger: AudioTagger, tmp_path: Path, key: str
) -> None:
    """MLflow decodes the base64 of the first two formats, and none of the others."""
    file = wav(tmp_path, MUSIC[:32_000])
    rows = [base64.b64encode(content).decode() for content in (file.read_bytes(), b"words, no song")]
    model = PyFuncModel(Model(signature=signature(tagger)), tagger)
    answers = {}
    for output in ("scores", "json"):
        body = json.dumps({key: BODIES[key](rows), "params": {"output": output}})
        answer = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
        assert answer.status == 200, answer.response
        answers[output] = json.loads(answer.response)["predictions"]
    expected = tagger.tag(file)
    assert answers["scores"][0] == pytest.approx(expected.scores)
    assert np.isnan(list(answers["scores"][1].values())).all()
    first, second = (json.loads(row["result"]) for row in answers["json"])
    assert first == {"scores": pytest.approx(expected.scores), "warnings": ["2.00 s long, shorter than 3 s"]}
    assert second == {"error": "not audio in a known format: it looks like text"}


def test_a_row_that_is_no_file_says_what_it_is(tagger: AudioTagger) -> None:
    rows = [None, b"", "abc", np.nan, ["song.wav"], "folder/song.wav"]
    frame = tagger.predict(pd.DataFrame({"audio": rows}, index=range(7, 13)), {"output": "json"})
    assert list(frame.columns) == ["result"]
    assert list(frame.index) == list(range(7, 13))
    assert [json.loads(result)["error"].partition(":")[0] for result in frame["result"]] == [
        *("nothing in place of a file's bytes", "empty file (0 bytes)", "not audio in a known format"),
        *("nothing in place of a file's bytes", "list in place of a file's bytes", "not audio in a known format"),
    ]
    assert "a path only where the model is loaded with model_config={'paths': True}" in frame["result"][12]


@pytest.mark.parametrize("dtype", [object, "str"])
def test_what_a_spark_udf_relies_on(tagger: AudioTagger, tmp_path: Path, dtype: type | str) -> None:
    """It hands over a series of text for each batch of rows, and takes columns of its result type, the first or all."""
    tagger.save(tmp_path / "tagger")
    loaded = _load_pyfunc(str(tmp_path / "tagger"), {"paths": True})
    model = PyFuncModel(Model(signature=signature(loaded)), loaded)
    schemas = model.metadata.signature
    assert schemas is not None
    (tmp_path / "words.mp3").write_text("words, no song")
    good, silent = wav(tmp_path, MUSIC), tmp_path / "silent.wav"
    soundfile.write(silent, 0 * MUSIC, 16_000)
    rows = [str(good), "nowhere.wav", None, str(tmp_path / "words.mp3"), str(silent), str(good)]
    batch = pd.DataFrame(dict.fromkeys(schemas.inputs.input_names(), pd.Series(rows, dtype=dtype)))
    texts = model.predict(batch, {"output": "json"})
    assert list(texts.columns) == ["result"]
    said = [json.loads(text) for text in texts["result"].map(str)]
    assert [row.get("error") for row in said] == [
        None,
        "no such file",
        "nothing in place of a file's bytes",
        "not audio in a known format: it looks like text",
        "silent: -120.0 dBFS, less than a step of 16 bits",
        None,
    ]
    assert said[0]["scores"] == said[5]["scores"] == pytest.approx(tagger.tag(good).scores)
    numbers = model.predict(batch).select_dtypes(np.number)
    assert list(numbers.columns) == schemas.outputs.input_names() == list(tagger.tags)
    assert numbers.notna().all(axis=1).tolist() == [True, False, False, False, False, True]
    assert list(texts.index) == list(numbers.index) == list(batch.index)
    for output, width in (("json", 1), ("scores", 3)):  # of a part of the table that has no rows
        assert model.predict(batch[:0], {"output": output}).shape == (0, width)


def test_no_request_has_the_server_read_its_files(tagger: AudioTagger, tmp_path: Path) -> None:
    path = str(wav(tmp_path, MUSIC))
    tagger.save(tmp_path / "tagger")
    for loaded in (tagger, _load_pyfunc(str(tmp_path / "tagger")), _load_pyfunc(str(tmp_path / "tagger"), {})):
        model = PyFuncModel(Model(signature=signature(loaded)), loaded)
        body = json.dumps({"inputs": {"audio": [path]}, "params": {"output": "json", "paths": True}})
        answer = scoring_server.invocations(body, "application/json", model, model.metadata.get_input_schema())
        (row,) = json.loads(answer.response)["predictions"]
        assert "not audio in a known format" in row["result"]


def test_limits_are_saved_and_a_version_without_them_goes_by_its_window(tagger: AudioTagger, tmp_path: Path) -> None:
    tagger.save(tmp_path / "tagger")
    assert AudioTagger.load(tmp_path / "tagger").limits == LIMITS
    replace(tagger, limits=None).save(tmp_path / "tagger")
    loaded = AudioTagger.load(tmp_path / "tagger")
    assert loaded.limits is None
    assert loaded.tag(wav(tmp_path, MUSIC[:24_000])).warnings == []
    assert loaded.tag(wav(tmp_path, 4 * SQUARE)).warnings == []
    assert loaded.tag(wav(tmp_path, MUSIC[:12_000])).warnings[0] == "0.75 s long, shorter than 1.5 s"
    with pytest.raises(AudioError):
        loaded.tag(wav(tmp_path, 0 * MUSIC))


@pytest.mark.parametrize("damage", [{"limits": {"min_seconds": -1}}, {"limits": "none"}, []])
def test_damaged_limits_are_named(tagger: AudioTagger, tmp_path: Path, damage: object) -> None:
    tagger.save(tmp_path / "tagger")
    known = read_json(tmp_path / "tagger" / LISTENING)
    write_json(tmp_path / "tagger" / LISTENING, known | damage if isinstance(damage, dict) else damage)
    with pytest.raises(TagscaleError, match=r"listening\.json: missing or damaged"):
        AudioTagger.load(tmp_path / "tagger")
