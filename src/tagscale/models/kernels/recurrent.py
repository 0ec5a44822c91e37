"""Recurrent layers that an export to ONNX can follow, whatever the number of steps."""

from typing import Any

import torch
from torch import Tensor, nn


class GatedUnits(nn.GRU):
    """nn.GRU in one direction, batch first; the outputs of its last layer alone.

    Shape:
        x:       (batch, steps, inputs)
        returns: (batch, steps, units)
    """

    def __init__(self, inputs: int, units: int, layers: int) -> None:
        super().__init__(inputs, units, num_layers=layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # without the states after the last step
        if not torch.onnx.is_in_onnx_export():
            steps: Tensor = super().forward(x)[0]  # type: ignore[has-type]  # overloaded there
            return steps
        x = x.transpose(0, 1)  # (steps, B, inputs): PyTorch's tracing would unroll the steps, so ONNX's operator it is
        for layer in range(self.num_layers):
            weights = [_onnx_order(getattr(self, f"{name}_l{layer}")) for name in ("weight_ih", "weight_hh")]
            biases = torch.cat([_onnx_order(getattr(self, f"{name}_l{layer}")) for name in ("bias_ih", "bias_hh")])
            inputs = (x, weights[0].unsqueeze(0), weights[1].unsqueeze(0), biases.unsqueeze(0))
            shape = (x.shape[0], 1, x.shape[1], self.hidden_size)  # one direction
            attributes: Any = {"hidden_size": self.hidden_size, "linear_before_reset": 1}
            x = torch.onnx.ops.symbolic("GRU", inputs, attributes, dtype=x.dtype, shape=shape).squeeze(1)
        return x.transpose(0, 1)


def _onnx_order(gates: Tensor) -> Tensor:
    """PyTorch's gates (reset, update, new) of a weight or a bias in the order of ONNX (update, reset, new)."""
    reset, update, new = gates.chunk(3)
    return torch.cat([update, reset, new])
