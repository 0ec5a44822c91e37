"""tagscale: train, compare, register and serve music taggers (Pons et al., ISMIR 2018).

import tagscale

tagger = tagscale.load("champion")
tagger.tag("song.mp3").to_frame()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tagscale.decoding.opened import AudioError
    from tagscale.runtime.errors import TagscaleError
    from tagscale.serving.results import Taggram, Tags
    from tagscale.serving.tagger import Tagger, load

__version__ = "0.1.0"
SAMPLE_RATE = 16_000  # Hz; section 4: audio down-sampled to 16 kHz
SOURCE_RATES = (4_000, 768_000)  # Hz of audio files, least and most: below is no music, above no converter
POSITIVE = 0.5  # a label of a classification tag from here up is positive

_PLACES = {  # the Python API: each name comes from its module when it is first asked for
    "load": "tagscale.serving.tagger",
    "Tagger": "tagscale.serving.tagger",
    "Tags": "tagscale.serving.results",
    "Taggram": "tagscale.serving.results",
    "AudioError": "tagscale.decoding.opened",
    "TagscaleError": "tagscale.runtime.errors",
}
__all__ = ["AudioError", "Tagger", "Taggram", "Tags", "TagscaleError", "load"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from tagscale.runtime.machine import asleep

    with asleep():
        return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
