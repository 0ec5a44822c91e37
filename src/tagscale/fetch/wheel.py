"""A pinned Python wheel as an archive: downloaded with pip, checked, read. Nothing in it is run or installed."""

import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import sha256_of

MOST = 1 << 26  # bytes of a member
TIMEOUT = 600  # seconds for the download
LAST_LINES = 3  # of pip's output in a message


def download_wheel(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Let pip download a wheel, from whichever index it is configured for.

    Raises:
        TagscaleError: there is no pip, or it does not get a file of this hash; says why.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder), "--requirement"]
    with tempfile.TemporaryDirectory() as temporary:
        pinned = Path(temporary) / "pinned.txt"
        pinned.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        try:
            done = subprocess.run([*command, str(pinned)], capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise TagscaleError(f"pip did not get {package} {version} in {TIMEOUT} s.") from None
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no message"]
        raise TagscaleError(f"pip did not get {package} {version}: {' '.join(errors[-LAST_LINES:])}")
    return wheels[0]


def read_members(wheel: Path, sha256: str, names: Iterable[str]) -> dict[str, bytes]:
    """Files of a wheel by their names, after its hash was checked.

    Raises:
        TagscaleError: no such file, another hash, or a member is missing or damaged.
    """
    try:
        digest = sha256_of(wheel)
        if digest != sha256:
            raise TagscaleError(f"{wheel}: SHA-256 {digest}, expected {sha256}. This is another file: get it again.")
        with zipfile.ZipFile(wheel) as archive:
            members = {name: archive.getinfo(name) for name in names}
            if large := [name for name, member in members.items() if member.file_size > MOST]:
                raise TagscaleError(f"{wheel}: member {large[0]} has more than {MOST:,} bytes.")
            return {name: archive.read(member) for name, member in members.items()}
    except OSError as error:
        raise TagscaleError(f"{wheel}: cannot be read ({error.strerror or error}).") from None
    except KeyError as error:
        raise TagscaleError(f"{wheel}: {error.args[0]}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise TagscaleError(f"{wheel}: not a whole wheel ({error}).") from None
