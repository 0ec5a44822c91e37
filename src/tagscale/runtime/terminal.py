"""Output that every terminal can show: names of files, artists and tags come in any script."""

import io
import os
import sys


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
