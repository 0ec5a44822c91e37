"""Whether a process still runs, as another one on the same machine, on another one or in a container knows it."""

import json
import subprocess
import sys
from pathlib import Path

from tagscale.runtime.owner import is_running, this_process

SAY = "import sys; from tagscale.runtime.owner import this_process; print(this_process(), flush=True); sys.stdin.read()"


def changed(process: str, **facts: object) -> str:
    return json.dumps(json.loads(process) | facts)


def test_a_process_runs_until_it_is_killed() -> None:
    assert is_running(this_process()) is True
    with subprocess.Popen([sys.executable, "-c", SAY], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        process = child.stdout.readline()
        assert json.loads(process)["pid"] == child.pid
        assert is_running(process) is True
        child.kill()
    assert is_running(process) is False


def test_a_number_that_is_used_again_is_another_process() -> None:
    assert is_running(changed(this_process(), begun="1")) is False


def test_processes_of_another_machine_or_container_are_unknown() -> None:
    for place in ({"host": "other"}, {"machine": "other"}, {"space": "pid:[1]"}):
        assert is_running(changed(this_process(), pid=2**22 + 1, begun="1", **place)) is None


def test_a_process_of_an_earlier_boot_has_ended_where_the_machine_is_known() -> None:
    known = bool(json.loads(this_process())["machine"])
    assert is_running(changed(this_process(), boot="earlier")) is (False if known else None)


def test_what_names_no_process_is_unknown() -> None:
    for text in (None, "", "{", "[]", "{}", '{"pid": "x", "begun": ""}'):
        assert is_running(text) is None


def test_the_id_of_the_machine_itself_stays_there() -> None:
    file = Path("/etc/machine-id")
    machine = file.read_text().strip() if file.exists() else ""
    assert not machine or machine not in this_process()
