"""Send runs: make MLflow hold the runs of this folder, where it has lost them or never had them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tagscale import tracking
from tagscale.params.load import Params
from tagscale.runtime.absent import absence_in
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunFacts, command_of, run_output
from tagscale.runtime.reading import Output
from tagscale.stages.results import log_results, metrics_in

METRICS = "metrics.json"  # in the folder of results


def run(params: Params, *, runs: Sequence[Path], results: Sequence[Path]) -> None:
    """Send every run that is missing, with settings, tags, curves, files and results; print a line for each.

    What is there already is left alone, so the command may be repeated.

    Args:
        runs, results: folders of the runs, and in the same order of their results, which may be missing
    Raises:
        TagscaleError: runs that could not be sent, after all others were; or MLflow does not answer.
    """
    failures = 0
    tracking.connect()  # an absent server is one error, not one for every run
    for folder, scored in zip(runs, results, strict=True):
        try:
            print(_send(params.tracking.experiment, folder, scored), flush=True)
        except tracking.ServerAway:
            raise
        except TagscaleError as error:
            failures += 1
            print(f"{folder}: not sent: {error}", flush=True)
    if failures:
        raise TagscaleError(f"{failures} of {len(runs)} runs were not sent; the lines above say why.")


def _send(experiment: str, folder: Path, scored: Path) -> str:
    """Send a run and its results where MLflow lacks them. Returns a line about it."""
    if absence := absence_in(folder):
        return f"{absence['run']}: left out of the study"
    run_id, news = send(experiment, folder, scored if (scored / METRICS).is_file() else None)
    return f"{run_output(folder).facts(RunFacts)['identity'].name}: run {run_id}, {news}"


def send(experiment: str, folder: Path, scored: Path | None = None) -> tuple[str, str]:
    """Make MLflow hold a complete run, and its results.

    Args:
        folder, scored: of the run, and of its results, where there are any
    Returns:
        the id of the run in MLflow, and words about its results
    Raises:
        Damaged: a file of the folders is not as it was written.
    """
    trained = run_output(folder)
    identity = trained.facts(RunFacts)["identity"]
    trained.check()
    with tracking.find_run(experiment, identity, folder) as tracked:
        if scored is None:
            return tracked.run_id, "without results, which `tagscale evaluate` will send"
        output = Output(scored, METRICS, command_of("evaluate", scored))
        numbers = output.facts(dict[str, Any])
        if numbers.get("identity") != identity.as_dict():
            raise output.damaged(METRICS, "holds the results of another run")
        expected = {key: value for key, value in metrics_in(numbers).items() if value is not None}
        if expected.items() <= tracked.metrics().items():
            return tracked.run_id, "with its results"
        log_results(tracked, numbers, scored)
        return tracked.run_id, "with its results, which are sent now"
