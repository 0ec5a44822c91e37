"""Kubeflow component of the stage evaluate: shows the test scores of a run in the Kubeflow UI."""

from kfp import dsl
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    settings: Input[Artifact],
    key: str,  # hash of the settings of this stage
    code: str,  # names of the folders that it runs; with the run, both decide the results that are kept on the volume
    run: Input[Model],
    catalog: Input[Dataset],
    partition: Input[Dataset],
    inputs: Input[Dataset],
    again: bool,  # evaluate, though the results are kept
    results: Output[Artifact],
    metrics: Output[Metrics],
    curve: Output[ClassificationMetrics],
) -> None:
    """Score the valid and test tracks with one run, or take the results that are kept."""
    from pathlib import Path

    from tagscale.catalog.tables import Catalog
    from tagscale.cluster import kept
    from tagscale.cluster.metadata import describe, of_results
    from tagscale.cluster.volume import address_in
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.runtime.files import read_json
    from tagscale.study.roc import curve_of_results

    with command():
        folder = Path(results.path)
        taken = kept.evaluate(
            load_json(Path(settings.path)),
            kept.StageKey(key, code),
            run=Path(run.path),
            catalog=Path(catalog.path),
            partition=Path(partition.path),
            inputs=address_in(inputs.path),
            results=folder,
            again=again,
        )
        describe(results, of_results(folder, Path(run.path)) | taken)
        if not (folder / "metrics.json").exists():  # a model that the study does without
            return
        for name, value in read_json(folder / "metrics.json")["test"].items():
            if value is not None:  # null: nothing to score
                metrics.log_metric(f"test_{name}", value)
        curve.log_roc_curve(*curve_of_results(folder, Catalog.load(Path(catalog.path))))
