import pytest

from tagscale.synth.render import Sampler
from tagscale.synth.track import default_soundfont


@pytest.fixture(scope="session")
def soundfont():
    return default_soundfont()


@pytest.fixture
def sampler(soundfont):
    return Sampler(soundfont)
