"""A full disk: recognised in every form, explained once, and nothing else taken for it."""

import errno
import subprocess
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tagscale.runtime.disk import full_disk_explained, full_disk_reason
from tagscale.runtime.errors import TagscaleError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_explained_with_what_is_kept(number: int) -> None:
    kept: list[str] = []
    message = r"^The disk is full: /data/store could not be written \(.+\)\. 3 tracks are kept\. Free space, then run "

    def write() -> None:
        with full_disk_explained(Path("/data/store"), lambda: f"{len(kept)} tracks are kept."):
            kept.extend("abc")
            raise OSError(number, "as the system says it")

    with pytest.raises(TagscaleError, match=message):
        write()


def test_the_file_is_named_where_the_error_names_it() -> None:
    with pytest.raises(TagscaleError, match=r"The disk is full: here/a\.csv could"), full_disk_explained(None, ""):
        raise OSError(errno.ENOSPC, "No space left on device", "here/a.csv")


def test_what_a_library_raises_because_of_it_counts() -> None:
    error = RuntimeError("could not write the archive")
    error.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert full_disk_reason(error) == "no space left on the device"


def test_a_full_disk_as_libraries_meet_it(tmp_path: Path) -> None:
    """safetensors has an error of its own, without a number."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted without the right to")
    try:
        with (
            pytest.raises(TagscaleError, match=r"The disk is full: weights could not .* Nothing is lost\."),
            full_disk_explained("weights", "Nothing is lost."),
        ):
            save_file({"weights": np.zeros(10**6, np.float32)}, tmp_path / "weights.safetensors")
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), ValueError("28"), TagscaleError("os error 28")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, full_disk_explained("a", "b"):
        raise error
    assert caught.value is error
