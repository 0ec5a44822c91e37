"""Commands that start warm are those that start cold: words, folder, environment, streams, exit status, signals."""

import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing import spawn
from pathlib import Path

import psutil
import pytest

import warm
from tiny_project import run

pytestmark = pytest.mark.slow


def test_words_folder_and_exit_status_arrive(programs: Path, tmp_path: Path) -> None:
    for words in (["tagscale", "--version"], ["tagscale", "catalog"], ["tagscale", "no-command"], ["dvc", "root"]):
        warm, cold = (run(tmp_path, *words, programs=place) for place in (programs, None))
        assert warm.returncode == cold.returncode, words
        assert (warm.stdout, warm.stderr) == (cold.stdout, cold.stderr), words


def test_the_environment_arrives(programs: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "tagscale", "--help", programs=programs, environment={"COLUMNS": "50"})
    assert max(map(len, done.stdout.splitlines())) <= 50


def test_another_python_is_a_fresh_one(programs: Path, tmp_path: Path) -> None:
    program = "import sys; print(sys.argv, 'tagscale' in sys.modules)"
    assert run(tmp_path, str(programs / "python3"), "-c", program, "a").stdout == "['-c', 'a'] False\n"


def test_a_signal_reaches_the_command_and_its_end_the_caller(programs: Path, tmp_path: Path) -> None:
    words = [str(programs / "python3"), "-m", "kfp.dsl.executor_main", "--component_module_path"]
    (tmp_path / "waits.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    words += [str(tmp_path / "waits.py"), "--executor_input", "{}", "--function_to_execute", "f"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        assert "ready\n" in iter(process.stdout.readline, "")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM


def test_a_process_of_multiprocessing_has_its_pipes_and_everything_imported(programs: Path) -> None:
    before = spawn.get_executable()
    loaded = "'tagscale.cli' in __import__('sys').modules"
    try:
        for program, warm in ((str(programs / "python3"), True), (sys.executable, False)):
            multiprocessing.set_executable(program)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                assert pool.apply(eval, (loaded,)) is warm
    finally:
        multiprocessing.set_executable(before)


def test_a_command_ends_with_a_client_that_is_killed(programs: Path, tmp_path: Path) -> None:
    words = [str(programs / "python3"), "-m", "kfp.dsl.executor_main", "--component_module_path"]
    code = "import os, subprocess, time\nchild = subprocess.Popen(['sleep', '60'])\n"
    code += "print('pids', os.getpid(), child.pid, flush=True)\ntime.sleep(60)\n"
    (tmp_path / "waits.py").write_text(code)
    words += [str(tmp_path / "waits.py"), "--executor_input", "{}", "--function_to_execute", "f"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("pids"))
        started = [psutil.Process(int(word)) for word in line.split()[1:]]
        process.kill()
        assert not psutil.wait_procs(started, 30)[1]


def test_programs_outlive_their_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(warm.PLACE, raising=False)

    def kill_and_ask() -> None:
        with warm.serving() as programs:
            folder = str(programs.parent)
            (server,) = (child for child in psutil.Process().children() if folder in child.cmdline())
            os.kill(server.pid, signal.SIGKILL)
            server.wait(30)
            done = run(tmp_path, "tagscale", "--version", programs=programs)
            assert (done.returncode, done.stderr) == (0, "")
            program = "import sys; print(sys.argv)"
            assert run(tmp_path, str(programs / "python3"), "-c", program, "a").stdout == "['-c', 'a']\n"

    with pytest.warns(UserWarning, match="ended early"):
        kill_and_ask()
