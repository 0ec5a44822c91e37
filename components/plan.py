"""Kubeflow component before the shards of a catalogue: resolves the version once, so that all of them agree."""

from kfp import dsl
from kfp.dsl import Artifact, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def plan(
    params: str,
    catalogue: str,
    model: str,
    version: str,
    scores: str,
    embeddings: bool,
    again: bool,  # tag all files, also those with rows
    plan: Output[Artifact],
) -> None:
    """Resolve the version, fetch its files to the volume; hand on what all shards need."""
    import json
    from pathlib import Path

    from tagscale.cluster import tagging
    from tagscale.cluster.metadata import describe, of_plan
    from tagscale.params.load import parse
    from tagscale.runtime.command import command
    from tagscale.runtime.files import write_json

    with command():
        settings, chosen = parse(json.loads(params)), {"catalogue": catalogue, "model": model, "version": version}
        content = tagging.plan(settings, **chosen, scores=scores, embeddings=embeddings, again=again)
        write_json(Path(plan.path), content)
        describe(plan, of_plan(content))
