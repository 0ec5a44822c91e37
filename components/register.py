"""Kubeflow component of the stage register: the best run becomes a version in the registry."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    settings: Input[Artifact],
    runs: Input[list[Model]],
    results: Input[list[Artifact]],
    partition: Input[Dataset],
    store: Input[Dataset],
    catalog: Input[Dataset],
    registration: Output[Artifact],
    probe_runs: Input[list[Model]] = None,
    probe_results: Input[list[Artifact]] = None,
    baseline_runs: Input[list[Model]] = None,
    baseline_results: Input[list[Artifact]] = None,
) -> None:
    """Register the best run; it becomes champion if it passes the gate."""
    from pathlib import Path

    from tagscale.cluster.volume import address_in
    from tagscale.params.load import load_json
    from tagscale.stages import register as stage

    stage.run(
        load_json(Path(settings.path)),
        runs=[Path(run.path) for run in [*runs, *(probe_runs or []), *(baseline_runs or [])]],
        results=[Path(result.path) for result in [*results, *(probe_results or []), *(baseline_results or [])]],
        partition=Path(partition.path),
        store=address_in(store.path),
        catalog=Path(catalog.path),
        registration=Path(registration.path),
    )
