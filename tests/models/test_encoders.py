"""The published encoders against TensorFlow: the authors' own graph, run by `benchmarks/tensorflow_encoders.py`.

encoders.npz holds its results for 3 s of generated audio and of five songs (TensorFlow and librosa's versions are in
it); for two of them those of every layer. Tolerance: 1e-4 absolute on logits, which span about 20.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tagscale.decoding.decode import decode
from tagscale.models.build import build
from tagscale.models.kernels import plain
from tagscale.models.pretrained import ENCODERS
from tagscale.models.pretrained.encoder import Encoder, architecture_of_published
from tagscale.training.encoders import load_encoder, pretrained_folder

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))  # last: benchmarks have names that tests have too
reference: Any = import_module("tensorflow_encoders")

SONGS = Path(os.environ.get("TAGSCALE_SHARED_DATA", ROOT / ".." / "shared" / "data")) / "audio-cc" / "audio"
GOLDEN = dict(np.load(Path(__file__).with_name("encoders.npz")))
(KEPT,) = (name.partition("/")[0] for name in GOLDEN if name.endswith("/wave"))
HEARD = sorted({name.partition("/")[0] for name in GOLDEN if name.endswith("/logits")} - {"generated", KEPT})
LOGITS = 1e-4


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> tuple[str, Encoder]:
    if not (pretrained_folder() / request.param).is_dir():
        pytest.skip("the published encoders are not here (tagscale fetch-encoders)")
    return request.param, load_encoder(request.param)


def as_wave(samples: np.ndarray) -> Tensor:
    return torch.from_numpy(samples.astype(np.float32) / 32_768)[None]


def excerpt(layer: str, values: Tensor) -> np.ndarray:
    """The part of a layer that the golden file holds."""
    maps = values[0].numpy()
    if maps.ndim == 1:
        return maps
    return (maps[:, reference.BANDS] if maps.ndim == 3 else maps)[..., reference.three(maps)]


@pytest.mark.parametrize("heard", ["generated", KEPT])
def test_every_layer_is_that_of_the_published_graph(encoder: tuple[str, Encoder], heard: str) -> None:
    name, model = encoder
    samples = reference.generated() if heard == "generated" else GOLDEN[f"{KEPT}/wave"]
    tagger: Any = model.tagger
    with torch.inference_mode():
        spectrogram = tagger.log_mel(as_wave(samples))[0, :, ::16]
        layers = tagger.layers(as_wave(samples)) | {"logits": model(as_wave(samples))}
    np.testing.assert_allclose(spectrogram, GOLDEN[f"{heard}/log_mel"], rtol=0, atol=1e-4)
    wanted = {key.rpartition("/")[2] for key in GOLDEN if key.startswith(f"{heard}/{name}/")}
    assert set(layers) == wanted
    for layer, values in layers.items():
        expected = GOLDEN[f"{heard}/{name}/{layer}"]
        tolerance = LOGITS if layer == "logits" else 1e-4 * max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(excerpt(layer, values), expected, rtol=0, atol=tolerance, err_msg=layer)


def test_logits_of_songs_are_those_of_the_published_graph(encoder: tuple[str, Encoder]) -> None:
    if not SONGS.is_dir():
        pytest.skip("the songs are not here (TAGSCALE_SHARED_DATA)")
    name, model = encoder
    begin = reference.AT * reference.RATE
    for song in HEARD:
        samples = decode(SONGS / f"{song}.ogg").samples[begin : begin + reference.SECONDS * reference.RATE]
        with torch.inference_mode():
            logits = model(as_wave(samples))[0].numpy()
        np.testing.assert_allclose(logits, GOLDEN[f"{song}/{name}/logits"], rtol=0, atol=LOGITS, err_msg=song)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_fast_paths_change_nothing(name: str) -> None:
    """With random weights and negative gammas, in evaluation; the paths themselves have tests of their own."""
    torch.manual_seed(0)
    model = _small(name)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.weight)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
    wave = 0.1 * torch.randn(2, 48_000)
    with torch.inference_mode():
        fast = model(wave)
        with plain():
            torch.testing.assert_close(fast, model(wave), atol=1e-4, rtol=1e-4)


def _small(name: str) -> Encoder:
    described = architecture_of_published(ENCODERS[name])
    capacity = described.capacity | {"width": 0.1} | ({"units": 12} if "units" in described.capacity else {})
    narrow = type(described)(**described.as_dict() | {"capacity": capacity})
    return Encoder(build(narrow), narrow)
