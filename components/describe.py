"""Kubeflow component of the stage describe: the baseline's descriptors of every track."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def describe(params: str, partition: Input[Dataset], store: Input[Dataset], descriptors: Output[Dataset]) -> None:
    """Compute the baseline's timbre, rhythm and harmony descriptors."""
    import json
    from pathlib import Path

    from tagscale.params import parse
    from tagscale.stages import describe as stage

    stage.run(
        parse(json.loads(params)),
        partition=Path(partition.path),
        store=Path(store.path),
        descriptors=Path(descriptors.path),
    )
