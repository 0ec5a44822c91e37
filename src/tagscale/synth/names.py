"""Made-up names of artists, albums and tracks."""

import numpy as np

FIRST = (
    "Amber", "Atlas", "Birch", "Bramble", "Cedar", "Cinder", "Cobalt", "Copper", "Coral", "Crimson", "Dahlia", "Drift",
    "Ember", "Fable", "Fern", "Garnet", "Gilded", "Harbour", "Hazel", "Hollow", "Indigo", "Iris", "Ivory", "Jasper",
    "Juniper", "Kestrel", "Lantern", "Linden", "Lunar", "Maple", "Marble", "Meadow", "Mercury", "Midnight", "Mirror",
    "Nightjar", "Northern", "Oaken", "Ochre", "Opal", "Paper", "Pearl", "Quartz", "Quiet", "Raven", "Saffron",
    "Scarlet", "Silver", "Solar", "Sparrow", "Summer", "Tamarind", "Thistle", "Velvet", "Violet", "Wandering", "Willow",
    "Winter", "Yellow", "Zephyr",
)  # fmt: skip
SECOND = (
    "Almanac", "Anchor", "Arcade", "Avenue", "Balloon", "Bloom", "Brigade", "Canyon", "Cartel", "Circus", "Compass",
    "Corner", "Delta", "Engine", "Estate", "Express", "Feather", "Fountain", "Garden", "Giants", "Gallery", "Ghosts",
    "Heights", "Hotel", "Island", "Jubilee", "Kingdom", "Ladder", "Letters", "Lions", "Machine", "Mariners", "Mountain",
    "Museum", "Orchard", "Orbit", "Palace", "Parade", "Pilots", "Quarter", "Railway", "Republic", "River", "Robots",
    "Sailors", "Satellite", "Season", "Society", "Stairs", "Static", "Station", "Swallows", "Theatre", "Tigers",
    "Valley", "Village", "Voyage", "Whisper", "Window",
)  # fmt: skip
PATTERNS = ("The {} {}", "{} {}", "{} & the {}")
VERBS = ("Waiting for", "Leaving", "Dancing with", "Letters from", "Under", "Back to", "Beyond", "Chasing")
PLACES = (
    "the Sea", "Sunday", "Tomorrow", "the Moon", "October", "the Last Train", "Your Street", "the Rain", "Home",
    "the North", "the City", "Nobody", "the Morning", "an Old Friend", "the Mountains", "Spring", "the Sun", "Lisbon",
)  # fmt: skip
TRACK_PATTERNS = ("{verb} {place}", "{first} {second}", "{first} and {other}", "{verb} the {second}")


def artist_name(number: int, seed: int) -> str:
    """The name of artist `number` (from 0). The first 10,000 artists of a seed have distinct names.

    >>> len({artist_name(number, seed=1) for number in range(10_000)})
    10000
    """
    combinations = len(FIRST) * len(SECOND) * len(PATTERNS)
    stride = 1_949  # a prime that does not divide the combinations, so each occurs once
    place = (number * stride + seed * 7_919) % combinations
    place, pattern = divmod(place, len(PATTERNS))
    first, second = divmod(place, len(SECOND))
    return PATTERNS[pattern].format(FIRST[first], SECOND[second])


def title(rng: np.random.Generator) -> str:
    """A title for a track or an album."""
    pattern = TRACK_PATTERNS[int(rng.integers(len(TRACK_PATTERNS)))]
    words = {"verb": VERBS, "place": PLACES, "first": FIRST, "second": SECOND, "other": FIRST}
    return pattern.format(**{key: choices[int(rng.integers(len(choices)))] for key, choices in words.items()})
