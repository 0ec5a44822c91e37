"""Kubeflow component that compares what was tagged with the profile of the version that tagged it."""

from kfp import dsl
from kfp.dsl import HTML, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def watch(params: str, rows: str, margin: float, report: Output[HTML]) -> str:
    """Compare rows on the volume with their version's profile; return `drift` or `no drift`, and show the page."""
    import json
    from pathlib import Path

    from tagscale.cluster.metadata import describe
    from tagscale.cluster.volume import Volume
    from tagscale.params.load import parse
    from tagscale.report import drift
    from tagscale.runtime.command import command
    from tagscale.runtime.files import sha256_of
    from tagscale.serving import watch as stage
    from tagscale.serving.rows import read_rows

    with command():
        place = Volume.of(parse(json.loads(params))).root / rows
        record = stage.watch(read_rows(place), None, margin, files=False)
        reason = stage.reason_of(record)
        drift.write(Path(report.path), record, reason, str(place))
        verdict = "drift" if record["drift"] else "no drift"
        facts = {"model": record["model"], "version": record["version"], "verdict": verdict, "address": str(place)}
        describe(report, {"hash": sha256_of(Path(report.path))[:12]} | facts)
        print(f"{record['model']} version {record['version']}: {verdict}. {reason}")
    return verdict
