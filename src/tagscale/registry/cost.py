"""What a packaged model costs its user: the time for a song, and the size of its files."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from tagscale import SAMPLE_RATE
from tagscale.registry.tagger import AudioTagger

SONG_SECONDS = 30
TURNS = 5  # after one that warms up; the fastest counts, as others may use the machine meanwhile
CPU = "one CPU thread"
TIME, SIZE, PLACE = "tagscale.ms_per_song", "tagscale.megabytes", "tagscale.ms_measured_on"  # tags of a version


@dataclass(frozen=True)
class Cost:
    """Milliseconds for the scores of 30 s of decoded audio, where they were measured, and megabytes of the files."""

    ms_per_song: float
    megabytes: float
    place: str

    @property
    def tags(self) -> dict[str, str]:
        """The cost as tags of a version. They are no part of its identity: another machine measures another time."""
        return {TIME: _three_digits(self.ms_per_song), SIZE: _three_digits(self.megabytes), PLACE: self.place}


def cost_of(tagger: AudioTagger) -> Cost:
    """Measure a tagger on one thread of this machine, or on its GPU where predictions run there."""
    return costs_of(tagger)[0]


def costs_of(*taggers: AudioTagger) -> list[Cost]:
    """Measure taggers in turn, so that what the machine does beside falls on all of them."""
    samples = np.random.default_rng(0).normal(0, 3000, SONG_SECONDS * SAMPLE_RATE).astype(np.int16)
    times: list[list[float]] = [[] for _ in taggers]
    places = [""] * len(taggers)
    for _ in range(1 + TURNS):
        for number, tagger in enumerate(taggers):
            with threadpool_limits(1), _network_on_one_thread(tagger) as places[number]:
                times[number].append(_seconds(tagger, samples))
    each = zip(taggers, times, places, strict=True)
    return [Cost(1000 * min(seconds[1:]), _megabytes(tagger), place) for tagger, seconds, place in each]


def _megabytes(tagger: AudioTagger) -> float:
    with tempfile.TemporaryDirectory() as folder:
        replace(tagger, profile=None).save(Path(folder) / "tagger")  # which no tag needs
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6


def cost_words(tags: Mapping[str, str]) -> str:
    """The cost in the tags of a version; "" where none was measured.

    >>> cost_words({TIME: "12.3", SIZE: "0.4", PLACE: "one CPU thread"})
    '12.3 ms per 30 s of audio on one CPU thread, 0.4 MB'
    """
    if TIME not in tags:
        return ""
    return f"{tags[TIME]} ms per {SONG_SECONDS} s of audio on {tags[PLACE]}, {tags[SIZE]} MB"


def _three_digits(value: float) -> str:
    """The value as people read it.

    >>> _three_digits(12345.6), _three_digits(0.123456)
    ('12300', '0.123')
    """
    return f"{float(f'{value:.3g}'):g}"


@contextmanager
def _network_on_one_thread(tagger: AudioTagger) -> Iterator[str]:
    """Compute on one thread inside the block. Yields where the tagger computes: a GPU, or a thread of the CPU."""
    if "torch" not in tagger.scorer.needs:
        yield CPU
        return
    import torch  # here, since trees need none of it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield "a GPU" if torch.cuda.is_available() else CPU
    finally:
        torch.set_num_threads(threads)


def _seconds(tagger: AudioTagger, samples: np.ndarray) -> float:
    begin = time.perf_counter()
    tagger.scorer.scores(samples)
    return time.perf_counter() - begin
