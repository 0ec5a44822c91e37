"""Kubeflow component after a preprocess in slices: joins their stores."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def merge(settings: Input[Artifact], slices: Input[list[Dataset]], store: Output[Dataset]) -> None:
    """Join the slices to the store that a single task would have made; hand on its address."""
    from pathlib import Path

    from tagscale.cluster.metadata import describe, of_store
    from tagscale.cluster.volume import Volume, address_in, hand_on
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.stages import store as stage
    from tagscale.store.read import Store

    with command():
        volume = Volume.of(load_json(Path(settings.path)))
        stage.merge([address_in(part.path) for part in slices], volume.store)
        digest = Store.open(volume.store).hash
        frozen = volume.freeze(volume.store, digest)
        hand_on(store.path, frozen, digest)
        describe(store, of_store(frozen))
