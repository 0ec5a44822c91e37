"""Kubeflow component of the stage register: the best run becomes a version; shows the gate's verdict in the UI."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    settings: Input[Artifact],
    runs: Input[list[Model]],
    results: Input[list[Artifact]],
    partition: Input[Dataset],
    store: Input[Dataset],
    catalog: Input[Dataset],
    registration: Output[Artifact],
    verdict: Output[HTML],
    probe_runs: Input[list[Model]] = None,
    probe_results: Input[list[Artifact]] = None,
    baseline_runs: Input[list[Model]] = None,
    baseline_results: Input[list[Artifact]] = None,
    ensembles: Input[Artifact] = None,
) -> None:
    """Register the best run; it becomes champion if it passes the gate."""
    import shutil
    from pathlib import Path

    from tagscale.cluster.metadata import describe, of_registration
    from tagscale.cluster.volume import address_in, paths_of
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.stages import register as stage
    from tagscale.study.members import folders_in

    with command():
        more_runs, more_results = folders_in(Path(ensembles.path) if ensembles else None)
        stage.run(
            load_json(Path(settings.path)),
            runs=[*paths_of(runs, probe_runs, baseline_runs), *more_runs],
            results=[*paths_of(results, probe_results, baseline_results), *more_results],
            partition=Path(partition.path),
            store=address_in(store.path),
            catalog=Path(catalog.path),
            registration=Path(registration.path),
        )
        shutil.copyfile(Path(registration.path) / "gate.html", verdict.path)
        for artifact in (registration, verdict):
            describe(artifact, of_registration(Path(registration.path)))
