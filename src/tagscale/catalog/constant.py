"""Tags that some tracks say nothing about: not annotated on them, or with one value on all of them."""

from collections.abc import Sequence

import numpy as np

from tagscale import POSITIVE


def constant_reasons(labels: np.ndarray, kinds: Sequence[str]) -> list[str | None]:
    """Why no model can learn a tag from these training tracks, tag by tag; None where it can.

    Args:
        labels: (tracks, tags) in [0, 1], NaN = not annotated; a classification label counts as positive from 0.5
        kinds: (tags,), classification | regression

    >>> constant_reasons(np.array([[0.1, 0.1], [0.4, 0.4]]), ["classification", "regression"])
    ['0 in all annotated training tracks', None]
    """
    return [_reason(column[~np.isnan(column)], kind) for column, kind in zip(labels.T, kinds, strict=True)]


def _reason(values: np.ndarray, kind: str) -> str | None:
    if len(values) == 0:
        return "not annotated in the training tracks"
    if kind == "classification":
        values = (values >= POSITIVE).astype(np.float32)
    return f"{values[0]:g} in all annotated training tracks" if (values == values[0]).all() else None
