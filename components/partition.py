"""Kubeflow component of the stage partition: train, valid and test, stratified and artist-filtered."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def partition(
    params: str,
    catalog: Input[Dataset],
    validation: Input[Artifact],
    partition: Output[Dataset],
    previous: Input[Dataset] = None,
) -> None:
    """Divide into train, valid and test: stratified, no artist in two of them."""
    import json
    from pathlib import Path

    from tagscale.params import parse
    from tagscale.stages import partition as stage

    stage.run(
        parse(json.loads(params)),
        catalog=Path(catalog.path),
        validation=Path(validation.path),
        partition=Path(partition.path),
        previous=Path(previous.path) if previous else None,
    )
