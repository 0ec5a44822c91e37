"""Which process something belongs to, so that a later one can tell whether that process has ended."""

import json
import os
import socket
from contextlib import suppress
from pathlib import Path

from tagscale.runtime.identity import hash_of

_PROC = Path("/proc")


def this_process() -> str:
    """This process as a line of JSON: its machine, the machine's boot, its number there and when it began."""
    return json.dumps(_machine() | {"pid": os.getpid(), "begun": _begun(os.getpid())})


def is_running(process: str | None) -> bool | None:
    """Whether a process (see `this_process`) still runs; None where this machine cannot know.

    Numbers of processes are used again, so the time when it began counts as well. A container has numbers of its own.
    """
    try:
        facts = dict(json.loads(process or ""))
        pid, begun = int(facts["pid"]), str(facts["begun"])
    except (ValueError, TypeError, KeyError):
        return None
    here = _machine()
    if any(facts.get(key) != here[key] for key in ("host", "machine")):
        return None
    if facts.get("boot") != here["boot"]:
        return False if here["machine"] and here["boot"] and facts.get("boot") else None
    if facts.get("space") != here["space"]:
        return None
    return _begun(pid) == begun if begun else _exists(pid)


def _machine() -> dict[str, str]:
    """host, machine (an installation's id), boot (another after each start), space (of process numbers)."""
    space = ""
    with suppress(OSError):
        space = str((_PROC / "self/ns/pid").readlink())
    boot, machine = _read(_PROC / "sys/kernel/random/boot_id"), _read(Path("/etc/machine-id"))
    return {
        "host": socket.gethostname(),
        "machine": hash_of(machine) if machine else "",  # the id itself is the machine's own affair
        "boot": boot,
        "space": space,
    }


def _begun(pid: int) -> str:
    """When a process began, in ticks since the boot; "" where there is none, or no /proc."""
    stat = _read(_PROC / str(pid) / "stat")
    fields = stat.rpartition(")")[2].split()  # the name, in parentheses, may have blanks
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:
        return ""
