"""Kubeflow component after the shards of a catalogue: checks that they are one data set, and counts its errors."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Metrics, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def join(
    plan: Input[Artifact], shards: Input[list[Dataset]], scores: Output[Dataset], metrics: Output[Metrics]
) -> None:
    """Make one data set of the shards; hand on the address of its folder."""
    from pathlib import Path

    from tagscale.cluster import tagging
    from tagscale.cluster.metadata import describe, of_scores
    from tagscale.cluster.volume import address_in, hand_on
    from tagscale.runtime.command import command
    from tagscale.runtime.files import sha256_of

    with command():
        content = tagging.plan_in(plan.path)
        for shard in shards:
            address_in(shard.path)
        summary = tagging.join(content)
        folder = Path(content["scores"])
        hand_on(scores.path, folder, sha256_of(folder / tagging.SUCCESS))
        describe(scores, of_scores(folder, summary))
        for name in ("files", "tagged", "errors", "hours"):
            metrics.log_metric(name, summary[name])
