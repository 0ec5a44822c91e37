"""Kubeflow component of the stage synth: compose and render the default corpus."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def synth(params: str, corpus: Output[Dataset]) -> None:
    """Compose and render the default corpus."""
    import json
    from pathlib import Path

    from tagscale.params import parse
    from tagscale.stages import synth as stage

    stage.run(parse(json.loads(params)), corpus=Path(corpus.path))
