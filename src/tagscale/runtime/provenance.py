"""Who runs which code, as runs and promotions record it."""

import getpass
import os
import subprocess


def git_commit() -> str:
    """TAGSCALE_GIT_COMMIT (set where the code runs without its repository), or the commit checked out, or "unknown"."""
    if commit := os.environ.get("TAGSCALE_GIT_COMMIT"):
        return commit
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git on this machine, or no repository here
        return "unknown"
    return git.stdout.strip()


def user() -> str:
    """Name of the user; "unknown" in a container without a table of users."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
