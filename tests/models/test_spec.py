"""The entries of the models: a look of their own each, and no torch to read them."""

import subprocess
import sys

from tagscale.models.build import class_of
from tagscale.models.spec import ENTRIES, MODELS, NETWORKS
from tagscale.models.tagger import Tagger
from tagscale.report.appearance import NEUTRAL_COLOUR, NEUTRAL_MARKER, OUTLINES


def test_every_model_is_told_from_every_other() -> None:
    assert len(MODELS) == len(ENTRIES)
    for key in ("label", "colour", "marker"):
        assert len({getattr(entry, key) for entry in ENTRIES}) == len(ENTRIES), f"two entries with one {key}"
    for entry in ENTRIES:
        assert entry.marker in {"o", *OUTLINES}, f"{entry.name}: the report's legend cannot draw {entry.marker!r}"
        assert entry.colour != NEUTRAL_COLOUR
        assert entry.marker != NEUTRAL_MARKER


def test_every_network_has_its_class() -> None:
    for name in NETWORKS:
        assert issubclass(class_of(name), Tagger)


def test_reading_the_settings_needs_no_torch() -> None:
    program = "import sys, tagscale.params.load, tagscale.models.spec; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "False\n"
