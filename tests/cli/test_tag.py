"""`tagscale tag` as its users meet it: files of every kind, on any terminal, until Ctrl-C."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cli.tag_project import ROOT, TAGS, process, tag
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.tags import Tags
from tagscale.runtime.machine import SLEEPING
from tagscale.runtime.signals import Interrupted


def test_a_model_without_decisions_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tag("music/good.wav") == 0
    assert capsys.readouterr().out.startswith("tagscale-tagger (1) has no decisions: scores rank the tags of a file")


def test_threads_of_libraries_sleep_while_they_wait(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SLEEPING:
        monkeypatch.setenv(name, "")  # so that it is as before afterwards
        monkeypatch.delenv(name)
    assert tag("music/good.wav") == 0
    assert {name: os.environ[name] for name in SLEEPING} == SLEEPING


def test_json_is_whole_where_files_fail_and_says_what_is_wrong_with_each(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tag("music", "other", "nowhere.wav", "--json") == 1
    files = {Path(file["path"]).name: file for file in json.loads(capsys.readouterr().out)["files"]}
    assert list(files) == [
        "Björk - 楽.wav",
        "good.wav",
        "short.wav",
        "silent.wav",
        "words.wav",
        r"caf\xe9.wav",
        "nowhere.wav",
    ]
    assert set(files["good.wav"]["scores"]) == set(TAGS)
    assert files["good.wav"]["warnings"] == []
    assert files["short.wav"]["warnings"][0] == "1.00 s long, shorter than 3 s"
    assert set(files["short.wav"]["scores"]) == set(TAGS)
    assert files[r"caf\xe9.wav"]["scores"] == files["good.wav"]["scores"]
    assert files["silent.wav"]["error"].startswith("silent: -120.0 dBFS")
    assert "scores" not in files["silent.wav"]
    assert files["nowhere.wav"]["error"] == "no such file"
    assert tag("music/good.wav", "music/short.wav") == 0, "a warning is no failure"


@pytest.mark.slow
def test_a_terminal_that_knows_ascii_alone_gets_escapes(project: Path) -> None:
    done = process(project, "tag", "music", "other", LC_ALL="C", PYTHONIOENCODING="ascii", COLUMNS="100")
    out, err = done.communicate(timeout=300)
    assert (done.returncode, err) == (1, b"")
    lines = out.decode("ascii").splitlines()
    assert lines[0].startswith("tagscale-tagger (1) has no decisions"), "nor a calibration"
    assert lines[1] == r"music/Bj\xf6rk - \u697d.wav"
    assert r"other/caf\xe9.wav" in lines
    assert sum(line.startswith(r"  Se\xf1al \u97f3\u697d") for line in lines) == 4, "one a tagged file"
    assert sum("-o-" in line for line in lines) == 4, "the dials of `energy`"
    assert any(line.rstrip().endswith("###") for line in lines), "the bars"
    assert "\n  warning: 1.00 s long, shorter than 3 s\n" in out.decode("ascii")


@pytest.mark.slow
def test_an_error_and_a_table_of_another_script_reach_an_ascii_terminal(project: Path, tmp_path: Path) -> None:
    settings = (ROOT / "params.yaml").read_text(encoding="utf-8").replace("name: tagscale-tagger", "name: 音")
    (tmp_path / "params.yaml").write_text(settings, encoding="utf-8")
    for words, code, expected in (
        (("history", "--params", str(tmp_path / "params.yaml")), 1, rb"error No model '\u97f3' in the registry"),
        (("models",), 0, b""),
    ):
        done = process(project, *words, PYTHONIOENCODING="ascii:strict", LC_ALL="C")
        out, err = done.communicate(timeout=300)
        assert done.returncode == code, err
        assert expected in err
        assert b"Traceback" not in err
        assert out.isascii()


@pytest.mark.parametrize("json_wanted", [False, True])
def test_ctrl_c_keeps_what_is_done(
    project: Path, json_wanted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = AudioTagger.tag

    def interrupted(tagger: AudioTagger, path: Path) -> Tags:
        if path.name == "short.wav":
            raise Interrupted(signal.SIGINT)
        return known(tagger, path)

    monkeypatch.setattr(AudioTagger, "tag", interrupted)
    assert tag("music", *(["--json"] if json_wanted else [])) == 130
    said = capsys.readouterr()
    assert said.err == "interrupted: 2 file(s) are tagged, 0 could not be, the rest is not begun\n"
    if json_wanted:
        assert [file["scores"].keys() == set(TAGS) for file in json.loads(said.out)["files"]] == [True] * 2
    else:
        assert "good.wav" in said.out
        assert "short.wav" not in said.out


@pytest.mark.slow
def test_results_stream_and_a_real_ctrl_c_ends_with_one_line(project: Path, tmp_path: Path, programs: Path) -> None:
    for number in range(400):
        (tmp_path / f"{number:03}.wav").symlink_to(project / "music" / "good.wav")
    words = [programs / "tagscale", "tag", tmp_path]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert "has no decisions" in running.stdout.readline()
        assert running.stdout.readline().strip().endswith("000.wav")
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=300)
    assert running.returncode == 130
    assert err.startswith("interrupted: ")
    assert err.count("\n") == 1
