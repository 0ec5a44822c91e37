"""Following a run: what changes is printed until the run has ended."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import kfp

from pipelines.lookup import ENDED, get_run
from pipelines.server import Refused, Unreachable
from tagscale.runtime.errors import TagscaleError

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds between two questions: soon at first, then seldom
PATIENCE = 600.0  # seconds without an answer until the server is given up: an upgrade takes some minutes


def follow(client: kfp.Client, run_id: str, minutes: float | None, say: Callable[[str], None]) -> str:
    """Wait for the end of a run and say what changes.

    Answers that fail to come are waited for, since a run of days outlives the restart of a server.

    Args:
        minutes: how long to wait; None: to the end.
        say: takes a line for every change of a task's state, and for every error of a task.

    Returns:
        The run's last state: SUCCEEDED, FAILED, CANCELED or SKIPPED.

    Raises:
        TagscaleError: the time is over, the server is away for long or refuses. The run goes on.
    """
    states: dict[str, str] = {}
    begin = time.monotonic()
    silent_since: float | None = None
    pause, state = FIRST_PAUSE, "unknown"
    while True:
        try:
            run = get_run(client, run_id)
        except (Refused, Unreachable) as error:
            if isinstance(error, Refused) and error.status < 500:
                raise
            if silent_since is None:
                silent_since = time.monotonic()
                say(_line("server", f"{error} Waiting for it."))
            elif time.monotonic() - silent_since > PATIENCE:
                raise
        else:
            if silent_since is not None:
                silent_since = None
                say(_line("server", "answers again"))
            for line in _changes(run, states):
                say(line)
            state = run.state or "PENDING"
            if state in ENDED:
                return state
        waited = time.monotonic() - begin
        if minutes is not None and waited >= 60 * minutes:
            raise TagscaleError(f"run {run_id} is {state} after {minutes:g} minutes, and goes on.")
        time.sleep(pause if minutes is None else min(pause, 60 * minutes - waited))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _changes(run: Any, states: dict[str, str]) -> list[str]:
    """A line for the run and every task in a new state, in the order of their beginning; `states` is updated."""
    lines = []

    def tell(identifier: str, name: str, state: str | None, error: Any) -> None:
        if not state or states.get(identifier) == state:
            return
        states[identifier] = state
        if name.endswith("-driver") and state != "FAILED":
            return  # Kubeflow's own pods, one for each task
        lines.append(_line(name, f"{state}{f': {error.message}' if error and error.message else ''}"))

    tasks = (run.run_details and run.run_details.task_details) or []
    for task in sorted(tasks, key=lambda task: str(task.start_time or task.create_time or "")):
        tell(task.task_id, task.display_name or task.task_id, task.state, task.error)
    tell("", "run", run.state, run.error)
    return lines


def _line(name: str, text: str) -> str:
    return f"{datetime.now():%H:%M:%S}  {name:26} {text}"
