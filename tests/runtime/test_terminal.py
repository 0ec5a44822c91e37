"""What a terminal cannot show is printed as escapes, by this process and by those that it starts."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, subprocess, sys
from rich.console import Console
from tagscale.runtime.command import command
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.progress import progress_bar
with command(lambda message: print(message, file=sys.stderr)):
    print("Björk 楽", os.fsdecode(b"caf\\xe9.wav"), flush=True)
    subprocess.run([sys.executable, "-c", r"print('child \\u697d', flush=True)"], check=True)
    with progress_bar("tracks", Console(force_terminal=True, width=80)) as progress:
        progress.advance(progress.add_task("楽", total=2))
    raise TagscaleError("楽.wav: no such file")
"""


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "latin-1", "utf-8"])
def test_every_character_reaches_every_terminal(encoding: str) -> None:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "TERM": "xterm"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True)
    name = encoding.partition(":")[0]
    out, err = done.stdout.decode(name), done.stderr.decode(name)
    assert done.returncode == 1, err
    umlaut, kanji = {"ascii": (r"\xf6", r"\u697d"), "latin-1": ("ö", r"\u697d"), "utf-8": ("ö", "楽")}[name]
    assert out.splitlines()[:2] == [rf"Bj{umlaut}rk {kanji} caf\udce9.wav", f"child {kanji}"]
    assert f"{kanji} " in "".join(out.splitlines()[2:]), "the progress bar"
    assert err == f"error {kanji}.wav: no such file\n"
