"""Scores of a study held against each other: differences of two models, tables per tag and per group of tags."""

import numpy as np
import pandas as pd

from tagscale.evaluation.bootstrap import Difference, paired
from tagscale.evaluation.metrics import ARTISTS, GUESS, METRICS, OF_TAGS, Metric, main_metric, shown_in
from tagscale.runtime.errors import TagscaleError
from tagscale.study.grid import Study
from tagscale.study.tables import ENDS


def difference(study: Study, first: str, second: str, metric: str, size: str) -> Difference:
    """The first model minus the second on a metric of the test part at one size, each a mean over its seeds.

    The interval is of this difference for other test artists and, where there are several seeds, other random starts.
    Both models are scored on the same resamples, so what makes an artist easy or hard for both cancels out. It stands
    alone: `Study.against` corrects it for the other comparisons of its family. NaN where there is no such score, or
    where there are no resamples.

    Raises:
        TagscaleError: the study has no such model or size.
    """
    runs = study.runs[study.runs["size"] == size]
    unknown = [model for model in (first, second) if model not in set(runs["model"])]
    if unknown:
        raise TagscaleError(
            f"The study has no runs of {' and '.join(unknown)} at size {size!r}; its models are "
            f"{', '.join(study.everyone)}, its sizes {', '.join(study.runs['size'].unique())}."
        )
    scores, rows = study.scores(metric, size), study.rows(metric, size)
    return paired(
        rows[first].to_numpy(float),
        rows[second].to_numpy(float),
        float(scores[first] - scores[second]),
        study.artists,
        study.confidence,
        of_seeds=[study.of_seeds(metric, size, model) for model in (first, second)],
    )


def tag_scores(study: Study, size: str, part: str = "test") -> pd.DataFrame:
    """Scores of every tag at one size, mean over seeds: model, tag, group, kind, counts, guess, metrics and their ends.

    The ends `<metric>_low` and `_high` are those of intervals over artists. The seeds share the artists, so the mean of
    their ends is an interval of their mean.
    """
    rows = study.tags[(study.tags["size"] == size) & (study.tags["part"] == part)]
    rows = rows.assign(group=rows["group"].fillna("other"))
    about = ["model", "tag", "group", "kind", "positives", "tracks", ARTISTS]
    return rows.groupby(about, sort=False, dropna=False)[[GUESS, *OF_TAGS, *ENDS]].mean().reset_index()


def group_scores(tags: pd.DataFrame) -> pd.DataFrame:
    """Mean per tag group and model: group, kind, model, tags (how many were scored), score.

    The score is the main metric of the group's kind of tags.
    """
    of_kind = [row[main_metric(row["kind"]).key] for row in tags.to_dict("records")]
    scored = tags.assign(score=np.array(of_kind, float))
    scored = scored.dropna(subset="score")
    grouped = scored.groupby(["group", "kind", "model"], sort=False)["score"]
    return grouped.agg(tags="size", score="mean").reset_index()


def groups_of(study: Study, size: str) -> pd.DataFrame:
    """`group_scores` of the test part at one size, with the ends of their intervals over artists: low, high.

    The ends are means over seeds, as those of tags; NaN where the results have none.
    """
    keys = ["group", "kind", "model"]
    groups = study.groups[study.groups["size"] == size]
    ends = groups.groupby(keys, sort=False)[["low", "high"]].mean().astype(float).reset_index()
    return group_scores(tag_scores(study, size)).merge(ends, how="left", on=keys)


def first_metrics(study: Study) -> list[Metric]:
    """The metrics of the first table that score a kind of tags which the study has, whether or not a tag was scored."""
    kinds = set(study.tags["kind"])
    return [metric for metric in shown_in("scores") if kinds & set(metric.kinds)]


def scored_metrics(study: Study) -> list[str]:
    """The metrics of the first table that at least one run has on the test part."""
    return [metric.key for metric in shown_in("scores") if study.runs[f"test_{metric.key}"].notna().any()]


def tag_groups(tags: pd.DataFrame) -> list[tuple[str, str]]:
    """(group, kind) of every group with at least one scored tag, classification first, in the tags' order."""
    scored = group_scores(tags)[["group", "kind"]].drop_duplicates().sort_values("kind", kind="stable")
    return list(scored.itertuples(index=False, name=None))


def kinds_of(tags: pd.DataFrame) -> list[str]:
    """The kinds of tags that have a score: of the rows of `tag_scores` or `group_scores`."""
    return sorted(set(tags["kind"])) if "score" in tags else sorted({kind for _, kind in tag_groups(tags)})


def main_scores(study: Study) -> dict[str, dict[str, float]]:
    """{model: {metric: test score}} at the largest size, of the main metric of each kind of tags; four decimals."""
    main = [main_metric(kind).key for kind in kinds_of(tag_scores(study, study.largest))]
    scores = all_scores(study)
    return {
        model: {metric: value for metric in main if (value := sizes[study.largest][metric]) is not None}
        for model, sizes in scores.items()
    }


def all_scores(study: Study) -> dict[str, dict[str, dict[str, float | None]]]:
    """Test scores as {model: {size: {metric: score}}}, four decimals; None = not scored."""
    numbers: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in study.everyone}
    for row in study.comparison.to_dict("records"):
        scores = {metric: row[f"test_{metric}"] for metric in METRICS}
        numbers[row["model"]][row["size"]] = {m: None if np.isnan(v) else round(v, 4) for m, v in scores.items()}
    return numbers
