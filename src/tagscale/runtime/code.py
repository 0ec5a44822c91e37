"""The digests of tagscale's own code, by which a stage is known to be out of date."""

from pathlib import Path

import tagscale
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import sha256_of


class NoSuchCode(TagscaleError):
    """This tagscale has no folder or module of this name."""


def digests_of(name: str) -> dict[str, str]:
    """SHA-256 of the files of a folder or module of the package, by their paths in the package, in their order.

    Args:
        name: path in the package: "store", "stages/train.py"
    Raises:
        NoSuchCode: there is none.

    >>> list(digests_of("stages/train.py"))
    ['stages/train.py']
    """
    package = Path(tagscale.__file__).parent
    place = package / name
    if not place.exists():
        raise NoSuchCode(f"{place}: no such file or folder.")
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.is_file())
    return {file.relative_to(package).as_posix(): sha256_of(file) for file in files if file.suffix != ".pyc"}
