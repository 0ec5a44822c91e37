"""Kubeflow component that tags one shard of a catalogue."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def tag(plan: Input[Artifact], number: str, shard: Output[Dataset]) -> None:  # text: as the items of a loop arrive
    """Tag the files of one shard, but for those with rows; hand on the address of its file."""
    from tagscale.cluster import tagging
    from tagscale.cluster.metadata import describe, of_shard
    from tagscale.cluster.volume import hand_on
    from tagscale.runtime.command import command
    from tagscale.runtime.files import sha256_of

    with command():
        file = tagging.tag(tagging.plan_in(plan.path), int(number))
        hand_on(shard.path, file, sha256_of(file))
        describe(shard, of_shard(file))
