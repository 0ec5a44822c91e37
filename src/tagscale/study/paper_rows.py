"""The rows of the paper's tables beside what was measured here, as data and as words.

The paper publishes scores without their spread, and so the interval of a difference is that of our score alone. Scores
of other data are not held against the paper's; then the order of the rows is what can be compared (`compare_orders`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log, nan

import numpy as np
import pandas as pd

from tagscale.evaluation.metrics import METRICS, NOTHING, Metric
from tagscale.models.paper import CLEANER, DATA, ROWS, Data, Row, rows_of
from tagscale.models.spec import base_model, label_of
from tagscale.study.grid import Study

PRINTED = tuple(METRICS[key] for key in ("roc_auc", "pr_auc", "rmse"))  # that the paper has; fields of Row
PERCENT = ("roc_auc", "pr_auc")  # as the paper prints them
RUN, NOT_RUN = "run", "not run"
ELSEWHERE = ("same data", "seeds", "hours", "state")  # in a report
FEWEST_RANKED = 3  # rows that an order is made of
ORDERS = 99_999  # of more than eight rows, whose p is counted


@dataclass(frozen=True)
class Measured:
    """What was measured here: means over seeds.

    scores: by metric, the score of the test part and the ends of its interval, in the units of the paper; NaN where
        there is none
    """

    scores: Mapping[str, tuple[float, ...]]
    parameters: int
    train_tracks: int
    seeds: int
    seconds: float  # of training, over all seeds


@dataclass(frozen=True)
class Beside:
    """A row of the paper and what stands beside it here.

    model: the model that was run for it, or would be
    state: "run", or why there are no numbers, or what a reader must know of them
    """

    row: Row
    model: str
    ours: Measured | None = None
    parameters: int | None = None
    state: str = NOT_RUN


def measured(study: Study) -> dict[tuple[str, str], Measured]:
    """What a study measured, by model and size as params.yaml writes it."""
    return {
        (row["model"], row["size"]): Measured(
            scores={
                metric.key: tuple(
                    _in_units(metric, float(row[f"test_{metric.key}{end}"])) for end in ("", "_low", "_high")
                )
                for metric in PRINTED
            },
            parameters=int(row["parameters"]),
            train_tracks=int(row["train_tracks"]),
            seeds=int(row["seeds"]),
            seconds=float(row["seconds"]) * int(row["seeds"]),
        )
        for row in study.comparison.to_dict("records")
    }


def other_data(paper: Data, source: str, split: str, tags: int) -> str:
    """Why scores of these data cannot be held against the paper's; "" where the data are the same.

    >>> other_data(DATA["MTT"], "mtt", "clean", 50), other_data(DATA["MTT"], "mtt", "original", 50)
    ('another split (clean)', '')
    """
    if source != paper.source:
        return "another corpus"
    if paper.split not in (None, split):
        return f"another split ({split})"
    return "" if tags == paper.tags else f"{tags} tags, not {paper.tags}"


# --- the rows as cells of a table ------------------------------------------------------------------------------------


def headings(rows: Sequence[Beside]) -> list[str]:
    """The heads of the columns that `cells` fills."""
    labels = [metric.label for metric in _metrics(rows)]
    scores = [f"{words} {label}" for words in ("paper", "ours", "difference") for label in labels]
    return ["row", *scores, "same data", "parameters, ours / paper", "seeds", "hours", "state"]


def cells(rows: Sequence[Beside], apart: str) -> list[list[str]]:
    """The rows as text. The differences stay blank where the data are not the paper's.

    Args:
        apart: what `other_data` says
    """
    table = []
    for beside in rows:
        row, ours = beside.row, beside.ours
        paper = [(metric, getattr(row, metric.key)) for metric in _metrics(rows)]
        other = apart or ("the paper's is of cleaner data" if CLEANER in row.notes else "")
        differences = [
            NOTHING if other or value is None else _score(metric, ours, value, "+") for metric, value in paper
        ]
        count = ours.parameters if ours else beside.parameters
        table.append(
            [
                name_of(row),
                *(NOTHING if value is None else _number(metric, value) for metric, value in paper),
                *(_score(metric, ours) for metric, _ in paper),
                *differences,
                NOTHING if ours is None else other or "yes",
                f"{NOTHING if count is None else f'{count:,}'} / {row.printed or NOTHING}",
                NOTHING if ours is None else str(ours.seeds),
                NOTHING if ours is None else f"{ours.seconds / 3600:.2f}",
                beside.state,
            ]
        )
    return table


def name_of(row: Row) -> str:
    """A row's name, with its training size where the table has several.

    >>> name_of(ROWS[1])
    'Waveform, 1,000,000 songs'
    """
    return row.row if row.train_size is None else f"{row.row}, {row.train_size:,} songs"


def _metrics(rows: Sequence[Beside]) -> list[Metric]:
    return [metric for metric in PRINTED if any(getattr(one.row, metric.key) is not None for one in rows)]


def _in_units(metric: Metric, value: float) -> float:
    return 100 * value if metric.key in PERCENT else value


def _number(metric: Metric, value: float, sign: str = "", fewer: int = 0) -> str:
    return f"{value:{sign}.{(2 if metric.key in PERCENT else 4) - fewer}f}".replace("-", "−")


def _score(metric: Metric, ours: Measured | None, paper: float = 0.0, sign: str = "") -> str:
    """Our score less the paper's, with its interval where it has one."""
    score, *ends = ours.scores[metric.key] if ours else (nan, nan, nan)
    if np.isnan(score):
        return NOTHING
    low, high = (_number(metric, end - paper, sign, fewer=1) for end in ends)
    return _number(metric, score - paper, sign) + ("" if np.isnan(ends).any() else f" [{low}, {high}]")


# --- the order of the rows -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """Two orders of the same models on one metric.

    ranks: model, paper, ours; 1 is the best, and ties share the mean of their ranks
    rho: Spearman's rank correlation; p: two-sided, by permutations
    pairs, close: pairs of rows, and how many of them the paper has nearer together than `width`
    width: the median width of our intervals, in the units of the paper; NaN where there are none
    """

    metric: Metric
    ranks: pd.DataFrame
    rho: float
    p: float
    pairs: int
    close: int
    width: float

    @property
    def is_coarse(self) -> bool:
        """Whether our scores are too uncertain for the order of half of the pairs."""
        return 2 * self.close >= self.pairs

    @property
    def words(self) -> str:
        """What the order says, and what it cannot say."""
        label, count = self.metric.label, len(self.ranks)
        text = f"{label}, {count} rows: Spearman's ρ is {self.rho:.2f} (permutation test, p = {self.p:.2g})."
        if np.isnan(self.width):
            return text
        points = "points" if self.metric.key in PERCENT else "in error"
        return (
            f"{text} The paper has {self.close} of the {self.pairs} pairs of them nearer together than one interval of "
            f"ours is wide ({self.width:.2g} {points})"
            + (": a ρ near 0 does not speak against the paper, nor one near 1 for it." if self.is_coarse else ".")
        )


def compare_orders(rows: Sequence[Beside]) -> list[Order]:
    """The order of the rows that were run against that of the paper, for every metric with three of them or more.

    Only what the paper measured itself counts: scores that it quotes come without PR-AUC. Of rows with one model, one
    counts.
    """
    unique = {(one.model, one.row.train_size): one for one in rows if one.ours and one.row.pr_auc is not None}
    orders = (_compare_order(metric, list(unique.values())) for metric in PRINTED)
    return [order for order in orders if order is not None]


def _compare_order(metric: Metric, rows: Sequence[Beside]) -> Order | None:
    values = [
        (name_of(one.row), getattr(one.row, metric.key), *one.ours.scores[metric.key])
        for one in rows
        if one.ours and getattr(one.row, metric.key) is not None
    ]
    table = pd.DataFrame(values, columns=["row", "paper", "ours", "low", "high"]).dropna(subset=["paper", "ours"])
    if len(table) < FEWEST_RANKED or table[["paper", "ours"]].nunique().min() < 2:
        return None
    ranks = table[["paper", "ours"]].rank(ascending=metric.lower_is_better)
    rho, p = spearman(ranks["paper"].to_numpy(), ranks["ours"].to_numpy())
    width = float((table["high"] - table["low"]).median())
    gaps = [abs(first - second) for first, second in combinations(table["paper"], 2)]
    close = sum(gap < width for gap in gaps)
    return Order(metric, ranks.assign(row=table["row"]), rho, p, len(gaps), close, width)


def spearman(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Spearman's rank correlation of two rows of ranks, and its two-sided p value: the share of the orders of the
    second whose correlation is at least as far from 0, of all orders up to eight ranks, else of `ORDERS` random ones.

    Args:
        first, second: mean ranks where items tie; not all alike

    >>> rho, p = spearman(np.array([1, 2, 3, 4]), np.array([1, 2, 4, 3]))
    >>> round(rho, 3), round(p, 4)  # 8 of 24 orders
    (0.8, 0.3333)
    """
    import scipy.stats  # here: it takes half a second

    centred = first - first.mean()
    test = scipy.stats.permutation_test(
        (second - second.mean(),),
        lambda order, axis: abs(order @ centred),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=ORDERS,
        alternative="greater",
        rng=np.random.default_rng(0),
    )
    return float(np.corrcoef(first, second)[0, 1]), float(test.pvalue)


# --- a study beside the paper ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Section:
    """A table of the paper on a study's own dataset, with the rows that the study has a model for."""

    table: int
    apart: str  # what `other_data` says
    rows: list[Beside]
    others: int  # rows that the study has no model for

    @property
    def heads(self) -> list[str]:
        return ["model", *_without(headings(self.rows), self.rows)]

    @property
    def lines(self) -> list[list[str]]:
        """A line a row: our model, and what `cells` says, with the state beside the row's name."""
        lines = []
        for beside, line in zip(self.rows, cells(self.rows, self.apart), strict=True):
            name, *rest = _without(line, self.rows)
            lines.append([label_of(beside.model), f"{name} ({beside.state})" if beside.state else name, *rest])
        return lines


def _without(line: Sequence[str], rows: Sequence[Beside]) -> list[str]:
    """A line of the table without the columns that a report has elsewhere."""
    return [cell for head, cell in zip(headings(rows), line, strict=True) if head not in ELSEWHERE]


def beside_study(study: Study, source: str, split: str, tags: int) -> list[Section]:
    """The paper's tables on the dataset of a study, beside its models at the largest size; [] for other datasets.

    A model stands beside the rows of its name, or of its number of parameters; any other one beside the row of the
    same design that is nearest in size.
    """
    own = [paper for paper in DATA.values() if paper.split and paper.source == source]
    largest = {model: ours for (model, size), ours in measured(study).items() if size == study.largest}
    sections = []
    for table in dict.fromkeys(row.table for row in ROWS if DATA[row.dataset] in own):
        rows = rows_of(table)
        matches = [beside for model, ours in largest.items() for beside in _matches(model, ours, rows)]
        if matches:
            matches.sort(key=lambda beside: rows.index(beside.row))
            others = len(rows) - len({name_of(beside.row) for beside in matches})
            apart = other_data(DATA[rows[0].dataset], source, split, tags)
            sections.append(Section(table, apart, matches, others))
    return sections


def _matches(model: str, ours: Measured, rows: Sequence[Row]) -> list[Beside]:
    same = [row for row in rows if row.model == model or row.exact == ours.parameters]
    if same:
        states = ("" if row.exact in (None, ours.parameters) else "another capacity" for row in same)
        return [Beside(row, model, ours, state=state) for row, state in zip(same, states, strict=True)]
    sized = [row for row in rows if row.exact and base_model(row.model) == base_model(model)]
    if not sized:
        return []
    nearest = min(sized, key=lambda row: abs(log((row.exact or 1) / ours.parameters)))
    return [Beside(nearest, model, ours, state="nearest in size")]
