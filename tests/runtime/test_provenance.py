"""Who and which commit: given, found, or unknown; never an error."""

import getpass
import os
import subprocess
from pathlib import Path

import pytest

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
