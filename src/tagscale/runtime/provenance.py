"""Who runs which code, as runs and promotions record it."""

import getpass
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

DIRTY = "-dirty"  # behind a commit: code or settings differ from it
CODE = ("src", ".tagscale", "components", "pipelines", "presets", "params.yaml", "dvc.yaml")  # what decides a run
_SECONDS = 30  # a large repository on a network drive takes long


def git_commit() -> str:
    """TAGSCALE_GIT_COMMIT (set where the code runs without its repository), or the commit checked out, or "unknown".

    The commit ends in "-dirty" where code or settings differ from it. A repository that cannot be read is named on
    stderr, once.
    """
    return os.environ.get("TAGSCALE_GIT_COMMIT") or _commit_in(Path.cwd())


def _commit_in(folder: Path) -> str:
    try:
        commit = _git(folder, "rev-parse", "--quiet", "--verify", "HEAD").strip()
        changes = _git(folder, "status", "--porcelain", "--", *CODE)
    except (OSError, subprocess.SubprocessError) as error:
        if repository := next((one for one in (folder, *folder.parents) if (one / ".git").exists()), None):
            message = getattr(error, "stderr", None) or str(error)
            if isinstance(error, subprocess.CalledProcessError) and not error.stderr:
                message = "it has no commit yet."
            _warn(repository, " ".join(message.split()))
        return "unknown"
    return f"{commit}{DIRTY}" if changes else commit


def _git(folder: Path, *words: str) -> str:
    command = ["git", "--no-optional-locks", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout


@cache
def _warn(repository: Path, reason: str) -> None:
    print(
        f"warning: git cannot read {repository}, so runs are recorded with the commit `unknown`: {reason} (Mend that, "
        "or set TAGSCALE_GIT_COMMIT.)",
        file=sys.stderr,
        flush=True,
    )


def user() -> str:
    """Name of the user; "unknown" in a container without a table of users."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
