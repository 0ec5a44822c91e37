"""The typed results of a tagger: `Tags` of a recording, `Taggram` of its course in time."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tagscale.registry.tags import Tags

if TYPE_CHECKING:  # importing it takes a second
    import pandas as pd

__all__ = ["Taggram", "Tags"]


@dataclass(frozen=True, eq=False)
class Taggram:
    """The tags of a recording over time.

    Attributes:
        name: path of the file, or what the caller calls the recording
        times: (windows,) seconds from the recording's begin to the middle of each window
        scores: (windows, tags) float32 in [0, 1]
        tags: names of the columns
        window_seconds: length of a window
    """

    name: str
    times: np.ndarray
    scores: np.ndarray
    tags: tuple[str, ...]
    window_seconds: float

    def to_frame(self) -> "pd.DataFrame":
        """A row a window, indexed by its time in seconds; a column a tag."""
        import pandas as pd

        return pd.DataFrame(self.scores, index=pd.Index(self.times, name="seconds"), columns=list(self.tags))
