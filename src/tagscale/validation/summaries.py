"""The tables that the suites check: one row per track or tag, from the catalog and the measurements of decoding."""

import numpy as np
import pandas as pd

from tagscale import POSITIVE
from tagscale.catalog.tables import Catalog
from tagscale.validation.faults import measured

FINITE = ["source_rate", "source_seconds", "rms_dbfs", "clipped", "dc"]
NOT_NUMBERS = r"\bNaN\b"  # in the reason for which a file was rejected


def tracks_table(catalog: Catalog) -> pd.DataFrame:
    """The catalog's tracks; `labels_of` is the track of the label row at the same position."""
    rows = catalog.labels.index.to_series().reset_index(drop=True).astype(object)
    tracks = catalog.tracks.reset_index(drop=True)
    tracks = tracks.assign(labels_of=rows.reindex(tracks.index).fillna("no row"))
    return tracks.fillna({"track_id": "", "path": "", "artist": ""})


def tags_table(catalog: Catalog) -> pd.DataFrame:
    """The catalog's tags: tag, group, kind, exclusive."""
    return catalog.tags.rename_axis("tag").reset_index().fillna("")


def labels_table(catalog: Catalog) -> pd.DataFrame:
    """One row per tag: the label column at its position, its range, and its conflicts.

    A conflict is a track on which another tag of the same exclusive set is positive, too.
    """
    tags, labels = tags_table(catalog)[["tag", "exclusive"]], catalog.labels
    columns = pd.Series(labels.columns.astype(str), dtype=object).reindex(tags.index).fillna("no column")
    table = tags.assign(column=columns)
    lowest, highest = labels.min().reset_index(drop=True), labels.max().reset_index(drop=True)
    table = table.assign(lowest=lowest.reindex(tags.index), highest=highest.reindex(tags.index))
    together = np.full(len(table), np.nan)
    if len(table) == labels.shape[1]:
        for name in set(table["exclusive"]) - {""}:
            members = (table["exclusive"] == name).to_numpy()
            positive = labels.loc[:, members].to_numpy() >= POSITIVE
            together[members] = (positive & (positive.sum(axis=1) > 1)[:, None]).sum(axis=0)
    return table.assign(exclusive_together=together)


def audio_table(catalog: Catalog, facts: pd.DataFrame, rejected: pd.DataFrame, tolerance: float) -> pd.DataFrame:
    """One row per track: the measurements of decoding beside the dataset's annotations.

    Args:
        facts: the store's, index track_id.
        rejected: track_id and reason of the files that could not be decoded.
        tolerance: seconds by which a file may differ from its annotation.
    """
    table = catalog.tracks[["track_id", "path"]].reset_index(drop=True)
    decoded = facts[~facts.index.duplicated()].reindex(table["track_id"]).reset_index(drop=True)
    reasons = table["track_id"].map(dict(zip(rejected["track_id"], rejected["reason"], strict=True))).astype(object)
    fault = catalog.tracks["fault"].fillna("").reset_index(drop=True)
    known = decoded["audio_sha256"].notna()
    numbers = decoded[[*FINITE, "only_channel"]].astype(float)
    infinite = pd.Series(~np.isfinite(numbers[FINITE].to_numpy()).all(axis=1), numbers.index)
    table = table.assign(
        state=np.where(known, "decoded", np.where(reasons.notna(), "rejected", "unknown")),
        unmeasured=_where(known & infinite, table["track_id"]),
        fault=_where(fault != "", fault),
        rejected=_where(reasons.notna() & ~reasons.str.contains(NOT_NUMBERS, na=False), reasons),
        not_numbers=_where(reasons.str.contains(NOT_NUMBERS, na=False), reasons),
        annotated=catalog.tracks["seconds"].to_numpy(float),
        **measured(numbers),
    )
    table["seconds_off"] = (table["seconds"] - table["annotated"]).abs()
    # the first of identical files is kept; files without a fault come first, then files as long as annotated
    order = np.lexsort((table["seconds_off"] > tolerance, fault != ""))
    audio = decoded["audio_sha256"].iloc[order]
    first = pd.Series(order, order).groupby(audio).transform("first").reindex(table.index)  # NaN: not decoded
    copies = np.flatnonzero(first.notna() & (first != table.index))
    originals = first.iloc[copies].to_numpy(int)
    same_audio_as, other_labels = np.full(len(table), None, object), np.zeros(len(table), bool)
    same_audio_as[copies] = table["track_id"].iloc[originals]
    if len(catalog.labels) == len(table):
        labels = catalog.labels.to_numpy()
        other_labels[copies] = ~np.isclose(labels[copies], labels[originals], equal_nan=True).all(axis=1)
    return table.assign(same_audio_as=same_audio_as, other_labels=other_labels)


def usable_table(catalog: Catalog, usable: np.ndarray) -> pd.DataFrame:
    """For each tag, over the usable tracks: numbers of annotated and positive tracks, mean, number of distinct labels.

    Args:
        usable: (tracks,), bool.
    """
    labels = catalog.labels[usable]
    classification = catalog.tags["kind"] == "classification"
    annotated, positives = labels.notna().sum(), (labels >= POSITIVE).sum()
    both = 1 + ((positives > 0) & (positives < annotated)).astype(int)  # labels of classification: positive or not
    table = pd.DataFrame({"annotated": annotated, "mean": labels.mean()})
    table = table.assign(
        positives=positives.astype(float).where(classification),
        distinct=both.where(classification, labels.nunique()),
    )
    return catalog.tags.join(table)


def _where(condition: pd.Series, values: pd.Series) -> pd.Series:
    """The values where the condition holds, else None."""
    return values.astype(object).where(condition, None)
