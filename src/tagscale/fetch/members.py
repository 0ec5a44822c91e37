"""Which members of a zip file may be unpacked: hostile and damaged archives are refused beforehand."""

import re
import stat
import zipfile

from tagscale.fetch.published import Archive
from tagscale.runtime.errors import TagscaleError

NOTE = ".unpacked.json"  # in the unpacked folder: names its archive
MOST_MEMBERS = 1_000_000  # the largest published archive has 106,574 files
DEEPEST = 20  # folders in folders
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # LZMA takes the memory that a member asks for


def checked(members: list[zipfile.ZipInfo], archive: Archive, label: str) -> list[zipfile.ZipInfo]:
    """The members that are files, in the archive's order, after all were checked.

    Raises:
        TagscaleError: a member is refused; names the first one, and why.
    """
    if len(members) > MOST_MEMBERS:
        raise _refusal(label, f"{len(members):,} members, expected at most {MOST_MEMBERS:,}")
    files: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    for member in members:
        name = member.orig_filename
        why = _refused(member, archive.inner)
        path = name.rstrip("/")
        if not why and not member.is_dir() and path in files:
            why = "another member has the same name"
        if why:
            raise _refusal(label, f"member {name!r}: {why}")
        parts = path.split("/")
        folders.update("/".join(parts[:count]) for count in range(1, len(parts) + member.is_dir()))
        if not member.is_dir():
            files[path] = member
    if both := sorted(folders & files.keys()):
        raise _refusal(label, f"member {both[0]!r}: a file and a folder of the same name")
    if not files:
        raise _refusal(label, "no files in it")
    total = sum(member.file_size for member in files.values())
    if total > archive.most:
        raise _refusal(label, f"{total:,} bytes unpacked, expected at most {archive.most:,}")
    return list(files.values())


def _refused(member: zipfile.ZipInfo, inner: str) -> str:
    """Why a member on its own is refused; "" if it is not."""
    name = member.orig_filename  # as it stands in the archive: zipfile cuts at NUL and changes separators
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > member.is_dir():
        return "a link or a device, expected files and folders"
    if member.flag_bits & 0x1:
        return "encrypted"
    if member.compress_type not in METHODS:
        return f"compressed by method {member.compress_type}, expected stored, deflated or bzip2"
    if not name.isprintable() or "\\" in name or re.match(r"[A-Za-z]:", name):
        return "a backslash, a drive or a control character in its name"
    parts = name.removesuffix("/").split("/")
    if not all(part not in ("", ".", "..") for part in parts):
        return "a path that is absolute or leaves the folder"
    if len(parts) > DEEPEST:
        return f"{len(parts)} folders deep, expected at most {DEEPEST}"
    if inner and (parts[0] != inner or (len(parts) == 1 and not member.is_dir())):
        return f"outside {inner}/, where all members are expected"
    if parts[-1] == NOTE:
        return "named as tagscale's own note"
    return ""


def _refusal(label: str, why: str) -> TagscaleError:
    return TagscaleError(
        f"{label}: {why}. Refused; nothing of it was unpacked. This is not the published archive: delete it, then "
        "fetch again from the dataset's own address."
    )
