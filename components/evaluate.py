"""Kubeflow component of the stage evaluate: shows the test scores of a run in the Kubeflow UI."""

from kfp import dsl
from kfp.dsl import Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    settings: Input[Artifact],
    key: str,  # hash of the settings of this stage, and ...
    content: str,  # ... hash of the run: KFP's cache compares parameters, not the contents of artifacts
    run: Input[Model],
    catalog: Input[Dataset],
    partition: Input[Dataset],
    inputs: Input[Dataset],
    results: Output[Artifact],
    metrics: Output[Metrics],
    curve: Output[ClassificationMetrics],
) -> None:
    """Score the valid and test tracks with one run: every metric, per tag and overall, with intervals."""
    from pathlib import Path

    from tagscale.catalog.tables import Catalog
    from tagscale.cluster.metadata import describe, of_results
    from tagscale.cluster.volume import address_in
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.runtime.files import read_json
    from tagscale.stages import evaluate as stage
    from tagscale.study.roc import curve_of_results

    with command():
        folder = Path(results.path)
        stage.run(
            load_json(Path(settings.path)),
            run=Path(run.path),
            catalog=Path(catalog.path),
            partition=Path(partition.path),
            inputs=address_in(inputs.path),
            results=folder,
        )
        describe(results, of_results(folder, Path(run.path)))
        if not (folder / "metrics.json").exists():  # a model that the study does without
            return
        for name, value in read_json(folder / "metrics.json")["test"].items():
            if value is not None:  # null: nothing to score
                metrics.log_metric(f"test_{name}", value)
        curve.log_roc_curve(*curve_of_results(folder, Catalog.load(Path(catalog.path))))
