"""A trained run of any kind as what the registry packages: its scorer, and the hash of what it learned."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import FiniteFloat
from typing_extensions import TypedDict

from tagscale.descriptors import baseline
from tagscale.params.blocks import EvaluateParams
from tagscale.partition.growth import fold_names
from tagscale.registry.scorers import Scorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.runtime.files import sha256_of
from tagscale.runtime.identity import RunFacts, command_of, run_output
from tagscale.runtime.reading import Damaged, read_json

MEMBERS = "members.json"  # in the run's folder of an ensemble


class Member(TypedDict):
    """A member of an ensemble: another run of the study."""

    run: str
    weight: FiniteFloat
    sha256: str  # of what that run had learned when the ensemble was made


def scorer_of(run: Path, folders: Mapping[str, Path], window: EvaluateParams) -> Scorer:
    """The scorer of a run's folder, which scores as stage evaluate scored the run; of a run in folds, the mean of them.

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
    if folds := _folds(run):
        for fold in folds.values():
            run_output(fold).check()
        return MeanScorer({name: scorer_of(fold, folders, window) for name, fold in folds.items()})
    if (run / baseline.FILE).exists():
        from tagscale.registry.scorers.trees import TreesScorer

        return TreesScorer(baseline.DescriptorTrees.load(run))
    from tagscale.registry.scorers.network import NetworkScorer  # imports torch, which trees do without
    from tagscale.training import checkpoint

    return NetworkScorer(*checkpoint.load(run), window.hop_seconds, window.window_seconds)


def weights_hash(run: Path) -> str:
    """SHA-256 of what a run learned: its network's weights, its trees, those of its folds, or an ensemble's members."""
    if (run / MEMBERS).exists():
        return sha256_of(run / MEMBERS)
    return sha256_of(*map(_learned, _folds(run).values() or [run]))


def _learned(run: Path) -> Path:
    """The file of what one model learned."""
    if (trees := run / baseline.FILE).exists():
        return trees
    from tagscale.training import checkpoint

    return run / checkpoint.WEIGHTS


def _folds(run: Path) -> dict[str, Path]:
    """The folders of a run's folds by their names; none for a run that is one model."""
    return {name: run / name for name in fold_names(run_output(run).facts(RunFacts).get("folds", 0))}


def _check_member(run: Path, member: Member, folders: Mapping[str, Path]) -> None:
    name = member["run"]
    if name not in folders:
        what = f"its member {name} is no run of the study"
    elif weights_hash(folders[name]) != member["sha256"]:
        what = f"its member {name} was trained again since"
    else:
        return
    raise Damaged(run / MEMBERS, what, command_of("ensemble", run))
