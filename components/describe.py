"""Kubeflow component of the stage describe: the baseline's descriptors of every track, on the volume."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def describe(
    settings: Input[Artifact],
    content: str,
    partition: Input[Dataset],
    store: Input[Dataset],
    descriptors: Output[Dataset],
) -> None:
    """Compute the baseline's timbre, rhythm and harmony descriptors; hand on their address."""
    from pathlib import Path

    from tagscale.cluster import metadata
    from tagscale.cluster.volume import Volume, address_in, hand_on
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.stages import describe as stage

    with command():
        params = load_json(Path(settings.path))
        volume = Volume.of(params)
        stage.run(
            params,
            partition=Path(partition.path),
            store=address_in(store.path),
            descriptors=volume.descriptors(content),
            previous=volume.newest("descriptors"),
        )
        hand_on(descriptors.path, volume.descriptors(content), content)
        metadata.describe(descriptors, metadata.of_inputs(content, volume.descriptors(content), Path(partition.path)))
