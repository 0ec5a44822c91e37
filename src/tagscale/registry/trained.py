"""A trained run of any kind as what the registry packages: its scorer, and the hash of what it learned."""

from collections.abc import Mapping
from pathlib import Path

from tagscale.descriptors import baseline
from tagscale.params.blocks import EvaluateParams
from tagscale.partition.growth import fold_names
from tagscale.registry.scorers import Scorer
from tagscale.registry.scorers.ensemble import EnsembleScorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.runtime.files import sha256_of
from tagscale.runtime.identity import RunFacts, content_of_run, run_output
from tagscale.study.members import MEMBERS, Member, damaged, read_members


def scorer_of(run: Path, folders: Mapping[str, Path], window: EvaluateParams) -> Scorer:
    """The scorer of a run's folder, which scores as stage evaluate scored the run; of a run in folds, the mean of them.

    Args:
        folders: those of the study's runs by name, in which an ensemble finds its members
    Raises:
        TagscaleError: a file is missing or damaged, or an ensemble's member is missing or was trained again.
    """
    if (run / MEMBERS).exists():
        members = read_members(run)
        for member in members:
            _check_member(run, member, folders)
        scorers = {member["run"]: scorer_of(folders[member["run"]], folders, window) for member in members}
        return EnsembleScorer(scorers, [member["weights"] for member in members])
    if folds := _folds(run):
        for fold in folds.values():
            run_output(fold).check()
        of_fold = {name: {other: folder / name for other, folder in folders.items()} for name in folds}
        return MeanScorer({name: scorer_of(fold, of_fold[name], window) for name, fold in folds.items()})
    if (run / baseline.FILE).exists():
        from tagscale.registry.scorers.trees import TreesScorer

        return TreesScorer(baseline.DescriptorTrees.load(run))
    from tagscale.registry.scorers.network import NetworkScorer  # imports torch, which trees do without
    from tagscale.training import checkpoint

    return NetworkScorer(*checkpoint.load(run), window.hop_seconds, window.window_seconds)


def weights_hash(run: Path) -> str:
    """SHA-256 of what a run learned: its network's weights, its trees, or its members; of a run in folds, of all."""
    return sha256_of(*map(_learned, _folds(run).values() or [run]))


def _learned(run: Path) -> Path:
    """The file in the folder of a run, or of one fold of it, that holds what it learned."""
    for file in (MEMBERS, baseline.FILE):
        if (run / file).exists():
            return run / file
    from tagscale.training import checkpoint

    return run / checkpoint.WEIGHTS


def _folds(run: Path) -> dict[str, Path]:
    """The folders of a run's folds by their names; none for a run that is one model."""
    return {name: run / name for name in fold_names(run_output(run).facts(RunFacts).get("folds", 0))}


def _check_member(run: Path, member: Member, folders: Mapping[str, Path]) -> None:
    name = member["run"]
    if name not in folders:
        raise damaged(run, f"its member {name} is no run of the study")
    run_output(folders[name]).check()
    if content_of_run(folders[name]) != member["content"]:
        raise damaged(run, f"its member {name} was trained again since")
