"""Kubeflow component of the stage catalog: one table of tracks, one of labels and one of tags from any dataset."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def catalog(settings: Input[Artifact], catalog: Output[Dataset], root: str = "") -> None:
    """Read any dataset into one table of tracks, one of labels and one of tags."""
    from pathlib import Path

    from tagscale.cluster.metadata import describe, of_catalog
    from tagscale.cluster.volume import Volume
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.stages import catalog as stage
    from tagscale.stages.preflight import check_metric

    with command():
        params = load_json(Path(settings.path))
        volume = Volume.of(params)
        stage.run(params, root=Path(root or volume.root_of(params)), catalog=Path(catalog.path))
        check_metric(params, Path(catalog.path))
        describe(catalog, of_catalog(Path(catalog.path)))
