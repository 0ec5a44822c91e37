"""Kubeflow component of the stage train: one model on one training size with one seed."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    settings: Input[Artifact],
    key: str,  # hash of the settings of this stage
    code: str,  # names of the folders that it runs; with the data, both decide the run that is kept on the volume
    model: str,
    size: str,  # text, as the seed: the items of a loop reach a task as text only
    seed: str,
    catalog: Input[Dataset],
    partition: Input[Dataset],
    inputs: Input[Dataset],
    image: str,  # for the pods of a TrainJob
    again: bool,  # train, though the run is kept
    run: Output[Model],
) -> None:
    """Train one model on one training size with one seed, or take the run that is kept."""
    from pathlib import Path

    from tagscale import tracking
    from tagscale.cluster import kept
    from tagscale.cluster.metadata import describe, of_run
    from tagscale.cluster.volume import address_in
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command

    with command(), tracking.nested_in(settings.metadata["mlflow_run"]):
        taken = kept.train(
            load_json(Path(settings.path)),
            kept.StageKey(key, code),
            model=model,
            size=size if size == "all" else int(size),
            seed=int(seed),
            catalog=Path(catalog.path),
            partition=Path(partition.path),
            inputs=address_in(inputs.path),
            run=Path(run.path),
            image=image,
            again=again,
        )
        describe(run, of_run(Path(run.path)) | taken)
