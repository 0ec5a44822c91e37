"""What to do next: more training tracks, a wider model, a pretrained encoder or an ensemble, from the study's own runs.

More tracks are judged by the model's law (laws.py), other models by their scores at the largest size. All gains
are in the same resamples of artists and seeds, so that they can be held against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tagscale.evaluation.bootstrap import effective_artists, holm, paired, standard_error, two_sided
from tagscale.evaluation.metrics import Metric
from tagscale.models.spec import base_model, label_of
from tagscale.runtime.words import at_start, listed
from tagscale.study.grid import Study
from tagscale.study.laws import FEWEST, Gain, gain
from tagscale.study.trends import Scored, scored

TRACKS = 1000  # of the option with a fixed number of more tracks


@dataclass(frozen=True)
class Option:
    """One thing to do next.

    what: in words, as "twice as many training tracks (1,280)"
    model: the model that would be trained; None where no run tells of it
    gain: what the metric would change by for the better, with the ends `low` and `high` of its interval; NaN where
        unknown
    seconds: the time of one training, NaN where unknown; collecting tracks takes more
    note: why the gain is unknown, and what makes it known; "" where it is known
    values: (resamples,), the gain in every resample
    """

    what: str
    model: str | None = None
    gain: float = np.nan
    low: float = np.nan
    high: float = np.nan
    seconds: float = np.nan
    note: str = ""
    values: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)

    @property
    def known(self) -> bool:
        return not np.isnan(self.low)

    def gains(self, metric: Metric) -> bool:
        """Whether the gain is certain, in print."""
        return self.known and round(self.low, metric.decimals) > 0

    def words(self, metric: Metric) -> str:
        """The interval of the change as the metric prints it, as "+0.021 to +0.043"; the note where it is unknown."""
        ends = (
            f"{round(metric.sign * end, metric.decimals) + 0.0:+.{metric.decimals}f}" for end in (self.low, self.high)
        )
        return " to ".join(ends) if self.known else self.note


@dataclass(frozen=True)
class Advice:
    """Sentences, the most important one first, and a row for each option; `metric` is what the gains are of."""

    metric: Metric
    sentences: list[str]
    options: list[Option]


def advice(study: Study, model: str) -> Advice:
    """What would gain most over a model at the largest size, on the main metric of the test part."""
    metric = study.main
    kinds = _kinds(study, model)
    others = {kind: study.ranked(models)[:1] for kind, (models, _) in kinds.items()}
    named = [model, *(name for best in others.values() for name in best)]
    runs = scored(study, named, metric)
    options = _more_tracks(study, model, runs)
    for kind, (_, how) in kinds.items():
        options.append(_another(study, kind, others[kind], how, named, runs))
    return Advice(metric, [_twice(study, metric, model, options[0]), _most(study, metric, options)], options)


def _kinds(study: Study, model: str) -> dict[str, tuple[list[str], str]]:
    """Other kinds of models to go on to: those of the study, and how to add one. A kind of the model itself is none."""
    base = base_model(model)
    kinds: dict[str, tuple[list[str], str]] = {}
    if model in study.networks:
        size = study.runs[study.runs["size"] == study.largest].groupby("model")["parameters"].max()
        wider = [name for name in study.networks if base_model(name) == base and size[name] > size[model]]
        kinds["a wider model"] = (
            wider,
            f"add a wider block of it, such as {base}-wide, to `model`, and its name to `train.models`",
        )
    if model not in study.pretrained:
        kinds["a pretrained encoder"] = study.pretrained, "add `probe` to `train.probes`"
    if model not in study.ensembles:
        kinds["an ensemble"] = study.ensembles, "add `ensemble` to `train.ensembles`"
    return kinds


def _more_tracks(study: Study, model: str, runs: Scored) -> list[Option]:
    """By the model's law: twice the tracks and, where the largest size is beyond it, `TRACKS` more."""
    largest = float(study.runs["train_tracks"].max())
    options = [(f"twice as many training tracks ({2 * largest:,.0f})", largest)]
    options += [(f"{TRACKS:,} more training tracks", float(TRACKS))] if largest > TRACKS else []
    note = _unlawful(study, runs)
    seconds, best = _seconds(study, model), study.main.sign * study.main.best
    rows = []
    for what, more in options:
        by_law: Gain | None = None
        if not note:
            by_law = gain(runs.scores[0], runs.resamples[:, 0], runs.tracks, more, study.confidence, runs.artists, best)
        if by_law is None:
            rows.append(Option(what, note=note or f"no power law describes the runs of {label_of(model)}"))
        else:
            rows.append(Option(what, model, by_law.gain, by_law.low, by_law.high, seconds, values=by_law.values))
    return rows


def _unlawful(study: Study, runs: Scored) -> str:
    """Why there is no law to go by."""
    sizes = study.runs["train_tracks"].nunique()
    if sizes < FEWEST:
        return f"a law takes {FEWEST} sizes, this study has {sizes}: add some to `train.sizes`"
    if len(runs.sizes) < FEWEST:
        return f"a law takes {FEWEST} sizes with a score, this study has {len(runs.sizes)}"
    if not runs.intervals:
        return f"the scores have no intervals ({study.no_intervals})"
    return "" if runs.sizes[-1] == study.largest else "the largest size has no score"


def _another(study: Study, kind: str, best: Sequence[str], how: str, named: Sequence[str], runs: Scored) -> Option:
    """The best model of another kind in place of this one, at the largest size."""
    if not best:
        return Option(kind, note=f"not in this study: {how}")
    label = label_of(best[0])
    place, what = list(named).index(best[0]), kind if kind.endswith(label) else f"{kind} ({label})"
    if not runs.sizes or runs.sizes[-1] != study.largest:
        return Option(what, note="the largest size has no score")
    scores, rows = runs.scores[:, -1], runs.resamples[:, :, -1]
    of_seeds = [study.of_seeds(study.main.key, study.largest, named[model]) for model in (place, 0)]
    gap = float(scores[place] - scores[0])
    change = paired(rows[:, place], rows[:, 0], gap, study.artists, study.confidence, of_seeds=of_seeds)
    note = "" if not np.isnan(change.low) else f"the scores have no intervals ({study.no_intervals})"
    ends = (change.difference, change.low, change.high)
    return Option(what, best[0], *ends, _seconds(study, best[0]), note, rows[:, place] - rows[:, 0])


def _seconds(study: Study, model: str) -> float:
    rows = study.runs[(study.runs["model"] == model) & (study.runs["size"] == study.largest)]
    return float(rows["seconds"].mean())


def _twice(study: Study, metric: Metric, model: str, twice: Option) -> str:
    if not twice.known:
        return f"What {twice.what} would give is not known: {twice.note}."
    starts = "" if len(study.seeds) > 1 else "; one training a size, so random starts are not in it"
    return (
        f"{at_start(twice.what)} would give {label_of(model)} {twice.words(metric)} {metric.label} "
        f"({study.confidence:.0%}, as far as its fitted law holds{starts})."
    )


def _most(study: Study, metric: Metric, options: Sequence[Option]) -> str:
    """Which option gains most, where that is certain; each other one is held against it in the same resamples."""
    known = [option for option in options if option.known]
    if not known:
        return "No next step can be judged from this study. The report's list of steps says what each takes."
    if len(known) == 1:
        return f"The one step that this study can judge is {known[0].what}: {known[0].words(metric)} {metric.label}."
    best = max(known, key=lambda option: option.gain)
    others = [option for option in known if option is not best]
    apart = holm([_p(best, other, study) for other in others])
    listed_gains = listed([f"{option.what} {option.words(metric)}" for option in known])
    if best.gains(metric) and all(p < 1 - study.confidence for p in apart):
        rest = listed([f"{option.what} {option.words(metric)}" for option in others])
        return f"Of the steps that this study can judge, {best.what} gains most: {best.words(metric)}, against {rest}."
    if not any(option.gains(metric) for option in known):
        return f"None of the steps that this study can judge is certain to gain: {listed_gains}."
    return f"Which step gains most is not settled: {listed_gains}."


def _p(best: Option, other: Option, study: Study) -> float:
    error = float(standard_error(best.values - other.values, study.artists))
    models = {str(option.model) for option in (best, other)}
    of_seeds = [study.of_seeds(study.main.key, study.largest, model) for model in models]
    return two_sided(best.gain - other.gain, error, effective_artists(error, study.artists, of_seeds))
