"""Sentences on the training size: the paper's own numbers, every case, and none that a measured score contradicts."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.curves import study_of_curves
from tagscale.models.paper import ROWS
from tagscale.study.trends import line_scale, trends

MODELS = ["waveform", "spectrogram"]
SIZES = (100, 300, 1000, 3000)


def table_1(error: float | None) -> list[str]:
    """What we say of the numbers of table 1 and figure 3 of the paper."""
    rows = [row for row in ROWS if row.table == 1 and row.model in MODELS]
    values = {
        "roc_auc": {row.model: {} for row in rows},
        "pr_auc": {row.model: {} for row in rows},
        "rmse": {row.model: {} for row in rows},
    }
    for row in rows:
        for metric, scale in (("roc_auc", 100), ("pr_auc", 100), ("rmse", 1)):
            values[metric][row.model][int(row.train_size or 0)] = float(getattr(row, metric)) / scale
    return trends(study_of_curves(values, error=error), MODELS)


def test_the_papers_table_1_has_no_single_crossing() -> None:
    assert table_1(error=None) == [
        "ROC-AUC: waveform is ahead at 100,000 and 1,000,000 tracks and spectrogram is ahead at 500,000 tracks. "
        "No single crossing describes these runs.",
        "PR-AUC: waveform is ahead at 100,000 and 1,000,000 tracks and spectrogram is ahead at 500,000 tracks. "
        "No single crossing describes these runs.",
        "√MSE: waveform is ahead at 1,000,000 tracks and spectrogram is ahead at 100,000 and 500,000 tracks. "
        "Waveform overtakes spectrogram between 500,000 and 1,000,000 tracks.",
        "The scores have no intervals (set `evaluate.resamples`), so any of this may be chance.",
    ]


@pytest.mark.parametrize("error", [0.0001, 0.0005, 0.001, 0.002, 0.005, 0.02])
def test_whatever_its_error_table_1_never_makes_the_spectrogram_better_at_100k(error: float) -> None:
    """The waveform leads there in ROC-AUC and PR-AUC, if by .001; straight lines say the opposite."""
    for sentence in table_1(error)[:2]:
        assert "spectrogram" not in named_better_at(100_000, sentence), sentence


def made(gaps: dict[int, float], error: float = 0.004, seeds: tuple[float, ...] = (0.0,)) -> list[str]:
    """Sentences on PR-AUC where the spectrogram has a law and the waveform so much more."""
    law = {tracks: 0.5 - 1.0 * tracks**-0.35 for tracks in gaps}
    scores = {"waveform": {tracks: law[tracks] + gap for tracks, gap in gaps.items()}, "spectrogram": law}
    return trends(study_of_curves({"pr_auc": scores}, error=error, seeds=seeds), MODELS)


def apart(at: float) -> dict[int, float]:
    """Gaps of two laws of one exponent that meet."""
    return {tracks: 0.5 * (at**-0.35 - tracks**-0.35) for tracks in SIZES}


def test_an_overtaking_is_a_range_within_that_of_the_measured_scores() -> None:
    sentence, basis = made(apart(600), error=0.002)
    assert sentence.startswith(
        "PR-AUC: waveform is better at 1,000 and 3,000 tracks and spectrogram is better at 100 and 300 tracks. "
        "Waveform overtakes spectrogram between 300 and 1,000 tracks, between "
    )
    low, high = (int(end.replace(",", "")) for end in re.findall(r"between ([\d,]+) and ([\d,]+)", sentence)[-1])
    assert 300 <= low < 600 < high <= 1000
    assert sentence.endswith(" tracks (95%, by the fitted laws).")
    assert basis.endswith("each cell was trained once, so random starts are not in them.")


def test_laws_that_describe_neither_model_say_nothing_though_they_describe_the_difference() -> None:
    """A report would draw no law, and say that none describes the runs, beside a sentence that rests on two."""
    falling = {tracks: 0.6 - 0.05 * n for n, tracks in enumerate(SIZES)}
    scores = {"waveform": {tracks: score + 0.05 for tracks, score in falling.items()}, "spectrogram": falling}
    sentence, _ = trends(study_of_curves({"pr_auc": scores}, error=0.004), MODELS)
    assert sentence == (
        "PR-AUC: waveform is better than spectrogram at 100, 300, 1,000 and 3,000 tracks. "
        "No fitted law describes these runs, so nothing is said of other sizes."
    )


def test_a_crossing_beyond_is_not_in_sight() -> None:
    sentence, _ = made(dict.fromkeys(SIZES, -0.05), error=0.002)
    assert sentence == (
        "PR-AUC: spectrogram is better than waveform at 100, 300, 1,000 and 3,000 tracks. "
        "No overtaking is in sight up to 3,000 tracks, nor by the fitted laws up to 6,000."
    )


def test_what_noise_hides_is_not_settled() -> None:
    sentence, basis = made(dict.fromkeys(SIZES, 0.001), error=0.01, seeds=(-0.01, 0.01))
    assert sentence == (
        "PR-AUC: waveform and spectrogram are level at 100, 300, 1,000 and 3,000 tracks. "
        "Which of the two is better at other sizes is not settled."
    )
    assert basis.endswith("for other test artists and other random starts (2 seeds).")


def test_a_lead_is_said_as_far_as_it_goes() -> None:
    sentence, _ = made(apart(3500), error=0.006)
    assert re.search(r"By the fitted laws spectrogram is better up to [\d,]+ tracks \(95%\); ", sentence)
    assert sentence.endswith("whether waveform overtakes it beyond is not settled.")


def test_curves_that_no_law_describes_are_not_drawn_on() -> None:
    sentence, _ = made({100: 0.05, 300: 0.0, 1000: 0.05, 3000: 0.0}, error=0.001)
    assert sentence.endswith("No fitted law describes these runs, so nothing is said of other sizes.")


def test_two_sizes_and_one_model_are_too_few() -> None:
    assert made({100: 0.0, 300: 0.1}) == [
        "No law over the training size is fitted: that takes 3 sizes, this study has 2."
    ]
    assert trends(study_of_curves({"pr_auc": {"waveform": dict.fromkeys(SIZES, 0.3)}}), ["waveform"]) == []


def test_a_lower_error_is_ahead() -> None:
    scores = {"waveform": dict.fromkeys(SIZES, 0.15), "spectrogram": dict.fromkeys(SIZES, 0.18)}
    sentence, _ = trends(study_of_curves({"rmse": scores}), MODELS)
    assert sentence.startswith("√MSE: waveform is better than spectrogram at 100, 300, 1,000 and 3,000 tracks. No")


@settings(max_examples=8, deadline=None)
@given(st.lists(st.floats(0.2, 0.8), min_size=8, max_size=8), st.floats(0.001, 0.05))
def test_no_sentence_names_a_model_that_is_certainly_behind(values: list[float], error: float) -> None:
    columns = zip(MODELS, (values[:4], values[4:]), strict=True)
    scores = {model: dict(zip(SIZES, column, strict=True)) for model, column in columns}
    study = study_of_curves({"pr_auc": scores}, error=error, resamples=40)
    sentence = trends(study, MODELS)[0]
    for size in SIZES:
        if study.level(*MODELS, "pr_auc", str(size)):
            continue
        behind, leader = sorted(MODELS, key=lambda model: scores[model][size])
        for told in named_better_at(size, sentence):
            assert told == leader, f"{behind} at {size}: {sentence}"


def value(text: str) -> float:
    return float(text.replace(",", ""))


def named_better_at(size: int, sentence: str) -> list[str]:
    """The models that a sentence calls better at a size, read as a reader does."""
    number = r"([\d,]+)"
    named = []
    for name, sizes in re.findall(r"(\w+) is better (?:than \w+ )?at ([\d, and]+) tracks", sentence):
        named += [name] * (f"{size:,}" in re.split(", | and ", sizes))
    for after, before, low, high in re.findall(rf"(\w+) overtakes (\w+) between {number} and {number}", sentence):
        named += [before.lower()] * (size <= value(low)) + [after.lower()] * (size >= value(high))
    if "No overtaking is in sight" in sentence:
        named += re.findall(r"(\w+) is better (?:than \w+ )?at", sentence)
    for name, high in re.findall(rf"(\w+) is better up to {number}", sentence):
        named += [name] * (size <= value(high))
    for name, low in re.findall(rf"(\w+) is better from {number}", sentence):
        named += [name] * (size >= value(low))
    for name, low, high in re.findall(rf"(\w+) is better between {number} and {number}", sentence):
        named += [name] * (value(low) <= size <= value(high))
    return [name.lower() for name in named]


def test_the_axis_is_the_one_on_which_sizes_are_even() -> None:
    assert line_scale([100, 300, 802]) == "log"
    assert line_scale([100, 200, 300]) == "linear"
    assert line_scale([100, 802]) == "linear"
