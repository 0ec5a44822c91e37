"""Kubeflow component after all stages, whatever happened to them: records in MLflow how the pipeline ended."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def end(params: str, pipeline: str, pipeline_run: str, title: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Record in MLflow how the pipeline ended."""
    import json

    from tagscale.cluster import pipeline as stage
    from tagscale.params.load import parse
    from tagscale.runtime.command import command

    with command():
        settings = parse(json.loads(params))
        stage.end(settings, pipeline=pipeline, pipeline_run=pipeline_run, title=title, state=status.state or "")
