"""Kubeflow component of the stage synth: composes and renders the default corpus on the volume."""

from kfp import dsl
from kfp.dsl import Artifact, Input

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def synth(settings: Input[Artifact]) -> str:
    """Compose and render the default corpus; return its folder."""
    from pathlib import Path

    from tagscale.cluster.volume import Volume
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.stages import synth as stage

    with command():
        params = load_json(Path(settings.path))
        volume = Volume.of(params)
        stage.run(params, corpus=volume.corpus)
    return str(volume.corpus)
