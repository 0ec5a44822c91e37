"""A file is judged as a track of a dataset is: the same limits, the same words."""

from typing import Any

import pandas as pd
import pytest

from tagscale.params.blocks import AudioLimits
from tagscale.validation.faults import faults, inaudible, judge
from tagscale.validation.validate import validate
from user_folder import settings
from validation.test_validate import NONE_REJECTED, catalog, facts

SETTINGS = settings(validation={"max_quarantined": 1.0, "min_positives": 1}).validation
LIMITS = AudioLimits.of(SETTINGS)
GOOD = {"source_rate": 44100, "source_seconds": 30.0, "rms_dbfs": -20.0, "clipped": 0.0, "dc": 0.0, "only_channel": 0}


def judged(**measurements: float) -> list[str]:
    return judge(GOOD | measurements, LIMITS)


def test_limits_are_those_of_the_settings() -> None:
    assert AudioLimits(min_seconds=3.0, silence_dbfs=-60.0, max_clipped=0.05, max_dc=0.05) == LIMITS
    assert judge(GOOD, LIMITS) == []
    assert judged(source_seconds=3.0, rms_dbfs=-60.0, clipped=0.05, dc=-0.05, source_rate=16_000) == []


@pytest.mark.parametrize(
    ("fact", "value", "sentence"),
    [
        ("source_seconds", 2.5, "2.50 s long, shorter than 3 s"),
        ("rms_dbfs", -75.25, "silent: -75.2 dBFS, below -60"),
        ("source_rate", 800_000, "implausible sample rate: 800000 Hz"),
        ("source_rate", 8_000, "sampled below 16,000 Hz, so nothing above half the rate: 8,000 Hz"),
        ("clipped", 0.31, "clipped, more than 5.0% of the values at full scale: 31.0%"),
        ("dc", -0.2, "DC offset, a mean beyond 0.05 of full scale: 0.20"),
        ("only_channel", 2, "channels that cancel each other out, so that one is heard alone: channel 2"),
    ],
)
def test_what_is_said_of_a_file_is_what_validation_says_of_a_track(fact: str, value: Any, sentence: str) -> None:
    assert judged(**{fact: value}) == [sentence]
    dataset = catalog()
    measured = facts(dataset)
    measured[fact] = measured[fact].astype(float)
    measured.loc["t4", fact] = value
    findings = validate(dataset, measured, NONE_REJECTED, SETTINGS)
    if findings.quarantine.empty:
        kind, _, amount = sentence.rpartition(": ")
        assert findings.mentions[0].startswith(f"{kind}: 1 track; ")
        assert findings.mentions[0].endswith(f"t4 ({amount})")
    else:
        assert findings.quarantine["reason"].tolist() == [sentence]


def test_all_faults_are_said_the_severe_ones_first() -> None:
    said = judged(source_seconds=1.0, rms_dbfs=-70.0, only_channel=1)
    assert [sentence[:6] for sentence in said] == ["1.00 s", "silent", "channe"]
    assert [fault.quarantined for fault in faults(LIMITS)] == [True] * 3 + [False] * 4


@pytest.mark.parametrize(
    ("fact", "value", "reason"),
    [
        ("source_seconds", 0.05, "0.050 s long, too short to be heard"),
        ("rms_dbfs", -120.0, "silent: -120.0 dBFS, less than a step of 16 bits"),
        ("rms_dbfs", -93.0, "silent: -93.0 dBFS, less than a step of 16 bits"),
        ("source_seconds", 0.1, ""),
        ("rms_dbfs", -90.0, ""),
    ],
)
def test_files_without_anything_to_hear(fact: str, value: float, reason: str) -> None:
    assert inaudible(pd.Series(GOOD | {fact: value})) == reason
