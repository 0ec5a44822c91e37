"""Every network as ONNX: checked by ONNX itself, run by onnxruntime, equal to PyTorch at any batch and length."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tagscale.models.build import Architecture, build, shortest_samples
from tagscale.models.export import OPSET, longest_samples, to_onnx
from tagscale.models.spec import ENCODER_NETWORKS, NETWORKS

SMALLEST: dict[str, dict[str, Any]] = {
    "waveform": {"layers": 7, "width": 0.125, "filters": 8, "units": 8, "dropout": 0.5},
    "spectrogram": {"width": 0.125, "filters": 8, "units": 8, "dropout": 0.5, "pooling": "attention"},
    "short_chunk": {"width": 0.0625, "dropout": 0.5},
    "transformer": {"width": 0.0625, "layers": 1, "dropout": 0.1},
    "samplecnn": {"width": 0.0625, "dropout": 0.5},
    "dieleman": {"width": 0.25, "frames": 15},
    "vgg": {"width": 0.125, "filters": [32, 64, 64, 32], "dropout": 0.5},
    "timbre_cnn": {"width": 0.25, "mels": 96, "dropout": 0.5},
    "crnn": {"width": 0.125, "dropout": 0.3},
    "multiscale": {"width": 0.125, "frames": [18, 27], "units": 8, "dropout": 0.5},
    "samplecnn_multiscale": {"width": 0.125, "samples": [8192, 12288], "units": 8, "dropout": 0.5},
    "probe": {"encoder": "msd_musicnn"},
    "finetune": {"encoder": "mtt_vgg"},
    "musicnn": {"width": 0.125, "units": 8, "dropout": 0.5},
    "musicnn_vgg": {"width": 0.125, "pooling": "separate", "dropout": 0.5},
}
TAGS = ("rock", "jazz", "energy")
TOLERANCE = 1e-5


def network(name: str) -> tuple[torch.nn.Module, Architecture]:
    """A network whose norms have seen something, so that they scale and shift."""
    architecture = Architecture(name, SMALLEST[name], TAGS, ("classification",) * 3, 30.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(architecture).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return model, architecture


def waves(architecture: Architecture) -> list[torch.Tensor]:
    shortest = shortest_samples(architecture)
    lengths = shortest, max(3 * 16_000, shortest) + 12_345, min(2 * shortest + 16_000, longest_samples(architecture))
    random = torch.Generator().manual_seed(1)
    return [torch.randn(batch, length, generator=random) * 0.1 for length in lengths for batch in (1, 4)]


def test_every_network_is_here() -> None:
    assert set(SMALLEST) == {*NETWORKS, *ENCODER_NETWORKS}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SMALLEST))
def test_onnxruntime_gives_the_scores_of_pytorch(name: str) -> None:
    model, architecture = network(name)
    proto = to_onnx(model, architecture)
    onnx.checker.check_model(proto, full_check=True)
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", OPSET)]
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [(put.name, put.type, put.shape[0]) for put in session.get_inputs()] == [("wave", "tensor(float)", "batch")]
    for wave in waves(architecture):
        with torch.inference_mode():
            expected = model(wave).sigmoid().numpy()
        (scores,) = session.run(["scores"], {"wave": wave.numpy()})
        assert scores.shape == (len(wave), len(TAGS))
        np.testing.assert_allclose(scores, expected, rtol=0, atol=TOLERANCE)
    assert np.ptp(expected) > 1e-4  # the scores differ at all
