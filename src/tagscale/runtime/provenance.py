"""Who runs which code: what runs and promotions are recorded with."""

import getpass
import os
import subprocess


def git_commit() -> str:
    """TAGSCALE_GIT_COMMIT (set where the code runs without its repository), or the commit checked out, or "unknown"."""
    told = os.environ.get("TAGSCALE_GIT_COMMIT")
    if told:
        return told
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git on this machine, or no repository here
        return "unknown"
    return asked.stdout.strip()


def user() -> str:
    """Name of who runs this; "unknown" in a container that has no table of users."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
