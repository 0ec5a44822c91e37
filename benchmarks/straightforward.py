"""The other side of the speed benchmarks: models and loading as one would first write them in plain PyTorch.

One float32 .npy per track, read through a memory map; a dataset that gives one patch after the other, as a log-mel
spectrogram by torchaudio where the model takes one; a DataLoader with its defaults; float32; a training loop that reads
the loss in every step; songs tagged one by one. `plain_networks.py` has the networks. `reference` gives them the
weights of a tagscale model, and `training.py` and `inference.py` check that both sides agree before they time anything.
"""

import copy
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torchaudio
from plain_networks import plain
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from tagscale.audio.logmel import LogMel

Transform = Callable[[Tensor], Tensor]  # (samples,) -> what the network takes of it


class Files(Dataset):
    """A random patch of a track per item, and the track's labels; every track `per_track` times an epoch."""

    def __init__(
        self, files: list[Path], labels: Tensor, samples: int, transform: Transform | None, per_track: int = 1
    ) -> None:
        self.files, self.labels, self.samples, self.transform = files, labels, samples, transform
        self.per_track = per_track

    def __len__(self) -> int:
        return len(self.files) * self.per_track

    def __getitem__(self, item: int) -> tuple[Tensor, Tensor]:
        item %= len(self.files)
        track = np.load(self.files[item], mmap_mode="r")
        start = int(torch.randint(len(track) - self.samples + 1, ()))
        wave = torch.from_numpy(np.array(track[start : start + self.samples]))
        return self.transform(wave) if self.transform else wave, self.labels[item]


class LogMelSpectrogram:
    """torchaudio's mel spectrogram with the settings of a model's own, compressed and normalised like it."""

    def __init__(self, layer: LogMel) -> None:
        self.layer, self.resample = layer, copy.deepcopy(layer.resample)
        self.mel = torchaudio.transforms.MelSpectrogram(
            layer.rate,
            n_fft=layer.n_fft,
            hop_length=layer.hop,
            n_mels=len(layer.filters),
            power=layer.power,
            norm="slaney",
            mel_scale="slaney",
        )
        self.mean, self.std = float(layer.mean), float(layer.std)

    def __call__(self, wave: Tensor) -> Tensor:
        wave = self.resample(wave[None])[0]
        mel = self.mel(wave)[:, : len(wave) // self.layer.hop]
        if self.layer.compression is None:
            mel = 10 * torch.log10(mel.clamp(min=1e-10))
        else:
            mel = torch.log10(1 + self.layer.compression * mel)
        return (mel - self.mean) / self.std


def reference(model: nn.Module) -> tuple[nn.Module, Transform | None]:
    """A network with the weights of a tagscale model, on the CPU, and what the dataset does to a patch for it."""
    layers = [layer for layer in model.modules() if isinstance(layer, LogMel)]
    if len(layers) != 1:  # none; or one per time scale, each on pieces of the patch: they stay in the network
        return plain(model, hears_spectrogram=False), None
    return plain(model, hears_spectrogram=True), LogMelSpectrogram(layers[0])


def loader(files: Files, batch: int, workers: int = 0) -> DataLoader:
    """The DataLoader with its defaults; with workers where the benchmark asks for them."""
    return DataLoader(files, batch_size=batch, shuffle=True, drop_last=True, num_workers=workers)


def train_epoch(
    network: nn.Module, batches: DataLoader, optimizer: torch.optim.Optimizer, device: str
) -> Iterator[float]:
    """One epoch of plain training; gives of every step the seconds that it waited for its batch."""
    network.train()
    begin = time.perf_counter()
    for inputs, labels in batches:
        waited = time.perf_counter() - begin
        train_step(network, inputs.to(device), labels.to(device), optimizer)
        yield waited
        begin = time.perf_counter()


def train_step(network: nn.Module, inputs: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss = F.binary_cross_entropy_with_logits(network(inputs), labels)
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def tag(
    network: nn.Module, transform: Transform | None, files: list[Path], samples: int, hop: int, device: str
) -> Tensor:
    """Scores of whole songs, one after the other: the mean over a moving window. (songs, tags)."""
    network.eval()
    scores = []
    for file in files:
        song = torch.from_numpy(np.load(file))
        last = max(0, len(song) - samples)
        starts = [*range(0, last, hop), last]
        windows = [song[start : start + samples] for start in starts]
        inputs = torch.stack([transform(window) if transform else window for window in windows])
        scores.append(network(inputs.to(device)).sigmoid().mean(dim=0).cpu())
    return torch.stack(scores)
