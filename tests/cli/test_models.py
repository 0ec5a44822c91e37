"""`tagscale models` as its users meet it: the JSON, the table at two widths, and what it refuses."""

import json
import re

import pytest

from tagscale.cli import main
from tagscale.models.paper import printed

KEYS = {
    *("name", "table", "row", "model", "in_params", "capacity", "tags", "paper_parameters", "parameters"),
    *("roc_auc", "pr_auc", "rmse", "patch_seconds", "shortest_seconds"),
    *("flops", "memory", "activations", "weights", "note"),
}


def run(*words: str) -> int:
    """Exit status of `tagscale models` with these words."""
    with pytest.raises(SystemExit) as ended:
        main(["models", *words])
    return int(ended.value.code or 0)


def test_json_has_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 51
    assert all(set(row) == KEYS for row in rows)
    assert len({row["name"] for row in rows}) == len(rows)
    assert {row["table"] for row in rows} == {1, 2, 3, 4, None}
    for row in rows:
        if row["parameters"] is None:
            assert row["model"] == "descriptors"
            assert row["note"]
        else:
            assert row["paper_parameters"] == printed(row["parameters"]) or row["note"], row["name"]
            assert row["memory"] == row["activations"] + row["weights"] > 4 * row["parameters"]
            assert row["flops"] > 0
    (waveform,) = (row for row in rows if row["name"] == "table-4-waveform")
    assert (waveform["parameters"], waveform["paper_parameters"]) == (5_377_082, "5.3M")
    assert (waveform["roc_auc"], waveform["pr_auc"], waveform["rmse"]) == (87.41, 28.53, None)
    assert (waveform["patch_seconds"], waveform["shortest_seconds"]) == (15.0, 1.23)


def test_json_of_one_model_and_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--model", "samplecnn", "--table", "4") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["parameters"]) == ("table-4-samplecnn", 2_394_162)


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run() == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert "…" not in out, "something was cut off"
    for said in (
        "Table 1",
        "Table 4",
        "After the paper",
        "11,824,058",
        "11.8M",
        "0.1465",
        "transformer",
        "waveform-x4",
    ):
        assert said in out
    marks = set(re.findall(r"[( ]([a-z])[,)]", out.split("\nin params ")[0]))
    notes = {line[0] for line in out.splitlines() if re.match(r"[a-z]  \S", line)}
    assert marks == notes, "every mark has its note, and every note is marked"


def test_only_the_columns_and_notes_that_a_table_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--table", "4") == 0
    out = capsys.readouterr().out
    assert "1.2M songs" not in out
    assert "√MSE\n" not in out.split("Table 4")[1].split("in params ")[0]
    assert "SampleCNN" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "sample_cnn"), "did you mean `samplecnn`?"),
        (("--table", "7"), "--table 7: the paper has the tables 1, 2, 3 and 4"),
        (("--model", "crnn", "--table", "2"), "--model crnn is not in table 2; it is in table 4"),
    ],
)
def test_unknown_names_are_errors(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 1
    assert message in capsys.readouterr().err
