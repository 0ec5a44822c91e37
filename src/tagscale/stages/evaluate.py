"""Stage evaluate: one run's scores for every validation and test track, their metrics, and the intervals of those of
the test part.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from tagscale.catalog.tables import Catalog
from tagscale.models.spec import BASELINE, group_of
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.absent import absence_in, write_absent
from tagscale.runtime.identity import RunFacts, RunIdentity, run_output
from tagscale.runtime.memory import keep_freed_memory
from tagscale.stages.results import check_same_data, pool_folds, scored_tracks, write_results
from tagscale.store.read import Store


def run(params: Params, *, run: Path, catalog: Path, partition: Path, inputs: Path | str, results: Path) -> None:
    """Score the run's tracks, and write the folder `results` (`results.write_results`).

    Of a run in folds, each fold's model scores the tracks that it is validated and tested on.

    Args:
        run: folder that the train stage wrote
        inputs: the store (a folder, or an address of `Store.open`); for the baseline the folder of descriptors,
            for a probe that of features
    Raises:
        TagscaleError: no run there, or one that was trained on other data or on another partition; a window shorter
            than the model can take.
    """
    if absence := absence_in(run):
        write_absent(results, absence["run"], absence["reason"])
        return
    data, parts = Catalog.load(catalog), Partition.load(partition)
    trained = run_output(run)
    facts = trained.facts(RunFacts)
    check_same_data(run, facts["identity"], parts)
    trained.check()
    scores = pool_folds(parts, lambda name, view: _fold_scores(run / name, view, inputs, params))
    write_results(params, scores, data, parts, facts, run=run, results=results)


def _fold_scores(run: Path, parts: Partition, inputs: Path | str, params: Params) -> pd.DataFrame:
    """The scores of `scored_tracks(parts)` by the model in the folder of a run or of a fold of one."""
    trained = run_output(run)
    trained.check()
    identity = trained.facts(RunFacts)["identity"]
    check_same_data(run, identity, parts)
    return _scores(run, identity, inputs, scored_tracks(parts), params)


def _scores(run: Path, identity: RunIdentity, inputs: Path | str, tracks: list[str], params: Params) -> pd.DataFrame:
    """The run's score of every tag for these tracks, (tracks, tags). A kind of model loads its own libraries alone."""
    if identity.model == BASELINE:
        return _scores_of_descriptors(run, Path(inputs), tracks)
    if group_of(identity.model) == "probes":
        return _scores_of_features(run, Path(inputs) / identity.model, tracks)
    from tagscale.evaluation.predict import predict
    from tagscale.training import checkpoint

    keep_freed_memory()
    model, architecture = checkpoint.load(run)
    window = params.evaluate
    return predict(model, architecture, Store.open(inputs), tracks, window.hop_seconds, window.window_seconds)


def _scores_of_descriptors(run: Path, folder: Path, tracks: list[str]) -> pd.DataFrame:
    """The scores of the baseline's trees."""
    from tagscale.descriptors.baseline import DescriptorTrees
    from tagscale.descriptors.table import read_descriptors

    trees = DescriptorTrees.load(run)
    scores = trees.predict(read_descriptors(folder, tracks))
    return pd.DataFrame(scores, index=pd.Index(tracks, name="track_id"), columns=trees.tags)


def _scores_of_features(run: Path, folder: Path, tracks: list[str]) -> pd.DataFrame:
    """The scores of a probe from the features of the tracks' windows: those of its network on the audio."""
    import torch

    from tagscale.models.tagger import Tagger
    from tagscale.training import checkpoint
    from tagscale.training.features import Features

    probe, architecture = checkpoint.load(run)
    assert isinstance(probe, Tagger)
    scores = pd.DataFrame(0.0, pd.Index(tracks, name="track_id"), list(architecture.tags), np.float32)
    features = Features(folder, f"tagscale encode --model {architecture.model}")
    with torch.inference_mode():
        means = {
            track: probe.output(torch.from_numpy(rows.copy())).sigmoid().double().mean(dim=0).float().numpy()
            for track, rows in features.each(dict.fromkeys(tracks))
        }
    scores[:] = np.stack([means[track] for track in tracks])
    return scores
