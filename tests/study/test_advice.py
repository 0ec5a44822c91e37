"""What to do next, from the study's own runs: gains with intervals, the largest named only where it is certain."""

import re
from typing import Any

import numpy as np
import pytest

from study.curves import study_of_curves
from tagscale.study.advice import Advice, advice

SIZES = (100, 400, 1600)


def law(limit: float, rise: float = 1.0, exponent: float = 0.4) -> dict[int, float]:
    return {tracks: limit - rise * tracks**-exponent for tracks in SIZES}


def advised(scores: dict[str, dict[int, float]], metric: str = "pr_auc", **details: Any) -> Advice:
    study = study_of_curves({metric: scores}, **details)
    return advice(study, study.front_end)


def test_twice_the_tracks_is_the_law_drawn_on() -> None:
    advised_now = advised({"waveform": law(0.5)}, error=0.001)
    twice, thousand = advised_now.options[:2]
    true = 1600**-0.4 - 3200**-0.4
    assert twice.what == "twice as many training tracks (3,200)"
    assert twice.gain == pytest.approx(true, abs=1e-6)
    assert twice.low < true < twice.high < 2 * true
    assert thousand.what == "1,000 more training tracks"
    assert thousand.gain == pytest.approx(1600**-0.4 - 2600**-0.4, abs=1e-6)
    assert re.fullmatch(
        r"Twice as many training tracks \(3,200\) would give waveform \+0\.0\d\d to \+0\.0\d\d PR-AUC "
        r"\(95%, as far as its fitted law holds; one training a size, so random starts are not in it\)\.",
        advised_now.sentences[0],
    )
    assert (twice.seconds, twice.model) == (60.0, "waveform")


def test_what_was_not_run_says_how_to_add_it() -> None:
    notes = {option.what: option.note for option in advised({"waveform": law(0.5)}).options[2:]}
    assert notes == {
        "a wider model": "not in this study: add a wider block of it, such as waveform-wide, to `model`, and its name "
        "to `train.models`",
        "a pretrained encoder": "not in this study: add `probe` to `train.probes`",
        "an ensemble": "not in this study: add `ensemble` to `train.ensembles`",
    }


def test_the_step_that_gains_most_is_named_where_it_is_certain() -> None:
    scores = {"waveform": law(0.5), "probe": law(0.6), "waveform-half": law(0.4)}
    found = advised(scores, error=0.002, parameters={"waveform": 10, "waveform-half": 5})
    assert found.options[2].note.startswith("not in this study"), "a narrower model is no wider one"
    encoder = next(option for option in found.options if option.model == "probe")
    assert encoder.gain == pytest.approx(0.1)
    assert found.sentences[1].startswith(
        "Of the steps that this study can judge, a pretrained encoder (probe) gains most: +0.09"
    ), found.sentences
    close = advised(scores | {"probe": law(0.513)}, error=0.004)
    assert close.sentences[1].startswith(
        "Which step gains most is not settled: twice as many training tracks (3,200) +"
    )
    level = advised({"waveform": law(0.5, 0.0), "probe": law(0.495, 0.0)}, error=0.004)
    assert level.sentences[1].startswith("None of the steps that this study can judge is certain to gain: ")


def test_a_wider_model_is_held_against_the_chosen_one_in_the_same_resamples() -> None:
    scores = {"waveform": law(0.5), "waveform-x4": law(0.49)}
    study = study_of_curves({"pr_auc": scores}, parameters={"waveform": 10, "waveform-x4": 40})
    wider = advice(study, study.front_end).options[2]
    assert (wider.what, wider.model) == ("a wider model (waveform x4)", "waveform-x4")
    assert wider.gain == pytest.approx(-0.01)
    rows = study.rows("pr_auc", "1600")
    np.testing.assert_allclose(np.sort(wider.values), np.sort(rows["waveform-x4"] - rows["waveform"]))


def test_advice_may_start_from_any_model() -> None:
    """From a probe on, a probe is no step any more; trees have no width."""
    study = study_of_curves({"pr_auc": {"waveform": law(0.5), "probe": law(0.6), "descriptors": law(0.4)}})
    assert [option.what for option in advice(study, "probe").options[2:]] == ["a wider model", "an ensemble"]
    assert "would give probe +0." in advice(study, "probe").sentences[0]
    kinds = [option.what for option in advice(study, "descriptors").options[2:]]
    assert kinds == ["a pretrained encoder (probe)", "an ensemble"]


def test_an_error_falls() -> None:
    scores = {"waveform": {tracks: 0.1 + tracks**-0.4 for tracks in SIZES}}
    sentence = advised(scores, metric="rmse", error=0.001).sentences[0]
    assert re.search(r"would give waveform -0\.0\d\d to -0\.0\d\d √MSE", sentence), sentence


@pytest.mark.parametrize(
    ("details", "sizes", "why"),
    [
        ({"error": None}, SIZES, "the scores have no intervals (set `evaluate.resamples`)"),
        ({}, SIZES[1:], "a law takes 3 sizes, this study has 2: add some to `train.sizes`"),
    ],
)
def test_what_cannot_be_known_says_why(details: dict[str, Any], sizes: tuple[int, ...], why: str) -> None:
    scores = {model: {size: law(limit)[size] for size in sizes} for model, limit in (("waveform", 0.5), ("probe", 0.6))}
    found = advised(scores, **details)
    assert found.sentences[0] == f"What twice as many training tracks (3,200) would give is not known: {why}."
    judged = "The one step that this study can judge is a pretrained encoder (probe): +0.0"
    assert found.sentences[1].startswith("No next step can be judged" if "error" in details else judged)


def test_runs_that_no_law_describes_give_no_gain() -> None:
    scores = {"waveform": {100: 0.528, 400: 0.564, 1600: 0.7}}
    assert "no power law describes the runs of waveform" in advised(scores, error=0.0005).sentences[0]
