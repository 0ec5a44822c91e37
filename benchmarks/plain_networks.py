"""The networks of `straightforward.py`: tagscale's models as their papers write them, layer by layer in plain PyTorch.

Every class takes a tagscale model, copies its layers with their weights, and computes the same from a waveform, or
from the log-mel spectrogram that the dataset made.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import LogMel
from tagscale.models.crnn import CRNN, PADDING, POOLS
from tagscale.models.dieleman import POOL, Dieleman
from tagscale.models.multiscale import MelCNN
from tagscale.models.samplecnn import SampleCNN
from tagscale.models.short_chunk import ShortChunkTagger
from tagscale.models.spectrogram import SpectrogramTagger
from tagscale.models.timbre_cnn import TimbreCNN
from tagscale.models.transformer import TransformerTagger
from tagscale.models.vgg import VGG
from tagscale.models.waveform import WaveformTagger


def plain(model: nn.Module) -> nn.Module:
    """The plain network with the weights of a model, without the model's log-mel layer where it has one.

    That of the models of several parts is tagscale's own.
    """
    kind = NETWORKS.get(type(model))
    return kind(model) if kind else copy.deepcopy(model)


class Network(nn.Module):
    """A copy of a model's layers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        for name, layer in model.named_children():
            if not isinstance(layer, LogMel):
                self.add_module(name, copy.deepcopy(layer))
        self.model_pools = getattr(model, "pools", ())


class Waveform(Network):
    def forward(self, wave: Tensor) -> Tensor:
        x = wave.unsqueeze(1)
        for depth, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = over_time(norm, F.relu(conv(x)))
            if depth > 0:
                x = F.max_pool1d(x, 3)
        return back_end(self.backend, x)


class Spectrogram(Network):
    def forward(self, spectrogram: Tensor) -> Tensor:
        energy = spectrogram.mean(dim=1, keepdim=True)
        found = []
        for branch in self.timbral:
            x = branch.norm(F.relu(branch.conv(spectrogram.unsqueeze(1))))
            found.append(x.amax(dim=2))
        for branch in self.temporal:
            taps = branch.conv.kernel_size[0]
            x = branch.conv(F.pad(energy, ((taps - 1) // 2, taps // 2)))
            found.append(over_time(branch.norm, F.relu(x)))
        return back_end(self.backend, torch.cat(found, dim=1))


class ShortChunk(Network):
    def forward(self, spectrogram: Tensor) -> Tensor:
        x = self.blocks(spectrogram.unsqueeze(1)).amax(dim=(2, 3))
        return self.output(self.dropout(F.relu(self.norm(self.dense(x)))))


class Transformer(Network):
    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.token, self.positions = copy.deepcopy(model.token), copy.deepcopy(model.positions)

    def forward(self, spectrogram: Tensor) -> Tensor:
        x = spectrogram.unsqueeze(1)
        for conv in self.convs:
            residual = conv.norm2(conv.conv2(F.relu(conv.norm1(conv.conv1(x)))))
            x = x if conv.shortcut is None else conv.shortcut(x)
            x = F.max_pool2d(F.relu(x + residual), conv.pool)
        x = self.embed(x.permute(0, 3, 2, 1).flatten(2))
        x = torch.cat([self.token.expand(len(x), 1, -1), x], dim=1) + self.positions[: 1 + x.shape[1]]
        return self.output(self.norm(self.layers(self.dropout(x))[:, 0]))


class PlainVGG(Network):
    def forward(self, spectrogram: Tensor) -> Tensor:
        x = spectrogram.unsqueeze(1)
        for depth, (conv, norm, pool) in enumerate(zip(self.convs, self.norms, self.model_pools, strict=True)):
            x = F.max_pool2d(norm(F.relu(conv(x))), pool)
            x = self.conv_dropout(x) if depth < len(self.convs) - 1 else x
        return self.output(self.dropout(x.mean(dim=(2, 3))))


class PlainCRNN(Network):
    def forward(self, spectrogram: Tensor) -> Tensor:
        x = self.input_norm(F.pad(spectrogram, (PADDING, PADDING)).unsqueeze(1))
        for conv, norm, pool in zip(self.convs, self.norms, POOLS, strict=True):
            x = self.conv_dropout(F.max_pool2d(F.elu(norm(conv(x))), pool))
        steps, _ = self.recurrent(x.squeeze(2).transpose(1, 2))
        return self.output(self.dropout(steps[:, -1]))


class PlainTimbreCNN(Network):
    def forward(self, spectrogram: Tensor) -> Tensor:
        x = torch.cat([F.elu(shape(spectrogram.unsqueeze(1))).amax(dim=2) for shape in self.shapes], dim=1)
        x = F.max_pool1d(F.elu(self.conv(F.max_pool1d(x, POOL))), POOL)
        return self.output(self.dropout(F.elu(self.dense(self.dropout(x))).mean(dim=1)))


class PlainDieleman(Network):
    def forward(self, wave: Tensor) -> Tensor:
        x = F.relu(self.strided(wave.unsqueeze(1)))
        for conv in (self.conv1, self.conv2):
            x = F.max_pool1d(F.relu(conv(x)), POOL)
        return self.output(F.relu(self.dense(x)).mean(dim=1))


class PlainSampleCNN(Network):
    def forward(self, wave: Tensor) -> Tensor:
        x = conv_block(self.strided, wave.unsqueeze(1))
        return self.output(self.dropout(stack(self.stack, x).mean(dim=2)))


class PlainMelCNN(Network):
    def forward(self, spectrogram: Tensor) -> Tensor:
        return self.output(self.dropout(stack(self.stack, spectrogram).mean(dim=2)))


def back_end(layers: Any, x: Tensor) -> Tensor:
    """The paper's shared back-end: three convolutions over time, pooling, two dense layers."""
    x = over_time(layers.norm1, F.relu(layers.conv1(x)))
    x = over_the_map(layers.norm2, F.relu(layers.conv2(x))) + x
    x = F.max_pool1d(x, 2)
    x = over_the_map(layers.norm3, F.relu(layers.conv3(x))) + x
    x = torch.cat([x.max(dim=2).values, x.mean(dim=2)], dim=1)
    x = layers.dense_norm(F.relu(layers.dense(layers.dropout(x))))
    return layers.output(layers.dropout(x))


def stack(layers: Any, x: Tensor) -> Tensor:
    for block, pool in zip(layers.blocks, layers.pools, strict=True):
        x = F.max_pool1d(conv_block(block, x), pool)
    return conv_block(layers.last, x)


def conv_block(block: Any, x: Tensor) -> Tensor:
    return F.relu(over_time(block.norm, block.conv(F.pad(x, (0, 1)) if block.odd_zero else x)))


def over_time(norm: Any, x: Tensor) -> Tensor:
    """A batch norm of (batch, channels, length), as nn.BatchNorm1d applies it."""
    statistics = norm.running_mean, norm.running_var, norm.weight, norm.bias
    return F.batch_norm(x, *statistics, norm.training, norm.momentum, norm.eps)


def over_the_map(norm: Any, x: Tensor) -> Tensor:
    """A batch norm over a map with a single channel."""
    return over_time(norm, x.unsqueeze(1)).squeeze(1)


NETWORKS: dict[type, type[Network]] = {
    WaveformTagger: Waveform,
    SpectrogramTagger: Spectrogram,
    ShortChunkTagger: ShortChunk,
    TransformerTagger: Transformer,
    VGG: PlainVGG,
    CRNN: PlainCRNN,
    TimbreCNN: PlainTimbreCNN,
    Dieleman: PlainDieleman,
    SampleCNN: PlainSampleCNN,
    MelCNN: PlainMelCNN,
}
