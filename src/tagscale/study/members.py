"""The folders of ensembles, and their members, as the file members.json in the folder of a run names them."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import FiniteFloat
from typing_extensions import TypedDict

from tagscale.runtime.files import write_json
from tagscale.runtime.identity import command_of, run_output
from tagscale.runtime.reading import Damaged, parse_json

MEMBERS = "members.json"
RUNS, RESULTS = "runs", "results"  # in the folder of all ensembles


class Member(TypedDict):
    """Another run of the study; for an ensemble of one fold, that fold of the run."""

    run: str
    weights: dict[str, FiniteFloat]  # by kind of tags
    content: str  # hash of what that run was when the ensemble was made (`content_of_run`)


def write_members(run: Path, members: Sequence[Member]) -> None:
    """Write members.json into the folder of a run, or of one fold of it."""
    write_json(run / MEMBERS, list(members))


def read_members(run: Path) -> list[Member]:
    """The members of the ensemble in the folder of a run, or of one fold of it. Raises Damaged."""
    return parse_json(run_output(run).content(MEMBERS), run / MEMBERS, list[Member], command_of("train", run))


def damaged(run: Path, what: str) -> Damaged:
    """The error of an ensemble whose members are not what they were."""
    return Damaged(run / MEMBERS, what, command_of("train", run))


def folders_in(ensembles: Path | None) -> tuple[list[Path], list[Path]]:
    """The folders of runs, and those of results, in the folder that stage ensemble wrote; none without one."""
    runs, results = (sorted(ensembles.glob(f"{kind}/*/")) if ensembles else [] for kind in (RUNS, RESULTS))
    return runs, results
