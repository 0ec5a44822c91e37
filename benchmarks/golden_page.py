"""What tagscale says of published scores: a network's, of MagnaTagATune's clean test split, and of noisier copies.

    python benchmarks/golden_page.py data/mtt --output benchmarks/results/mtt-published.md

Metrics against those that the network's authors report, intervals, paired differences of a family of copies with noise,
every tag with the artists behind it, bias towards popular tags, and calibration. The figures stand in a folder beside
the page. What to look for: no difference in the first table; noise that is told apart from .2 on.
"""

import argparse
import datetime
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from machine import processor
from matplotlib.figure import Figure
from published import Published, load, noisy

from tagscale.evaluation.bootstrap import Draw, Resampled, centred, draw, holm, interval, paired, resampled_metrics
from tagscale.evaluation.bootstrap import standard_error as error_of
from tagscale.evaluation.calibration import learn
from tagscale.evaluation.decisions import decide
from tagscale.evaluation.metrics import BINS, METRICS, TagMetrics, evaluate, guess
from tagscale.study.listening import THIRDS, popularity

RESAMPLES, CONFIDENCE = 1000, 0.95
REPORTED = {"roc_auc": 0.910897708562001, "pr_auc": 0.4508741076307893}  # the authors' tool; scikit-learn
NOISES = (0.03, 0.1, 0.2, 0.3)  # deviations in log-odds, a clip and tag and an artist and tag
BLUE, ORANGE, GREY = "#1f6fb2", "#d9822b", "#8a8a86"


class Scored:
    """One model's scores with their metrics, in the part itself and in the resamples of its artists."""

    def __init__(self, data: Published, scores: np.ndarray, draws: Draw) -> None:
        self.scores, self.artists = scores, len(draws.counts)
        self.metrics: TagMetrics = evaluate(data.labels, scores, data.regression, artist=draws.artist_of)
        self.resampled: Resampled = resampled_metrics(data.labels, scores, data.regression, draws)
        self.overall = self.metrics.overall()
        self.rows = {key: centred(rows, self.overall[key]) for key, rows in self.resampled.overall().items()}

    def words(self, key: str) -> str:
        error = error_of(self.rows[key], self.artists)
        low, high = interval(self.overall[key], error, self.artists, CONFIDENCE, METRICS[key].bounds)
        return f"{self.overall[key]:.4f} [{low:.3f}, {high:.3f}]"


def against_the_reports(model: Scored) -> list[str]:
    lines = ["| metric | reported | here | difference |", "|---|---|---|---|"]
    for key, reported in REPORTED.items():
        value = model.overall[key]
        lines.append(f"| {METRICS[key].label} | {reported:.15f} | {value:.15f} | {abs(value - reported):.1g} |")
    return lines


def all_metrics(model: Scored) -> list[str]:
    lines = ["| metric | value [interval] |", "|---|---|"]
    return lines + [
        f"| {METRICS[key].label} | {model.words(key)} |" for key in METRICS if not np.isnan(model.overall[key])
    ]


def differences(model: Scored, copies: Mapping[float, Scored]) -> list[str]:
    """The model minus each copy, as one family."""
    lines = ["| noise | ROC-AUC | PR-AUC | PR-AUC lost [interval] | p | p, Holm |", "|---|---|---|---|---|---|"]
    ours, key = model.overall["pr_auc"], "pr_auc"
    gaps = [
        paired(model.rows[key], one.rows[key], ours - one.overall[key], model.artists, CONFIDENCE)
        for one in copies.values()
    ]
    for (noise, one), gap, p in zip(copies.items(), gaps, holm([gap.p for gap in gaps]), strict=True):
        cells = [f"{noise:g}", *(f"{one.overall[key]:.4f}" for key in ("roc_auc", "pr_auc"))]
        cells += [f"{gap.difference:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]", f"{gap.p:.2g}", f"{p:.2g}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def of_tags(data: Published, model: Scored) -> tuple[list[str], Figure]:
    """A row a tag, the most frequent first, and their PR-AUCs with intervals as a figure."""
    metrics, guesses = model.metrics, guess(data.labels, data.regression)
    ends = {key: model.resampled.intervals(key, metrics[key], CONFIDENCE) for key in REPORTED}
    lines = ["| tag | clips | artists | ROC-AUC | PR-AUC | guessing |", "|---|---:|---:|---|---|---:|"]
    order = np.argsort(-metrics.positives, kind="stable")
    for tag in order:
        scores = [f"{metrics[key][tag]:.3f} [{ends[key][0][tag]:.2f}, {ends[key][1][tag]:.2f}]" for key in REPORTED]
        counts = f"{metrics.positives[tag]} | {metrics.artists[tag]}"
        lines.append(f"| {data.tags[tag]} | {counts} | {' | '.join(scores)} | {guesses[tag]:.3f} |")
    figure = Figure(figsize=(8, 11), layout="constrained")
    axes, rows = figure.subplots(), np.arange(len(order))
    low, high = (end[order] for end in ends["pr_auc"])
    axes.hlines(rows, low, high, color=BLUE, linewidth=3, alpha=0.35)
    axes.plot(metrics["pr_auc"][order], rows, "o", color=BLUE, markersize=5, label="PR-AUC, 95 % interval")
    axes.plot(guesses[order], rows, "|", color="black", markersize=9, label="guessing")
    names = [f"{data.tags[tag]} ({metrics.positives[tag]} clips, {metrics.artists[tag]} artists)" for tag in order]
    axes.set(yticks=rows, yticklabels=names, xlim=(0, 1), xlabel="PR-AUC", ylim=(len(order) - 0.4, -0.6))
    axes.grid(axis="x", color="#dddddd")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return lines, figure


def of_popularity(data: Published, model: Scored) -> tuple[list[str], Figure]:
    about = data.train_shares, data.labels, model.scores, model.metrics["pr_auc"], guess(data.labels, data.regression)
    found = popularity(*about)
    most = listed_tags(data, found.tenth)
    lifts = ", ".join(f"{third} {lift:.2f}" for third, lift in zip(THIRDS, found.lifts, strict=True))
    lines = [
        "Every clip picks as many tags as it truly has, those with its highest scores. The popular tenth of the tags "
        f"({most}) has {found.tenth_picked:.0%} of the picks and {found.tenth_true:.0%} of the true tags; rank "
        f"correlation of picked / true with the share in training: {found.correlation:.2f} (0 is no bias). PR-AUC "
        f"between guessing (0) and perfect (1), by third of the tags: {lifts}.",
    ]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(1, color=GREY, linewidth=1)
    axes.scatter(data.train_shares, found.ratio, color=BLUE, s=24)
    far = np.argsort(-np.abs(np.log(np.clip(found.ratio, 0.05, None))))[:8]
    for tag in far:
        point = data.train_shares[tag], found.ratio[tag]
        axes.annotate(data.tags[tag], point, fontsize=8, xytext=(4, 3), textcoords="offset points")
    axes.set(xscale="log", xlabel="share of the training clips", ylabel="picked / true", ylim=(0, None))
    axes.set_xticks([0.02, 0.05, 0.1, 0.2], ["2 %", "5 %", "10 %", "20 %"])
    axes.minorticks_off()
    axes.grid(color="#dddddd")
    return lines, figure


def listed_tags(data: Published, members: np.ndarray) -> str:
    return ", ".join(data.tags[tag] for tag in np.flatnonzero(members))


def of_calibration(data: Published, model: Scored, draws: Draw) -> tuple[list[str], Figure]:
    """Learned on every third artist's clips, measured on the others'."""
    learned = draws.artist_of % 3 == 0
    names = [name for name, own in zip(data.artists, learned, strict=True) if not own]
    decisions = learn(data.labels[learned], model.scores[learned], data.regression, data.tags, "f1").of(data.tags)
    labels, scores = data.labels[~learned], model.scores[~learned]
    rest = draw(names, RESAMPLES, "golden")
    lines = [
        f"Calibration and thresholds learned on {learned.sum():,} clips by {len(draws.counts) - len(rest.counts)} "
        f"artists, measured on the other {len(labels):,} by {len(rest.counts)}.",
        "",
        "| | ECE | F1 | precision at 3 |",
        "|---|---|---|---|",
    ]
    for name, given in (("scores as they are, from .5", None), ("calibrated, at the tags' thresholds", decisions)):
        value = evaluate(labels, scores, data.regression, given, rest.artist_of).overall()
        rows = resampled_metrics(labels, scores, data.regression, rest, decisions=given).overall()
        cells = []
        for key in ("ece", "f1", "precision_at_3"):
            error = error_of(rows[key], len(rest.counts))
            low, high = interval(value[key], error, len(rest.counts), CONFIDENCE, METRICS[key].bounds)
            cells.append(f"{value[key]:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for name, values, colour in (("scores", scores, ORANGE), ("calibrated", decide(scores, decisions)[0], BLUE)):
        place = np.minimum((values.ravel() * BINS).astype(int), BINS - 1)
        counts = np.bincount(place, minlength=BINS)
        enough = counts >= 20
        mean, share = (np.bincount(place, of.ravel(), BINS)[enough] / counts[enough] for of in (values, labels))
        axes.plot(mean, share, "o-", color=colour, markersize=5, label=name)
    axes.set(xlabel="mean probability of a bin, all tags", ylabel="share of true tags", xlim=(0, 1), ylim=(0, 1))
    axes.grid(color="#dddddd")
    axes.legend()
    return lines, figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="MagnaTagATune's annotations and published scores")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    data = load(given.folder)
    draws = draw(data.artists, RESAMPLES, "golden")
    model = Scored(data, data.scores, draws)
    copies = {noise: Scored(data, noisy(data.scores, draws.artist_of, noise, seed=5), draws) for noise in NOISES}
    tags, bias, trust = of_tags(data, model), of_popularity(data, model), of_calibration(data, model, draws)
    pictures = given.output.with_suffix("")
    pictures.mkdir(exist_ok=True)
    for name, (_, figure) in (("tags", tags), ("popularity", bias), ("calibration", trust)):
        figure.savefig(pictures / f"{name}.png", dpi=100, metadata={"Software": None})
    few = int((model.metrics.artists < 10).sum())
    lines = [
        "# Published scores of MagnaTagATune",
        "",
        "`python benchmarks/golden_page.py data/mtt --output benchmarks/results/mtt-published.md`",
        "",
        f"{datetime.date.today()}, {processor()}, other work on the machine. A published musicnn's scores of the "
        f"{len(data.clips):,} clips of MagnaTagATune's clean test split, {len(data.tags)} tags, {len(draws.counts)} "
        f"artists; labels as in `annotations_final.csv`. In brackets {CONFIDENCE:.0%} intervals of the mean score over "
        f"test parts of as many artists, from {RESAMPLES:,} resamples of these. Clips without any of the 50 tags are "
        "not in the clean split, so these scores are above those of the original split.",
        "",
        "## The same numbers",
        "",
        *against_the_reports(model),
        "",
        "## All metrics",
        "",
        "F1 and ECE take the scores as they are (threshold .5).",
        "",
        *all_metrics(model),
        "",
        "## Copies with noise",
        "",
        "The same scores with noise in log-odds of so large a deviation, a clip and tag and an artist and tag, as "
        "other models. Differences are paired; p-values by Student's t, and corrected for the four comparisons.",
        "",
        *differences(model, copies),
        "",
        "## Bias towards popular tags",
        "",
        *bias[0],
        "",
        f"![Tags picked for each time they are true, over their share in training]({pictures.name}/popularity.png)",
        "",
        "## Calibration",
        "",
        *trust[0],
        "",
        f"![Share of true tags over the probability]({pictures.name}/calibration.png)",
        "",
        "## Tags",
        "",
        f"{few} of the tags are by fewer than ten artists.",
        "",
        f"![PR-AUC of every tag with its interval]({pictures.name}/tags.png)",
        "",
        *tags[0],
    ]
    given.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
