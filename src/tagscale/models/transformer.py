"""The Music Tagging Transformer: a shallow residual CNN on log-mel, then self-attention over time.

Source: Won, Choi & Serra 2021, "Semi-supervised music tagging transformer", with the layer sizes of the authors'
released model (the teacher). Why this one: it is the supervised successor of the short-chunk residual CNN by its own
authors, who report it ahead on the Million Song Dataset in one comparison with the same split and evaluation, and it
is documented to the last layer by released code. It has 4.5M parameters against the 12.1M of `short_chunk`, and costs
1.3 times its operations per second of audio. The transformers that came later and score higher owe it to pre-training
on other data and to many times the size (MAEST, Alonso-Jimenez et al. 2023), so not at equal cost. Off by default.

What was chosen here: audio at 16 kHz, so windows of 1,024 samples every 512 (64 and 32 ms; there 46 and 23 ms at
22,050 Hz); decibels as there, but normalised by the training set's mean and standard deviation in place of a batch norm
of the input (2 parameters); positions drawn with a standard deviation of 0.02, as in Dosovitskiy et al. 2021, not 1, so
that a small training set does not begin with positions as loud as the music.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tagscale.audio.logmel import LogMel
from tagscale.models.kernels import MapConv, NormPool
from tagscale.models.tagger import Tagger, scaled

MELS, N_FFT, HOP = 128, 1024, 512
FILTERS = 128  # of each convolution
POOLS = ((2, 2), (2, 2), (2, 1))  # bands, frames: four frames to a token
FRAMES_PER_TOKEN = 4
HEADS = 8
HEAD_SIZE = 32  # so tokens of 256
POSITIONS = 512  # tokens that have a position of their own: 65.5 s


class TransformerTagger(Tagger):
    """Convolutional front-end, transformer over its frames, and a class token that becomes the tags.

    Args:
        tags: number of outputs
        width: factor on the filters of the front-end and on the size of every head
        layers: of the transformer; 4 in the paper
        dropout: of embeddings, attention outputs and feed-forward layers
    Raises:
        TagscaleError: no filter left at this width.
    """

    shortest_samples = FRAMES_PER_TOKEN * HOP  # one token, 0.128 s

    def __init__(self, tags: int, *, width: float, layers: int, dropout: float) -> None:
        super().__init__()
        filters = scaled(FILTERS, width, "transformer")
        size = HEADS * scaled(HEAD_SIZE, width, "transformer")
        self.log_mel = LogMel(n_fft=N_FFT, hop=HOP, mels=MELS, compression=None)
        self.convs = nn.ModuleList(PooledBlock(1 if i == 0 else filters, filters, pool) for i, pool in enumerate(POOLS))
        self.embed = nn.Linear(filters * MELS // 8, size)
        self.token = nn.Parameter(0.02 * torch.randn(size))
        self.positions = nn.Parameter(0.02 * torch.randn(1 + POSITIONS, size))  # of the class token, then of the frames
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(EncoderLayer(size, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(size)
        self.output = nn.Linear(size, tags)

    def encode(self, wave: Tensor) -> Tensor:
        x = self.log_mel(wave).unsqueeze(1)  # (B, 1, 128, T)
        for conv in self.convs:
            x = conv(x)
        x = self.embed(x.permute(0, 3, 2, 1).flatten(2))  # (B, 128 width, 16, T // 4) -> (B, T // 4, 256 width)
        token = self.token.expand(x.shape[0], 1, -1)  # not len(x), which an export would keep as a number
        x = torch.cat([token, x], dim=1) + self.positions_of(x.shape[1])  # (B, 1 + T // 4, 256 width)
        x = self.layers(self.dropout(x))
        return self.norm(x[:, 0])  # the class token: (B, size)

    def positions_of(self, frames: int) -> Tensor:
        """(1 + frames, size): the learned positions; stretched where there are more frames than positions."""
        if frames <= POSITIONS:
            return self.positions[: 1 + frames]
        learned = self.positions[1:].T.unsqueeze(0)  # (1, size, 512)
        stretched = F.interpolate(learned, size=frames, mode="linear", align_corners=True)
        return torch.cat([self.positions[:1], stretched[0].T])


class PooledBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm, a sum with the input, and a max-pool.

    A convolution takes the input to the number of filters where it has another.

    Shape:
        x:       (batch, inputs, bands, frames)
        returns: (batch, filters, bands // pool[0], frames // pool[1])
    """

    def __init__(self, inputs: int, filters: int, pool: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = MapConv(inputs, filters, 3, padding=1)
        self.norm1 = NormPool(filters)
        self.conv2 = MapConv(filters, filters, 3, padding=1)
        self.norm2 = NormPool(filters)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != filters:
            self.shortcut = nn.Sequential(MapConv(inputs, filters, 3, padding=1), NormPool(filters))
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        x = self.shortcut(x) + residual
        return F.relu(F.max_pool2d(x, self.pool))  # the maximum first: less to rectify


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer of four times the size, each on normalised input and added to it.

    Shape:
        x, returned: (batch, tokens, size)
    """

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(size)
        self.queries_keys_values = nn.Linear(size, 3 * size, bias=False)
        self.merge = nn.Linear(size, size)
        self.forward_norm = nn.LayerNorm(size)
        self.expand = nn.Linear(size, 4 * size)
        self.reduce = nn.Linear(4 * size, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.merge(self.attended(self.attention_norm(x))))
        hidden = self.dropout(F.gelu(self.expand(self.forward_norm(x))))
        return x + self.dropout(self.reduce(hidden))

    def attended(self, x: Tensor) -> Tensor:
        """Every token's mean of all tokens' values, weighted by how well its query fits their keys."""
        batch, tokens, size = x.shape
        heads = self.queries_keys_values(x).view(batch, tokens, 3, HEADS, size // HEADS)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, tokens, size / heads)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return mixed.transpose(1, 2).reshape(batch, tokens, size)
