"""The gate over 26 nights: how often an equal retraining replaces the champion, and how often a better one does.

    python benchmarks/gate.py data/mtt [--artists 20 50 200] [--parts 1000] [--resampled 100] [--output FILE]

The folder holds MagnaTagATune's `clip_info_final.csv.gz` and `published/`: a published network's scores of the 4,332
clips of the clean test split by 75 artists, and their labels. A test part of so many artists is drawn from these with
replacement. 27 models are the published one with noise of their own in log-odds, a clip and tag and an artist and tag.
They are made equal: from each score its mean over all test parts is taken away. The first is the champion, the others
come one a night; `--gain` is added to a candidate that is truly better.

The jackknife leaves out one artist after another, as tagscale does, and leaves out the same tags. `any false` is the
share of test parts on which any of 26 equal candidates is promoted. The gate's is to be at most 5 %. `power` is the
share of test parts on which a better candidate of that night is promoted, after equal ones; `ever`: where all 26
candidates are better, the share on which one of them is.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from machine import processor
from scipy.special import stdtr

from tagscale.evaluation.decisions import logit
from tagscale.registry.paired import power
from tagscale.runtime.command import write_anything

NIGHTS, ERROR, LEVEL = 26, 0.05, 0.05 / 26
PUBLISHED = 0.4508741076307893  # macro PR-AUC of all clips
SHOWN = (1, 5, 26)  # nights whose power stands in the table
Rule = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # look, difference, error, validation


class Clips:
    """The published model's scores and labels, (clips, tags), and the number of each clip's artist."""

    def __init__(self, folder: Path) -> None:
        scores = pd.read_csv(folder / "published" / "scores_test_clean.csv.gz")
        labels = pd.read_csv(folder / "published" / "labels_test_clean.csv.gz")
        about = pd.read_csv(folder / "clip_info_final.csv.gz", sep="\t", usecols=["mp3_path", "artist"]).dropna()
        names = scores[["mp3_path"]].merge(about, on="mp3_path", how="left", validate="1:1")["artist"]
        self.artist = pd.factorize(names)[0]
        self.scores, self.positive = scores.iloc[:, 1:].to_numpy(float), labels.iloc[:, 1:].to_numpy(float) >= 0.5

    @property
    def artists(self) -> int:
        return int(self.artist.max()) + 1

    def retrained(self, seed: int, noise: float) -> np.ndarray:
        """The scores of another model, in log-odds: with noise a clip and tag, and an artist and tag."""
        random = np.random.default_rng(seed)
        of_artist = random.standard_normal((self.artists, self.scores.shape[1]))[self.artist]
        return np.asarray(logit(self.scores) + noise * (random.standard_normal(self.scores.shape) + of_artist))


class Model:
    """A model's scores of the clips, ready for any weights of their artists.

    `evaluation.resamples` gives the same numbers; this form is several times as fast where artists are few.
    """

    def __init__(self, clips: Clips, scores: np.ndarray) -> None:
        self.tags = []
        for tag in range(scores.shape[1]):
            order = np.argsort(-scores[:, tag], kind="stable")
            value, positive, own = scores[order, tag], clips.positive[order, tag], clips.artist[order]
            hot = np.zeros((len(own), clips.artists), np.float32)  # holds these whole numbers exactly
            hot[np.arange(len(own)), own] = 1
            true, both = np.cumsum(hot * positive[:, None], axis=0), np.cumsum(hot, axis=0)
            last = (np.searchsorted(-value, -value, "right") - 1)[positive]  # all clips that score as high or higher
            self.tags.append((true[last], both[last], own[positive], true[-1]))

    def precision(self, weights: np.ndarray) -> np.ndarray:
        """PR-AUC of every tag where artists count so often, (tags, columns) of weights (artists, columns)."""
        weights = np.ascontiguousarray(weights, np.float32)
        values = np.empty((len(self.tags), weights.shape[1]))
        for tag, (true, both, own, positives) in enumerate(self.tags):
            precision = true @ weights
            precision /= np.maximum(both @ weights, 1)  # nothing drawn down to here: nothing gained
            drawn = positives @ weights
            area = np.einsum("pc,pc->c", weights[own], precision)
            values[tag] = np.where(drawn > 0, area / np.where(drawn > 0, drawn, 1), np.nan)
        return values


class Nights:
    """All models on some test parts and validation parts, and what tells the error of their differences.

    Shape:
        test, valid: (models, parts), macro PR-AUC
        spread: (models, parts, artists or resamples), the same without one artist, or in a resample
        times: (parts, artists), how often an artist is in the part and so left out; None for resamples
    """

    def __init__(self, clips: Clips, artists: int, count: int, resamples: int, noise: float, seed: int) -> None:
        random = np.random.default_rng([seed, artists])
        everyone = np.full(clips.artists, 1 / clips.artists)
        tests, valids = (random.multinomial(artists, everyone, count).T.astype(np.uint16) for _ in range(2))
        self.artists, self.count, self.times = artists, count, tests.T.astype(float)
        where = np.argwhere(tests.T > 0)
        without = tests[:, where[:, 0]].copy()
        without[where[:, 1], np.arange(len(where))] -= 1
        known = self._known(clips, tests, without, where)
        if resamples:
            where = np.argwhere(np.ones((count, resamples)))
            drawn = [random.multinomial(artists, part / artists, resamples).T for part in tests.T.astype(float)]
            without = np.concatenate(drawn, axis=1).astype(np.uint16)
        self.resamples = resamples
        self.spread = np.zeros((NIGHTS + 1, count, resamples or clips.artists), np.float32)
        self.test, self.valid = np.zeros((2, NIGHTS + 1, count))
        for model in range(NIGHTS + 1):
            made = Model(clips, clips.retrained(1000 * seed + model, noise))
            self.test[model] = np.nanmean(np.where(known, made.precision(tests), np.nan), axis=0)
            self.valid[model] = np.nanmean(made.precision(valids), axis=0)
            for columns in np.array_split(np.arange(len(where)), max(1, len(where) // 1000)):
                values = made.precision(without[:, columns])
                mean = np.nanmean(np.where(known[:, where[columns, 0]], values, np.nan), axis=0)
                self.spread[model][tuple(where[columns].T)] = mean
        for values in (self.test, self.valid):
            values += values.mean() - values.mean(axis=1, keepdims=True)

    @staticmethod
    def _known(clips: Clips, tests: np.ndarray, without: np.ndarray, where: np.ndarray) -> np.ndarray:
        """Which tags keep both classes whoever is left out, (tags, parts)."""
        hits = np.zeros((2, clips.artists, clips.positive.shape[1]))
        for number, of_class in enumerate((clips.positive, ~clips.positive)):
            np.add.at(hits[number], clips.artist, of_class)
        known = np.ones((clips.positive.shape[1], tests.shape[1]), bool)
        for one in hits:
            lost = (one.T @ without.astype(float)) == 0  # (tags, columns)
            tag, column = np.nonzero(lost)
            known[tag, where[column, 0]] = False
        return known

    def error(self, model: int, champion: np.ndarray) -> np.ndarray:
        """The error of the difference of a model and each part's champion, (parts,)."""
        change = self.spread[model].astype(float) - self.spread[champion, np.arange(self.count)]
        n = self.artists
        if self.resamples:
            return np.asarray(change.std(axis=1, ddof=1) * np.sqrt(n / (n - 1)))
        mean = (self.times * change).sum(axis=1, keepdims=True) / n
        return np.asarray(np.sqrt((n - 1) / n * (self.times * (change - mean) ** 2).sum(axis=1)))


def rules(artists: int) -> dict[str, tuple[Rule, bool]]:
    """Name -> the rule, and whether the validation part is asked first."""
    random = np.random.default_rng(0)

    def tested(level: Callable[[np.ndarray], np.ndarray]) -> Rule:
        return lambda look, gap, error, valid: stdtr(artists - 1, -gap / error) <= level(look)

    def thresholdout(limit: float, scale: float) -> Rule:
        def rule(look: np.ndarray, gap: np.ndarray, error: np.ndarray, valid: np.ndarray) -> np.ndarray:
            close = np.abs(valid - gap) < limit + random.laplace(0, 2 * scale, gap.shape)
            return np.where(close, valid, gap + random.laplace(0, scale, gap.shape)) > limit

        return rule

    flat = tested(lambda look: LEVEL * (look <= NIGHTS))
    return {
        "**the gate: ahead on validation, then error / 26**": (flat, True),
        "the same, validation not asked": (flat, False),
        "error · 6 / (π k)² at look k": (tested(lambda look: ERROR * 6 / (np.pi * look) ** 2), True),
        "95 % interval above 0, each night": (tested(lambda look: 0.025 + 0 * look), False),
        "any better score (before)": (lambda look, gap, error, valid: gap > 0, False),
        "ladder, step .01": (lambda look, gap, error, valid: gap > 0.01, False),
        "ladder, step .02": (lambda look, gap, error, valid: gap > 0.02, False),
        "reusable holdout, threshold .02": (thresholdout(0.02, 0.005), False),
    }


def row_of(nights: Nights, rule: Rule, screened: bool, gain: float) -> list[str]:
    """The cells of one rule."""
    every, count = np.arange(nights.count), nights.count
    champion, promoted, looks, passes = np.zeros(count, int), np.zeros(count), np.zeros(count), []
    level = nights.test.mean()
    for night in range(1, NIGHTS + 1):
        error = nights.error(night, champion)
        gap, valid = (values[night] - values[champion, every] for values in (nights.test, nights.valid))
        if night in SHOWN:
            seen = valid + gain > 0 if screened else np.ones(count, bool)
            passes.append((seen & rule(looks + 1, gap + gain, error, valid + gain)).mean())
        seen = valid > 0 if screened else np.ones(count, bool)
        looks = looks + seen
        passed = seen & rule(np.maximum(looks, 1), gap, error, valid)
        promoted += passed
        champion = np.where(passed, night, champion)
    record, used = nights.test[champion, every].mean() - level, looks.mean()
    ever, looks = np.zeros(count, bool), np.zeros(count)
    for night in range(1, NIGHTS + 1):  # all candidates are better than the first champion, which stays
        gap, valid = (values[night] - values[0] + gain for values in (nights.test, nights.valid))
        seen = valid > 0 if screened else np.ones(count, bool)
        looks = looks + seen
        ever |= seen & rule(np.maximum(looks, 1), gap, nights.error(night, np.zeros(count, int)), valid)
    false = (promoted > 0).mean()
    doubt = np.sqrt(max(false * (1 - false), 1 / count) / count)
    cells = [f"{false:.1%} ± {doubt:.1%}", f"{promoted.mean():.2f}", f"{record:+.4f}", f"{used:.0f}"]
    return [*cells, " / ".join(f"{share:.0%}" for share in passes), f"{ever.mean():.0%}"]


def tables(clips: Clips, artists: int, count: int, resampled: int, arguments: argparse.Namespace) -> list[str]:
    """The lines of one size."""
    begin = time.process_time()
    nights = Nights(clips, artists, count, 0, arguments.noise, arguments.seed)
    pair = nights.test[1] - nights.test[0]
    error = nights.error(1, np.zeros(nights.count, int))
    foretold = np.mean([power(arguments.gain, one, artists - 1, LEVEL) for one in error])
    below = {deficit: (pair - deficit > 0).mean() for deficit in (0.0, 0.01, 0.02)}
    level = f"{ERROR:g} / {NIGHTS}"
    lines = [f"## {artists} artists", ""]
    lines += [
        f"Macro PR-AUC {nights.test.mean():.3f}. The difference of two retrainings has an SD of {pair.std():.4f} over "
        f"test parts; by the jackknife {np.sqrt((error**2).mean()):.4f} (root mean square), and less than the true one "
        f"in {(error < pair.std()).mean():.0%} of the parts. The chance that a gain of {arguments.gain:g} passes at "
        f"{level}, foretold from a part's own error, is {foretold:.0%} in the mean. A candidate that is as good as the "
        f"floor passes it in {below[0.0]:.0%}, one .01 below in {below[0.01]:.0%}, one .02 below in {below[0.02]:.0%}.",
        "",
        f"| rule, {nights.count} test parts | any false | promotions | record too high by | looks "
        f"| power at +{arguments.gain:g}, night {' / '.join(map(str, SHOWN))} | ever |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (rule, screened) in rules(artists).items():
        lines.append("| " + " | ".join([name, *row_of(nights, rule, screened, arguments.gain)]) + " |")
    if resampled:
        some = Nights(clips, artists, resampled, arguments.resamples, arguments.noise, arguments.seed)
        rule, screened = next(iter(rules(artists).values()))
        name = f"the gate with the SD of {some.resamples:,} resamples ({some.count} of the test parts)"
        lines.append("| " + " | ".join([name, *row_of(some, rule, screened, arguments.gain)]) + " |")
    return [*lines, "", f"{time.process_time() - begin:.0f} CPU seconds.", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mtt", type=Path)
    parser.add_argument("--artists", type=int, nargs="+", default=[20, 50, 200])
    parser.add_argument("--parts", type=int, nargs="+", default=[1000], help="test parts, one number or one a size")
    parser.add_argument("--resampled", type=int, nargs="+", default=[0], help="so many of them with resamples, too")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=0.4, help="of a retraining, in log-odds")
    parser.add_argument("--gain", type=float, default=0.02)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    write_anything()
    clips, lines = Clips(arguments.mtt), []
    head = [f"{datetime.date.today():%Y-%m-%d}, {processor()}, one thread. `python {' '.join(sys.argv)}`", ""]
    whole = Model(clips, logit(clips.scores)).precision(np.ones((clips.artists, 1))).mean()
    assert abs(whole - PUBLISHED) < 1e-6, whole  # average precision by scikit-learn
    for place, artists in enumerate(arguments.artists):
        counts = [one[min(place, len(one) - 1)] for one in (arguments.parts, arguments.resampled)]
        lines += tables(clips, artists, *counts, arguments)
        print("\n".join(lines[-16:]), flush=True)
        if arguments.output:
            arguments.output.write_text("\n".join([*head, *lines]), encoding="utf-8")


if __name__ == "__main__":
    main()
