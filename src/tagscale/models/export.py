"""A network as a graph that other programs run without tagscale: from the waveform, log-mel included, to the scores.

PyTorch traces the network once. The layers compute as they are written (`kernels.plain`), since their fast paths ask
for facts that are not known before there is audio. Batch and length stay free.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tagscale.models import kernels
from tagscale.models.build import Architecture, shortest_samples

if TYPE_CHECKING:
    import onnx

LONGEST_SECONDS = 60  # of an excerpt; the transformer has no positions for much more
MOST = 4096  # excerpts in a batch
OPSET = 20
INPUT, OUTPUT = "wave", "scores"


class Scores(nn.Module):
    """A network's scores in place of its logits.

    Shape:
        wave:    (batch, samples), mono 16 kHz in [-1, 1]
        returns: (batch, tags), in [0, 1]
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, wave: Tensor) -> Tensor:
        logits: Tensor = self.network(wave)
        return logits.sigmoid()


def to_onnx(network: nn.Module, architecture: Architecture) -> "onnx.ModelProto":
    """The network as ONNX, opset 20: `wave` (batch, samples) float32 -> `scores` (batch, tags) float32.

    Samples: from `shortest_samples` to `longest_samples`. In the tests no score differs from PyTorch's by more
    than 1e-5. `network` goes to the CPU and into evaluation. Needs the packages onnx and onnxscript.
    """
    shortest, longest = shortest_samples(architecture), longest_samples(architecture)
    free = {
        0: torch.export.Dim("batch", min=1, max=MOST),
        1: torch.export.Dim("samples", min=shortest, max=longest),
    }
    # of no special length: where a size of the example is 1, tracing would hold it to be a fact
    example = torch.zeros(2, min(max(2 * shortest, architecture.patch_samples) + 1, longest))
    with kernels.plain(), torch.no_grad(), _quiet():
        program = torch.onnx.export(
            Scores(network.cpu()).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: free},
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    return proto


def longest_samples(architecture: Architecture) -> int:
    """The most samples of an excerpt that an exported network of this description takes."""
    return max(LONGEST_SECONDS * architecture.sample_rate, architecture.patch_samples)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of what the exporter skips (other packages' operators) while the block runs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
