"""The paper's two models as one would first write them, layer by layer in PyTorch's functions.

Each class takes a tagscale model, copies its layers for their weights, and uses none of their code. The other models
need no second writing: `Plain` computes them layer by layer, without tagscale's fast paths.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import LogMel
from tagscale.models import kernels
from tagscale.models.spectrogram import SpectrogramTagger
from tagscale.models.waveform import WaveformTagger


def plain(model: nn.Module, hears_spectrogram: bool) -> nn.Module:
    """A plain network with the weights of a model, with or without the model's log-mel layer."""
    if isinstance(model, WaveformTagger):
        return Waveform(model)
    if isinstance(model, SpectrogramTagger) and hears_spectrogram:
        return Spectrogram(model)
    return Plain(model, hears_spectrogram)


class Plain(nn.Module):
    """A copy of a model that computes every layer as it is written."""

    def __init__(self, model: Any, hears_spectrogram: bool = False) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        if hears_spectrogram:
            self.model.log_mel = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        with kernels.plain():
            return self.model.output(self.model.encode(x))


class Network(nn.Module):
    """A copy of a model's layers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, layer in model.named_children():
            if not isinstance(layer, LogMel):
                self.add_module(name, copy.deepcopy(layer))


class Waveform(Network):
    def forward(self, wave: Tensor) -> Tensor:
        x = wave.unsqueeze(1)
        for depth, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = normalise(norm, F.relu(conv(layer, x)))
            if depth > 0:
                x = F.max_pool1d(x, 3)
        return back_end(self.backend, x)


class Spectrogram(Network):
    def forward(self, spectrogram: Tensor) -> Tensor:
        branches = []
        for branch in self.timbral:
            layer = branch.conv
            x = F.conv2d(spectrogram.unsqueeze(1), layer.weight, layer.bias, padding=layer.padding)
            branches.append(normalise(branch.norm, F.relu(x)).amax(dim=2))
        energy = spectrogram.mean(dim=1, keepdim=True)
        for branch in self.temporal:
            taps = branch.conv.kernel_size[0]
            x = F.conv1d(F.pad(energy, ((taps - 1) // 2, taps // 2)), branch.conv.weight, branch.conv.bias)
            branches.append(normalise(branch.norm, F.relu(x)))
        return back_end(self.backend, torch.cat(branches, dim=1))


def back_end(layers: Any, x: Tensor) -> Tensor:
    """The shared back-end: three convolutions over time, pooling, two dense layers."""
    x = normalise(layers.norm1, F.relu(conv(layers.conv1, x)))
    x = normalise(layers.norm2, F.relu(conv(layers.conv2, x)).unsqueeze(1)).squeeze(1) + x
    x = F.max_pool1d(x, 2)
    x = normalise(layers.norm3, F.relu(conv(layers.conv3, x)).unsqueeze(1)).squeeze(1) + x
    x = torch.cat([x.max(dim=2).values, x.mean(dim=2)], dim=1)
    x = layers.dense_norm(F.relu(layers.dense(layers.dropout(x))))
    return layers.output(layers.dropout(x))


def conv(layer: Any, x: Tensor) -> Tensor:
    return F.conv1d(x, layer.weight, layer.bias, layer.stride, layer.padding)


def normalise(norm: Any, x: Tensor) -> Tensor:
    statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias
    return F.batch_norm(x, *statistics, norm.training, norm.momentum, norm.eps)
