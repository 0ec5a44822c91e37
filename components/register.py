"""Kubeflow component of the stage register: the best run becomes a version in the registry."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    params: str,
    runs: Input[list[Model]],
    results: Input[list[Artifact]],
    partition: Input[Dataset],
    store: Input[Dataset],
    catalog: Input[Dataset],
    registration: Output[Artifact],
    baseline_runs: Input[list[Model]] = None,
    baseline_results: Input[list[Artifact]] = None,
) -> None:
    """Register the best run; it becomes champion if it beats the present one."""
    import json
    from pathlib import Path

    from tagscale.params import parse
    from tagscale.stages import register as stage

    stage.run(
        parse(json.loads(params)),
        runs=[Path(run.path) for run in [*runs, *(baseline_runs or [])]],
        results=[Path(result.path) for result in [*results, *(baseline_results or [])]],
        partition=Path(partition.path),
        store=Path(store.path),
        catalog=Path(catalog.path),
        registration=Path(registration.path),
    )
