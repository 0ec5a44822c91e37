"""The edge of a command: one message and the right exit status for what the system refuses and for what interrupts."""

import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from fuzz.kills import in_child
from tagscale.params.load import laid_over, read_yaml
from tagscale.runtime.command import command
from tagscale.runtime.disk import REFUSED, full_disk_explained

ROOT = Path(__file__).parents[2]
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


def test_every_refusal_names_the_file_and_what_to_do() -> None:
    for number, (reason, advice) in REFUSED.items():
        said: list[str] = []
        with pytest.raises(SystemExit) as ended, command(said.append):
            raise OSError(number, os.strerror(number), "data/store")
        assert ended.value.code == 1
        (message,) = said
        assert message.startswith(f"error data/store: {reason}. {advice}, then run the same command again.")


def test_refusals_as_the_system_gives_them(tmp_path: Path) -> None:
    """Not permissions: the tests may run as root, whom they do not hold."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for attempt, named, reason in (
        (lambda: (tmp_path / ("x" * 300)).mkdir(), "x" * 300, "too long"),
        (lambda: (tmp_path / "file" / "inside").mkdir(), "file/inside", "a part of its path is a file"),
        (lambda: (tmp_path / "loop").read_bytes(), "loop", "leads to itself"),
        (lambda: tmp_path.read_bytes(), tmp_path.name, "a folder, expected a file"),
        (lambda: os.replace(tmp_path / "full", tmp_path / "full" / "file" / "x"), "full/file/x", "a part of its path"),
        (lambda: (tmp_path / "full").rmdir(), "full", "not empty"),
    ):
        said: list[str] = []
        with pytest.raises(SystemExit), command(said.append):
            attempt()
        assert f"{named}: " in said[0]
        assert reason in said[0]


def test_other_errors_pass() -> None:
    for error in (ValueError("a bug"), OSError("without a number"), ConnectionRefusedError(errno.ECONNREFUSED, "away")):
        with pytest.raises(type(error)), command(lambda message: pytest.fail(message)):
            raise error


# SIGTERM reaches all children of the process, and that of pytest has some: the next two tests fork.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_what_is_kept(number: signal.Signals, tmp_path: Path) -> None:
    def interrupted() -> tuple[int, str]:
        before, said = signal.getsignal(number), list[str]()
        with (
            pytest.raises(SystemExit) as ended,
            command(said.append),
            full_disk_explained("corpus", "all"),
            full_disk_explained("corpus", lambda: "7 of 9 tracks are kept."),
        ):
            signal.raise_signal(number)
        assert signal.getsignal(number) == before
        return int(str(ended.value.code)), "".join(said)

    message = "interrupted. 7 of 9 tracks are kept. Run the same command again to go on."
    assert in_child(tmp_path, interrupted) == (128 + number, message)


def test_sigterm_ends_the_processes_that_the_command_started(tmp_path: Path) -> None:
    def terminated() -> tuple[int, str]:
        child = subprocess.Popen(["sleep", "60"])
        with pytest.raises(SystemExit), command(lambda message: None):
            os.kill(os.getpid(), signal.SIGTERM)
        return 0, str(child.wait(50))

    assert in_child(tmp_path, terminated) == (0, str(-signal.SIGTERM))


def living(session: int) -> list[str]:
    """Processes of a session, without those that only wait for somebody to ask how they ended."""
    states = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its = file.read_text().rpartition(")")[2].split()[:4]
            states += [file.parent.name] if int(its) == session and state != "Z" else []
    return states


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_corpus_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    """The command in a terminal of its own, whose processes all get Ctrl-C; SIGTERM comes to the first one alone."""
    settings = laid_over(read_yaml(ROOT / "params.yaml"), {"synth": {"tracks": 200, "artists": 20, "seconds": 10}})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    words = [sys.executable, "-c", "from tagscale.cli import main; main()", "synth", "--workers", "2"]
    process = subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    audio, deadline = tmp_path / "data" / "corpus" / "audio", time.monotonic() + 120
    while len(list(audio.glob("*/*.flac"))) < 3:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number
    assert said.count("interrupted. ") == 1
    assert "of 200 tracks are finished and kept in data/corpus. Run the same command again to go on." in said
    assert "Traceback" not in said
    while alive := living(process.pid):
        assert time.monotonic() < deadline + 60, alive
        time.sleep(0.1)


def test_a_missing_package_is_named_with_the_extra_that_brings_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, command():
        raise ModuleNotFoundError("No module named 'mlflow.pyfunc'", name="mlflow.pyfunc")
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        "error mlflow is not installed. `pip install 'tagscale[serve]'` brings what tagging and serving need, "
        "`pip install 'tagscale[main]'` brings what a study needs.\n"
    )
    with pytest.raises(ModuleNotFoundError), command():
        raise ModuleNotFoundError("No module named 'tagscale.nonsense'", name="tagscale.nonsense")


def test_a_package_of_several_words_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    for module, extra in {"great_expectations": "main", "ruamel": "main", "kfp.dsl": "pipelines"}.items():
        with pytest.raises(SystemExit), command():
            raise ModuleNotFoundError(name=module)
        assert f"pip install 'tagscale[{extra}]'" in capsys.readouterr().err


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
