"""The report's pictures: every panel as an address that holds its SVG, with words for those who do not see it."""

import base64
import io

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from tagscale.evaluation import figures
from tagscale.evaluation.compare import comparison, group_scores, kinds_of, metric_of, scored_metrics, tag_groups
from tagscale.evaluation.study import LABELS, Study

Picture = dict[str, str]  # uri, alt


def training_size(study: Study) -> list[Picture]:
    """One picture a metric."""
    table = comparison(study)
    pictures = []
    for metric in scored_metrics(study):
        words = []
        for model in study.everyone:
            rows = table[table["model"] == model].to_dict("records")
            scores = [f"{row[f'test_{metric}']:.3f} at {row['train_tracks']:,}" for row in rows]
            words.append(f"{model} {', '.join(scores)}")
        alt = f"{LABELS[metric]} over the number of training tracks: {'; '.join(words)}."
        pictures.append(_picture(alt, figures.panel(figures.draw_training_size, study, metric, width=3.7, height=3.2)))
    return pictures


def groups(study: Study, tags: pd.DataFrame) -> list[Picture]:
    """One picture a kind of tags."""
    pictures = []
    for kind in kinds_of(tags):
        words = []
        for group, rows in group_scores(tags).query("kind == @kind").groupby("group", sort=False):
            scores = rows.set_index("model")["score"].reindex(study.everyone).dropna()
            words.append(f"{group}: {', '.join(f'{model} {score:.3f}' for model, score in scores.items())}")
        alt = f"Bars of mean {LABELS[metric_of(kind)]} per tag group. {'; '.join(words)}."
        height = figures.groups_height(tags, kind)
        pictures.append(_picture(alt, figures.panel(figures.draw_groups, tags, study.everyone, kind, height=height)))
    return pictures


def tags(tags: pd.DataFrame, models: list[str]) -> list[Picture]:
    """One picture a tag group."""
    pictures = []
    for group, kind in tag_groups(tags):
        alt = (
            f"Bars of {LABELS[metric_of(kind)]} of every {group} tag, {' and '.join(models)}; the table below has them."
        )
        height = figures.bars_height(tags, group, kind)
        details = (tags, models, group, kind)
        pictures.append(_picture(alt, figures.panel(figures.draw_group_tags, *details, height=height)))
    return pictures


def learning_curves(study: Study) -> list[Picture]:
    """One picture a front-end."""
    pictures = []
    for model in study.models:
        curves = study.curves[study.curves["model"] == model]
        words = [
            f"with size {size} and seed {seed} validation loss falls to {run['valid_loss'].min():.3f} "
            f"at epoch {run.nsmallest(1, 'valid_loss')['epoch'].iloc[0]:.0f}"
            for (size, seed), run in curves.groupby(["size", "seed"], sort=False)
        ]
        alt = f"Learning curves of {model}: {'; '.join(words)}."
        pictures.append(_picture(alt, figures.panel(figures.draw_learning_curves, study, model)))
    return pictures


def _picture(alt: str, figure: Figure) -> Picture:
    buffer = io.BytesIO()
    with mpl.rc_context(figures.STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return {"uri": "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode(), "alt": alt}
