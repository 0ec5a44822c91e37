"""Scorers of runs in folds: the mean of the folds' models tags audio, and each of them alone was tested on its fold."""

import pandas as pd

from tagscale.partition.growth import fold_names
from tagscale.registry.scorers import Scorer
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.store.read import Store


def folds_of(scorer: Scorer) -> int:
    """The number of folds of a scorer, or of an ensemble's members; 0 for a scorer without folds."""
    if not isinstance(scorer, MeanScorer):
        return 0
    if _is_of_folds(scorer):
        return len(scorer.members)
    return max(folds_of(member) for member in scorer.members.values())


def predict_held_out(scorer: Scorer, store: Store, fold_of: pd.Series) -> pd.DataFrame:
    """Scores of tracks, each by the model that was tested on its fold; by a scorer without folds as `Scorer.predict`.

    Args:
        fold_of: name of the part that a track is in, by track_id; without folds it does not matter
    Returns:
        float32 (tracks, tags), index track_id in the order of `fold_of`
    """
    tracks = [str(track) for track in fold_of.index]
    if not isinstance(scorer, MeanScorer):
        return scorer.predict(store, tracks)
    if _is_of_folds(scorer):
        folds = fold_of.groupby(fold_of).groups
        scores = [scorer.members[str(fold)].predict(store, list(held_out)) for fold, held_out in folds.items()]
        return pd.concat(scores).loc[tracks]
    scores = [predict_held_out(member, store, fold_of) for member in scorer.members.values()]
    mean = scorer.mean(of_member.to_numpy() for of_member in scores)
    return pd.DataFrame(mean, index=pd.Index(tracks, name="track_id"), columns=list(scorer.tags))


def _is_of_folds(scorer: MeanScorer) -> bool:
    return tuple(scorer.members) == fold_names(len(scorer.members))
