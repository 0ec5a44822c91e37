"""tagscale: train, compare, register and serve music taggers (Pons et al., ISMIR 2018)."""

__version__ = "0.1.0"
SAMPLE_RATE = 16_000  # Hz; section 4: audio down-sampled to 16 kHz
SOURCE_RATES = (4_000, 768_000)  # Hz of audio files, least and most: below is no music, above no converter
POSITIVE = 0.5  # a label of a classification tag from here up is positive
