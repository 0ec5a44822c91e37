"""Train a probe: a linear head on the features of a published encoder, on one training size with one seed."""

from pathlib import Path
from typing import Literal

import torch

from tagscale.catalog.tables import Catalog
from tagscale.models.architecture import architecture_of
from tagscale.models.build import Architecture, build, parameter_count
from tagscale.models.pretrained.probe import Probe
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.absent import absence_in, write_absent
from tagscale.runtime.identity import run_name
from tagscale.stages.cell import Cell, Outcome, train_at_once
from tagscale.training import checkpoint
from tagscale.training.encoders import load_encoder
from tagscale.training.features import Features
from tagscale.training.head import Head, fit_head


def run(
    params: Params,
    *,
    model: str,
    size: int | str,
    seed: int,
    catalog: Path,
    partition: Path,
    inputs: Path | str,
    run: Path,
    unfinished: Path | None = None,
) -> None:
    """Fit the head, write the run's folder (run.json and the checkpoint of encoder and head) and log both to MLflow.

    Where the encoder's weights are missing, the run's folder says so. The head does not depend on the seed. On a
    partition in folds, the probe of each fold has such a folder in the run's (`cell.join_folds`).

    Args:
        model: a name of `train.probes`
        size: number of training tracks, or "all"
        inputs: folder that the encode stage wrote
        unfinished: where metrics wait while MLflow cannot be reached; RUN.unfinished, beside the run, when not given
    Raises:
        TagscaleError: the training part is smaller than `size`, or tracks have no features.
    """
    folder = Path(inputs) / model
    if absence := absence_in(folder):
        write_absent(run, run_name(model, size, seed), absence["reason"])
        return
    cell = Cell(Catalog.load(catalog), Partition.load(partition), model, size, seed)
    architecture = architecture_of(params, model, cell.tags, cell.kinds)
    features = Features(folder, f"tagscale encode --model {model}")
    class_weights = params.train.class_weights
    settings = {"model": architecture.capacity, "encoder": features.recipe.weights}
    settings |= {"train": {"class_weights": class_weights}}

    def fit(part: Cell, target: Path) -> Outcome:
        head = _fitted(part, features, class_weights)
        probe = _probe(architecture, head)
        checkpoint.write(target, probe, architecture)
        chosen = ", ".join(f"C {strength:.2g} for {kind}" for kind, strength in head.strengths.items())
        words = f"{chosen}, validation loss {head.valid_loss:.4f}"
        sizes = {"features": features.recipe.features}
        return Outcome(parameter_count(probe), words, sizes, {"valid_loss": head.valid_loss})

    train_at_once(params, cell, settings, run, unfinished, fit)


def _fitted(cell: Cell, features: Features, class_weights: Literal["none", "balanced"]) -> Head:
    """The head of a cell's training part."""
    parts = [cell.training, cell.partition.tracks("valid")]
    (known, labels), (valid, valid_labels) = ((features.means(tracks), cell.labels(tracks)) for tracks in parts)
    return fit_head(known, labels, valid, valid_labels, cell.kinds, class_weights)


@torch.no_grad()
def _probe(architecture: Architecture, head: Head) -> Probe:
    """The network: the encoder with its weights, and the head."""
    probe = build(architecture)
    assert isinstance(probe, Probe)
    weights = load_encoder(architecture.capacity["encoder"]).tagger.state_dict()
    probe.encoder.load_state_dict({key: value for key, value in weights.items() if not key.startswith("output.")})
    probe.output.weight.copy_(head.weight)
    probe.output.bias.copy_(head.bias)
    return probe
