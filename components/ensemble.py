"""Kubeflow component of the stage ensemble: means of the study's runs, chosen on the validation part."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ensemble(
    settings: Input[Artifact],
    runs: Input[list[Model]],
    results: Input[list[Artifact]],
    catalog: Input[Dataset],
    partition: Input[Dataset],
    ensembles: Output[Artifact],
    probe_runs: Input[list[Model]] = None,
    probe_results: Input[list[Artifact]] = None,
    baseline_runs: Input[list[Model]] = None,
    baseline_results: Input[list[Artifact]] = None,
) -> None:
    """Make the ensembles of each size and seed; their runs and results are folders of one artifact."""
    from pathlib import Path

    from tagscale import tracking
    from tagscale.cluster.metadata import describe, of_ensembles
    from tagscale.cluster.volume import paths_of
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.stages import ensemble as stage

    with command(), tracking.nested_in(settings.metadata["mlflow_run"]):
        stage.run(
            load_json(Path(settings.path)),
            runs=paths_of(runs, probe_runs, baseline_runs),
            results=paths_of(results, probe_results, baseline_results),
            catalog=Path(catalog.path),
            partition=Path(partition.path),
            ensembles=Path(ensembles.path),
        )
        describe(ensembles, of_ensembles(Path(ensembles.path)))
