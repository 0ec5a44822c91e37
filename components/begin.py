"""Kubeflow component before all stages: checks what they need, and writes the settings as a file for them."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def begin(params: str, pipeline: str, pipeline_run: str, title: str, settings: Output[Artifact]) -> None:
    """Check volume, dataset, data version and MLflow; hand on the settings, and the pipeline's run in MLflow."""
    import json
    from pathlib import Path

    from tagscale.cluster import pipeline as stage
    from tagscale.cluster.metadata import describe, of_settings
    from tagscale.params.load import parse
    from tagscale.runtime.command import command

    with command():
        given = parse(json.loads(params))
        run = stage.begin(given, pipeline=pipeline, pipeline_run=pipeline_run, title=title)
        Path(settings.path).write_text(params, encoding="utf-8")
        describe(settings, of_settings(params, given.dataset.name, given.tracking.experiment, run))
