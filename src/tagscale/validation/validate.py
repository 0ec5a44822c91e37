"""The consequences of the checks: quarantined tracks with reasons, tags to learn, and whether the dataset passes."""

import pandas as pd

from tagscale.catalog.tables import Catalog
from tagscale.params.load import ValidationParams
from tagscale.partition.divide import PARTS
from tagscale.runtime.names import near_equal
from tagscale.runtime.words import counted
from tagscale.validation.expectations import Examination
from tagscale.validation.faults import faults
from tagscale.validation.findings import Findings
from tagscale.validation.leaks import Crossing, artist_filtered, crossings
from tagscale.validation.quarantine import quarantine
from tagscale.validation.results import DROP, MENTION, SHOWN, Result, stops
from tagscale.validation.suites import checks_of_tables, checks_of_usable
from tagscale.validation.summaries import (
    audio_table,
    labels_table,
    tags_table,
    tracks_table,
    usable_table,
)

OF_LEAKS = ["kind", "test_keys", "test_keys_in_train", "test_tracks", "test_tracks_by_train", "unknown"]


def validate(
    catalog: Catalog,
    facts: pd.DataFrame,
    rejected: pd.DataFrame,
    settings: ValidationParams,
    examination: Examination | None = None,
) -> Findings:
    """Check a catalog and the audio that was decoded for it.

    Args:
        facts: the store's measured facts, index track_id.
        rejected: track_id and reason of the files that could not be decoded.
        examination: remembers the suites and their results, for Data Docs.
    """
    examination = examination or Examination()
    audio = audio_table(catalog, facts, rejected, settings.seconds_tolerance)
    tables = {
        "tracks": (tracks_table(catalog), "track_id"),
        "labels": (labels_table(catalog), "tag"),
        "tags": (tags_table(catalog), "tag"),
        "audio": (audio, "track_id"),
    }
    results = examination.run(tables, checks_of_tables(settings))
    known_broken = int(audio["fault"].notna().sum())
    findings = Findings(catalog.name, len(catalog.tracks), known_broken, results, audio)
    findings.stops = stops(results)
    if findings.stops:
        return findings
    leaks = crossings(catalog.tracks, facts["audio_sha256"]) if catalog.split else []
    findings.split, findings.stops = _split(catalog), _broken_claim(catalog, leaks)
    findings.leaks = [{field: getattr(crossing, field) for field in OF_LEAKS} for crossing in leaks]
    findings.quarantine, findings.reasons = quarantine(audio, results, settings)
    findings.mentions = _mentions(audio, results, settings) + _unknown_artists(catalog) + _near_equal(catalog)
    _check_share(findings, audio, settings)
    usable = ~catalog.tracks["track_id"].isin(findings.quarantine["track_id"]).to_numpy()
    findings.usable = usable_table(catalog, usable)
    left = findings.usable.rename_axis("tag").reset_index()
    of_usable = examination.run({"usable": (left, "tag")}, checks_of_usable(settings))
    findings.results += of_usable
    findings.dropped = _dropped(findings.usable, of_usable, settings)
    if not findings.tags:
        findings.stops.append("no tag can be learnt from the usable tracks; the dropped tags say why")
    return findings


def _split(catalog: Catalog) -> str:
    """A sentence on the parts: what the dataset's own split is and claims, or that tagscale will divide the tracks."""
    if catalog.split is None:
        return "No split of the dataset's own is used: the partition will be artist-filtered, made of whole artists."
    claim = "claims" if catalog.split.artist_filtered else "does not claim"
    counts = ", ".join(f"{(catalog.tracks['split'] == part).sum():,} {part}" for part in PARTS)
    outside = int(catalog.tracks["split"].isna().sum())
    rest = f"; {outside:,} tracks are outside it and not used" if outside else ""
    return f"Split `{catalog.split.name}` of the dataset ({counts}{rest}) {claim} to be artist-filtered."


def _broken_claim(catalog: Catalog, leaks: list[Crossing]) -> list[str]:
    """The reason to stop if a split wrongly claims that no artist is in two parts."""
    if catalog.split is None or not catalog.split.artist_filtered or artist_filtered(leaks):
        return []
    artists = next(crossing.crossing for crossing in leaks if crossing.kind == "artist")
    named = "; ".join(
        f"{artist} ({', '.join(f'{count} {part}' for part, count in row.items() if count)})"
        for artist, row in artists.head(SHOWN).iterrows()
    )
    return [
        f"split `{catalog.split.name}` claims to be artist-filtered, but {len(artists)} artist(s) have tracks in more "
        f"than one part: {named}. Scores on it would be too good. Mend the annotations, or choose another "
        "dataset.split in params.yaml (`stratified`: tagscale divides by whole artists)"
    ]


def _unknown_artists(catalog: Catalog) -> list[str]:
    unknown = int((catalog.tracks["artist"] == "").sum())
    if not unknown:
        return []
    return [
        f"{unknown:,} of {len(catalog.tracks):,} tracks have no artist: each counts as an artist of its own, and "
        "whether they cross the parts of a split cannot be checked"
    ]


def _near_equal(catalog: Catalog) -> list[str]:
    """Sentences on tags and artists that may be the same one in two spellings."""
    sentences = []
    if tags := near_equal(map(str, catalog.tags.index)):
        sentences.append(
            f"tags that may be one tag in several spellings: {_shown(tags)}. A model learns each by itself, from fewer "
            "tracks; give them one name if they are one"
        )
    if artists := near_equal(catalog.tracks["artist"].unique()):
        known = catalog.tracks[catalog.tracks["split"].notna()].drop_duplicates(["artist", "split"])
        parts = known.groupby("artist")["split"].agg(frozenset)
        crossing = sum(len(frozenset().union(*(parts.get(name, ()) for name in group))) > 1 for group in artists)
        risk = (
            f"{crossing} of these {len(artists)} have tracks in several parts of the split"
            if catalog.split
            else "each spelling counts as an artist of its own, so one artist may be in train and in test"
        )
        sentences.append(
            f"artists that may be one artist in several spellings: {_shown(artists)}. If they are, {risk}, and scores "
            "are too good; give them one name, or one artist_id"
        )
    return sentences


def _shown(groups: list[list[str]]) -> str:
    named = "; ".join(" / ".join(f"`{name}`" for name in group) for group in groups[:SHOWN])
    return named + (f" and {len(groups) - SHOWN} more" if len(groups) > SHOWN else "")


def _mentions(audio: pd.DataFrame, results: list[Result], settings: ValidationParams) -> list[str]:
    """A sentence for each failed check without another consequence; `_unknown_artists` reports missing artists."""
    by_id = audio.drop_duplicates("track_id").set_index("track_id")
    slight = {fault.measure: fault for fault in faults(settings) if not fault.quarantined}
    sentences = []
    for result in results:
        if result.consequence != MENTION or result.success or result.column == "artist":
            continue
        named = ", ".join(result.failing[:SHOWN])
        if result.table != "audio":
            sentences.append(f"not true: {result.says}: {result.observed} ({named})")
            continue
        fault = slight[result.column]
        values = by_id.loc[result.failing, result.column].astype(float)
        place = int(values.argmin() if fault.least is not None else values.argmax())
        worst, amount = values.index[place], fault.amount.format(values.iloc[place])
        sentences.append(f"{fault.kind}: {counted(len(values), 'track')}; {fault.extreme}: {worst} ({amount})")
    return sentences


def _check_share(findings: Findings, audio: pd.DataFrame, settings: ValidationParams) -> None:
    """Stop when all tracks are quarantined, or too many of those without a known fault."""
    if findings.usable_tracks == 0:
        count, of = len(findings.quarantine), findings.tracks
    else:
        count, of = len(findings.quarantine) - findings.known_broken, findings.tracks - findings.known_broken
    if findings.usable_tracks > 0 and count <= settings.max_quarantined * of:
        return
    known = set(audio.loc[audio["fault"].notna(), "track_id"])
    rows = findings.quarantine[~findings.quarantine["track_id"].isin(known)].head(SHOWN).itertuples()
    findings.stops.append(
        f"{count} of {of} tracks ({count / of:.1%}) are quarantined, more than validation.max_quarantined "
        f"({settings.max_quarantined:.1%}). The first: " + "; ".join(f"{row.path}: {row.reason}" for row in rows)
    )


def _dropped(usable: pd.DataFrame, results: list[Result], settings: ValidationParams) -> list[dict[str, str]]:
    """Tags that failed a check of their labels, in the order of the catalog, with the first reason that applies."""
    failing = {result.column: set(result.failing) for result in results if result.consequence == DROP}
    dropped = []
    for tag, row in usable.iterrows():
        if tag in failing["annotated"]:
            dropped.append({"tag": str(tag), "reason": "not annotated on any track"})
        elif tag in failing["positives"]:
            reason = f"{row['positives']:.0f} positive tracks, fewer than {settings.min_positives}"
            dropped.append({"tag": str(tag), "reason": reason})
        elif tag in failing["distinct"]:
            same = "positive" if row["kind"] == "classification" else f"labelled {row['mean']:g}"
            dropped.append({"tag": str(tag), "reason": f"{same} on every annotated track"})
    return dropped
