"""The figures hold what they claim: every model in its colour, every run as a point, lines through the fit."""

import base64
import itertools
import json
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.image import imread

from study.compare_fixtures import SIZES, make_study
from study.listening_fixtures import make_catalog, write_predictions
from tagscale.evaluation.metrics import METRICS
from tagscale.partition.divide import Partition
from tagscale.report import appearance, figures, listening_figures, pictures, tag_figures
from tagscale.study.compare import groups_of, tag_groups, tag_scores
from tagscale.study.grid import Study, read_study
from tagscale.study.qualitative import Qualitative, qualitative
from tagscale.study.trends import fitted_law
from tagscale.study.verdict import conclude

MODELS = ["waveform", "spectrogram", "descriptors"]
PUBLISHED = ["samplecnn", "dieleman", "vgg", "timbre_cnn", "crnn", "multiscale", "samplecnn_multiscale"]
DOZEN = ["waveform", "spectrogram", "short_chunk", "transformer", *PUBLISHED, "descriptors"]


def study_of(folder: Path, **changes: Any) -> Study:
    grid: dict[str, Any] = {"models": MODELS[:2], "baselines": MODELS[2:], "sizes": SIZES, "seeds": (0, 1)}
    grid |= {key: changes.pop(key) for key in list(changes) if key in grid}
    files = make_study(folder, **grid, **changes)
    models = [*grid["models"], *grid["baselines"]]
    return read_study(files.runs, files.results, models=models, sizes=[*grid["sizes"]], seeds=grid["seeds"])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return study_of(tmp_path_factory.mktemp("study"))


def pixels_of(path: Path, model: str) -> int:
    """How many pixels of the file have the model's colour, a little give for the edges."""
    image = imread(path)[..., :3]
    return int((np.abs(image - np.array(mpl.colors.to_rgb(appearance.colour_of(model)))).max(axis=2) < 0.02).sum())


@pytest.mark.slow
def test_every_figure_opens_and_shows_its_models(study: Study, tmp_path: Path) -> None:
    tags = tag_scores(study, "all")
    shown = {
        "training_size": (figures.training_size(study), MODELS),
        "groups": (tag_figures.groups(groups_of(study, "all"), study.everyone), MODELS),
        "tags": (figures.panel(tag_figures.draw_group_tags, tags, MODELS[1:], *tag_groups(tags)[0]), MODELS[1:]),
        "learning_curves": (figures.learning_curves(study), MODELS[:2]),
    }
    for name, (figure, models) in shown.items():
        figures.save_png(figure, tmp_path / f"{name}.png")
        for model in models:
            assert pixels_of(tmp_path / f"{name}.png", model) > 300, f"{name} lacks {model}"
    assert pixels_of(tmp_path / "tags.png", "waveform") == 0


@pytest.mark.slow
def test_the_same_study_gives_the_same_bytes(study: Study, tmp_path: Path) -> None:
    for name in ("first", "second"):
        figures.save_png(figures.training_size(study), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert pictures.training_size(study) == pictures.training_size(study)


def lines_of(axes: Axes, model: str) -> dict[str, np.ndarray]:
    """A model's lines in its own colour, by what they look like: its points by "points", lines by their dashes."""
    lines = [line for line in axes.lines if mpl.colors.to_hex(line.get_color()) == appearance.colour_of(model).lower()]
    return {
        line.get_linestyle() if line.get_marker() == "None" else "points": np.asarray(line.get_xydata())
        for line in lines
    }


def test_points_are_means_with_intervals_and_lines_the_laws(tmp_path: Path) -> None:
    study = study_of(tmp_path, resamples=60)
    axes = figures.panel(figures.draw_training_size, study, "pr_auc", "log").axes[0]
    table = study.comparison.set_index("model")
    for model in MODELS:
        points = lines_of(axes, model)["points"]
        np.testing.assert_allclose(points, table.loc[model, ["train_tracks", "test_pr_auc"]].to_numpy(float))
    bars = np.concatenate([bar.get_segments() for bar in axes.collections if isinstance(bar, LineCollection)])
    ends = table[["test_pr_auc_low", "test_pr_auc_high"]].to_numpy()
    assert sorted(bars[:, :, 1].tolist()) == sorted(ends.tolist())
    for model in MODELS[:2]:
        law, lines = fitted_law(study, model, METRICS["pr_auc"]), lines_of(axes, model)
        assert law is not None
        assert lines["-"][[0, -1], 0] == pytest.approx([100, 802])
        assert lines[":"][[0, -1], 0] == pytest.approx([802, 1604]), "to twice the largest size, and no further"
        for line in (lines["-"], lines[":"]):
            np.testing.assert_allclose(line[:, 1], law.at(line[:, 0]))
    assert len([band for band in axes.collections if isinstance(band, PolyCollection)]) == 2
    np.testing.assert_allclose(lines_of(axes, "descriptors")["--"], lines_of(axes, "descriptors")["points"])
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "300", "802"]


def test_without_a_law_the_means_are_joined(study: Study) -> None:
    """The study has no intervals, so nothing says whether a law describes it."""
    axes = figures.panel(figures.draw_training_size, study, "pr_auc", "linear").axes[0]
    for model in MODELS[:2]:
        lines = lines_of(axes, model)
        assert set(lines) == {"-", "points"}
        np.testing.assert_allclose(lines["-"], lines["points"])


def test_bars_are_the_scores_sorted_with_the_best_on_top(study: Study) -> None:
    tags = tag_scores(study, "all")
    axes = figures.panel(
        tag_figures.draw_group_tags, tags, ["spectrogram", "descriptors"], "genre", "classification"
    ).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    scores = tags[tags["group"] == "genre"].pivot(index="tag", columns="model", values="pr_auc")
    assert names == scores["spectrogram"].sort_values().index.tolist()
    widths = [bar.get_width() for bar in axes.patches]
    np.testing.assert_allclose(widths, [*scores.loc[names, "spectrogram"], *scores.loc[names, "descriptors"]])
    (ticks,) = axes.lines
    shares = tags.drop_duplicates("tag").set_index("tag").eval("positives / tracks")
    np.testing.assert_allclose(ticks.get_xdata(), shares[names])
    assert not [artist for artist in axes.collections if isinstance(artist, PathCollection)]


def test_regression_bars_have_the_smallest_error_on_top(study: Study) -> None:
    tags = tag_scores(study, "all")
    axes = figures.panel(tag_figures.draw_group_tags, tags, ["waveform", "descriptors"], "energy", "regression").axes[0]
    first = [bar.get_width() for bar in axes.patches][:3]
    assert first == sorted(first, reverse=True)
    assert axes.get_title(loc="left") == "energy: √MSE (lower is better)"


def test_tags_without_a_score_are_not_drawn(study: Study) -> None:
    tags = tag_scores(study, "all")
    axes = figures.panel(tag_figures.draw_group_tags, tags, ["waveform"], "meter", "classification").axes[0]
    assert {label.get_text() for label in axes.get_yticklabels()} == {"triple", "quadruple", "compound"}


def test_the_kept_validation_is_marked(study: Study) -> None:
    axes = figures.panel(figures.draw_learning_curves, study, "waveform").axes[0]
    kept = sorted(tuple(line.get_xydata()[0]) for line in axes.lines if line.get_marker() == "o")
    curves = study.curves[study.curves["model"] == "waveform"]
    stated = curves[curves["step"] == 60]  # run.json's kept_step, of twelve validations
    assert len(stated) == curves.groupby(["size", "seed"]).ngroups
    np.testing.assert_allclose(kept, sorted(stated[["step", "valid_loss"]].to_numpy().tolist()))


def test_small_studies_are_drawn_too(tmp_path: Path) -> None:
    """One model, one size, no baseline, one kind of tags: fewer panels, no error."""
    study = study_of(tmp_path, models=["waveform"], baselines=[], sizes={"all": 40}, seeds=(0,), kinds=("regression",))
    tags = tag_scores(study, "all")
    assert len(figures.training_size(study).axes) == 1
    figures.save_png(figures.training_size(study), tmp_path / "sizes.png")
    for group in tag_groups(tags):
        figures.save_png(figures.panel(tag_figures.draw_group_tags, tags, ["waveform"], *group), tmp_path / "tags.png")
    figures.save_png(tag_figures.groups(groups_of(study, "all"), ["waveform"]), tmp_path / "groups.png")
    figures.save_png(figures.learning_curves(study), tmp_path / "curves.png")
    assert pixels_of(tmp_path / "sizes.png", "waveform") > 20
    assert tag_groups(tags) == [("sonority", "regression"), ("energy", "regression")]


@pytest.mark.slow
def test_pictures_carry_themselves_and_their_words(study: Study) -> None:
    tags = tag_scores(study, "all")
    shown = [
        *(picture for row in pictures.training_size(study) for picture in row),
        *pictures.groups(groups_of(study, "all"), study.everyone),
        *pictures.learning_curves(study, study.with_curves),
    ]
    shown += pictures.tags(tags, ["spectrogram", "descriptors"])
    assert len(shown) == 2 * 3 + 2 + 2 + 8, "scores over the size on two axes"
    for picture in shown:
        svg = base64.b64decode(picture["uri"].removeprefix("data:image/svg+xml;base64,")).decode()
        assert svg.rstrip().endswith("</svg>")
        assert not re.search(r'(href|src)="(?!#)', svg), "a picture that would load something"
        assert len(picture["alt"]) > 30
    row = study.runs.query("model == 'waveform' and size == '300'")["test_pr_auc"].mean()
    assert f"{row:.3f} at 300" in pictures.training_size(study)[0][1]["alt"]


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory) -> Study:
    score = {model: 0.3 + 0.01 * place for place, model in enumerate(DOZEN)}
    return study_of(
        tmp_path_factory.mktemp("dozen"),
        models=DOZEN[:-1],
        baselines=DOZEN[-1:],
        seeds=(0,),
        pr_auc=lambda model, tracks, seed: score[model] + tracks / 10_000,
    )


def test_front_ends_are_solid_and_strong_and_baselines_thin_and_dashed(dozen: Study) -> None:
    axes = figures.panel(figures.draw_training_size, dozen, "pr_auc", "log").axes[0]
    lines = {line.get_color(): line for line in axes.lines if line.get_marker() == "None"}
    points = {line.get_color(): line for line in axes.lines if line.get_marker() != "None"}
    assert set(lines) == set(points) == {appearance.colour_of(model) for model in DOZEN}
    for model in DOZEN:
        line = lines[appearance.colour_of(model)]
        assert line.is_dashed() == (model not in DOZEN[:4])
        assert (line.get_linewidth() > 1.5) == (model in DOZEN[:4])
        assert points[appearance.colour_of(model)].get_marker() == appearance.marker_of(model)
    order = [line.get_color() for line in axes.lines if line.get_marker() == "None"]
    assert set(order[-4:]) == {appearance.colour_of(model) for model in DOZEN[:4]}, "front-ends on top"
    legend = [text.get_text() for text in figures.training_size(dozen).legends[0].get_texts()]
    assert {"SampleCNN", "Dieleman & Schrauwen", "Timbre CNN", "multi-level & multi-scale"} < set(legend)


def test_the_curves_of_a_dozen_stand_in_rows_of_three(dozen: Study) -> None:
    figure = figures.learning_curves(dozen)
    assert len(figure.axes) == 11
    assert figure.get_figwidth() < 20
    assert figure.axes[4].get_title(loc="left") == "SampleCNN: loss"


def test_bars_show_four_of_a_dozen(dozen: Study) -> None:
    found = conclude(dozen, 101, 17)
    assert found.shown == ["short_chunk", "transformer", "samplecnn_multiscale", "descriptors"]
    assert found.compared == ["transformer", "short_chunk", "samplecnn_multiscale", "descriptors"]
    means = groups_of(dozen, "all")
    axes = figures.panel(tag_figures.draw_groups, means, found.shown, "classification").axes[0]
    assert len(axes.patches) == 4 * 6, "four models, six groups"
    assert tag_figures.groups_height(means, found.shown, "classification") > tag_figures.groups_height(
        means, found.shown[:3], "classification"
    )


def test_a_model_that_nobody_gave_a_look_is_drawn_all_the_same(tmp_path: Path) -> None:
    study = study_of(tmp_path, models=["waveform", "my_own"], baselines=[], seeds=(0,), pr_auc=lambda *cell: 0.3)
    axes = figures.panel(figures.draw_training_size, study, "pr_auc", "log").axes[0]
    assert appearance.NEUTRAL_COLOUR in {line.get_color() for line in axes.lines}
    assert "my own" in pictures.training_size(study)[0][0]["alt"]


@pytest.fixture(scope="module")
def heard(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Qualitative:
    folder = tmp_path_factory.mktemp("heard")
    files = make_study(folder, seeds=(0, 1))
    partition = Partition.load(files.partition)
    catalog = make_catalog(folder / "catalog", partition)
    write_predictions(files, catalog)
    found = qualitative(study, partition, catalog, files.results)
    assert found is not None
    return found


def test_picks_over_popularity_are_tenths_of_the_tags(heard: Qualitative) -> None:
    axes = figures.panel(listening_figures.draw_ratio, heard.tags, MODELS).axes[0]
    drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
    for model in MODELS:
        rows = heard.tags[heard.tags["model"] == model].sort_values("train_share", ascending=False, kind="stable")
        assert len(drawn[model]) == 10
        most = rows.head(4)  # of 32 tags, the first two tenths hold four
        assert drawn[model][0] == pytest.approx((most["train_share"].mean(), most["picked"].sum() / most["true"].sum()))


def test_dots_and_bars_are_the_numbers_of_the_table(heard: Qualitative) -> None:
    rows = heard.by_model()
    dots = figures.panel(listening_figures.draw_lifts, heard.models).axes[0]
    marks = [line.get_xdata()[0] for line in dots.lines if line.get_marker() == "o"]
    assert marks == [rows[m][f"lift_{third}"] for m in reversed(MODELS) for third in ("popular", "middle", "rare")]
    bars = figures.panel(listening_figures.draw_impossible, heard.models).axes[0]
    assert [bar.get_width() for bar in bars.patches] == [rows[model]["impossible"] for model in reversed(MODELS)]
    assert [label.get_text() for label in bars.get_yticklabels()] == MODELS[::-1], "first on top"
    assert bars.lines[0].get_xdata().tolist() == [rows[model]["impossible_expected"] for model in reversed(MODELS)]
    sets = figures.panel(listening_figures.draw_sets, heard.pairs, MODELS).axes[0]
    assert {label.get_text() for label in sets.get_yticklabels()} == {"genre", "meter", "harmony"}
    own = heard.pairs.query("model == 'waveform' and set == 'genre'")
    assert 100 * (own["predicted"] / own["tracks"]).sum() in [pytest.approx(bar.get_width()) for bar in sets.patches]


def test_a_models_colours_differ_for_colour_blind_readers() -> None:
    """Under simulated deuteranopia (Machado et al. 2009, severity 1) the colours stay apart, those of old far apart."""
    blind = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]])
    seen = {}
    for model in DOZEN:
        srgb = np.array(mpl.colors.to_rgb(appearance.colour_of(model)))
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        seen[model] = (blind @ linear).clip(0, 1) ** (1 / 2.4)
    for first, second in itertools.combinations(DOZEN, 2):
        both_old = first in MODELS and second in MODELS
        assert np.linalg.norm(seen[first] - seen[second]) > (0.25 if both_old else 0.1), f"{first} and {second}"
    assert len({appearance.marker_of(model) for model in DOZEN}) == 12
    assert len({appearance.outline_of(model) for model in DOZEN}) == 12


@pytest.mark.parametrize("template", ["training_size", "per_tag", "learning_curves"])
def test_plots_of_dvc_give_a_model_its_colour(template: str) -> None:
    file = Path(__file__).parents[2] / ".dvc" / "plots" / f"{template}.json"
    color = json.loads(file.read_text())["encoding"]["color"]
    assert color == {"field": "model", "type": "nominal", "scale": {"range": {"field": "colour"}}}
