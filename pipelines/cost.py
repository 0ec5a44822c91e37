"""The most that a study costs: the patches that its trainings see, and their GPU hours at a measured speed."""

from dataclasses import dataclass

from tagscale.params.blocks import epochs_of
from tagscale.params.load import Params, training_settings
from tagscale.runtime.errors import TagscaleError


@dataclass(frozen=True)
class Cost:
    """The cost of all trainings of one model at one size.

    Attributes:
        model, size: as in params.yaml.
        runs: trainings, one for each seed.
        patches: what they see together when none stops before train.max_steps.
    """

    model: str
    size: str
    runs: int
    patches: int

    def gpu_hours(self, patches_per_second: float) -> float:
        """Hours of one GPU at this speed; several GPUs share them."""
        return self.patches / patches_per_second / 3600


def costs(params: Params, tracks: int | None) -> list[Cost]:
    """The cost of every model and size of the grid. Baselines need no GPU and are left out.

    Args:
        tracks: tracks of the dataset, of which the size `all` is the part partition.train.

    Raises:
        TagscaleError: the grid has the size `all`, and the number of tracks is not given.
    """
    grid = params.train
    if tracks is None and "all" in grid.sizes:
        raise TagscaleError("train.sizes has `all`: give the number of the dataset's tracks with --tracks.")
    lines = []
    for model in grid.models:
        max_steps = training_settings(params, model).max_steps
        for size in grid.sizes:
            train_tracks = round((tracks or 0) * params.partition.train) if size == "all" else int(size)
            epochs = epochs_of(max_steps)
            patches = train_tracks * grid.patches_per_track * epochs if epochs else int(max_steps) * grid.batch
            patches *= len(grid.seeds)
            lines.append(Cost(model, str(size), len(grid.seeds), patches))
    return lines
