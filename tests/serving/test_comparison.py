"""A shadow beside the lead: rows as the server keeps them, of two versions whose difference is known."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tagscale.cli import main
from tagscale.runtime.errors import TagscaleError
from tagscale.serving.comparison import compare, paired_difference, write_page
from tagscale.serving.server.lineup import State
from tagscale.serving.server.record import Log

TAGS = {"rock": "classification", "Señal, 音楽": "classification", "energy": "regression"}
RECORDINGS = 60


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    values = np.random.default_rng(0).random((RECORDINGS, len(TAGS)))
    values[:, :2] = values[:, :2] > 0.5
    return pd.DataFrame(values, [f"song-{number}.mp3" for number in range(RECORDINGS)], list(TAGS))


@pytest.fixture(scope="module")
def served(truth: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which version 2, nearly always right, is the shadow of version 1, which guesses half the time."""
    folder, random = tmp_path_factory.mktemp("served"), np.random.default_rng(1)
    state = State(folder)
    tags = [{"tag": tag, "group": "all", "kind": kind, "threshold": 0.5} for tag, kind in TAGS.items()]
    state.set_loaded("models", [{"role": "lead", "sha256": "1" * 64, "tags": tags}])
    state.set_loaded("shadow", [{"role": "shadow", "sha256": "2" * 64, "tags": tags}])
    log = Log(folder, state)
    for place, (path, values) in enumerate(truth.iterrows()):
        for role, version, noise, seconds in (("lead", "1", 0.7, 0.1), ("shadow", "2", 0.2, 0.2)):
            if role == "lead" or place < RECORDINGS - 5:
                answer = answered(version, values.to_numpy() * (1 - noise) + noise * random.random(len(TAGS)))
                log.add(role, f"{place:012x}/{path}", answer, seconds + place / 1000)
        if place == RECORDINGS // 2:
            log.flush()
    log.add("lead", "f/broken.mp3", {**names("1"), "error": "damaged"}, None)
    log.flush()
    return folder


def names(version: str) -> dict[str, str]:
    return {"model": "tagger", "version": version, "sha256": version * 64}


def answered(version: str, scores: np.ndarray) -> dict[str, Any]:
    by_tag = dict(zip(TAGS, scores.tolist(), strict=True))
    classes = [tag for tag, kind in TAGS.items() if kind == "classification"]
    decisions = {tag: {"probability": by_tag[tag], "decided": by_tag[tag] >= 0.5} for tag in classes}
    return {**names(version), "scores": by_tag, "decisions": decisions, "facts": {"source_seconds": 1.0}}


def labels(truth: pd.DataFrame, file: Path, column: str = "path") -> Path:
    table = truth.rename_axis(column).reset_index().melt(id_vars=column, var_name="tag")
    table["artist"] = [f"artist {number % 20}" for number in range(len(table))]
    table.to_csv(file, index=False)
    return file


def test_without_labels_it_says_where_they_differ(served: Path, truth: pd.DataFrame) -> None:
    comparison = compare(served)
    assert (comparison.lead, comparison.shadow) == ("tagger/1", "tagger/2")
    assert (comparison.recordings, comparison.unheard) == (RECORDINGS - 5, 5)
    assert "nobody knows which is better" in comparison.verdict
    rock, _, energy = comparison.tags
    assert (rock.tag, rock.group, rock.kind) == ("rock", "all", "classification")
    assert rock.shadow == truth["rock"].iloc[:-5].mean(), "the shadow decides what is true"
    assert rock.difference
    assert rock.agree
    assert rock.correlation
    assert rock.difference.value == pytest.approx(rock.shadow - (rock.lead or 0))
    assert rock.agree.low < rock.agree.value < rock.agree.high < 1
    assert rock.correlation.low < rock.correlation.value < rock.correlation.high
    assert energy.agree is None
    lead, shadow = comparison.seconds["p50"]
    assert shadow.value == pytest.approx(lead.value + 0.1)
    assert lead.low < lead.value < lead.high


@pytest.mark.parametrize("column", ["path", "file"])
def test_labels_say_which_is_better(served: Path, truth: pd.DataFrame, tmp_path: Path, column: str) -> None:
    comparison = compare(served, labels(truth, tmp_path / "labels.csv", column))
    assert comparison.labelled == (RECORDINGS - 5, 20)
    gap = comparison.gaps["all tags"]
    assert gap.candidate == 1.0, "the shadow ranks as the truth does"
    assert gap.interval()[0] > 0
    assert comparison.verdict.endswith("the shadow is better.")
    assert compare(served, tmp_path / "labels.csv", "rmse").gaps["all"].difference > 0


def test_the_highest_number_is_compared_and_another_by_its_name(served: Path, tmp_path: Path) -> None:
    """A lead 10 is recorded first, 9 after it: by a clock that was set back, or after a rollback."""
    folder = tmp_path / "served"
    shutil.copytree(served, folder)
    log = Log(folder, State(tmp_path))
    log.models = {sha256: {"sha256": sha256, "tags": []} for sha256 in ("10" * 64, "9" * 64)}
    for version in ("10", "9"):
        for place in range(10):
            log.add("lead", f"{place:012x}/song-{place}.mp3", answered(version, np.full(len(TAGS), 0.5)), 0.1)
        log.flush()
    assert compare(folder).lead == "tagger/10"
    assert compare(folder, lead_version="9").lead == compare(folder, lead_version="tagger/9").lead == "tagger/9"
    with pytest.raises(TagscaleError, match=r"no row is of version '8'; found tagger/1, tagger/10, tagger/9\."):
        compare(folder, lead_version="8")


def test_times_that_were_not_recorded_are_said_to_be_missing(served: Path, tmp_path: Path) -> None:
    shutil.copytree(served, tmp_path / "untimed")
    for file in (tmp_path / "untimed" / "times").iterdir():
        times = pd.read_parquet(file)
        times[times["role"] == "lead"].to_parquet(file)
    comparison = compare(tmp_path / "untimed")
    lead, shadow = comparison.seconds["p50"]
    assert lead
    assert shadow is None
    write_page(comparison, tmp_path / "page.html")
    assert "<td>not recorded</td>" in (tmp_path / "page.html").read_text()


def test_the_difference_of_paired_shares_is_held_by_its_interval() -> None:
    """In 95 of 100 samples, about, whatever the shares: a simulation."""
    random, held = np.random.default_rng(0), 0
    for _ in range(400):
        both, one, other = (random.random((3, 80)).T < (0.3, 0.1, 0.2)).T
        interval = paired_difference(both | one, both | other)
        held += interval.low <= 0.7 * (0.2 - 0.1) <= interval.high
    assert 0.92 < held / 400 < 0.98


def test_as_its_users_meet_it(
    served: Path,
    truth: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    page, known = tmp_path / "page.html", labels(truth, tmp_path / "labels.csv")
    compare_served(str(served), "--labels", str(known), "--out", str(page))
    words = capsys.readouterr().out
    assert words.startswith("tagger/2 in the shadow of tagger/1: 55 recordings\n")
    assert "the shadow is better" in words
    content = page.read_text("utf-8")
    assert "Señal, 音楽" in content
    assert "http" not in content
    compare_served(str(served), "--json", "--metric", "roc_auc")
    assert json.loads(capsys.readouterr().out)["recordings"] == 55


def compare_served(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compare-served", *words])
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["{empty}"], "/lead: no such folder. `tagscale serve --shadow VERSION --record"),
        (["{failed}"], "failed/shadow: no recording in it has scores"),
        (["{served}", "--metric", "best"], "--metric: found 'best', expected one of"),
        (["{served}", "--labels", "{empty}/no.csv"], "no.csv: no labels in it"),
        (["{served}", "--labels", "{served}/odd.csv"], "a value outside 0 to 1"),
        (["{served}", "--labels", "{served}/strange.csv"], "no path in it is that of a served recording"),
    ],
)
def test_what_cannot_be_compared(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], because: str
) -> None:
    (served / "odd.csv").write_text("path,tag,value\nsong-1.mp3,rock,7\n")
    (served / "strange.csv").write_text("path,tag,value\nother.mp3,rock,1\n")
    log = Log(tmp_path / "failed", State(tmp_path))
    log.add("lead", "a/song.mp3", answered("1", np.full(len(TAGS), 0.5)), 0.1)
    log.add("shadow", "a/song.mp3", {**names("2"), "error": "damaged"}, 0.1)
    log.flush()
    places = {"served": served, "empty": tmp_path, "failed": tmp_path / "failed"}
    assert compare_served(*(word.format(**places) for word in words)) == 1
    assert because in capsys.readouterr().err
