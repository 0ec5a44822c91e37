"""The verdict on a study with published baselines and intervals; test_compare.py has the one on the paper's two."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from study.compare_fixtures import make_study
from tagscale.study.grid import Study, read_study
from tagscale.study.verdict import conclude

SCORES = {
    "waveform": 0.42, "spectrogram": 0.45, "short_chunk": 0.47, "transformer": 0.40,
    "samplecnn": 0.43, "vgg": 0.41, "descriptors": 0.35,
}  # fmt: skip


def study_of(
    folder: Path, scores: Mapping[str, float], *, resamples: int = 0, sizes: tuple[str, ...] = ("100", "300", "all")
) -> Study:
    models = [model for model in scores if model != "descriptors"]
    baselines = [model for model in scores if model == "descriptors"]
    tracks = {size: {"100": 100, "300": 300, "all": 802}[size] for size in sizes}
    files = make_study(
        folder,
        models=models,
        baselines=baselines,
        sizes=tracks,
        resamples=resamples,
        pr_auc=lambda model, tracks, _: scores[model] - (802 - tracks) / 10_000,
    )
    return read_study(files.runs, files.results, models=[*models, *baselines], sizes=sizes, seeds=[0])


def test_every_baseline_is_beaten(tmp_path: Path) -> None:
    found = conclude(study_of(tmp_path, SCORES, sizes=("all",)), 101, 17)
    assert found.beats_baseline is True
    assert (found.front_end, found.rival) == ("short_chunk", "descriptors")
    assert found.findings[:2] == [
        "Short-chunk CNN beats the descriptors baseline and both published ones on macro PR-AUC at 802 training "
        "tracks: 0.470 against 0.350.",
        "Of the published baselines, SampleCNN comes closest to short-chunk CNN: 0.430 against 0.470.",
    ]
    assert found.shown == ["spectrogram", "short_chunk", "samplecnn", "descriptors"]
    assert found.compared == ["short_chunk", "spectrogram", "samplecnn", "descriptors"]


def test_the_best_model_is_named_whatever_its_kind(tmp_path: Path) -> None:
    scores = {"waveform": 0.42, "spectrogram": 0.45, "descriptors": 0.35, "ensemble": 0.5}
    found = conclude(study_of(tmp_path / "default", scores, sizes=("all",)), 101, 17)
    assert found.findings[1] == "Of all 4 models, ensemble has the best PR-AUC: 0.500 against 0.450 of spectrogram."
    assert set(found.shown) == set(scores)
    assert found.compared == ["spectrogram", "descriptors"]

    found = conclude(study_of(tmp_path / "more", scores | {"probe": 0.6}, sizes=("all",)), 101, 17)
    assert found.findings[1] == "Of all 5 models, probe has the best PR-AUC: 0.600 against 0.500 of ensemble."
    assert set(found.shown) == {"waveform", "spectrogram", "descriptors", "probe"}, "there is room for four"
    assert found.compared == ["spectrogram", "waveform", "descriptors", "probe"]


def test_front_ends_are_ranked_among_themselves(tmp_path: Path) -> None:
    found = conclude(study_of(tmp_path, SCORES | {"samplecnn": 0.6}, sizes=("all",)), 101, 17)
    (lead,) = [words for words in found.findings if words.startswith("PR-AUC")]
    assert lead.startswith("PR-AUC: short-chunk CNN leads spectrogram, 0.470 to 0.450, and is ahead on ")
    assert lead.endswith("; then waveform 0.420 and transformer 0.400.")


def test_a_published_baseline_that_is_better_is_named(tmp_path: Path) -> None:
    found = conclude(study_of(tmp_path, SCORES | {"vgg": 0.49}, sizes=("all",)), 101, 17)
    assert found.beats_baseline is False
    assert found.findings[0].startswith("Short-chunk CNN beats the descriptors baseline on macro PR-AUC")
    assert found.findings[1] == (
        "Of 2 published baselines, 1 is at least as good as short-chunk CNN (0.470) on PR-AUC: VGG (0.490)."
    )


def test_without_descriptors_the_best_published_one_is_the_baseline(tmp_path: Path) -> None:
    scores = {model: score for model, score in SCORES.items() if model != "descriptors"}
    found = conclude(study_of(tmp_path, scores, sizes=("all",)), 101, 17)
    assert (found.beats_baseline, found.rival) == (True, "samplecnn")
    assert found.findings[0].startswith("Short-chunk CNN beats the SampleCNN baseline and the other one on")
    assert found.findings[1].startswith("Of the other published baselines, VGG comes closest to short-chunk CNN")
    assert found.shown == ["spectrogram", "short_chunk", "samplecnn"]


def test_published_models_alone_are_compared_with_each_other(tmp_path: Path) -> None:
    found = conclude(study_of(tmp_path, {"vgg": 0.4, "samplecnn": 0.45}, sizes=("all",)), 101, 17)
    assert (found.beats_baseline, found.front_end, found.rival) == (None, "samplecnn", "vgg")
    assert any(words.startswith("PR-AUC: SampleCNN leads VGG, 0.450 to 0.400") for words in found.findings)


def test_descriptors_alone_are_held_against_nothing(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"descriptors": 0.4}, sizes=("all",))
    found = conclude(study, 101, 17)
    assert (found.beats_baseline, found.front_end, found.rival) == (None, "descriptors", None)
    assert found.findings[0].startswith("No other baseline is in the study")
    assert study.curves.empty


def test_capacities_of_one_model_are_front_ends_too(tmp_path: Path) -> None:
    scores = {"waveform-x4": 0.5, "waveform-x2": 0.48, "waveform-half": 0.4, "dieleman": 0.3}
    found = conclude(study_of(tmp_path, scores, sizes=("all",)), 101, 17)
    assert found.front_end == "waveform-x4"
    assert any("waveform x4 leads waveform x2" in words for words in found.findings)


def test_the_lines_are_those_of_the_two_best_front_ends(tmp_path: Path) -> None:
    trends = conclude(study_of(tmp_path, SCORES), 101, 17).trends
    assert "PR-AUC: short-chunk CNN is ahead at 100, 300 and 802 tracks." in trends


@pytest.mark.parametrize(("lead", "chance"), [(0.002, True), (0.06, False)])
def test_a_difference_within_its_interval_may_be_chance(tmp_path: Path, lead: float, chance: bool) -> None:
    scores = {"waveform": 0.4 + lead, "spectrogram": 0.4, "descriptors": 0.2}
    found = conclude(study_of(tmp_path, scores, resamples=200, sizes=("all",)), 101, 17)
    (words,) = [words for words in found.findings if words.startswith("PR-AUC")]
    assert ("could be chance: the 95% interval of the difference over test artists, -0.0" in words) == chance
    assert ("includes 0" in words) == chance
    assert "could be chance" not in found.findings[0], "0.2 ahead of the baseline is no chance"


def test_a_lost_comparison_may_be_chance_too(tmp_path: Path) -> None:
    scores = {"waveform": 0.4, "spectrogram": 0.38, "descriptors": 0.402}
    found = conclude(study_of(tmp_path, scores, resamples=200, sizes=("all",)), 101, 17)
    assert found.beats_baseline is False
    assert found.findings[0].startswith("No front-end beats the descriptors baseline")
    assert "0.400 against 0.402 (could be chance: " in found.findings[0]


def test_intervals_take_the_place_of_the_formula(tmp_path: Path) -> None:
    study = study_of(tmp_path, SCORES, resamples=200, sizes=("all",))
    certainty = conclude(study, 101, 17).certainty
    assert (
        "The ROC-AUC of half of these tags is uncertain by ±0.10 or more (95%, bootstrap over artists)" in certainty[0]
    )
    assert "artists were drawn anew 200 times" in certainty[1]
    assert not any("Hanley" in sentence for sentence in certainty)
