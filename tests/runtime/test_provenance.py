"""Who and which commit: given, found, or unknown; never an error."""

import getpass
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tagscale.runtime import provenance
from tagscale.runtime.provenance import git_commit, user


def test_commit_is_the_one_checked_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAGSCALE_GIT_COMMIT", raising=False)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    assert len(git_commit()) == 40
    monkeypatch.setenv("TAGSCALE_GIT_COMMIT", "given")
    assert git_commit() == "given"


def test_commit_is_unknown_without_repository_or_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAGSCALE_GIT_COMMIT", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_commit() == "unknown"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() == "unknown"


def test_user_is_unknown_where_nobody_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert user() == getpass.getuser()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert user() == "unknown"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one commit, as the current folder."""
    monkeypatch.delenv("TAGSCALE_GIT_COMMIT", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src").mkdir()
    for file in ("src/model.py", "params.yaml", "dvc.lock"):
        (tmp_path / file).write_text("first\n")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], check=True)
    provenance._warn.cache_clear()
    return tmp_path


@pytest.mark.parametrize("file", ["params.yaml", "src/model.py", "src/new.py"])
def test_commit_is_dirty_where_code_or_settings_differ(repository: Path, file: str) -> None:
    clean = git_commit()
    assert len(clean) == 40
    (repository / file).write_text("second\n")
    assert git_commit() == f"{clean}-dirty"


def test_results_and_notes_make_no_commit_dirty(repository: Path) -> None:
    clean = git_commit()
    (repository / "dvc.lock").write_text("of another run\n")
    (repository / "notes.txt").write_text("a note\n")
    assert git_commit() == clean


@pytest.mark.parametrize("how", ["broken", "no git", "dubious ownership", "no commit"])
def test_a_repository_that_cannot_be_read_is_said_once(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, how: str
) -> None:
    if how == "broken":
        (repository / ".git" / "HEAD").write_text("nonsense")
    elif how == "no git":
        monkeypatch.setenv("PATH", str(repository))
    elif how == "dubious ownership":
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    else:
        shutil.rmtree(repository / ".git")
        subprocess.run(["git", "init", "-q"], check=True)
    assert [git_commit(), git_commit()] == ["unknown", "unknown"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: git cannot read {repository}, so runs are recorded with the commit `unknown`: ")
    expected = {"dubious ownership": "safe.directory", "no git": "git", "no commit": "it has no commit yet. (Mend that"}
    assert expected.get(how, "fatal: ") in line
