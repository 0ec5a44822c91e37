"""The 138 tags of the default corpus, in the groups of the paper (section 3): 123 classification, 15 regression."""

from dataclasses import dataclass

from tagscale.synth.instruments import INSTRUMENTS, VOCALS
from tagscale.synth.meter import METERS
from tagscale.synth.repertoire import GENRES, STYLES
from tagscale.synth.theory import MODES


@dataclass(frozen=True)
class Tag:
    """The kind and group of one tag, a column of tracks.csv."""

    group: str
    kind: str  # classification | regression
    exclusive: str | None = None  # name of a set in which exactly one tag is 1

    def as_entry(self) -> dict[str, str]:
        """The tag's entry in tags.yaml."""
        entry = {"kind": self.kind, "group": self.group}
        return entry | ({"exclusive": self.exclusive} if self.exclusive else {})


def _classified(group: str, *names: str, exclusive: str | None = None) -> dict[str, Tag]:
    return {name: Tag(group, "classification", exclusive) for name in names}


def _regressed(group: str, *names: str) -> dict[str, Tag]:
    return {name: Tag(group, "regression") for name in names}


MOODS = ("happy", "sad", "angry", "calm", "dark", "dreamy", "epic", "party")
PLAYED = tuple(name for name in INSTRUMENTS if name not in VOCALS)
TAGS: dict[str, Tag] = {
    **_classified("meter", *dict.fromkeys(meter.tag for meter in METERS.values()), exclusive="meter"),
    **_classified("rhythmic_feel", "swing_feel", "shuffle", "backbeat", "four_on_the_floor", "half_time", "no_drums"),
    **_classified("rhythmic_feel", "slow", "medium_tempo", "fast", exclusive="tempo_class"),
    **_regressed("rhythmic_feel", "tempo", "syncopation", "danceability", "beat_strength", "note_density"),
    **_classified("harmonic", *dict.fromkeys(mode.tag for mode in MODES.values()), exclusive="mode"),
    **_classified("harmonic", "static_harmony", "extended_chords", "drone"),
    **_regressed("harmonic", "harmonic_rhythm"),
    **_classified("mood", *MOODS),
    **_regressed("mood", "energy", "valence"),
    **_classified("vocals", "vocals", "no_vocals", exclusive="voice"),
    **_classified("vocals", "male_vocals", "female_vocals", "choir_vocals", "rap_vocals", "gritty_vocals"),
    **_classified("instrumentation", *PLAYED, "drum_kit", "drum_machine", "hand_percussion"),
    **_classified("sonority", "live", "studio", exclusive="recording"),
    **_classified("sonority", "acoustic", "synthesized", "lo_fi", "vinyl_crackle", "reverberant", "dry"),
    **_classified("sonority", "distorted", "echo"),
    **_regressed("sonority", "acousticness", "brightness", "reverb", "distortion", "loudness", "dynamics", "bass"),
    **_classified("genre", *GENRES, exclusive="genre"),
    **_classified("subgenre", *STYLES, exclusive="subgenre"),
}
CLASSIFICATION = tuple(name for name, tag in TAGS.items() if tag.kind == "classification")
REGRESSION = tuple(name for name, tag in TAGS.items() if tag.kind == "regression")
