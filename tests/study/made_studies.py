"""Studies in memory of labels and scores that chance makes, through the metrics and resamples of `evaluation`.

Few artists, tags without a positive or with nothing else, models that are alike or constant, scores that rise, fall and
cross over the training size: whatever a sentence on a study has to be true of.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tagscale.evaluation.bootstrap import draw, resampled_metrics
from tagscale.evaluation.metrics import ARTISTS, GUESS, METRICS, OF_TAGS, PARTS, evaluate, guess
from tagscale.study.grid import Study

POOL = ("waveform", "spectrogram", "short_chunk", "samplecnn", "vgg", "probe", "descriptors", "ensemble")
RESAMPLES = 40


@dataclass(frozen=True)
class Part:
    """Shape: labels (tracks, tags), artist (tracks,)."""

    labels: np.ndarray
    artist: np.ndarray


def made_study(number: int) -> Study:
    """The study of that number."""
    random = np.random.default_rng([number, 19])
    sizes = [[50], [50, 200], [50, 100, 200], [25, 50, 100, 200]][random.choice(4, p=[0.15, 0.15, 0.45, 0.25])]
    front_ends, others = random.permutation(POOL[:3]), random.permutation(POOL[3:])
    chosen = [*front_ends[: random.integers(1, 4)], *others[: random.integers(0, 4)]]
    chosen = chosen if random.random() < 0.85 else others[:2]
    models = [model for model in POOL if model in chosen]
    seeds = int(random.choice([1, 1, 2, 3, 5]))
    resamples = 0 if random.random() < 0.15 else RESAMPLES
    kinds = ["classification"] * int(random.choice([0, 1, 2, 5], p=[0.1, 0.2, 0.3, 0.4]))
    kinds += ["regression"] * int(random.choice([0, 2])) if kinds else ["regression"]
    artists = int(random.choice([1, 2, 5, 10, 20], p=[0.1, 0.1, 0.2, 0.3, 0.3]))
    parts = {part: _part(random, artists, kinds, part) for part in PARTS}
    skill = _skills(random, len(models), len(sizes))
    noise, of_seeds = float(random.choice([0.3, 0.8, 1.6])), float(random.choice([0.0, 0.1, 0.5]))
    own = {part: random.normal(0, noise, (len(models), *parts[part].labels.shape)) for part in PARTS}
    constant = random.random() < 0.1
    rows = _Rows(kinds, resamples)
    for place, model in enumerate(models):
        for step, tracks in enumerate(sizes):
            for seed in range(seeds):
                cell = {"model": model, "size": str(tracks), "seed": seed}
                shift = of_seeds * random.standard_normal()
                scores = {
                    part: _scores((skill[place, step] + shift) * (np.nan_to_num(of.labels) - 0.5) + own[part][place])
                    for part, of in parts.items()
                }
                if constant and place == 0:
                    scores = {part: np.full_like(of.labels, 0.5) for part, of in parts.items()}
                rows.add(cell | {"train_tracks": tracks, "parameters": place + 1, "seconds": 60.0}, parts, scores)
    return rows.study(models, artists)


def _part(random: np.random.Generator, artists: int, kinds: list[str], part: str) -> Part:
    tracks = artists * int(random.choice([3, 6])) if artists > 2 else 16
    artist = np.concatenate([np.arange(artists), random.integers(artists, size=tracks - artists)])
    shape = tracks, len(kinds)
    latent = random.standard_normal((artists, len(kinds)))[artist] + random.standard_normal(shape)
    labels = np.where([kind == "classification" for kind in kinds], latent > 0.6, 1 / (1 + np.exp(-latent)))
    odd = random.choice(["", "none", "one", "all", "one artist", "unknown"], p=[0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    if odd and kinds[0] == "classification" and (part == "test" or random.random() < 0.3):
        values = {"none": 0.0, "one": np.arange(tracks) == 0, "all": 1.0, "one artist": artist == 0, "unknown": np.nan}
        labels[:, : 1 + random.integers(len(kinds))][:, :5] = np.atleast_2d(values[str(odd)]).T
    return Part(labels, artist)


def _skills(random: np.random.Generator, models: int, sizes: int) -> np.ndarray:
    """(models, sizes): flat, rising, crossing, or jumping up and down."""
    steps = np.linspace(0, 1, sizes) if sizes > 1 else np.ones(1)
    start, rise = random.uniform(0.2, 2, (models, 1)), random.uniform(0, 1.5, (models, 1))
    kind = random.choice(["flat", "rising", "crossing", "jumping", "equal"])
    if kind == "crossing" and models > 1:
        start[:2, 0], rise[:2, 0] = random.permutation([[4.0, 0.3], [-3.7, 3.7]], axis=1)
    jumps = random.uniform(-1, 1, (models, sizes)) if kind == "jumping" else 0
    return np.ones((models, sizes)) if kind == "equal" else start + (kind != "flat") * rise * steps + jumps


def _scores(log_odds: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


class _Rows:
    """The tables of a study, row by row."""

    def __init__(self, kinds: list[str], resamples: int) -> None:
        self.about = pd.DataFrame(
            {"tag": [f"tag {number}" for number in range(len(kinds))], "kind": kinds, "group": "all"}
        )
        self.resamples, self.regression = resamples, np.array(kinds) == "regression"
        self.runs: list[dict] = []
        self.tags: list[pd.DataFrame] = []
        self.drawn: list[pd.DataFrame] = []

    def add(self, cell: dict, parts: dict[str, Part], scores: dict[str, np.ndarray]) -> None:
        row, key = dict(cell), {name: cell[name] for name in ("model", "size", "seed")}
        for part, of in parts.items():
            metrics = evaluate(of.labels, scores[part], self.regression, artist=of.artist)
            overall = metrics.overall()
            row |= {f"{part}_{metric}": value for metric, value in overall.items()}
            columns = {name: getattr(metrics, name) for name in ("positives", "tracks", ARTISTS)} | metrics.values
            columns |= {f"{metric}_{end}": np.nan for metric in OF_TAGS for end in ("low", "high")}
            if part == "test" and self.resamples:
                draws = draw([str(one) for one in of.artist], self.resamples, "test")
                drawn = resampled_metrics(of.labels, scores[part], self.regression, draws, threads=1)
                for metric in OF_TAGS:
                    low, high = drawn.intervals(metric, metrics[metric], 0.95)
                    columns |= {f"{metric}_low": low, f"{metric}_high": high}
                values = {
                    metric: rows + (overall[metric] - np.nanmean(rows)) if not np.isnan(rows).all() else rows
                    for metric, rows in drawn.overall().items()
                }
                self.drawn.append(pd.DataFrame({**key, "resample": np.arange(self.resamples), **values}))
            table = self.about.assign(part=part, **columns, **{GUESS: guess(of.labels, self.regression)})
            self.tags.append(table.assign(**key))
        self.runs.append(row)

    def study(self, models: list[str], artists: int) -> Study:
        empty = pd.DataFrame(columns=["model", "size", "seed", "resample", *METRICS])
        return Study(
            everyone=models,
            dataset_hash="d" * 12,
            partition_hash="p" * 12,
            runs=pd.DataFrame(self.runs),
            tags=pd.concat(self.tags, ignore_index=True),
            groups=pd.DataFrame(),
            curves=pd.DataFrame(),
            unscored=pd.DataFrame(),
            unlearned=pd.DataFrame(),
            notes=[],
            resamples=pd.concat(self.drawn, ignore_index=True) if self.drawn else empty,
            artists=artists if self.drawn else 0,
        )
