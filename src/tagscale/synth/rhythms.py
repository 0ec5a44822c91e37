"""Drum patterns as text, one row per drum, and the features that a listener notices.

`X` is an accent, `x` a normal stroke, `o` a ghost note, `.` silence; spaces separate the beats. A row always
spans its bar, so it may be written in eighths or sixteenths.
"""

from dataclasses import dataclass
from functools import cached_property

from tagscale.synth.meter import METERS

STROKES = {"X": 1.0, "x": 0.8, "o": 0.4}
SNARES = ("snare", "clap", "rim")
HAND_DRUMS = ("conga_high", "conga_low", "timbale_high", "timbale_low", "agogo_high", "agogo_low", "tambourine")


@dataclass(frozen=True)
class DrumPattern:
    """One bar of drums."""

    meter: str
    rows: dict[str, str]  # name of a drum in instruments.DRUMS -> strokes

    @cached_property
    def strokes(self) -> list[tuple[int, str, float]]:
        """(step, drum, strength in 0..1) of every stroke of the bar."""
        steps = METERS[self.meter].steps
        strokes = []
        for drum, text in self.rows.items():
            row = text.replace(" ", "")
            strokes += [(i * steps // len(row), drum, STROKES[mark]) for i, mark in enumerate(row) if mark in STROKES]
        return sorted(strokes)

    def _played(self, drums: tuple[str, ...]) -> set[int]:
        return {step for step, drum, strength in self.strokes if drum in drums and strength > 0.5}

    @property
    def backbeat(self) -> bool:
        """Snare on the second and fourth beat (in compound duple the second of two), not on the first."""
        starts = METERS[self.meter].beat_starts
        snares = self._played(SNARES)
        return len(starts) in (2, 4) and set(starts[1::2]) <= snares and not snares & {starts[0]}

    @property
    def four_on_the_floor(self) -> bool:
        """Bass drum on every beat of a bar of four."""
        starts = METERS[self.meter].beat_starts
        return len(starts) == 4 and set(starts) <= self._played(("kick",))

    @property
    def half_time(self) -> bool:
        """Snare on the third of four beats and on no other beat."""
        starts = METERS[self.meter].beat_starts
        on_beats = self._played(SNARES) & set(starts)
        return len(starts) == 4 and on_beats == {starts[2]}

    @property
    def hand_percussion(self) -> bool:
        return any(drum in HAND_DRUMS for drum in self.rows)

    @property
    def drum_set(self) -> bool:
        return any(drum not in HAND_DRUMS for drum in self.rows)


def _four(**rows: str) -> DrumPattern:
    return DrumPattern("4/4", rows)


PATTERNS = {
    "rock": _four(kick="X... .... x.x. ....", snare=".... X... .... X...", hat="x.x. x.x. x.x. x.x."),
    "rock_push": _four(kick="X..x ..x. x.x. ....", snare=".... X... .... X...", hat="x.x. x.x. x.x. x.x."),
    "hard_rock": _four(kick="X.x. ..x. X.x. ..x.", snare=".... X... .... X...", ride="X... X... X... X..."),
    "punk": _four(kick="X..x X..x X..x X..x", snare="..X. ..X. ..X. ..X.", crash="x... x... x... x..."),
    "punk_skip": _four(kick="X.x. ..x. X.x. ..x.", snare=".... X... .... X...", open_hat="x.x. x.x. x.x. x.x."),
    "metal_double": _four(kick="XxxX xxXx xXxx XxxX", snare=".... X... .... X...", ride="X... X... X... X..."),
    "metal_gallop": _four(kick="X.xx X.xx X.xx X.xx", snare=".... X... .... X...", crash="x... .... x... ...."),
    "ballad": _four(kick="X... .... ..x. ....", rim=".... x... .... x...", hat="x.x. x.x. x.x. x.x."),
    "half_time": _four(kick="X... ..x. .... ..x.", snare=".... .... X... ....", hat="x.x. x.x. x.x. x.x."),
    "swing_ride": _four(ride="x... x.x. x... x.x.", pedal_hat=".... x... .... x...", kick="o... o... o... o..."),
    "brushes": _four(snare="o... x.o. o... x.o.", pedal_hat=".... x... .... x...", ride="x... x.x. x... x.x."),
    "fusion": _four(kick="X..x ..x. ..x. .x..", snare=".o.. X..o .o.o X..o", hat="xxxx xxxx xxxx xxxx"),
    "funk": _four(kick="X..x ..x. ..x. .x..", snare=".o.. X..o .o.. X.o.", hat="x.xx x.xx x.xx x.xx"),
    "funk_tight": _four(kick="X.x. ...x .xx. ....", snare=".... X..o .o.. X..x", hat="xxxx xxxx xxxx xxxx"),
    "bossa": _four(kick="X... ..x. X... ..x.", rim="x..x ..x. ..x. .x..", hat="xoxo xoxo xoxo xoxo"),
    "salsa": _four(
        conga_high="..x. .x.. ..x. .x..",
        conga_low="...x ..xx ...x ..xx",
        timbale_high="x.x. x.xx .x.x x.x.",
        agogo_high="x... x.x. x... x.x.",
        kick="...x ..x. ...x ..x.",
    ),
    "train": _four(snare="xoXo xoXo xoXo xoXo", kick="x... x... x... x..."),
    "country": _four(kick="X... .... X... ....", snare=".... X... .... X...", hat="x.x. x.x. x.x. x.x."),
    "one_drop": _four(rim=".... .... X... ....", kick=".... .... X... ....", hat="x.x. x.x. x.x. x.xx"),
    "steppers": _four(kick="X... X... X... X...", rim=".... .... X... ....", hat="..x. ..x. ..x. ..x."),
    "disco": _four(
        kick="X... X... X... X...", snare=".... X... .... X...", open_hat="..x. ..x. ..x. ..x.", hat="x.x." * 4
    ),
    "house": _four(
        kick="X... X... X... X...", clap=".... X... .... X...", open_hat="..X. ..X. ..X. ..X.", hat="xoxo" * 4
    ),
    "techno": _four(kick="X... X... X... X...", hat="..x. ..x. ..x. ..x.", rim="...x ..x. ...x ..x."),
    "techno_roll": _four(kick="X..o X..o X..o X..o", hat="oxXx oxXx oxXx oxXx", clap=".... x... .... x..."),
    "breakbeat": _four(kick="X.x. .... ..x. ....", snare=".... X..x .x.. X..o", hat="x.x. x.x. x.x. x.x."),
    "two_step": _four(kick="X... .... ..x. ....", snare=".... X... .... X...", hat="x.xx x.xx x.xx x.xx"),
    "boom_bap": _four(kick="X..x ...x ..x. ....", snare=".... X... .... X..o", hat="x.x. x.x. x.x. x.xx"),
    "boom_bap_lazy": _four(kick="X.x. .... .xx. ....", snare=".... X... .... X...", hat="x.x. x.x. x.x. x.x."),
    "trap": _four(kick="X... ..x. ..x. ...x", clap=".... .... X... ....", hat="x.x. xxx. x.x. xxxx"),
    "trap_roll": _four(
        kick="X..x .... ..x. .x..",
        clap=".... .... X... ....",
        hat="xxxx x.x. xxxx xxxx",
        open_hat=".... .... .... ..x.",
    ),
    "tabla": _four(conga_high="X..x ..x. x.xx ..x.", conga_low="..x. x... ..x. ...x"),
    "jig": DrumPattern("6/8", {"tambourine": "x.xxxx", "conga_low": "X..x.."}),
    "reel": _four(tambourine="x.xx x.xx x.xx x.xx", conga_low="X... x... X... x..."),
    "slow_six": DrumPattern("6/8", {"kick": "X.....", "snare": "...X..", "hat": "xxxxxx"}),
    "metal_six": DrumPattern("6/8", {"kick": "XxxXxx", "snare": "...X..", "ride": "X..X.."}),
    "shuffle": DrumPattern("12/8", {"kick": "X.. ... x.x ...", "snare": "... X.. ... X..", "ride": "x.x x.x x.x x.x"}),
    "slow_blues": DrumPattern(
        "12/8", {"kick": "X.. ... x.x ...", "snare": "... X.. ... X..", "hat": "xxx xxx xxx xxx"}
    ),
    "waltz": DrumPattern("3/4", {"kick": "X... .... ....", "rim": ".... x... x...", "hat": "x.x. x.x. x.x."}),
    "jazz_waltz": DrumPattern(
        "3/4", {"ride": "x... x.x. x...", "pedal_hat": ".... x... ....", "kick": "x... .... ...."}
    ),
    "five": DrumPattern(
        "5/4", {"kick": "X... ..x. .... x... ....", "snare": ".... .... .... X... ..x.", "ride": "x.x." * 5}
    ),
    "seven": DrumPattern("7/8", {"kick": "X... x... ......", "snare": ".... .... X.....", "hat": "x.x. x.x. x.x.x."}),
    "tabla_seven": DrumPattern("7/8", {"conga_high": "X..x x.x. x.x.x.", "conga_low": ".... x... ..x..."}),
}
