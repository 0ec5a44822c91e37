"""How often intervals hold what they should: test parts of some artists, drawn again and again from a population.

    python benchmarks/coverage.py --mtt data/mtt --state FILE --output benchmarks/results/coverage.md

Two populations. `MagnaTagATune`: a published network's scores of 4,332 clips by 75 artists with 50 tags (`--mtt`
is the folder that `published.load` reads); left out without it. `made-up`: 2,400 clips by 400 artists with
30 tags, 2 % to 30 % positive, where artists prefer tags and differ in size. The second model, for differences, is the
first with noise of its own in log-odds, a clip and tag and an artist and tag. Parts are drawn with replacement, so that
parts of 200 artists exist, and no interval profits from a population that is nearly used up.

What to look for: `SD x t` (what tagscale writes) near 95 % in the columns of the mean score of such parts, at all three
sizes. The truth in brackets is the score of the whole population: no interval of a small part promises to hold it.
Every `PIECE` parts are a piece of work, kept in the state file as it is done; more of `--parts` adds to them.
"""

import argparse
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from machine import processor
from published import load, noisy
from scipy.stats import norm

from tagscale.evaluation.bootstrap import effective_artists, interval, standard_error
from tagscale.evaluation.metrics import mean_of_known
from tagscale.evaluation.resamples import areas
from tagscale.runtime.files import read_json, write_json
from tagscale.study.comparison import FEW_SEEDS

CONFIDENCE, SIZES = 0.95, (20, 50, 200)
METRICS = ("ROC-AUC", "PR-AUC")
GROUPS = {"2 to 4": (2, 5), "5 to 9": (5, 10), "10 or more": (10, 10**9)}  # artists behind a tag
TRUTH = 4000  # parts whose mean score is the truth
PIECE = 50  # parts
RATIOS = (0.5, 1.0, 2.0)  # error of a mean from its seeds over that from the artists
FEWEST = 100  # intervals that a share needs
Ends = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Population:
    """Shape: labels (tracks, tags) bool; scores of two models (2, tracks, tags); artist (tracks,), a number."""

    name: str
    labels: np.ndarray
    scores: np.ndarray
    artist: np.ndarray

    @property
    def artists(self) -> int:
        return int(self.artist.max()) + 1

    @cached_property
    def carriers(self) -> np.ndarray:
        """(2, tags, artists): whether an artist has tracks with the tag, and without it."""
        table = np.zeros((2, self.labels.shape[1], self.artists), bool)
        for place, members in enumerate((self.labels, ~self.labels)):
            for tag, rows in enumerate(members.T):
                table[place, tag, self.artist[rows]] = True
        return table

    def metrics(self, counts: np.ndarray) -> np.ndarray:
        """ROC-AUC and PR-AUC of both models and all tags, (2 metrics, 2 models, tags, parts), NaN without both classes.

        counts: (artists, parts), how often each part holds each artist
        """
        held = counts.any(axis=1)[self.artist]
        values = np.full((2, 2, self.labels.shape[1], counts.shape[1]), np.nan)
        for model, scores in enumerate(self.scores):
            for tag, positive in enumerate(self.labels[held].T):
                if positive.any() and not positive.all():
                    values[:, model, tag] = areas(positive, scores[held, tag], self.artist[held], counts)
        return values


def magnatagatune(folder: Path) -> Population:
    """The clips of the clean test split, as a published network scores them."""
    data = load(folder)
    artist = pd.factorize(np.array(data.artists))[0]
    both = np.stack([data.scores, noisy(data.scores, artist, 0.3, seed=5)])
    return Population("MagnaTagATune", data.labels >= 0.5, both, artist)


def made_up(artists: int = 400, tracks: int = 2400, tags: int = 30, seed: int = 7) -> Population:
    random = np.random.default_rng(seed)
    size = random.lognormal(0, 1.3, artists)
    more = random.choice(artists, tracks - artists, p=size / size.sum())
    artist = random.permutation(np.concatenate([np.arange(artists), more]))
    scores, labels = np.empty((tracks, tags)), np.empty((tracks, tags), bool)
    for tag, rate in enumerate(10 ** random.uniform(-1.7, -0.5, tags)):
        liking, hearing = random.standard_normal((2, artists))[:, artist]
        level = liking + random.standard_normal(tracks)
        labels[:, tag] = level > np.quantile(level, 1 - rate)
        scores[:, tag] = 1 / (1 + np.exp(-(level + hearing + random.standard_normal(tracks))))
    return Population("made-up", labels, np.stack([scores, noisy(scores, artist, 0.3, seed=5)]), artist)


def intervals(
    values: np.ndarray, score: float, artists: int, left_out: np.ndarray, times: np.ndarray
) -> dict[str, Ends]:
    """Intervals of a macro score or of a difference, by the name of the method.

    values:   (resamples,)
    left_out: (n,), the score of the part without each of its artists, who is in it so many times, (n,)
    """
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [rest, 1 - rest])
    shift = score - values.mean()
    mean = (times * left_out).sum() / artists
    spread = times * (mean - left_out) ** 2
    jackknife = np.sqrt((artists - 1) / artists * spread.sum())
    skew = (times * (mean - left_out) ** 3).sum() / (6 * spread.sum() ** 1.5)
    bias = norm.ppf(np.clip((values < score).mean(), 0.5 / len(values), 1 - 0.5 / len(values)))

    def corrected(acceleration: float) -> Ends:
        steps = bias + norm.ppf([rest, 1 - rest])
        both = np.quantile(values, norm.cdf(bias + steps / (1 - acceleration * steps)))
        return both[0], both[1]

    return {
        "SD x t": interval(score, standard_error(values, artists), artists, CONFIDENCE),
        "percentiles, centred (before)": (low + shift, high + shift),
        "percentiles": (low, high),
        "basic": (2 * score - high, 2 * score - low),
        "BC": corrected(0.0),
        "BCa": corrected(float(skew)),
        "jackknife SD x t": interval(score, jackknife, artists, CONFIDENCE),
    }


def tag_intervals(values: np.ndarray, scores: np.ndarray, artists: int, behind: np.ndarray) -> dict[str, Ends]:
    """Intervals of single tags, (tags,) each, from (tags, resamples), and from the artists behind each tag."""
    rest, error = (1 - CONFIDENCE) / 2, standard_error(values, artists)
    known = ~np.isnan(values).all(axis=1)
    ends = np.full((2, len(values)), np.nan)
    ends[:, known] = np.nanquantile(values[known], [rest, 1 - rest], axis=1)
    ends += scores - mean_of_known(values.T)
    return {
        "SD x t in log-odds": interval(scores, error, behind, CONFIDENCE, (0.0, 1.0), log_odds=True),
        "SD x t": interval(scores, error, behind, CONFIDENCE, (0.0, 1.0)),
        "SD x t of all artists": interval(scores, error, artists, CONFIDENCE, (0.0, 1.0)),
        "percentiles, centred (before)": (np.clip(ends[0], 0, 1), np.clip(ends[1], 0, 1)),
    }


class Tally:
    """How often intervals hold each truth, and how wide they are, by what they are of."""

    def __init__(self) -> None:
        self.held: dict[str, list[np.ndarray]] = {}
        self.widths: dict[str, list[np.ndarray]] = {}

    def add(self, key: str, ends: Ends, truths: tuple[np.ndarray, ...], where: np.ndarray | None = None) -> None:
        low, high = (np.atleast_1d(end) for end in ends)
        members = ~np.isnan(low) if where is None else where & ~np.isnan(low)
        inside = [(low <= np.atleast_1d(truth)) & (np.atleast_1d(truth) <= high) for truth in truths]
        self.held.setdefault(key, []).append(np.stack(inside)[:, members])
        self.widths.setdefault(key, []).append((high - low)[members])

    def rows(self) -> dict[str, list[float]]:
        """By key: how many intervals, the share of them that holds each truth, and their median width."""
        rows = {}
        for key, held in self.held.items():
            inside, widths = np.concatenate(held, axis=1), np.concatenate(self.widths[key])
            if len(widths):
                rows[key] = [len(widths), *inside.mean(axis=1).tolist(), float(np.median(widths))]
        return rows


def simulate(population: Population, artists: int, piece: int, resamples: int) -> dict[str, Any]:
    """One piece of test parts and their intervals: shares of "mean score of such parts" and of "score of all"."""
    begin, random = time.process_time(), np.random.default_rng([artists, len(population.artist)])
    people, tally = population.artists, Tally()
    whole = population.metrics(np.ones((people, 1), int))[..., 0]  # (metrics, models, tags)
    many = random.multinomial(artists, np.full(people, 1 / people), size=TRUTH).T
    blocks = [population.metrics(block) for block in np.array_split(many, TRUTH // 500, axis=1)]
    values = np.concatenate(blocks, axis=-1)
    of_tags, macros = mean_of_known(np.moveaxis(values, -1, 0)), mean_of_known(np.moveaxis(values, 2, 0))
    means, alls = macros.mean(axis=-1), mean_of_known(np.moveaxis(whole, 2, 0))  # (metrics, models)
    random = np.random.default_rng([artists, len(population.artist), piece])
    for number in range(piece * PIECE, (piece + 1) * PIECE):
        counts, score = many[:, number], values[..., number]
        present = np.flatnonzero(counts)
        drawn = random.multinomial(artists, counts / artists, size=resamples).T
        without = counts[:, None] - np.eye(people, dtype=int)[:, present]
        both = population.metrics(np.hstack([drawn, without]))
        behind = (population.carriers & (counts > 0)) @ counts  # (2, tags); copies of an artist count as artists
        few = behind.min(axis=0)
        for place, metric in enumerate(METRICS):
            macro, aims = mean_of_known(np.moveaxis(both[place], 1, 0)), (means[place], alls[place])
            one, other = mean_of_known(score[place].T)
            cases = {"one": (macro[0], one, [aim[0] for aim in aims])}
            cases["gap"] = macro[0] - macro[1], one - other, [aim[0] - aim[1] for aim in aims]
            for case, (columns, centre, truths) in cases.items():
                ends = intervals(columns[:resamples], centre, artists, columns[resamples:], counts[present])
                for method, pair in ends.items():
                    tally.add(f"{case}|{metric}|{method}", pair, tuple(map(np.asarray, truths)))
            truths = of_tags[place, 0], whole[place, 0]
            of_parts = tag_intervals(both[place, 0, :, :resamples], score[place, 0], artists, few)
            for method, pair in of_parts.items():
                tally.add(f"tags|{metric}|{method}", pair, truths, few >= 2)
                for group, (least, most) in GROUPS.items():
                    tally.add(f"tags, {group}|{metric}|{method}", pair, truths, (few >= least) & (few < most))
    spread = {m: [float(v) for v in (means[i, 0], macros[i, 0].std(), alls[i, 0])] for i, m in enumerate(METRICS)}
    seconds = time.process_time() - begin
    thin = float((((population.carriers @ many) == 1).any(axis=0)).sum(axis=0).mean())
    facts = {"parts": PIECE, "resamples": resamples, "seconds": seconds, "scores": spread, "thin": thin}
    return facts | {"rows": tally.rows()}


def joined(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The pieces of one population and size as one."""
    rows = {}
    for key in dict.fromkeys(key for piece in pieces for key in piece["rows"]):
        table = np.array([piece["rows"][key] for piece in pieces if key in piece["rows"]])
        if table[:, 0].sum() >= FEWEST:
            rows[key] = np.average(table[:, 1:], axis=0, weights=table[:, 0]).tolist()
    sums = {key: sum(piece[key] for piece in pieces) for key in ("parts", "seconds")}
    return {**pieces[0], **sums, "rows": rows}


def with_seeds(studies: int = 10_000) -> list[str]:
    """Rows: how often intervals of a mean over seeds hold the truth, where the spread of few seeds is uncertain itself.

    Normal scores of independent artists and seeds, so that squared errors are those of chi-squared draws. A cell has
    the t of the artists alone, then that of `effective_artists`.
    """
    random, lines = np.random.default_rng(0), []
    for artists, seeds, sizes in product(SIZES, (2, 3, 5), (1, 3)):
        degrees = (sizes if seeds < FEW_SEEDS else 1) * (seeds - 1)
        cells = []
        for models, ratio in product((1, 2), RATIOS):
            over_artists = random.chisquare(artists - 1, studies) / (artists - 1)
            over_seeds = ratio**2 / models * random.chisquare(degrees, (studies, models)) / degrees
            score = random.normal(0, np.sqrt(1 + ratio**2), studies)
            error = np.sqrt(over_artists + over_seeds.sum(axis=1))
            told = [
                effective_artists(one, artists, [(variance, degrees) for variance in of_models])
                for one, of_models in zip(error, over_seeds.tolist(), strict=True)
            ]
            for behind in (artists, np.array(told)):
                low, high = interval(score, error, behind, CONFIDENCE)
                cells.append(f"{100 * ((low <= 0) & (high >= 0)).mean():.0f}")
        pairs = [f"{before} → {after}" for before, after in zip(cells[::2], cells[1::2], strict=True)]
        lines.append(f"| {artists} | {seeds} | {sizes} | {' | '.join(pairs)} |")
    return lines


def page(state: Mapping[str, Any]) -> str:
    heads = [f"{of}, {ratio:g} times" for of in ("mean", "gap") for ratio in RATIOS]
    lines = [
        "# How often intervals hold what they should",
        "",
        "`python benchmarks/coverage.py --mtt data/mtt --state FILE`",
        "",
        f"{datetime.date.today()}, {processor()}, other work on the machine. Shares of {CONFIDENCE:.0%} intervals that "
        "hold the mean score of test parts of as many artists and, in brackets, the score of the whole population; "
        "then the median width. Gaps are differences of two models. `SD x t` is what tagscale writes of means, and "
        "`SD x t in log-odds` of single tags; percentiles, centred, is what it wrote before. A share of 95 % from 500 "
        "parts is uncertain by ± 1.0 points (one standard deviation), from 200 by ± 1.5. Studentised intervals need "
        "the error of every resample, and are not measured here.",
        "",
    ]
    order = [(name, size) for name in ("MagnaTagATune", "made-up") for size in SIZES]
    for population, artists in order:
        pieces = [piece for key, piece in state.items() if key.startswith(f"{population}|{artists}|")]
        if not pieces:
            continue
        row = joined(pieces)
        scores = [
            f"{metric}: mean of the parts {mean:.3f}, their SD {sd:.4f}, whole population {all_of_it:.3f}"
            for metric, (mean, sd, all_of_it) in row["scores"].items()
        ]
        lines += [
            f"## {population}, {artists} artists",
            "",
            f"{row['parts']} parts of {row['resamples']} resamples, {row['seconds']:.0f} CPU seconds. "
            f"{'; '.join(scores)}. Tags with one artist, a part: {row['thin']:.1f}.",
            "",
            "| means over tags | ROC-AUC | width | gap | width | PR-AUC | width | gap | width |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        keys = [(case, metric) for metric in METRICS for case in ("one", "gap")]
        lines += _rows(row["rows"], [f"{case}|{metric}" for case, metric in keys])
        groups = ["tags", *(f"tags, {group}" for group in GROUPS)]
        heads = [f"{metric}{'' if group == 'tags' else group[4:]}" for metric in METRICS for group in groups]
        lines += ["", f"| single tags, by the artists behind them | {' | width | '.join(heads)} | width |"]
        lines += ["|---|" + "---|" * (2 * len(heads))]
        lines += [*_rows(row["rows"], [f"{group}|{metric}" for metric in METRICS for group in groups]), ""]
    lines += [
        "## Artists and seeds",
        "",
        "Shares (%) of intervals of a mean over seeds that hold the truth, for normal scores. The spread over few "
        "seeds is uncertain itself. Left of the arrow: Student's t with the degrees of freedom of the artists, as "
        "tagscale took it before; right: with Satterthwaite's (1946), as it takes now. Columns: the error from the "
        "seeds over that from the artists, for the mean of a model and for the gap between two. Fewer than five seeds "
        "are pooled over all sizes of a model. A share is uncertain by ± 0.2 points.",
        "",
        f"| artists | seeds | sizes | {' | '.join(heads)} |",
        f"|---|---|---|{'---|' * 2 * len(RATIOS)}",
        *with_seeds(),
        "",
    ]
    return "\n".join(lines)


def _rows(rows: Mapping[str, list[float]], keys: list[str]) -> list[str]:
    """A row a method, two columns a key."""
    methods = [key.removeprefix(f"{keys[0]}|") for key in rows if key.startswith(f"{keys[0]}|")]
    lines = []
    for method in methods:
        cells = []
        for key in keys:
            mean, of_all, width = rows.get(f"{key}|{method}", [np.nan] * 3)
            cells += ["", ""] if np.isnan(width) else [f"{100 * mean:.0f} ({100 * of_all:.0f})", f"{width:.4f}"]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mtt", type=Path, help="the folder of MagnaTagATune's annotations and published scores")
    parser.add_argument("--parts", type=int, default=500, help="test parts of each population and size")
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--artists", type=int, nargs="*", default=SIZES)
    parser.add_argument("--state", type=Path, required=True, help="a JSON file of the pieces that are done")
    parser.add_argument("--output", type=Path, help="the page, written from the state file")
    given = parser.parse_args()
    makers: list[Callable[[], Population]] = [*([lambda: magnatagatune(given.mtt)] if given.mtt else []), made_up]
    populations = [make() for make in makers]
    for piece, artists, population in product(range(given.parts // PIECE), given.artists, populations):
        state = read_json(given.state) if given.state.exists() else {}
        if (key := f"{population.name}|{artists}|{piece}") not in state:
            row = simulate(population, artists, piece, given.resamples)
            write_json(given.state, state | {key: row})
            print(key, f"{row['seconds']:.0f} s", row["rows"]["one|PR-AUC|SD x t"], flush=True)
    if given.output:
        given.output.write_text(page(read_json(given.state)), encoding="utf-8")


if __name__ == "__main__":
    main()
