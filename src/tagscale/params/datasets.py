"""Facts about the datasets that tagscale reads, by `dataset.source`: what people call them, licence, how to cite."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """What a reader of a model's card must know of its data.

    title: what people call it; licence: of annotations and audio, in words; citation: "" where there is none
    """

    title: str
    licence: str
    citation: str = ""


NOT_STATED = "not stated"
DATASETS = {
    "synth": Facts(
        title="a corpus that tagscale composes and renders",
        licence="no music of others is in it; played with the soundfont of pretty_midi, or one of the user's",
    ),
    "folder": Facts(title="audio files and a table of the user's own", licence=NOT_STATED),
    "mtt": Facts(
        title="MagnaTagATune",
        licence="CC BY-NC-SA 3.0: not for commercial use. Music: Magnatune, magnatune.com.",
        citation="E. Law, K. West, M. Mandel, M. Bay, J. S. Downie: Evaluation of Algorithms Using Games: The Case of "
        "Music Tagging. ISMIR 2009.",
    ),
    "msd": Facts(
        title="Million Song Dataset, 50 tags of Last.fm",
        licence="the tags of Last.fm are for non-commercial research; the previews are their owners'",
        citation="T. Bertin-Mahieux, D. P. W. Ellis, B. Whitman, P. Lamere: The Million Song Dataset. ISMIR 2011.",
    ),
    "jamendo": Facts(
        title="MTG-Jamendo",
        licence="metadata CC BY-NC-SA 4.0; each track under the Creative Commons licence that its artist chose",
        citation="D. Bogdanov, M. Won, P. Tovstogan, A. Porter, X. Serra: The MTG-Jamendo Dataset for Automatic Music "
        "Tagging. ML4MD workshop, ICML 2019.",
    ),
    "fma": Facts(
        title="FMA",
        licence="metadata CC BY 4.0; each track under the licence that its artist chose (license in tracks.csv).",
        citation="M. Defferrard, K. Benzi, P. Vandergheynst, X. Bresson: FMA: A Dataset For Music Analysis. "
        "ISMIR 2017.",
    ),
    "gtzan": Facts(
        title="GTZAN, the fault-filtered split",
        licence=f"{NOT_STATED}; the excerpts are of commercial recordings",
        citation="G. Tzanetakis, P. Cook: Musical Genre Classification of Audio Signals. IEEE Transactions on Speech "
        "and Audio Processing, 2002.",
    ),
    "mgphot": Facts(
        title="MGPHot",
        licence="the annotations are for non-commercial use; the recordings are their owners'",
        citation="S. Oramas et al.: MGPHot: A Dataset of Musicological Annotations for Popular Music (1958-2022). "
        "Transactions of ISMIR, 2025.",
    ),
}
