"""The fuzz harness sees what it is there for: wrong results, deaths, hangs, memory, and changes of the file system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import mutations
from fuzz.harness import random_of

ROOT = Path(__file__).parents[2]
KINDS = """
import os, sys, time
from pathlib import Path
from fuzz.harness import Kind, Verdict, run

def judge(number, place):
    assert not list(place.iterdir())
    if number == 3:
        raise KeyError("a traceback")
    if number == 5:
        os.abort()
    if number == 7:
        time.sleep(60)
    if number == 9:
        content = bytearray(80 << 20)
    return Verdict("right result" if number % 2 else "true message", str(number))

report = run([Kind("kind", 12, judge, seconds=2, megabytes=50)], Path(sys.argv[1]), 2, lambda line: None)
print(report.table())
print(sorted((case, verdict.outcome) for case, verdict in report.bad))
"""
CHANGES = """
import contextlib, os, shutil, sqlite3
from fuzz.kills import watch

seen = []
watch(seen.append)
os.mkdir("a"); open("a/b", "w").close(); os.replace("a/b", "a/c"); open("a/c").read(); shutil.rmtree("a")
with contextlib.closing(sqlite3.dbapi2.connect("store.db")) as store, store:
    store.execute("CREATE TABLE t (x)"); store.execute("INSERT INTO t VALUES (1)"); store.execute("SELECT x FROM t")
print(seen)
"""


def python(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_bad_end_is_seen_and_stops_no_other_case(tmp_path: Path) -> None:
    output = python(tmp_path, "-c", KINDS, str(tmp_path))
    bad = {"kind:3": "traceback", "kind:5": "crash", "kind:7": "hang", "kind:9": "memory over bound"}
    assert output.splitlines()[-1] == str(sorted(bad.items()))
    assert output.splitlines()[-2].split() == ["all", "12", "2", "6", "1", "0", "1", "1", "1", "0"]


@pytest.mark.slow
def test_changes_are_counted_before_they_are_made(tmp_path: Path) -> None:
    """A folder, a file, a rename, two removals; two statements of SQLite and what ends them."""
    assert python(tmp_path, "-c", CHANGES).split("\n")[0] == str([*range(1, 9)])


@pytest.mark.slow
def test_some_cases_of_audio_and_tables(tmp_path: Path) -> None:
    output = python(tmp_path, "-m", "fuzz", "--kinds", "audio,table zip,table msd array", "--share", "0.005")
    assert "table msd array" in output


def test_a_number_alone_decides_a_case() -> None:
    content = bytes(range(256)) * 10
    for change in (*mutations.BYTES, *mutations.TEXT, *mutations.CELLS):
        assert change(content, random_of("a", 1)) == change(content, random_of("a", 1))
