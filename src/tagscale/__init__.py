"""tagscale: train, compare, register and serve music taggers (Pons et al., ISMIR 2018)."""

__version__ = "0.1.0"
