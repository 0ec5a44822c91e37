"""What a study costs at most: patches that its trainings see, and the GPU hours that these take at a measured speed."""

from dataclasses import dataclass

from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError


@dataclass(frozen=True)
class Cost:
    """Of all trainings of one model at one size.

    Attributes:
        model, size: as params.yaml says them.
        runs: trainings, one for each seed.
        patches: that they see together, when none ends before train.max_epochs.
    """

    model: str
    size: str
    runs: int
    patches: int

    def gpu_hours(self, patches_per_second: float) -> float:
        """Hours of one GPU at its speed; several share them, so their number does not matter."""
        return self.patches / patches_per_second / 3600


def costs(params: Params, tracks: int | None) -> list[Cost]:
    """A line for every model and size of the grid; baselines need no GPU and are left out.

    Args:
        tracks: tracks of the dataset; what the size `all` is follows from it and partition.train.
    Raises:
        TagscaleError: the grid has the size `all`, and the number of tracks is not given.
    """
    grid = params.train
    if tracks is None and "all" in grid.sizes:
        raise TagscaleError("train.sizes has `all`: say with --tracks how many tracks the dataset has.")
    found = []
    for model in grid.models:
        for size in grid.sizes:
            songs = round((tracks or 0) * params.partition.train) if size == "all" else int(size)
            patches = songs * grid.patches_per_track * grid.max_epochs * len(grid.seeds)
            found.append(Cost(model, str(size), len(grid.seeds), patches))
    return found
