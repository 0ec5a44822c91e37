"""Following a run: print what changes until the run has ended."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pipelines.client.api import Client
from pipelines.client.lookup import ENDED, get_run
from pipelines.client.transport import Refused, Unreachable
from tagscale.runtime.errors import TagscaleError

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0  # seconds between two requests, from the first to later ones
PATIENCE = 600.0  # seconds that the server may be away: an upgrade takes some minutes


def follow(client: Client, run_id: str, minutes: float | None, say: Callable[[str], None]) -> str:
    """Wait for the end of a run and print what changes.

    A run of days outlives the restart of a server, so missing answers are waited for.

    Args:
        minutes: how long to wait; None: until the run ends.
        say: takes a line for every change of a task's state, and for every error of a task.

    Returns:
        The run's last state: SUCCEEDED, FAILED, CANCELED or SKIPPED.

    Raises:
        TagscaleError: the time is over, or the server refuses or stays away. The run goes on.
    """
    states: dict[str, str] = {}
    begin = time.monotonic()
    away_since: float | None = None
    pause, state = FIRST_PAUSE, "unknown"
    while True:
        try:
            run = get_run(client, run_id)
        except (Refused, Unreachable) as error:
            if isinstance(error, Refused) and error.status < 500:
                raise
            if away_since is None:
                away_since = time.monotonic()
                say(_line("server", f"{error} Waiting for it."))
            elif time.monotonic() - away_since > PATIENCE:
                raise
        else:
            if away_since is not None:
                away_since = None
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
    """A line for the run and for every task whose state is new, by their start; updates `states`."""
    lines = []

    def note(identifier: str, name: str, state: str | None, error: Any) -> None:
        if not state or states.get(identifier) == state:
            return
        states[identifier] = state
        if name.endswith("-driver") and state != "FAILED":
            return  # Kubeflow's own pods, one for each task
        lines.append(_line(name, f"{state}{f': {error.message}' if error and error.message else ''}"))

    tasks = (run.run_details and run.run_details.task_details) or []
    for task in sorted(tasks, key=lambda task: str(task.start_time or task.create_time or "")):
        note(task.task_id, task.display_name or task.task_id, task.state, task.error)
    note("", "run", run.state, run.error)
    return lines


def _line(name: str, text: str) -> str:
    return f"{datetime.now():%H:%M:%S}  {name:26} {text}"
