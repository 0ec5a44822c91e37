"""Kubeflow component of the stage compare: shows the report and the numbers of the study in the Kubeflow UI."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare(
    settings: Input[Artifact],
    runs: Input[list[Model]],
    results: Input[list[Artifact]],
    catalog: Input[Dataset],
    partition: Input[Dataset],
    validation: Input[Artifact],
    reports: Output[Artifact],
    report: Output[HTML],
    metrics: Output[Metrics],
    probe_runs: Input[list[Model]] = None,
    probe_results: Input[list[Artifact]] = None,
    baseline_runs: Input[list[Model]] = None,
    baseline_results: Input[list[Artifact]] = None,
    ensembles: Input[Artifact] = None,
) -> None:
    """Compare all runs of the study: tables, figures, report."""
    import shutil
    from pathlib import Path

    from tagscale import tracking
    from tagscale.cluster.metadata import describe, of_reports
    from tagscale.cluster.volume import paths_of
    from tagscale.params.load import load_json
    from tagscale.runtime.command import command
    from tagscale.runtime.files import read_json
    from tagscale.stages import compare as stage
    from tagscale.study.members import folders_in

    with command(), tracking.nested_in(settings.metadata["mlflow_run"]):
        more_runs, more_results = folders_in(Path(ensembles.path) if ensembles else None)
        stage.run(
            load_json(Path(settings.path)),
            runs=[*paths_of(runs, probe_runs, baseline_runs), *more_runs],
            results=[*paths_of(results, probe_results, baseline_results), *more_results],
            catalog=Path(catalog.path),
            partition=Path(partition.path),
            validation=Path(validation.path),
            reports=Path(reports.path),
        )
        shutil.copyfile(Path(reports.path) / "report.html", report.path)
        for artifact in (reports, report):
            describe(artifact, of_reports(Path(reports.path), settings.metadata["mlflow_run"]))
        for model, sizes in read_json(Path(reports.path) / "scores.json").items():
            for size, scores in sizes.items():
                for name, value in scores.items():
                    if value is not None:  # null: nothing to score
                        metrics.log_metric(f"{model}.{size}.{name}", value)
