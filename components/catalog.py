"""Kubeflow component of the stage catalog: any dataset as one table of tracks, one of labels and one of tags."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def catalog(params: str, root: Input[Dataset], catalog: Output[Dataset]) -> None:
    """Read any dataset into one table of tracks, one of labels and one of tags."""
    import json
    from pathlib import Path

    from tagscale.params import parse
    from tagscale.stages import catalog as stage

    stage.run(parse(json.loads(params)), root=Path(root.path), catalog=Path(catalog.path))
