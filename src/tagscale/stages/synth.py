"""Stage `synth`: make the default corpus, unless the user brings a dataset."""

from pathlib import Path

from tagscale.params.load import Params
from tagscale.synth.corpus import make_corpus


def run(params: Params, *, corpus: Path, workers: int | None = None) -> None:
    """Make the corpus of `params.synth` in a folder, or what is missing of it.

    With `dataset.source: folder` nothing is made, and the folder stays as it is.

    Args:
        corpus: folder for the tables and the audio
        workers: processes; None: one for every core

    Raises:
        TagscaleError: more artists than tracks, no soundfont, or a folder with somebody else's data.
    """
    if params.dataset.source != "synth":
        corpus.mkdir(parents=True, exist_ok=True)
        print(f"dataset.source is `{params.dataset.source}`: no corpus to make")
        return
    make_corpus(corpus, params.synth, workers)
