"""What a tagger says of one recording."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tagscale.evaluation.decisions import Decided

if TYPE_CHECKING:  # importing it takes a second
    import pandas as pd

COLUMNS = ("group", "kind", "score", "probability", "threshold", "decided")  # of `Tags.to_frame`


@dataclass(frozen=True)
class Tags:
    """The result for one recording: its scores and warnings, or the reason why there are none.

    Attributes:
        name: path of the file, or what the caller calls the recording
        scores: tag -> score in [0, 1], highest first; empty where there is an error
        warnings: whatever validation would have quarantined the file for in training, or mentioned
        error: why the recording has no scores; None where it has them
        decided: tag -> calibrated probability, threshold and decision; of the classification tags of a model that has
            decisions
        facts: of the recording: source_seconds, source_rate, channels, format, rms_dbfs, peak, clipped, dc ... as
            `decoding.decode.Decoded` describes them; empty where it could not be decoded
        embedding: float32 (dims,), where it was asked for
        groups, kinds: of the model's tags
    """

    name: str
    scores: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    decided: dict[str, Decided] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    embedding: np.ndarray | None = field(default=None, compare=False)
    groups: Mapping[str, str] = field(default_factory=dict, repr=False)
    kinds: Mapping[str, str] = field(default_factory=dict, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it: {"error"}, or {"scores", "warnings"} and, where the model has decisions, "decisions"."""
        if self.error is not None:
            return {"error": self.error}
        decisions = {tag: asdict(decided) for tag, decided in self.decided.items()}
        return {"scores": self.scores, "warnings": self.warnings} | ({"decisions": decisions} if decisions else {})

    def top(self, n: int = 5) -> dict[str, float]:
        """The `n` classification tags with the highest scores.

        >>> Tags("song.mp3", {"rock": 0.9, "energy": 0.8, "jazz": 0.1}, kinds={"energy": "regression"}).top(2)
        {'rock': 0.9, 'jazz': 0.1}
        """
        classes = [tag for tag in self.scores if self.kinds.get(tag) != "regression"]
        return {tag: self.scores[tag] for tag in classes[:n]}

    def to_frame(self) -> "pd.DataFrame":
        """A row a tag, highest score first; without rows where there is an error.

        Columns: group, kind, score; and where the tag has a decision probability, threshold and decided, else NaN and
        None (a threshold is NaN, too, where no score is decided).
        """
        import pandas as pd

        decided = [self.decided.get(tag) for tag in self.scores]
        columns = {
            "group": [self.groups.get(tag, "") for tag in self.scores],
            "kind": [self.kinds.get(tag, "classification") for tag in self.scores],
            "score": np.array(list(self.scores.values()), np.float64),
            "probability": np.array([one.probability if one else None for one in decided], np.float64),
            "threshold": np.array([one.threshold if one else None for one in decided], np.float64),
            "decided": np.array([one.decided if one else None for one in decided], object),
        }
        return pd.DataFrame(columns, index=pd.Index(list(self.scores), name="tag", dtype=object), columns=list(COLUMNS))
