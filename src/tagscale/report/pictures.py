"""The report's pictures: every panel as a data URI of its SVG, with a text for readers who cannot see it."""

import base64
import io
from itertools import product

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from tagscale.evaluation.metrics import METRICS, main_metric
from tagscale.models.spec import label_of
from tagscale.report import figures, listening_figures, tag_figures
from tagscale.report.appearance import STYLE
from tagscale.runtime.words import listed
from tagscale.study.compare import kinds_of, scored_metrics, tag_groups
from tagscale.study.grid import Study
from tagscale.study.qualitative import Qualitative

Picture = dict[str, str]  # uri, alt


def training_size(study: Study) -> list[list[Picture]]:
    """One picture a metric on the first axis, and a row of the same on the second one, if there are two."""
    table, scales = study.comparison, figures.scales(study)
    rows_of: dict[str, list[Picture]] = {scale: [] for scale in scales}
    for scale, metric in product(scales, scored_metrics(study)):
        words = []
        for model in study.everyone:
            rows = table[table["model"] == model].to_dict("records")
            scores = [f"{METRICS[metric].words(row[f'test_{metric}'])} at {row['train_tracks']:,}" for row in rows]
            words.append(f"{label_of(model)} {', '.join(scores)}")
        axis = f"the number of training tracks ({scale} scale)"
        alt = f"{METRICS[metric].label} over {axis}: {'; '.join(words)}."
        panel = figures.panel(figures.draw_training_size, study, metric, scale, width=3.7, height=3.2)
        rows_of[scale].append(_picture(alt, panel))
    return list(rows_of.values())


def groups(means: pd.DataFrame, models: list[str]) -> list[Picture]:
    """One picture a kind of tags. `means` is the table of `compare.groups_of`."""
    pictures = []
    for kind in kinds_of(means):
        metric, words = main_metric(kind), []
        for group, rows in means[means["kind"] == kind].groupby("group", sort=False):
            scores = rows.set_index("model")["score"].reindex(models).dropna()
            named = [f"{label_of(str(model))} {metric.words(score)}" for model, score in scores.items()]
            words.append(f"{group}: {', '.join(named)}")
        alt = f"Bars of mean {metric.label} per tag group. {'; '.join(words)}."
        height = tag_figures.groups_height(means, models, kind)
        pictures.append(_picture(alt, figures.panel(tag_figures.draw_groups, means, models, kind, height=height)))
    return pictures


def tags(tags: pd.DataFrame, models: list[str]) -> list[Picture]:
    """One picture a tag group."""
    pictures = []
    for group, kind in tag_groups(tags):
        who = listed([label_of(model) for model in models])
        alt = f"Bars of {main_metric(kind).label} of every {group} tag, {who}; the table below has them."
        height = tag_figures.bars_height(tags, models, group, kind)
        details = (tags, models, group, kind)
        pictures.append(_picture(alt, figures.panel(tag_figures.draw_group_tags, *details, height=height)))
    return pictures


def learning_curves(study: Study, models: list[str]) -> list[Picture]:
    """One picture a network."""
    pictures = []
    for model in models:
        curves = study.curves[study.curves["model"] == model]
        words = [
            f"with size {size} and seed {seed} validation loss falls to {run['valid_loss'].min():.3f} "
            f"at step {run.nsmallest(1, 'valid_loss')['step'].iloc[0]:,.0f}"
            for (size, seed), run in curves.groupby(["size", "seed"], sort=False)
        ]
        alt = f"Learning curves of {label_of(model)}: {'; '.join(words)}."
        pictures.append(_picture(alt, figures.panel(figures.draw_learning_curves, study, model)))
    return pictures


def popularity(heard: Qualitative, models: list[str]) -> list[Picture]:
    """Picks over popularity, and how well popular and rare tags are heard."""
    rows = heard.models.to_dict("records")
    ratio = [f"{label_of(row['model'])} {row['correlation']:.2f}" for row in rows if row["model"] in models]
    lifts = [
        f"{label_of(row['model'])} {row['lift_popular']:.2f}, {row['lift_middle']:.2f}, {row['lift_rare']:.2f}"
        for row in rows
    ]
    return [
        _picture(
            f"Picks per true tag over the popularity of tags in training; their rank correlation: {', '.join(ratio)}.",
            figures.panel(listening_figures.draw_ratio, heard.tags, models, height=3.8),
        ),
        _picture(
            f"PR-AUC between guessing and perfect on popular, middle and rare tags: {'; '.join(lifts)}.",
            figures.panel(
                listening_figures.draw_lifts,
                heard.models,
                height=max(2.4, listening_figures.models_height(heard) + 0.4),
            ),
        ),
    ]


def exclusive(heard: Qualitative, models: list[str]) -> list[Picture]:
    """Tracks with an impossible pair, of every model; pairs in every set, of the given models."""
    shares = [f"{label_of(row['model'])} {row['impossible']:.1%}" for row in heard.models.to_dict("records")]
    return [
        _picture(
            f"Bars of the share of test tracks with an impossible pair of tags: {', '.join(shares)}.",
            figures.panel(
                listening_figures.draw_impossible, heard.models, height=listening_figures.models_height(heard) + 0.2
            ),
        ),
        _picture(
            "Bars of impossible pairs in every set of exclusive tags, "
            f"{listed([label_of(model) for model in models])}; the table below has the pairs.",
            figures.panel(
                listening_figures.draw_sets, heard.pairs, models, height=listening_figures.sets_height(heard, models)
            ),
        ),
    ]


def _picture(alt: str, figure: Figure) -> Picture:
    return {"uri": data_uri(figure), "alt": alt}


def data_uri(figure: Figure) -> str:
    """A figure's SVG, for the `src` of an image."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
