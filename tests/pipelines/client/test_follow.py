"""Following and cancelling runs."""

import re
import signal
import subprocess
import sys

import pytest
from pipelines.__main__ import main

from kfp_loopback.commands import ROOT, call, only
from pipelines.client import follow as following
from tagscale.runtime.errors import TagscaleError


def test_follows_a_run_to_its_end(server):
    server.course = [
        ("PENDING", {}),
        ("RUNNING", {"catalog-driver": "SUCCEEDED", "catalog": "RUNNING"}),
        ("RUNNING", {"catalog-driver": "SUCCEEDED", "catalog": "RUNNING"}),
        ("SUCCEEDED", {"catalog-driver": "SUCCEEDED", "catalog": "SUCCEEDED"}),
    ]
    output = call("submit", server, "--wait")
    changes = re.findall(r"^\d\d:\d\d:\d\d  (\S+) +(.*)$", output, re.MULTILINE)
    assert changes == [
        ("run", "PENDING"),
        ("catalog", "RUNNING"),
        ("run", "RUNNING"),
        ("catalog", "SUCCEEDED"),
        ("run", "SUCCEEDED"),
    ]
    assert "ended        SUCCEEDED" in output


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_an_unsuccessful_run_sets_the_exit_status(server, state):
    server.course = [("RUNNING", {"train": "RUNNING"}), (state, {"train": f"{state}: no GPU on any node"})]
    output = call("submit", server, "--wait", status=1)
    assert f"{state}: no GPU on any node" in output
    assert f"ended        {state}" in output


def test_waits_for_a_server_that_is_away_for_a_while(server):
    call("submit", server)
    server.script = ["", "500", "drop", "502"]
    output = call("wait", server, only(server.runs)["run_id"])
    assert output.count("Waiting for it.") == 1
    assert "answers again" in output
    assert "ended        SUCCEEDED" in output


def test_a_server_that_stays_away(server, monkeypatch):
    monkeypatch.setattr(following, "PATIENCE", 0.0)
    call("submit", server)
    server.script = ["", *["drop"] * 9]
    with pytest.raises(TagscaleError, match=r"does not answer.*(?s:.)*tagscale pipelines wait --host http") as error:
        call("wait", server, only(server.runs)["run_id"])
    assert only(server.runs)["run_id"] in str(error.value)


def test_a_login_that_expires_while_waiting_is_an_error(server):
    call("submit", server)
    server.script = ["", "page"]
    with pytest.raises(TagscaleError, match=r"answers with a page \(text/html"):
        call("wait", server, only(server.runs)["run_id"])


def test_waiting_ends_after_the_timeout(server):
    server.course = [("RUNNING", {})]
    with pytest.raises(TagscaleError, match=r"is RUNNING after 0.001 minutes, and goes on(?s:.)*pipelines wait"):
        call("submit", server, "--wait", "--timeout", "0.001")


def test_a_token_renewed_while_waiting(server, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("first\n")
    server.token, server.course = "first", [("RUNNING", {}), ("SUCCEEDED", {})]
    call("submit", server, "--token", str(token))
    asked = server.GetRun

    def renewed(**given) -> dict:
        """The answer to the first request; after it another token is valid."""
        token.write_text("second\n")
        server.token = "second"
        return asked(**given)

    monkeypatch.setattr(server, "GetRun", renewed)
    output = call("wait", server, "--token", str(token), only(server.runs)["run_id"])
    assert "ended        SUCCEEDED" in output
    sent = [headers["Authorization"] for _, path, headers in server.asked if "/runs/" in path]
    assert sent == ["Bearer first", "Bearer second"]


def process(*arguments: str) -> subprocess.Popen[str]:
    """A command as in a terminal: it receives Ctrl-C, which a background process of a shell ignores."""
    command = [sys.executable, "-m", "pipelines", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, preexec_fn=_receive_ctrl_c, **pipes)


def _receive_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_ctrl_c_leaves_the_run_alone_and_prints_how_to_cancel_it(server):
    server.course = [("RUNNING", {"train": "RUNNING"})]
    waiting = process("submit", "--host", server.address, "--wait")
    assert server.following.wait(120)
    waiting.send_signal(signal.SIGINT)
    output, errors = waiting.communicate(timeout=60)
    run = only(server.runs)
    assert waiting.returncode == 130
    assert f"tagscale pipelines cancel --host {server.address} {run['run_id']}" in output
    assert "Traceback" not in output + errors
    assert run["state"] == "RUNNING"


def test_errors_are_one_message_without_a_traceback(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["pipelines", "submit", "--host", "http://127.0.0.1:9"])
    with pytest.raises(SystemExit) as done:
        main()
    output, errors = capsys.readouterr()
    assert (done.value.code, output) == (1, "")
    assert re.fullmatch(
        r"error http://127.0.0.1:9 does not answer \(Failed to establish .*refused\)\. Is it the right .*\n", errors
    )


def test_cancels_a_run(server):
    server.course = [("RUNNING", {})]
    call("submit", server)
    run = only(server.runs)
    output = call("cancel", server, run["run_id"])
    assert run["state"] == "CANCELING"
    assert run["display_name"] in output
    assert "ended        CANCELED" in call("wait", server, run["run_id"], status=1)


def test_a_run_that_has_ended_is_not_cancelled(server):
    call("submit", server)
    with pytest.raises(TagscaleError, match="has ended already: SUCCEEDED"):
        call("cancel", server, only(server.runs)["run_id"])


@pytest.mark.parametrize("command", ["wait", "cancel"])
def test_an_unknown_run(server, command):
    with pytest.raises(TagscaleError, match="no run 1234; expected the identifier"):
        call(command, server, "1234")
