"""Fine-tuning: a published encoder whose weights are all trained further for other tags.

Source: Yosinski et al. 2014, "How transferable are features in deep neural networks?". `training.start` gives the
encoder its published weights, and the output those of a probe.
"""

from tagscale.models.pretrained.probe import EncoderTagger


class Finetune(EncoderTagger):
    """The encoder and the output are trained. Arguments as of `EncoderTagger`."""
