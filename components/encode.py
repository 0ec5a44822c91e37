"""Kubeflow component of the stage encode: what the encoders of the probes hear of every track, on the volume."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def encode(
    settings: Input[Artifact],
    content: str,
    partition: Input[Dataset],
    store: Input[Dataset],
    features: Output[Dataset],
) -> None:
    """Compute what the encoder of each probe hears of every track; hand on the address."""
    from pathlib import Path

    from tagscale.cluster import metadata
    from tagscale.cluster.volume import Volume, address_in, hand_on
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.stages import encode as stage

    with command():
        params = load_json(Path(settings.path))
        volume = Volume.of(params)
        stage.run(
            params,
            partition=Path(partition.path),
            store=address_in(store.path),
            features=volume.features(content),
            previous=volume.newest("features"),
        )
        hand_on(features.path, volume.features(content), content)
        metadata.describe(features, metadata.of_inputs(content, volume.features(content), Path(partition.path)))
