import pytest

from tagscale.data.synth.render import Sampler
from tagscale.data.synth.track import default_soundfont


@pytest.fixture(scope="session")
def soundfont():
    return default_soundfont()


@pytest.fixture
def sampler(soundfont):
    return Sampler(soundfont)
