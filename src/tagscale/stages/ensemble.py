"""Stage ensemble: the weighted mean of a study's models, chosen on the validation part, as a run like any other.

An ensemble is made for each training size and each seed, of the runs with that size and that seed. So it is a cell of
the grid: it has heard as many tracks as the models beside it, every seed gives one that owes nothing to the others, and
seeds say how far it varies. It reads scores alone, and takes seconds.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.selection import metrics_by_kind, pool_held_out, select_bagged
from tagscale.params.blocks import FEWEST_MEMBERS
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.absent import write_absent
from tagscale.runtime.identity import RunFacts, RunIdentity, content_of_run, run_name, run_output
from tagscale.stages.cell import Cell, Outcome, train_at_once
from tagscale.stages.results import check_same_data, scored_tracks, write_results
from tagscale.study.grid import Study, read_study
from tagscale.study.members import RESULTS, RUNS, Member, write_members
from tagscale.study.tables import read_predictions, result_output


def run(
    params: Params,
    *,
    runs: Sequence[Path],
    results: Sequence[Path],
    catalog: Path,
    partition: Path,
    ensembles: Path,
) -> None:
    """Write a run's folder and its results for every ensemble of the grid: ENSEMBLES/runs/NAME, ENSEMBLES/results/NAME.

    A run holds run.json and members.json, the chosen runs with their weights. On a partition in folds it has such a
    folder for each fold (`cell.join_folds`), whose members were chosen without the fold's tracks. Its results are
    those that stage evaluate writes. The test part is scored by the chosen members; each validation track by members
    that were chosen without its artist, so that its scores can be held against those of a single model.

    Members are models of `train.members`, but for runs that the study does without. Where fewer than two are left, the
    ensemble is left out, too.

    Args:
        runs, results: folders of the study's other runs; further folders among them are ignored
    Raises:
        TagscaleError: the study without its ensembles is not complete, or its runs are of another partition.
    """
    grid = params.train
    cells = [(model, size, seed) for model in grid.ensembles for size in grid.sizes for seed in grid.seeds]
    _keep_only(ensembles, [run_name(*cell) for cell in cells])
    if not cells:
        return
    study = read_study(runs, results, models=grid.trained, sizes=grid.sizes, seeds=grid.seeds)
    data, parts = Catalog.load(catalog), Partition.load(partition)
    for cell in cells:
        _make(params, study, Cell(data, parts, *cell), ensembles)


def _keep_only(ensembles: Path, names: Sequence[str]) -> None:
    """Make the folder, and remove ensembles that are no longer in the grid."""
    for kind in (RUNS, RESULTS):
        (ensembles / kind).mkdir(parents=True, exist_ok=True)
        for folder in (ensembles / kind).iterdir():
            if folder.name.removesuffix(".unfinished") not in names:
                shutil.rmtree(folder)


def _make(params: Params, study: Study, cell: Cell, ensembles: Path) -> None:
    """Choose the members of one ensemble, and write the folders of its run and of its results."""
    name = run_name(cell.model, cell.size, cell.seed)
    run, results = ensembles / RUNS / name, ensembles / RESULTS / name
    library = _library(params.train.library, study, cell)
    if len(library) < FEWEST_MEMBERS:
        reason = f"an ensemble needs {FEWEST_MEMBERS} models to choose from; there is {', '.join(library) or 'none'}."
        for folder in (run, results):
            write_absent(folder, name, reason)
        return
    facts = {member: run_output(folder).facts(RunFacts) for member, (folder, _) in library.items()}
    for member, (folder, _) in library.items():
        check_same_data(folder, facts[member]["identity"], cell.partition)
    metrics = metrics_by_kind(params.registry.metric)
    weights, scores = _choose(metrics, cell, [results for _, results in library.values()])
    identities = [one["identity"] for one in facts.values()]
    of_models = {identity.model: identity.settings_hash for identity in identities}
    settings = {"ensemble": {"metrics": metrics, "members": of_models}}
    shares = np.mean([of_fold / of_fold.sum(axis=0) for of_fold in weights.values()], axis=0)
    of_all = {"members": _words(cell, identities, shares)}

    def join(part: Cell, target: Path) -> Outcome:
        """Write the members of the ensemble, or of one fold of it; time and parameters are those of them together."""
        (fold,) = (name for name, one in cell.folds.items() if one is part)
        members = [
            (Member(run=member, weights=shares, content=content_of_run(folder / fold)), folder / fold)
            for (member, (folder, _)), shares in zip(library.items(), _by_kind(part, weights[fold]), strict=True)
            if any(shares.values())
        ]
        write_members(target, [member for member, _ in members])
        trained = [run_output(folder).facts(RunFacts) for _, folder in members]
        parameters, seconds = (sum(facts[key] for facts in trained) for key in ("parameters", "seconds"))
        return Outcome(int(parameters), _words(part, identities, weights[fold]), of_all, seconds=seconds)

    train_at_once(params, cell, settings, run, None, join)
    whole = run_output(run).facts(RunFacts)
    write_results(params, scores, cell.catalog, cell.partition, whole, run=run, results=results)


def _library(models: Sequence[str], study: Study, cell: Cell) -> dict[str, tuple[Path, Path]]:
    """The models' runs that may be members of an ensemble, by name: the folder of each, and that of its results."""
    names = [run_name(model, cell.size, cell.seed) for model in models]
    return {name: study.folders[name] for name in names if name in study.folders}


def _choose(
    metrics: Mapping[str, str], cell: Cell, results: Sequence[Path]
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The weights of the members, (members, tags) for each fold or for "", and the ensemble's scores of scored tracks.

    With folds, a fold's weights are chosen on the validation scores of the tracks outside the fold. They score the
    fold's tracks, in the validation part as in the test part. Without folds, the weights are chosen on the validation
    part, whose own scores are those of the choices without the track's artist.
    """
    parts = cell.partition
    valid, test = parts.tracks("valid"), parts.tracks("test")
    tracks = scored_tracks(parts)
    scores = np.stack([_scores(folder, tracks, cell.tags) for folder in results])
    of_valid, of_test = scores[:, : len(valid)], scores[:, len(valid) :]
    regression = np.array(cell.kinds) == "regression"
    labels, artist = cell.labels(valid), parts.artist_of(valid)
    if parts.folds:
        part, tested = (np.array(parts.about(tracks, "part")) for tracks in (valid, test))
        fold, weights = parts.fold_of(valid), {}
        for name in np.unique(part).tolist():
            others = part != name
            known = of_valid[:, others], labels[others], regression, metrics, artist[others], cell.seed, fold[others]
            weights[name], _ = select_bagged(*known)
        own = pool_held_out(of_valid, weights, part, regression)
    else:
        weights, tested = {}, np.full(len(test), "")
        weights[""], own = select_bagged(of_valid, labels, regression, metrics, artist, cell.seed)
    pooled = np.concatenate([own, pool_held_out(of_test, weights, tested, regression)])
    return weights, pd.DataFrame(pooled, pd.Index(tracks, name="track_id"), cell.tags)


def _scores(results: Path, tracks: list[str], tags: list[str]) -> np.ndarray:
    """A run's scores of the tracks that every run is scored on, (tracks, tags). Raises Damaged."""
    _, table = read_predictions(results)
    if list(table.index) != tracks or set(tags) - set(table):
        what = "not the scores of the present partition's tracks and tags"
        raise result_output(results).damaged("predictions.parquet", what)
    return table[tags].to_numpy()


def _by_kind(cell: Cell, weights: np.ndarray) -> list[dict[str, float]]:
    """The weights of each member, (members, tags), by kind of tags."""
    return [dict(zip(cell.kinds, of_member.tolist(), strict=True)) for of_member in weights.astype(float)]


def _words(cell: Cell, identities: Sequence[RunIdentity], weights: np.ndarray) -> str:
    """The members with their shares in per cent, of each kind of tags: "60 % spectrogram, 40 % descriptors"."""
    shares, words = _by_kind(cell, 100 * weights / weights.sum(axis=0)), {}
    for kind in dict.fromkeys(cell.kinds):
        members = sorted(zip(shares, identities, strict=True), key=lambda member: -member[0][kind])
        words[kind] = ", ".join(f"{share[kind]:.0f} % {identity.model}" for share, identity in members if share[kind])
    if len(set(words.values())) == 1:
        return words[cell.kinds[0]]
    return "; ".join(f"{kind} tags: {text}" for kind, text in words.items())
