"""Kubeflow component of the stage train: one model on one training size with one seed."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    settings: Input[Artifact],
    key: str,  # hash of the settings of this stage, and ...
    content: str,  # ... hash of the data: KFP's cache compares parameters, not the contents of artifacts
    model: str,
    size: str,  # text, as the seed: the items of a loop reach a task as text only
    seed: str,
    catalog: Input[Dataset],
    partition: Input[Dataset],
    inputs: Input[Dataset],
    image: str,  # for the pods of a TrainJob
    run: Output[Model],
) -> str:
    """Train one model on one training size with one seed; return the hash of the run. Its state is on the volume."""
    from functools import partial
    from pathlib import Path

    from tagscale import tracking
    from tagscale.cluster.metadata import describe, of_run
    from tagscale.cluster.trainjob import train_on_nodes
    from tagscale.cluster.volume import Volume, address_in
    from tagscale.models.spec import group_of
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.runtime.identity import content_of_run, run_name
    from tagscale.stages.preflight import check_grid
    from tagscale.stages.training_of import training_of

    with command(), tracking.nested_in(settings.metadata["mlflow_run"]):
        params, name = load_json(Path(settings.path)), run_name(model, size, int(seed))
        check_grid(params, Path(catalog.path), Path(partition.path))
        in_pods = group_of(model) == "models" and params.train.nodes > 1
        train_cell = partial(train_on_nodes, image=image) if in_pods else training_of(model)
        train_cell(
            params,
            model=model,
            size=size if size == "all" else int(size),
            seed=int(seed),
            catalog=Path(catalog.path),
            partition=Path(partition.path),
            inputs=address_in(inputs.path),
            run=Path(run.path),
            unfinished=Volume.of(params).unfinished(name, f"{key}-{content}"),
        )
        describe(run, of_run(Path(run.path)))
    return content_of_run(Path(run.path))
