"""Layers that choose a fast way to compute themselves: a model reads like its paper, and pays nothing for it.

Each layer is a subclass of PyTorch's own, with the same parameters, names and initial weights, so a state dict fits
either. Results are those of the layer as it is written, but for rounding. `plain()` switches all fast paths off.
"""

from tagscale.models.kernels.convolutions import MapConv, TimeConv, pool_time
from tagscale.models.kernels.norms import NormPool, SingleChannelNorm
from tagscale.models.kernels.recurrent import GatedUnits
from tagscale.models.kernels.switch import plain
from tagscale.models.kernels.tall import Bands, NormMax, Places, TallConv
