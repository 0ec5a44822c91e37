"""TensorFlow's checkpoints: one that TensorFlow wrote, and the same one damaged."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagscale.fetch.bundle import read_tensors
from tagscale.runtime.errors import TagscaleError

FOLDER = Path(__file__).with_name("bundle")  # written by TensorFlow 2.21.0 (benchmarks/tensorflow_encoders.py)
INDEX, DATA = (FOLDER / "tiny.index").read_bytes(), (FOLDER / "tiny.data-00000-of-00001").read_bytes()
NAMES = [f"layer_{number}/kernel" for number in range(40)]  # 40, so that keys share prefixes over several restarts


def expected(number: int) -> np.ndarray:
    return np.arange(number, number + 6, dtype=np.float32).reshape(2, 3) / 4


def test_reads_what_tensorflow_wrote() -> None:
    tensors = read_tensors(INDEX, DATA, [*NAMES, "scalar"], "tiny")
    assert list(tensors) == [*NAMES, "scalar"]
    for number, name in enumerate(NAMES):
        np.testing.assert_array_equal(tensors[name], expected(number))
        assert tensors[name].dtype == np.float32
    assert tensors["scalar"] == np.float32(0.5)


@pytest.mark.parametrize(
    ("index", "data", "name", "message"),
    [
        (INDEX, DATA, "layer_0/bias", "tiny: tensor `layer_0/bias` is missing"),
        (INDEX, DATA, "step", "tensor `step` has type 9 in shard 0, expected 1 in shard 0"),
        (INDEX, DATA[:-40], "scalar", "the data at"),
        (INDEX, bytes(len(DATA)), "layer_7/kernel", "tensor `layer_7/kernel` does not have the checksum"),
        (INDEX[:-1], DATA, "scalar", "does not end in the magic number"),
        (b"", DATA, "scalar", "does not end in the magic number"),
    ],
)
def test_what_is_wrong_is_named(index: bytes, data: bytes, name: str, message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        read_tensors(index, data, [name], "tiny")


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(INDEX) - 1), byte=st.integers(0, 255), length=st.integers(0, 20))
def test_a_damaged_index_is_refused_or_does_no_harm(place: int, byte: int, length: int) -> None:
    damaged = INDEX[:place] + bytes([byte]) * length + INDEX[place + length :]
    try:
        tensors = read_tensors(damaged, DATA, NAMES, "tiny")
    except TagscaleError:
        return
    for number, name in enumerate(NAMES):
        np.testing.assert_array_equal(tensors[name], expected(number))
