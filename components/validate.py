"""Kubeflow component of the stage validate: shows the page of its findings in the Kubeflow UI."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate(
    settings: Input[Artifact],
    catalog: Input[Dataset],
    store: Input[Dataset],
    validation: Output[Artifact],
    report: Output[HTML],
) -> str:
    """Check tables and audio, quarantine bad tracks, refuse unusable data; return the hash of the data's version."""
    import shutil
    from pathlib import Path

    from tagscale.cluster.metadata import describe, of_validation
    from tagscale.cluster.volume import Volume, address_in
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.runtime.files import read_json
    from tagscale.stages import validate as stage

    with command():
        params, folder, address = load_json(Path(settings.path)), Path(validation.path), address_in(store.path)
        try:
            stage.run(params, catalog=Path(catalog.path), store=address, validation=folder)
        finally:
            if folder.is_dir():  # show the findings, above all those that stop the pipeline
                shutil.copyfile(folder / "validation.html", report.path)
        findings = read_json(folder / "validation.json")
        facts = {
            "version": params.dataset.version,
            "store": str(address),
            "tracks": findings["tracks"] - findings["quarantined"],
        }
        Volume.of(params).record_version(findings["data_hash"], facts)
        for artifact in (validation, report):
            describe(artifact, of_validation(folder, params.dataset.version))
    return str(findings["data_hash"])
