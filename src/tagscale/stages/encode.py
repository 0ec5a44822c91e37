"""Encode: the features of every track in the partition, window by window, by the encoders of the study's probes.

Rows of an earlier run and parts of an interrupted run are reused where the samples, the encoder and the moving window
are the same (`training.features`).
"""

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from tagscale.evaluation.predict import window_samples
from tagscale.models.architecture import architecture_of
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.absent import write_absent
from tagscale.runtime.disk import full_disk_explained
from tagscale.runtime.files import sha256_of
from tagscale.runtime.memory import keep_freed_memory
from tagscale.runtime.progress import progress_bar
from tagscale.store.read import Store
from tagscale.training import checkpoint
from tagscale.training.encoders import absence_of, load_encoder, pretrained_folder
from tagscale.training.features import Encoding, Recipe, encode_track


def run(
    params: Params,
    *,
    partition: Path,
    store: Path | str,
    features: Path,
    models: Sequence[str] | None = None,
    previous: Path | None = None,
) -> None:
    """Write the folder `features`/MODEL of every probe, with the rows of every track of the partition.

    Where the weights of an encoder are missing, its folder says so, and its probe is left out of the study.

    Args:
        models: probes, by default all of train.probes
        previous: folder of an earlier run whose rows are reused; by default `features`

    Raises:
        TagscaleError: a track of the partition is missing in the store; the weights are damaged; the disk is full.
    """
    keep_freed_memory()
    tracks = Partition.load(partition).table["track_id"].tolist()
    opened = Store.open(store)
    opened.require(tracks, store)
    for model in params.train.probes if models is None else models:
        encoder = architecture_of(params, model, ["any"], ["classification"]).capacity["encoder"]
        if reason := absence_of(encoder):
            write_absent(Path(features) / model, model, reason)
        else:
            _encode(params, model, encoder, opened, tracks, Path(features) / model, Path(previous or features) / model)


def _encode(
    params: Params, model: str, name: str, store: Store, tracks: list[str], folder: Path, previous: Path
) -> None:
    """Write the folder of one probe."""
    begin = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = load_encoder(name).to(device)
    described = architecture_of(params, model, ["any"], ["classification"])
    recipe = Recipe(
        encoder=name,
        weights=sha256_of(pretrained_folder() / name / checkpoint.WEIGHTS),
        window=window_samples(described, params.evaluate.window_seconds),
        hop=max(1, round(params.evaluate.hop_seconds * described.sample_rate)),
        features=encoder.features,
    )
    digests = store.facts["audio_sha256"].reindex(tracks).fillna("").tolist()
    encoding = Encoding(folder, recipe, tracks, digests, previous, f"tagscale encode --model {model}")
    missing = encoding.missing
    with full_disk_explained(folder, f"What was written before is kept in {encoding.partial}."):
        try:
            with progress_bar("tracks", disable=not missing) as progress:
                task = progress.add_task("encoding", total=len(tracks), completed=len(tracks) - len(missing))
                for track in missing:
                    encoding.add(track, encode_track(encoder, store, track, recipe, device))
                    progress.advance(task)
        finally:
            encoding.keep()  # keeps computed rows, even after an error
        encoding.finish()
    seconds = time.monotonic() - begin
    speed = f" ({len(missing) / max(seconds, 1e-9):.1f} tracks/s)" if missing else ""
    print(
        f"{model}: {len(tracks)} tracks encoded by {name} in {seconds:.1f} s{speed}: {len(missing)} computed, "
        f"{len(tracks) - len(missing)} reused",
        flush=True,
    )
