"""Published encoders: taggers that others have trained on far more music than most users have.

This module holds the facts about each and imports no torch. One file a network beside it says how it computes; the
weights are no part of tagscale: `tagscale fetch-encoders` gets them, and `training.encoders.load_encoder` loads them.
A further encoder is a network (its file here, its line in `ENCODER_NETWORKS` of `models/spec.py`) and an entry here.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """One published encoder.

    Attributes:
        network: key of `spec.ENCODER_NETWORKS`
        checkpoint: folder of the released checkpoint in the package that publishes it
        groups: tag -> group, in the order of the outputs
        trained_on: the data, as people call it
        scores: published, on the test part of that data; keys of `evaluation.metrics`
    """

    name: str
    network: str
    checkpoint: str
    groups: dict[str, str]
    trained_on: str
    scores: dict[str, float]
    capacity: dict[str, Any]

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(self.groups)

    @property
    def model(self) -> str:
        """Its name as a registered model.

        >>> ENCODERS["msd_musicnn"].model
        'msd-musicnn'
        """
        return model_name(self.name)


PATCH_SECONDS = 3.0
CITATION = (
    "J. Pons, X. Serra: musicnn: pre-trained convolutional neural networks for music audio tagging. Late-breaking "
    "and demo session, ISMIR 2019."
)
PACKAGE, VERSION = "musicnn", "0.1.0"  # of the Python package that publishes the checkpoints
SHA256 = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"  # of its wheel
LICENCE_NAME = "ISC"
# The licence asks that this text goes with every copy of the weights. A packaged model carries this module.
LICENCE = """\
Copyright (c) Music Technology Group, Universitat Pompeu Fabra 2019. Code developed by Jordi Pons (www.jordipons.me).

Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby \
granted, provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL \
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, \
INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN \
AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR \
PERFORMANCE OF THIS SOFTWARE.
"""


# Outputs in their order: "tag" or "tag: group"; the usual group of a list stands with it.
MSD_TAGS = """
rock, pop, alternative, indie, electronic, female vocalists: vocal, dance, 00s: era, alternative rock, jazz,
beautiful: mood, metal, chillout, male vocalists: vocal, classic rock, soul, indie rock, Mellow: mood, electronica,
80s: era, folk, 90s: era, chill: mood, instrumental: vocal, punk, oldies: era, blues, hard rock, ambient,
acoustic: instrument, experimental, female vocalist: vocal, guitar: instrument, Hip-Hop, 70s: era, party: mood, country,
easy listening, sexy: mood, catchy: mood, funk, electro, heavy metal, Progressive rock, 60s: era, rnb, indie pop,
sad: mood, House, happy: mood
"""
MTT_TAGS = """
guitar: instrument, classical, slow: tempo, techno, strings: instrument, drums: instrument, electronic, rock,
fast: tempo, piano: instrument, ambient, beat: tempo, violin: instrument, vocal: vocal, synth: instrument,
female: vocal, indian, opera, male: vocal, singing: vocal, vocals: vocal, no vocals: vocal, harpsichord: instrument,
loud: mood, quiet: mood, flute: instrument, woman: vocal, male vocal: vocal, no vocal: vocal, pop, soft: mood,
sitar: instrument, solo: instrument, man: vocal, classic, choir: vocal, voice: vocal, new age, dance, male voice: vocal,
female vocal: vocal, beats: tempo, harp: instrument, cello: instrument, no voice: vocal, weird: mood, country, metal,
female voice: vocal, choral: vocal
"""


def _groups(text: str) -> dict[str, str]:
    """Tag -> group of a list above; a tag without one is a genre."""
    pairs = (entry.strip().partition(": ") for entry in text.replace("\n", " ").split(","))
    return {tag: group or "genre" for tag, _, group in pairs}


MUSICNN: dict[str, Any] = {"network": "musicnn", "capacity": {"width": 1.0, "units": 200, "dropout": 0.5}}
MSD: dict[str, Any] = {"groups": _groups(MSD_TAGS), "trained_on": "Million Song Dataset, 50 tags of Last.fm"}
MTT: dict[str, Any] = {"groups": _groups(MTT_TAGS), "trained_on": "MagnaTagATune, 50 tags"}


def _vgg(pooling: str) -> dict[str, Any]:
    return {"network": "musicnn_vgg", "capacity": {"width": 1.0, "pooling": pooling, "dropout": 0.5}}


def _scores(roc_auc: float, pr_auc: float) -> dict[str, float]:
    return {"roc_auc": roc_auc, "pr_auc": pr_auc}


_ENTRIES = (
    Published("msd_musicnn", checkpoint="MSD_musicnn", scores=_scores(0.8802, 0.2891), **MUSICNN, **MSD),
    Published("mtt_musicnn", checkpoint="MTT_musicnn", scores=_scores(0.9067, 0.3831), **MUSICNN, **MTT),
    Published("msd_vgg", checkpoint="MSD_vgg", scores=_scores(0.8768, 0.2819), **_vgg("separate"), **MSD),
    Published("mtt_vgg", checkpoint="MTT_vgg", scores=_scores(0.9030, 0.3823), **_vgg("overlapping"), **MTT),
)
ENCODERS = {entry.name: entry for entry in _ENTRIES}


def model_name(encoder: str) -> str:
    """The name of a published encoder as a registered model, from either spelling."""
    return encoder.replace("_", "-")


def is_published(model: str) -> bool:
    """Whether a registered model's name, with hyphens or underscores, is that of a published encoder.

    >>> is_published("msd-musicnn"), is_published("tagscale-tagger")
    (True, False)
    """
    return model.replace("-", "_") in ENCODERS
