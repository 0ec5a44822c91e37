"""The 32 styles (subgenres) of the default corpus, in 12 genres."""

from tagscale.synth.styles import Studio, Style, part

STYLES: dict[str, Style] = {
    "soft_rock": Style(
        "rock", (84, 116), {"major": 3, "minor": 1}, "rock",
        (part("root_bass", "electric_bass"), part("strum", "acoustic_guitar electric_guitar"),
         part("pad", "organ string_ensemble", 0.5), part("melody", "electric_guitar piano", 0.6)),
        0.45, Studio(0.3, 0.08), ("rock", "rock_push", "ballad"), singing=0.75),
    "hard_rock": Style(
        "rock", (108, 148), {"minor": 2, "mixolydian": 2, "major": 1}, "rock",
        (part("root_bass", "electric_bass"), part("power_chords", "distorted_guitar"),
         part("riff", "distorted_guitar", 0.8), part("pad", "organ", 0.3)),
        0.78, Studio(0.25, 0.4, live=0.3), ("hard_rock", "rock_push"), ("power", "room"), singing=0.65),
    "punk": Style(
        "rock", (160, 196), {"major": 2, "minor": 1}, "rock",
        (part("root_bass", "electric_bass"), part("power_chords", "distorted_guitar")),
        0.95, Studio(0.1, 0.45, 0.2, 0.3), ("punk", "punk_skip"), ("power", "standard"), singing=0.8),
    "heavy_metal": Style(
        "rock", (126, 180), {"phrygian": 2, "minor": 2, "harmonic_minor": 1}, "rock",
        (part("root_bass", "electric_bass"), part("power_chords", "distorted_guitar"),
         part("riff", "distorted_guitar"), part("melody", "distorted_guitar", 0.4), part("pad", "choir", 0.15)),
        1.0, Studio(0.25, 0.5, live=0.2), ("metal_double", "metal_gallop", "metal_six"), ("power",),
        {"4/4": 5, "6/8": 1}, singing=0.5),
    "swing_jazz": Style(
        "jazz", (126, 208), {"major": 2, "dorian": 1, "minor": 1}, "jazz",
        (part("walking_bass", "acoustic_bass"), part("comping", "piano vibraphone electric_guitar"),
         part("melody", "saxophone trumpet clarinet piano"), part("stabs", "brass_section", 0.25)),
        0.55, Studio(0.3, 0.0, 0.2, 0.3), ("swing_ride", "jazz_waltz"), ("brush", "standard"),
        {"4/4": 6, "3/4": 1}, 0.65, sevenths=True, singing=0.1),
    "cool_jazz": Style(
        "jazz", (72, 118), {"dorian": 2, "minor": 1, "major": 1}, "jazz",
        (part("walking_bass", "acoustic_bass"), part("comping", "piano electric_piano vibraphone"),
         part("melody", "trumpet saxophone flute vibraphone")),
        0.28, Studio(0.45, 0.0, 0.2, 0.2), ("brushes", "jazz_waltz"), ("brush",),
        {"4/4": 4, "3/4": 1}, 0.62, sevenths=True, singing=0.15),
    "jazz_fusion": Style(
        "jazz", (96, 138), {"dorian": 2, "mixolydian": 1}, "vamp",
        (part("riff_bass", "electric_bass"), part("comping", "electric_piano"),
         part("melody", "saxophone synth_lead electric_guitar"), part("pad", "synth_pad", 0.3)),
        0.68, Studio(0.25, 0.1, live=0.2), ("fusion", "five", "seven"), ("room", "standard"),
        {"4/4": 3, "5/4": 2, "7/8": 2}, sevenths=True),
    "baroque": Style(
        "classical", (84, 128), {"major": 1, "minor": 1, "harmonic_minor": 1}, "classical",
        (part("held_bass", "cello"), part("arpeggio", "harpsichord"), part("melody", "violin flute oboe"),
         part("counter_melody", "oboe violin", 0.6)),
        0.42, Studio(0.45, 0.0, 0.08, 0.2), meters={"4/4": 3, "3/4": 3, "6/8": 1}),
    "classical_period": Style(
        "classical", (80, 138), {"major": 2, "minor": 1}, "classical",
        (part("alberti", "piano"), part("held_bass", "cello", 0.5), part("pad", "string_ensemble", 0.5),
         part("melody", "piano violin clarinet oboe")),
        0.4, Studio(0.45, 0.0, 0.08, 0.2), meters={"4/4": 3, "3/4": 3, "6/8": 1}),
    "romantic_orchestra": Style(
        "classical", (60, 108), {"minor": 2, "major": 1, "harmonic_minor": 1}, "classical",
        (part("held_bass", "cello"), part("pad", "string_ensemble"), part("pad", "brass_section", 0.6),
         part("pad", "choir", 0.25), part("melody", "flute violin oboe trumpet clarinet"),
         part("arpeggio", "harp", 0.4), part("drum_roll", "timpani", 0.7)),
        0.5, Studio(0.7, 0.0, 0.05, 0.25), meters={"4/4": 3, "3/4": 3, "6/8": 1}),
    "techno": Style(
        "electronic", (124, 142), {"minor": 2, "phrygian": 1}, "static",
        (part("pulse_bass", "synth_bass"), part("sequence", "synth_lead", 0.9), part("pad", "synth_pad", 0.4)),
        0.85, Studio(0.3, 0.25, 0.03, 0.02), ("techno", "techno_roll"), ("electronic",)),
    "house": Style(
        "electronic", (118, 128), {"minor": 2, "major": 1, "dorian": 1}, "pop",
        (part("offbeat_bass", "synth_bass"), part("stabs", "piano electric_piano organ synth_pad"),
         part("pad", "string_ensemble synth_pad", 0.4), part("melody", "synth_lead", 0.4)),
        0.74, Studio(0.3, 0.12, 0.03, 0.03), ("house",), ("electronic", "tr808"), sevenths=True, singing=0.45),
    "drum_and_bass": Style(
        "electronic", (164, 178), {"minor": 2, "dorian": 1}, "vamp",
        (part("riff_bass", "synth_bass"), part("pad", "synth_pad string_ensemble"),
         part("sequence", "synth_lead electric_piano", 0.5)),
        0.9, Studio(0.35, 0.25, 0.05, 0.03), ("breakbeat", "two_step"), ("electronic", "power"), singing=0.2),
    "ambient": Style(
        "electronic", (56, 84), {"major": 1, "dorian": 1, "minor": 1}, "static",
        (part("pad", "synth_pad"), part("pad", "choir string_ensemble", 0.5), part("drone", "synth_bass", 0.4),
         part("sparse", "electric_piano vibraphone harp synth_lead", 0.9)),
        0.08, Studio(0.9, 0.0, 0.12, 0.02, echo=0.3)),
    "boom_bap": Style(
        "hip_hop", (82, 98), {"minor": 2, "dorian": 1}, "vamp",
        (part("riff_bass", "electric_bass acoustic_bass"), part("stabs", "piano electric_piano vibraphone"),
         part("sparse", "trumpet flute saxophone string_ensemble", 0.6)),
        0.5, Studio(0.15, 0.15, 0.6, 0.04), ("boom_bap", "boom_bap_lazy"), ("standard", "room"),
        swing=0.6, swing_unit=1, rap=0.75, sevenths=True),
    "trap": Style(
        "hip_hop", (128, 150), {"harmonic_minor": 1, "minor": 2, "phrygian": 1}, "static",
        (part("sub_bass", "synth_bass"), part("arpeggio", "vibraphone synth_lead harp piano"),
         part("pad", "synth_pad choir string_ensemble", 0.5)),
        0.62, Studio(0.35, 0.25, 0.08, 0.02), ("trap", "trap_roll"), ("tr808",), rap=0.75),
    "salsa": Style(
        "latin", (88, 108), {"minor": 1, "major": 1}, "vamp",
        (part("tumbao", "acoustic_bass electric_bass"), part("montuno", "piano"),
         part("stabs", "brass_section", 0.7), part("melody", "trumpet flute", 0.8)),
        0.75, Studio(0.3, 0.04, 0.1, 0.35), ("salsa",), singing=0.4),
    "bossa_nova": Style(
        "latin", (112, 142), {"major": 2, "dorian": 1}, "jazz",
        (part("two_beat_bass", "acoustic_bass"), part("bossa_guitar", "acoustic_guitar"),
         part("melody", "flute saxophone piano", 0.8)),
        0.33, Studio(0.3, 0.0, 0.12, 0.1), ("bossa",), ("brush", "standard"), sevenths=True, singing=0.5),
    "tango": Style(
        "latin", (108, 130), {"harmonic_minor": 2, "minor": 1}, "classical",
        (part("march_bass", "acoustic_bass"), part("march_chords", "piano"), part("melody", "accordion"),
         part("counter_melody", "violin", 0.7)),
        0.52, Studio(0.35, 0.0, 0.3, 0.15)),
    "honky_tonk": Style(
        "country", (98, 132), {"major": 1}, "rock",
        (part("two_beat_bass", "acoustic_bass electric_bass"), part("strum", "acoustic_guitar"),
         part("oompah", "piano", 0.5), part("melody", "violin electric_guitar", 0.8)),
        0.5, Studio(0.2, 0.03, 0.1, 0.2), ("train", "country", "waltz"), meters={"4/4": 3, "3/4": 1}, singing=0.75),
    "bluegrass": Style(
        "country", (112, 148), {"major": 2, "mixolydian": 1}, "rock",
        (part("two_beat_bass", "acoustic_bass"), part("banjo_roll", "banjo"), part("oompah", "acoustic_guitar", 0.8),
         part("melody", "violin", 0.8)),
        0.68, Studio(0.15, 0.0, 0.1, 0.3), singing=0.5),
    "roots_reggae": Style(
        "reggae", (66, 86), {"minor": 1, "major": 1}, "pop",
        (part("riff_bass", "electric_bass"), part("skank", "electric_guitar organ"),
         part("melody", "brass_section organ", 0.5)),
        0.42, Studio(0.35, 0.05, 0.15, 0.15), ("one_drop", "steppers"), swing=0.57, swing_unit=1, singing=0.7),
    "dub": Style(
        "reggae", (64, 80), {"minor": 1, "dorian": 1}, "static",
        (part("riff_bass", "synth_bass electric_bass"), part("skank", "organ electric_piano"),
         part("sparse", "trumpet flute vibraphone", 0.6)),
        0.33, Studio(0.65, 0.12, 0.2, 0.03, echo=0.95), ("one_drop", "steppers"), ("room", "electronic"),
        swing=0.57, swing_unit=1),
    "disco": Style(
        "disco_funk", (112, 126), {"minor": 1, "major": 1, "dorian": 1}, "pop",
        (part("octave_bass", "electric_bass"), part("scratch", "electric_guitar", 0.8),
         part("pad", "string_ensemble"), part("stabs", "brass_section", 0.4), part("melody", "string_ensemble", 0.4)),
        0.8, Studio(0.25, 0.05, 0.05, 0.08), ("disco",), ("room", "standard"), sevenths=True, singing=0.65),
    "funk": Style(
        "disco_funk", (92, 114), {"mixolydian": 1, "dorian": 2}, "vamp",
        (part("riff_bass", "electric_bass"), part("scratch", "electric_guitar"), part("stabs", "brass_section", 0.7),
         part("comping", "organ electric_piano", 0.5)),
        0.75, Studio(0.15, 0.1, 0.1, 0.25), ("funk", "funk_tight"), ("standard",), swing=0.56, swing_unit=1,
        sevenths=True, singing=0.5),
    "celtic": Style(
        "world", (112, 136), {"dorian": 1, "mixolydian": 1, "major": 1}, "rock",
        (part("drone", "bagpipe", 0.5), part("strum", "acoustic_guitar", 0.7), part("jig_melody", "violin flute"),
         part("arpeggio", "harp", 0.3), part("counter_melody", "accordion flute", 0.4)),
        0.6, Studio(0.3, 0.0, 0.08, 0.25), ("jig", "reel"), meters={"6/8": 3, "4/4": 2}),
    "indian": Style(
        "world", (72, 112), {"phrygian": 1, "mixolydian": 1, "harmonic_minor": 1}, "static",
        (part("drone", "sitar"), part("melody", "sitar flute"), part("drone", "synth_pad", 0.2)),
        0.4, Studio(0.4, 0.0, 0.1, 0.2), ("tabla", "tabla_seven"), meters={"4/4": 1, "7/8": 2}),
    "east_asian": Style(
        "world", (64, 100), {"japanese": 1, "major_pentatonic": 1}, "static",
        (part("arpeggio", "koto"), part("melody", "flute"), part("sparse", "koto harp", 0.5)),
        0.22, Studio(0.5, 0.0, 0.1, 0.08)),
    "blues_shuffle": Style(
        "blues", (96, 132), {"blues": 1}, "blues",
        (part("walking_bass", "electric_bass acoustic_bass"), part("comping", "piano organ"),
         part("melody", "electric_guitar saxophone"), part("boogie", "electric_guitar", 0.5)),
        0.6, Studio(0.25, 0.2, 0.2, 0.35), ("shuffle",), meters={"12/8": 1}, sevenths=True, singing=0.5),
    "slow_blues": Style(
        "blues", (52, 68), {"blues": 1}, "blues",
        (part("walking_bass", "electric_bass"), part("comping", "organ piano"),
         part("melody", "electric_guitar distorted_guitar")),
        0.4, Studio(0.35, 0.2, 0.2, 0.35), ("slow_blues",), meters={"12/8": 1}, sevenths=True, singing=0.5),
    "pop_ballad": Style(
        "pop", (62, 84), {"major": 2, "minor": 1}, "pop",
        (part("root_bass", "electric_bass", 0.8), part("arpeggio", "piano acoustic_guitar"),
         part("pad", "string_ensemble", 0.7), part("melody", "piano violin", 0.3)),
        0.3, Studio(0.5, 0.0), ("ballad", "half_time", "slow_six"), meters={"4/4": 3, "6/8": 1}, singing=0.9),
    "synth_pop": Style(
        "pop", (100, 128), {"minor": 1, "major": 2}, "pop",
        (part("octave_bass", "synth_bass"), part("arpeggio", "synth_lead", 0.7), part("pad", "synth_pad"),
         part("melody", "synth_lead", 0.5)),
        0.66, Studio(0.35, 0.1, 0.06, 0.03), ("disco", "rock"), ("electronic", "tr808"), singing=0.8),
}  # fmt: skip
GENRES = tuple(sorted({style.genre for style in STYLES.values()}))
