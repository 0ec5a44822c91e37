"""The checks of a dataset: the suites tracks, labels, tags, audio and usable.

Each suite checks the table of its name, which `tagscale.validation.validate` prepares: `tracks` is the catalog's;
`labels` sums up each tag's labels; `tags` describes the tags; `audio` is what decoding measured of every track;
`usable` sums up each tag's labels among the tracks that are not quarantined.
"""

from tagscale.params.load import ValidationParams
from tagscale.validation.expectations import (
    Check,
    absent,
    between,
    filled,
    one_of,
    same,
    some_rows,
    unique,
    without,
)
from tagscale.validation.faults import Fault, faults
from tagscale.validation.results import DROP, MENTION, QUARANTINE, STOP

KINDS = ["classification", "regression"]
PARTS = ["train", "valid", "test"]
OUTSIDE = r"^(?:[/\\]|[A-Za-z]:)|(?:^|[/\\])\.\.(?:[/\\]|$)"  # absolute paths, and those that leave the folder


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
        Check("tracks", "annotated durations are positive", STOP, between("seconds", 0, strict=True)),
        Check("tracks", "a split is train, valid or test", STOP, one_of("split", PARTS)),
        Check("tracks", "labels and tracks are in the same order", STOP, same("track_id", "labels_of")),
    ]


def _labels() -> list[Check]:
    return [
        Check("labels", "labels and tags are in the same order", STOP, same("tag", "column")),
        Check("labels", "no label is below 0", STOP, between("lowest", 0)),
        Check("labels", "no label is above 1", STOP, between("highest", most=1)),
        Check("labels", "exclusive tags never occur together", MENTION, between("exclusive_together", most=0)),
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
    tolerance = settings.seconds_tolerance
    severe = [_check(fault, QUARANTINE) for fault in faults(settings) if fault.quarantined]
    slight = [_check(fault, MENTION) for fault in faults(settings) if not fault.quarantined]
    return [
        Check("audio", "every track was decoded or rejected", STOP, one_of("state", ["decoded", "rejected"])),
        Check("audio", "all measurements are finite numbers", STOP, absent("unmeasured")),
        Check("audio", "the dataset's authors know of no fault", QUARANTINE, absent("fault")),
        Check("audio", "the file could be decoded", QUARANTINE, absent("rejected")),
        Check("audio", "no value is NaN or infinite", QUARANTINE, absent("not_numbers")),
        *severe,
        Check(
            "audio", f"as long as annotated, within {tolerance:g} s", QUARANTINE, between("seconds_off", most=tolerance)
        ),
        Check("audio", "no earlier track has the same audio", QUARANTINE, absent("same_audio_as")),
        *slight,
    ]


def _check(fault: Fault, consequence: str) -> Check:
    return Check("audio", fault.check, consequence, between(fault.measure, fault.least, fault.most))


def checks_of_usable(settings: ValidationParams) -> list[Check]:
    """Checks on `usable`: which tags can be learnt from the usable tracks."""
    least = settings.min_positives
    return [
        Check("usable", f"at least {least} positive tracks (classification)", DROP, between("positives", least)),
        Check("usable", "annotated at all", DROP, between("annotated", 1)),
        Check("usable", "not the same label everywhere", DROP, between("distinct", 2)),
    ]
