"""A trained run of any kind as what the registry packages: its scorer, and the hash of what it learned."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import FiniteFloat
from typing_extensions import TypedDict

from tagscale.descriptors import baseline
from tagscale.params.blocks import EvaluateParams
from tagscale.registry.scorers import Scorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.registry.scorers.network import NetworkScorer
from tagscale.registry.scorers.trees import TreesScorer
from tagscale.runtime.files import sha256_of
from tagscale.runtime.identity import command_of
from tagscale.runtime.reading import Damaged, read_json
from tagscale.training import checkpoint

MEMBERS = "members.json"  # in the run's folder of an ensemble


class Member(TypedDict):
    """A member of an ensemble: another run of the study."""

    run: str
    weight: FiniteFloat
    sha256: str  # of what that run had learned when the ensemble was made


def scorer_of(run: Path, folders: Mapping[str, Path], window: EvaluateParams) -> Scorer:
    """The scorer of a run's folder, which scores as stage evaluate scored the run.

    Args:
        folders: those of the study's runs by name, in which an ensemble finds its members
    Raises:
        TagscaleError: a file is missing or damaged, or an ensemble's member is missing or was trained again.
    """
    if (run / MEMBERS).exists():
        members = read_json(run / MEMBERS, list[Member], command_of("ensemble", run))
        for member in members:
            _check_member(run, member, folders)
        scorers = {member["run"]: scorer_of(folders[member["run"]], folders, window) for member in members}
        return MeanScorer(scorers, [member["weight"] for member in members])
    if (run / baseline.FILE).exists():
        return TreesScorer(baseline.DescriptorTrees.load(run))
    return NetworkScorer(*checkpoint.load(run), window.hop_seconds, window.window_seconds)


def weights_hash(run: Path) -> str:
    """SHA-256 of what a run learned: its network's weights, its trees, or the members of an ensemble."""
    file = next((run / name for name in (MEMBERS, baseline.FILE) if (run / name).exists()), run / checkpoint.WEIGHTS)
    return sha256_of(file)


def _check_member(run: Path, member: Member, folders: Mapping[str, Path]) -> None:
    name = member["run"]
    if name not in folders:
        what = f"its member {name} is no run of the study"
    elif weights_hash(folders[name]) != member["sha256"]:
        what = f"its member {name} was trained again since"
    else:
        return
    raise Damaged(run / MEMBERS, what, command_of("ensemble", run))
