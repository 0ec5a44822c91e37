"""The edge of a command: what its user can mend, and what interrupts it, ends in one message and an exit status."""

import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tagscale.runtime.disk import full_disk_explained, refusal_explained
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.extras import remedy
from tagscale.runtime.signals import Interrupted, answered

KEPT = "What was finished before is kept, and no file is half-written."


def print_plainly(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@contextmanager
def command(say: Callable[[str], None] = print_plainly) -> Iterator[None]:
    """Run a command, or a task of a pipeline, inside the block. Whatever it prints, its terminal can show.

    Args:
        say: prints a message to stderr; that of an error begins with "error "

    Raises:
        SystemExit: 1 after an error that the user can mend, 130 after Ctrl-C, 143 after SIGTERM; each is explained.
    """
    write_anything()
    try:
        with (
            answered(_interrupt, signal.SIGINT, signal.SIGTERM),
            refusal_explained(KEPT),
            full_disk_explained(None, KEPT),
        ):
            yield
    except TagscaleError as error:
        say(f"error {error}")
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (how := remedy(error.name)) is None:
            raise
        say(f"error {how}")
        sys.exit(1)
    except Interrupted as interruption:
        kept = next(iter(getattr(interruption, "__notes__", [])), KEPT)
        if kept:
            say(f"interrupted. {kept} Run the same command again to go on.")
        raise


def write_anything() -> None:
    r"""Let stdout and stderr write characters that their encoding lacks as escapes, `\xe9`, in place of an error.

    Such characters are those outside ASCII on an ASCII terminal, and everywhere the bytes of a file name that is no
    valid UTF-8. Python processes that this one starts inherit the setting. JSON, tables and files are not concerned.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        os.environ["PYTHONIOENCODING"] = f"{sys.stdout.encoding}:backslashreplace"


def _interrupt(number: int) -> None:
    if number == signal.SIGTERM:  # Ctrl-C comes to all processes of a terminal by itself
        for child in _children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
    raise Interrupted(number)


def _children() -> list[int]:
    """Processes that this one has started, as Linux lists them; none on other systems."""
    with suppress(OSError):
        lists = [file.read_text() for file in Path("/proc/self/task").glob("*/children")]
        return [int(child) for child in " ".join(lists).split()]
    return []
