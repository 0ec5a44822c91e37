"""Sixteen styles of the default corpus as log-mel spectrograms: docs/images/corpus-styles.png.

    python benchmarks/corpus_gallery.py [--seconds 6] [--seed 7] [--output FILE]

What to look for: drum patterns as vertical lines at the tempo in the title, melodies and chords as stacks of harmonics,
pads that last, the noise floor and the missing top of lo-fi records.
"""

import argparse
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from PIL import Image
from torchaudio.transforms import MelSpectrogram

from tagscale import SAMPLE_RATE
from tagscale.synth.track import Track, default_soundfont, make_track

STYLES = (
    "soft_rock", "punk", "heavy_metal", "swing_jazz", "baroque", "romantic_orchestra", "techno", "ambient",
    "boom_bap", "trap", "bossa_nova", "tango", "bluegrass", "celtic", "indian", "slow_blues",
)  # fmt: skip
HOP = 160  # samples: 10 ms
MELS = 96


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Level in dB against the loudest point.

    Shape: (samples,) -> (MELS, frames)
    """
    mel = MelSpectrogram(SAMPLE_RATE, n_fft=1024, hop_length=HOP, n_mels=MELS)(torch.from_numpy(samples))
    level = 10 * torch.log10(mel + 1e-10)
    return (level - level.max()).numpy()


def draw(axes: Axes, track: Track) -> None:
    frame = track.song.frame
    axes.imshow(
        log_mel(track.samples), origin="lower", aspect="auto", cmap="magma", vmin=-65, vmax=-5,
        extent=(0, track.song.seconds, 0, MELS),
    )  # fmt: skip
    notes = [name for name in ("lo_fi", "live") if track.labels[name]]
    voices = [name for name in ("rap_vocals", "male_vocals", "female_vocals", "choir_vocals") if track.labels[name]]
    extras = ", ".join([*notes, *(voices[:1])]).replace("_", " ")
    title = f"{track.song.style.replace('_', ' ')}: {frame.meter.name}, {frame.bpm:.0f} bpm"
    axes.set_title(title + (f" ({extras})" if extras else ""), fontsize=8)
    axes.tick_params(labelsize=6, left=False, labelleft=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("docs/images/corpus-styles.png"))
    arguments = parser.parse_args()
    soundfont = default_soundfont()
    figure, grid = plt.subplots(4, 4, figsize=(14, 9))
    for number, (axes, style) in enumerate(zip(grid.flat, STYLES, strict=True)):
        draw(axes, make_track(number, arguments.seed, len(STYLES), arguments.seconds, soundfont, style))
    figure.supxlabel("seconds", fontsize=8)
    figure.tight_layout()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    picture = BytesIO()
    figure.savefig(picture, dpi=75)
    Image.open(picture).convert("RGB").quantize(64).save(arguments.output, optimize=True)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
