"""Kubeflow component of the stage evaluate: the test numbers of a run are shown in the Kubeflow UI."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    params: str,
    run: Input[Model],
    catalog: Input[Dataset],
    partition: Input[Dataset],
    inputs: Input[Dataset],
    results: Output[Artifact],
    metrics: Output[Metrics],
) -> None:
    """Score the valid and test tracks with one run: ROC-AUC, PR-AUC, root of the mean squared error."""
    import json
    from pathlib import Path

    from tagscale.files import read_json
    from tagscale.params import parse
    from tagscale.stages import evaluate as stage

    stage.run(
        parse(json.loads(params)),
        run=Path(run.path),
        catalog=Path(catalog.path),
        partition=Path(partition.path),
        inputs=Path(inputs.path),
        results=Path(results.path),
    )
    for name, value in read_json(Path(results.path) / "metrics.json")["test"].items():
        if value is not None:  # null: nothing to score
            metrics.log_metric(f"test_{name}", value)
