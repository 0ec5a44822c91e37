"""Kubeflow component of the stage preprocess: every track decoded once into the int16 store."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preprocess(params: str, root: Input[Dataset], catalog: Input[Dataset], store: Output[Dataset]) -> None:
    """Decode every track once, into shards of int16 at 16 kHz, and measure it."""
    import json
    from pathlib import Path

    from tagscale.params import parse
    from tagscale.stages import preprocess as stage

    stage.run(parse(json.loads(params)), root=Path(root.path), catalog=Path(catalog.path), store=Path(store.path))
