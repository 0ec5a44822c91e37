"""The checks of a dataset: the suites tracks, labels, tags, audio, usable and partition.

Each suite checks the table of its name, which `tagscale.validation.validate` prepares: `tracks` is the catalog's;
`labels` sums up each tag's labels; `tags` describes the tags; `audio` is what decoding measured of every track;
`usable` sums up each tag's labels among the tracks that are not quarantined; `partition` is the stage's output.
"""

from tagscale.params.load import ValidationParams
from tagscale.validation.expectations import (
    DROP,
    MENTION,
    QUARANTINE,
    STOP,
    Check,
    absent,
    at_least,
    at_most,
    between,
    every_one_of,
    filled,
    one_of,
    same,
    some_rows,
    unique,
    without,
)

KINDS = ["classification", "regression"]
PARTS = ["train", "valid", "test"]
OUTSIDE = r"^(?:[/\\]|[A-Za-z]:)|(?:^|[/\\])\.\.(?:[/\\]|$)"  # absolute paths, and those that leave the folder
RATES = (4_000, 384_000)  # Hz; a rate beyond these is a damaged header, not a recording
FULL_BAND = 16_000  # Hz; a source below has nothing in the models' upper mel bands


def checks_of_tables(settings: ValidationParams) -> list[Check]:
    """Checks on `tracks`, `labels`, `tags` and `audio`."""
    return [*_tracks(), *_labels(), *_tags(), *_audio(settings)]


def _tracks() -> list[Check]:
    return [
        Check("tracks", "there are tracks", STOP, some_rows()),
        Check("tracks", "every track has an id", STOP, filled("track_id")),
        Check("tracks", "no two tracks share an id", STOP, unique("track_id")),
        Check("tracks", "every track has a path", STOP, filled("path")),
        Check("tracks", "every path is relative and stays in the dataset's folder", STOP, without("path", OUTSIDE)),
        Check("tracks", "every track has an artist", MENTION, filled("artist")),
        Check("tracks", "annotated durations are positive", STOP, at_least("seconds", 0, strict=True)),
        Check("tracks", "a split is train, valid or test", STOP, one_of("split", PARTS)),
        Check("tracks", "labels and tracks are in the same order", STOP, same("track_id", "labels_of")),
    ]


def _labels() -> list[Check]:
    return [
        Check("labels", "labels and tags are in the same order", STOP, same("tag", "column")),
        Check("labels", "no label is below 0", STOP, at_least("lowest", 0)),
        Check("labels", "no label is above 1", STOP, at_most("highest", 1)),
        Check("labels", "exclusive tags never occur together", MENTION, at_most("exclusive_together", 0)),
    ]


def _tags() -> list[Check]:
    return [
        Check("tags", "there are tags", STOP, some_rows()),
        Check("tags", "every tag has a name", STOP, filled("tag")),
        Check("tags", "no two tags share a name", STOP, unique("tag")),
        Check("tags", "tags are for classification or regression", STOP, one_of("kind", KINDS)),
        Check("tags", "every tag has a group", STOP, filled("group")),
    ]


def _audio(settings: ValidationParams) -> list[Check]:
    shortest, tolerance, silence = settings.min_seconds, settings.seconds_tolerance, settings.silence_dbfs
    clipped, dc = settings.max_clipped, settings.max_dc
    return [
        Check("audio", "every track was decoded or rejected", STOP, one_of("state", ["decoded", "rejected"])),
        Check("audio", "all measurements are finite numbers", STOP, absent("unmeasured")),
        Check("audio", "the dataset's authors know of no fault", QUARANTINE, absent("fault")),
        Check("audio", "the file could be decoded", QUARANTINE, absent("rejected")),
        Check("audio", "no value is NaN or infinite", QUARANTINE, absent("not_numbers")),
        Check("audio", f"sampled at {RATES[0]} to {RATES[1]} Hz", QUARANTINE, between("source_rate", *RATES)),
        Check("audio", f"at least {shortest:g} s long", QUARANTINE, at_least("seconds", shortest)),
        Check("audio", f"as long as annotated, within {tolerance:g} s", QUARANTINE, at_most("seconds_off", tolerance)),
        Check("audio", f"not silent: RMS of {silence:g} dBFS or more", QUARANTINE, at_least("rms_dbfs", silence)),
        Check("audio", "no earlier track has the same audio", QUARANTINE, absent("same_audio_as")),
        Check("audio", f"at most {clipped:.1%} of the values at full scale", MENTION, at_most("clipped", clipped)),
        Check("audio", f"mean (DC) of at most {dc:g} of full scale", MENTION, at_most("offset", dc)),
        Check("audio", f"sampled at {FULL_BAND} Hz or more", MENTION, at_least("source_rate", FULL_BAND)),
    ]


def checks_of_usable(settings: ValidationParams) -> list[Check]:
    """Checks on `usable`: which tags can be learnt from the usable tracks."""
    least = settings.min_positives
    return [
        Check("usable", f"at least {least} positive tracks (classification)", DROP, at_least("positives", least)),
        Check("usable", "annotated at all", DROP, at_least("annotated", 1)),
        Check("usable", "not the same label everywhere", DROP, at_least("distinct", 2)),
    ]


def checks_of_partition(crossing_allowed: bool) -> list[Check]:
    """Checks on `partition`; `crossing_allowed`: the dataset's own split may put an artist into two parts."""
    crossing = MENTION if crossing_allowed else STOP
    return [
        Check("partition", "every track has an id", STOP, filled("track_id")),
        Check("partition", "no track occurs twice", STOP, unique("track_id")),
        Check("partition", "a part is train, valid or test", STOP, one_of("part", PARTS)),
        Check("partition", "no part is empty", STOP, every_one_of("part", PARTS)),
        Check("partition", "ranks are 0, 1, 2 ... in train and -1 elsewhere", STOP, same("rank", "rank_due")),
        Check("partition", "no artist is in two parts", crossing, at_most("parts_of_artist", 1)),
    ]
