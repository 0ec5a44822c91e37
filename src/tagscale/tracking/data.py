"""What a run learns from, as MLflow's pages show it: the dataset, and the cell of the study's grid."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tagscale.runtime.identity import RunIdentity
from tagscale.tracking.unsent import Entry


@dataclass(frozen=True)
class DataFacts:
    """What MLflow shows of a dataset, beside its name and its hash.

    source: folder or archive that it comes from
    tags: those of the partition, which a model scores
    tracks, artists: how many there are
    """

    source: str
    tags: Sequence[str]
    tracks: int
    artists: int


def identity_params(identity: RunIdentity) -> dict[str, str]:
    """The parameters by which people compare runs: the axes of MLflow's charts."""
    return {"model": identity.model, "size": identity.size, "seed": str(identity.seed)}


def dataset_entry(identity: RunIdentity, data: DataFacts | None = None) -> Entry:
    """The dataset that a run learns from, as an entry of its journal.

    MLflow keeps the first entry of a name and a hash for all runs of an experiment. So it holds nothing of one run.
    """
    known: dict[str, Any] = {}
    if data:
        columns = [("audio", "binary"), *((tag, "double") for tag in data.tags)]
        schema = [{"name": name, "type": kind, "required": True} for name, kind in columns]
        profile = {"tracks": data.tracks, "artists": data.artists, "tags": len(data.tags)}
        known = {"schema": json.dumps({"mlflow_colspec": schema}), "profile": json.dumps(profile)}
    source = json.dumps({"uri": data.source if data else identity.dataset})
    about = {"name": identity.dataset, "digest": identity.dataset_hash, "source_type": "local", "source": source}
    return {"dataset": about | known}
