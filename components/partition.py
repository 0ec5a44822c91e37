"""Kubeflow component of the stage partition: train, valid and test, stratified and artist-filtered."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def partition(
    settings: Input[Artifact], catalog: Input[Dataset], validation: Input[Artifact], partition: Output[Dataset]
) -> str:
    """Divide into train, valid and test, keeping tracks in their last parts; return the hash of data and parts."""
    from pathlib import Path

    from tagscale.cluster.metadata import describe, of_partition
    from tagscale.cluster.volume import Volume
    from tagscale.params.load import load_json
    from tagscale.partition.divide import Partition
    from tagscale.runtime.command import command
    from tagscale.stages import partition as stage

    with command():
        params, folder = load_json(Path(settings.path)), Path(partition.path)
        volume = Volume.of(params)
        stage.run(
            params,
            catalog=Path(catalog.path),
            validation=Path(validation.path),
            partition=folder,
            previous=volume.partition(params),
        )
        volume.keep_partition(folder, params)
        made = Partition.load(folder)
        describe(partition, of_partition(folder))
    return f"{made.data_hash}-{made.hash}"
