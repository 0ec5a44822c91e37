"""Kubeflow component before all stages: checks what they need, and writes the settings as a file for them."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def begin(params: str, pipeline: str, pipeline_run: str, title: str, settings: Output[Artifact]) -> str:
    """Check volume, dataset, data version and MLflow; hand on the settings; return the pipeline's run in MLflow."""
    import json
    from pathlib import Path

    from tagscale.cluster import pipeline as stage
    from tagscale.params.load import parse
    from tagscale.runtime.command import command

    with command():
        run = stage.begin(parse(json.loads(params)), pipeline=pipeline, pipeline_run=pipeline_run, title=title)
        Path(settings.path).write_text(params, encoding="utf-8")
    return run
