"""General MIDI programs grouped by the instrument a listener would name, and the drums of each kit.

These tables set decay and release. The sampler itself loops a recording at one loudness and cuts it off at the end of
the note (see render.py).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    """One instrument. `programs` are its colours; each artist prefers one of them."""

    programs: tuple[int, ...]
    low: int  # lowest and highest pitch, at least an octave apart and below 97 (see render.py)
    high: int
    acoustic: float  # 1 for instruments that need no electricity, 0 for synthesizers
    decay: float | None = None  # seconds in which a note at middle C falls by 20 dB; None: sustained
    attack: float = 0.0  # seconds in which a note swells
    release: float = 0.06  # seconds in which a note fades after its end
    vibrato: float = 0.0  # cents
    breath: float = 0.0  # noise at the start of a note: 1 is as strong as the note
    voice: str | None = None  # "female" or "male": the vowels of such a voice shape the sound


INSTRUMENTS = {
    "piano": Instrument((0, 2, 3), 33, 93, 1.0, decay=2.2, release=0.15),
    "electric_piano": Instrument((4, 5), 36, 88, 0.45, decay=2.6, release=0.12),
    "harpsichord": Instrument((6,), 36, 86, 1.0, decay=1.3, release=0.08),
    "vibraphone": Instrument((11,), 53, 89, 0.9, decay=2.0, release=0.4),
    "organ": Instrument((16, 17, 18, 19), 36, 88, 0.45, release=0.05),
    "accordion": Instrument((21, 23), 53, 88, 1.0, release=0.06),
    "acoustic_guitar": Instrument((24, 25), 40, 83, 1.0, decay=1.4, release=0.12),
    "electric_guitar": Instrument((26, 27), 40, 86, 0.35, decay=2.0, release=0.08),
    "distorted_guitar": Instrument((29, 30), 36, 86, 0.1, decay=5.0, release=0.06),
    "acoustic_bass": Instrument((32,), 28, 60, 1.0, decay=0.9, release=0.08),
    "electric_bass": Instrument((33, 34, 36), 28, 60, 0.35, decay=1.8, release=0.06),
    "synth_bass": Instrument((38, 39), 24, 60, 0.0, release=0.04),
    "violin": Instrument((40, 110), 55, 93, 1.0, release=0.12, vibrato=14),
    "cello": Instrument((42,), 36, 72, 1.0, attack=0.05, release=0.15, vibrato=10),
    "string_ensemble": Instrument((49, 50), 36, 91, 0.9, attack=0.1, release=0.35),
    "harp": Instrument((46,), 36, 93, 1.0, decay=1.6, release=0.5),
    "trumpet": Instrument((56, 59), 61, 84, 0.95, release=0.07, vibrato=6),
    "brass_section": Instrument((60, 61, 57), 41, 79, 0.9, release=0.1),
    "saxophone": Instrument((64, 66), 49, 81, 0.95, release=0.08, vibrato=12, breath=0.1),
    "oboe": Instrument((68,), 58, 86, 1.0, release=0.08, vibrato=8),
    "clarinet": Instrument((71,), 50, 86, 1.0, release=0.08),
    "flute": Instrument((73, 74, 75), 60, 94, 1.0, release=0.1, vibrato=12, breath=0.2),
    "synth_lead": Instrument((80, 81, 84, 87), 48, 91, 0.0, release=0.06, vibrato=6),
    "synth_pad": Instrument((88, 89, 90, 94), 40, 84, 0.0, attack=0.5, release=0.8),
    "sitar": Instrument((104,), 43, 81, 1.0, decay=1.8, release=0.4),
    "banjo": Instrument((105,), 48, 86, 1.0, decay=0.7, release=0.08),
    "koto": Instrument((107, 106), 48, 88, 1.0, decay=1.5, release=0.4),
    "bagpipe": Instrument((109,), 48, 86, 1.0, release=0.04),
    "timpani": Instrument((47,), 36, 57, 1.0, decay=1.0, release=0.5),
    "choir": Instrument((52, 53), 43, 84, 0.9, attack=0.15, release=0.4, vibrato=10),
    "female_voice": Instrument((81,), 57, 81, 0.8, release=0.1, vibrato=28, breath=0.25, voice="female"),
    "male_voice": Instrument((81,), 43, 67, 0.8, release=0.1, vibrato=22, breath=0.25, voice="male"),
    "rapper": Instrument((81,), 40, 60, 0.8, release=0.05, breath=0.9, voice="male"),
}
SINGERS = ("female_voice", "male_voice")
VOCALS = ("choir", *SINGERS, "rapper")


@dataclass(frozen=True)
class Drum:
    """One drum: its General MIDI key, how long it rings (seconds to fall by 20 dB) and its level in the kit (dB)."""

    key: int
    decay: float
    level: float = 0.0


# Similar keys replace those that the sampler plays as a click (such as 38 and 60 to 62 of the standard kit).
DRUMS = {
    "kick": Drum(36, 0.18, 2),
    "snare": Drum(40, 0.16),
    "rim": Drum(37, 0.08, -2),
    "clap": Drum(39, 0.14, -1),
    "hat": Drum(42, 0.05, -8),
    "pedal_hat": Drum(44, 0.05, -6),
    "open_hat": Drum(46, 0.25, -5),
    "ride": Drum(51, 0.5, -3),
    "crash": Drum(49, 0.9, -6),
    "tom_high": Drum(50, 0.25, -1),
    "tom_mid": Drum(47, 0.3, -1),
    "tom_low": Drum(43, 0.35, -1),
    "conga_high": Drum(63, 0.14, -2),
    "conga_low": Drum(64, 0.2, -2),
    "timbale_high": Drum(65, 0.12, -6),
    "timbale_low": Drum(66, 0.16, -6),
    "agogo_high": Drum(67, 0.15, -8),
    "agogo_low": Drum(68, 0.18, -8),
    "tambourine": Drum(54, 0.07, -7),
}


@dataclass(frozen=True)
class Kit:
    """A General MIDI drum kit. `changes` are its drums that differ from `DRUMS`."""

    program: int
    machine: bool = False
    changes: tuple[tuple[str, Drum], ...] = ()

    def drum(self, name: str) -> Drum:
        return dict(self.changes).get(name, DRUMS[name])


KITS = {
    "standard": Kit(0),
    "room": Kit(8),
    "power": Kit(16, changes=(("snare", Drum(38, 0.3)),)),
    "brush": Kit(40, changes=(("snare", Drum(38, 0.12)), ("kick", Drum(36, 0.15, -2)))),
    "electronic": Kit(24, machine=True, changes=(("snare", Drum(39, 0.15)), ("rim", Drum(37, 0.05, -2)))),
    "tr808": Kit(25, machine=True, changes=(("kick", Drum(36, 0.6, 4)), ("rim", Drum(67, 0.04, -6)))),
}
