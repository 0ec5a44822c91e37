"""Kubeflow component of the stage preprocess: decodes every track once, into the int16 store on the volume."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preprocess(
    settings: Input[Artifact],
    catalog: Input[Dataset],
    store: Output[Dataset],
    number: str = "1",  # text: the items of a loop reach a task as text only
    of: str = "1",
) -> None:
    """Decode and measure every track of the catalog, or of its slice NUMBER of OF; hand on the store's address."""
    from pathlib import Path

    from tagscale.cluster.metadata import describe, of_store
    from tagscale.cluster.volume import Volume, hand_on
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.stages import preprocess as stage
    from tagscale.store.read import Store

    with command():
        params = load_json(Path(settings.path))
        volume = Volume.of(params)
        shard = (int(number), int(of)) if of != "1" else None
        folder = volume.slice(*shard) if shard else volume.store
        stage.run(params, root=volume.root_of(params), catalog=Path(catalog.path), store=folder, shard=shard)
        digest = Store.open(folder).hash
        address = folder if shard else volume.freeze(folder, digest)
        hand_on(store.path, address, digest)
        describe(store, of_store(address))
