"""The record of a training: all that it logs to MLflow, kept in the folder of its run.

The record names MLflow's run, so that later stages find it whatever the clock said when it began. A store that has lost
the run, or never had it, gets it again from the record: settings, tags, curves with their times, and files.
"""

from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tagscale.runtime.disk import full_disk_reason
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
