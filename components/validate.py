"""Kubeflow component of the stage validate: its page of findings is shown in the Kubeflow UI."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate(
    params: str, catalog: Input[Dataset], store: Input[Dataset], validation: Output[Artifact], report: Output[HTML]
) -> None:
    """Check tables and audio; quarantine bad files; stop when the dataset itself is wrong."""
    import json
    import shutil
    from pathlib import Path

    from tagscale.params import parse
    from tagscale.stages import validate as stage

    stage.run(
        parse(json.loads(params)),
        catalog=Path(catalog.path),
        store=Path(store.path),
        validation=Path(validation.path),
    )
    shutil.copyfile(Path(validation.path) / "validation.html", report.path)
