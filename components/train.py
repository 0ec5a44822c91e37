"""Kubeflow component of the stage train: one model on one training size with one seed."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    params: str,
    model: str,
    size: str,  # size and seed are text: fields of a loop's items reach a task as text only
    seed: str,
    catalog: Input[Dataset],
    partition: Input[Dataset],
    inputs: Input[Dataset],
    run: Output[Model],
) -> None:
    """Train one model on one training size with one seed."""
    import json
    from pathlib import Path

    from tagscale.params import parse
    from tagscale.stages import train as stage

    stage.run(
        parse(json.loads(params)),
        model=model,
        size=size if size == "all" else int(size),
        seed=int(seed),
        catalog=Path(catalog.path),
        partition=Path(partition.path),
        inputs=Path(inputs.path),
        run=Path(run.path),
    )
