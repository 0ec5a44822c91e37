"""The record of a training: all that it logs to MLflow, kept in the folder of its run.

The record names MLflow's run, so that later stages find it whatever the clock said when it began. A store that has lost
the run, or never had it, gets it again from the record: settings, tags, curves with their times, and files.
"""

import csv
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tagscale.runtime.disk import full_disk_reason
from tagscale.runtime.identity import RUN, RunFacts, run_output
from tagscale.tracking.data import identity_params
from tagscale.tracking.machine import metric_name
from tagscale.tracking.nesting import PARENT
from tagscale.tracking.unsent import LOGGED, Entry, Unsent, read

PROCESS = "tagscale.process"  # tag of a run: the process that works on it (`runtime.owner`)


class Record:
    """The record of a training under way. It moves into the folder of the run when the training is complete.

    It continues an earlier process's record of the same run; else it begins with what MLflow's run has.

    Args:
        run: MLflow's run, as it is when the training begins or resumes
        folder: holds the record during the training
        home: folder of the run
    """

    def __init__(self, client: MlflowClient, run: Run, folder: Path, home: Path) -> None:
        content = read(folder / LOGGED)
        continues = content is not None and content[0].run_id == run.info.run_id
        entries = content[1] if content and continues else _logged(client, run)
        self.home, self.failure = home, ""
        self.journal = Unsent(folder / LOGGED, run.info.run_id, run.info.start_time)
        self.journal.keep(entries)

    def add(self, entry: Entry) -> None:
        """Add an entry, except for the status of an interrupted run. A failure costs the record, not the training."""
        if self.failure or entry.get("status", "FINISHED") != "FINISHED":
            return
        try:
            self.journal.append(entry)
        except OSError as error:
            self.failure = full_disk_reason(error) or str(error)
            print(
                f"warning: {self.journal.file} could not be written ({self.failure}). Training continues, but "
                "`tagscale send-runs` will not know this run.",
                flush=True,
            )

    def finish(self) -> None:
        """Move the record into the folder of the run."""
        if not self.failure and (content := read(self.journal.file)):
            Unsent(self.home / LOGGED, self.journal.run_id, self.journal.start).keep(content[1])
        self.journal.keep([])


def began(folder: Path) -> int | None:
    """When the run in a folder without a record began, in milliseconds since 1970; None where no run is complete."""
    if not (folder / RUN).is_file():
        return None
    return round(1000 * ((folder / RUN).stat().st_mtime - run_output(folder).facts(RunFacts)["seconds"]))


def entries_from_files(folder: Path) -> list[Entry]:
    """What the folder of a complete run without a record says, as entries: numbers, curves and files, but no settings.

    The times of the curves are counted back from the time of run.json. Raises Damaged where a file is not as written.
    """
    output, end = run_output(folder), round((folder / RUN).stat().st_mtime * 1000)
    facts = output.facts(RunFacts)
    known = [key for key in ("train_tracks", "parameters", "folds") if key in facts]
    entries: list[Entry] = [
        {"params": identity_params(facts["identity"]) | {key: str(facts[key]) for key in known}},
        {"metrics": [["train_seconds", facts["seconds"], end, 0]]},
    ]
    for file in sorted(folder.glob("history*.csv")):
        try:
            entries += _curves(file, end)
        except (ValueError, KeyError, TypeError) as error:
            raise output.damaged(file.name, f"not as it was written ({error})") from None
    return [*entries, {"model": facts["identity"].name, "path": "."}, {"status": "FINISHED", "time": end}]


def _curves(file: Path, end: int) -> list[Entry]:
    """The rows of a history, named as the train stage logs them; the last one was written at `end` (milliseconds)."""
    step = file.stem.removeprefix("history").removeprefix("-")  # of a training in several steps
    entries: list[Entry] = []
    with open(file, encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    for row in reversed(rows):
        number = int(row.pop("step"))
        values = {key: float(value) for key, value in row.items() if value != ""}
        prefix = f"{step}/" if step else ""
        entries.append({"metrics": [[metric_name(key, prefix), value, end, number] for key, value in values.items()]})
        end -= round(1000 * float(row.get("seconds") or 0))
    return entries[::-1]


def _logged(client: MlflowClient, run: Run) -> list[Entry]:
    """What a run has been logged before, as entries."""
    tags = {key: value for key, value in run.data.tags.items() if key not in (PROCESS, PARENT, "mlflow.runName")}
    entries: list[Entry] = [{"tags": tags}]
    if run.data.params:
        entries.append({"params": dict(run.data.params)})
    for key in run.data.metrics:
        points = client.get_metric_history(run.info.run_id, key)
        entries.append({"metrics": [[key, point.value, point.timestamp, point.step] for point in points]})
    return entries
