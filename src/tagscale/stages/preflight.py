"""What is refused before hours are spent: settings that contradict the models, the tags or the number of tracks.

params.yaml alone does not show these contradictions (`tagscale.params` refuses what it can), and the stage that would
meet them is one of the last. No result depends on these checks, so they are no part of a stage: the command line and
the pipelines' components call them before the stage.
"""

from pathlib import Path

from tagscale.catalog.tables import Catalog
from tagscale.evaluation.metrics import check_fits
from tagscale.models.spec import group_of
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError


def check_models(params: Params) -> None:
    """Check that every network of the grid can take its patches and the moving window.

    Raises:
        TagscaleError: a patch or a window too short for a model; names the model, the key, the value and the least.
    """
    from tagscale.evaluation.predict import window_samples
    from tagscale.models.architecture import architecture_of
    from tagscale.models.build import shortest_samples
    from tagscale.models.tagger import refuse_short

    for name in [*params.train.models, *params.train.probes]:
        described = architecture_of(params, name, ["any"], ["classification"])
        try:
            refuse_short(described.patch_samples, shortest_samples(described))
        except TagscaleError as error:
            raise TagscaleError(f"train.{group_of(name)}: {name}: {error}") from None
        window_samples(described, params.evaluate.window_seconds)


def check_metric(params: Params, catalog: Path) -> None:
    """Check that some tag of the catalog has the metric that chooses the candidate. Raises TagscaleError otherwise."""
    check_fits(params.registry.metric, Catalog.load(catalog).tags["kind"].tolist(), "registry.metric")


def check_grid(params: Params, catalog: Path, partition: Path) -> None:
    """Check, before any training, that the training part holds every size of the grid, and the metric as above.

    Raises:
        TagscaleError: names the key, the value and what there is.
    """
    parts = Partition.load(partition)
    for size in params.train.sizes:
        for view in parts.views().values():
            view.training_subset(size)
    kinds = Catalog.load(catalog).tags["kind"].reindex(parts.tags).dropna()
    check_fits(params.registry.metric, kinds.tolist(), "registry.metric")
