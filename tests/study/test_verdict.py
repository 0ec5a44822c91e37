"""The verdict on a study with published baselines and intervals; test_compare.py has the one on the paper's two."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from study.compare_fixtures import make_study
from tagscale.models.spec import label_of
from tagscale.runtime.files import read_json, write_json
from tagscale.study.grid import Study, read_study
from tagscale.study.verdict import conclude

SCORES = {
    "waveform": 0.42, "spectrogram": 0.45, "short_chunk": 0.47, "transformer": 0.40,
    "samplecnn": 0.43, "vgg": 0.41, "descriptors": 0.35,
}  # fmt: skip


def study_of(
    folder: Path,
    scores: Mapping[str, float],
    *,
    resamples: int = 0,
    sizes: tuple[str, ...] = ("100", "300", "all"),
    valid: Mapping[str, float] | None = None,
) -> Study:
    """Test PR-AUCs by model; on validation .02 more, or what `valid` says."""
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
    for result in files.results:
        facts = read_json(result / "metrics.json")
        facts["valid"] |= {"pr_auc": (valid or {}).get(facts["identity"]["model"], facts["valid"]["pr_auc"])}
        write_json(result / "metrics.json", facts)
    return read_study(files.runs, files.results, models=[*models, *baselines], sizes=sizes, seeds=[0])


def test_every_baseline_is_beaten(tmp_path: Path) -> None:
    found = conclude(study_of(tmp_path, SCORES, resamples=200, sizes=("all",)), 101, 17)
    assert (found.front_end, found.rival) == ("short_chunk", "descriptors")
    first, second, *_ = found.findings
    assert first.startswith(
        "The best front-end on validation (PR-AUC 0.490) is short-chunk CNN. On test it has 0.470 [0.4"
    )
    assert "] macro PR-AUC at 802 training tracks and beats the descriptors baseline (0.350) by 0.120 [0.1" in first
    assert second == "Of 2 published baselines, short-chunk CNN beats SampleCNN (0.430) and VGG (0.410) on PR-AUC."
    assert found.shown == ["spectrogram", "short_chunk", "samplecnn", "descriptors"]
    assert found.compared == ["short_chunk", "spectrogram", "samplecnn", "descriptors"]


def test_the_best_model_is_named_whatever_its_kind(tmp_path: Path) -> None:
    scores = {"waveform": 0.42, "spectrogram": 0.45, "descriptors": 0.35, "ensemble": 0.5}
    found = conclude(study_of(tmp_path / "default", scores, sizes=("all",)), 101, 17)
    assert found.findings[1] == (
        "Of all 4 models, ensemble has the best PR-AUC on validation; on test it has 0.500 and is ahead of spectrogram "
        "by 0.050."
    )
    assert set(found.shown) == set(scores)
    assert found.compared == ["spectrogram", "descriptors"]

    study = study_of(tmp_path / "more", scores | {"probe": 0.6}, sizes=("all",))
    assert conclude(study, 101, 17).findings[1].startswith("Of all 5 models, probe has the best PR-AUC on validation;")
    assert set(conclude(study, 101, 17).shown) == {"waveform", "spectrogram", "descriptors", "probe"}, "room for four"


def test_models_are_chosen_on_validation_and_judged_on_test(tmp_path: Path) -> None:
    scores = {"waveform": 0.47, "spectrogram": 0.45, "descriptors": 0.35, "ensemble": 0.4, "probe": 0.5}
    study = study_of(tmp_path, scores, sizes=("all",), valid={"spectrogram": 0.6, "ensemble": 0.7})
    found = conclude(study, 101, 17)
    assert (found.front_end, found.compared[0]) == ("spectrogram", "spectrogram")
    assert found.findings[0].startswith(
        "The best front-end on validation (PR-AUC 0.600) is spectrogram. On test it has 0.450 macro"
    )
    assert found.findings[1:3] == [
        "Of all 5 models, ensemble has the best PR-AUC on validation; on test it has 0.400 and is behind spectrogram "
        "by 0.050.",
        "On test, probe has the best PR-AUC, 0.500, and is ahead of spectrogram by 0.050; validation did not choose "
        "it.",
    ]
    assert any(words.startswith("PR-AUC: spectrogram is behind waveform by 0.020") for words in found.findings)


def test_front_ends_are_ranked_among_themselves(tmp_path: Path) -> None:
    found = conclude(study_of(tmp_path, SCORES | {"samplecnn": 0.6}, sizes=("all",)), 101, 17)
    (lead,) = [words for words in found.findings if words.startswith("PR-AUC")]
    assert lead.startswith(
        "PR-AUC: short-chunk CNN is ahead of spectrogram by 0.020, 0.470 to 0.450; short-chunk CNN is"
    )
    assert lead.endswith("; then waveform 0.420 and transformer 0.400.")


def test_published_baselines_are_named_by_how_they_stand(tmp_path: Path) -> None:
    scores = SCORES | {"vgg": 0.53, "crnn": 0.4699}
    found = conclude(study_of(tmp_path, scores, resamples=200, sizes=("all",)), 101, 17)
    assert "beats the descriptors baseline" in found.findings[0]
    assert found.findings[1] == (
        "Of 3 published baselines, short-chunk CNN loses to VGG (0.530), is level with CRNN (0.470) and beats "
        "SampleCNN (0.430) on PR-AUC."
    )


def test_without_descriptors_the_best_published_one_is_the_baseline(tmp_path: Path) -> None:
    scores = {model: score for model, score in SCORES.items() if model != "descriptors"}
    found = conclude(study_of(tmp_path, scores, sizes=("all",)), 101, 17)
    assert found.rival == "samplecnn"
    assert found.findings[0].endswith("is ahead of the SampleCNN baseline (0.430) by 0.040.")
    assert found.findings[1] == "Short-chunk CNN is ahead of VGG (0.410), the other published baseline, on PR-AUC."
    assert found.shown == ["spectrogram", "short_chunk", "samplecnn"]


def test_published_models_alone_are_compared_with_each_other(tmp_path: Path) -> None:
    found = conclude(study_of(tmp_path, {"vgg": 0.4, "samplecnn": 0.45}, sizes=("all",)), 101, 17)
    assert (found.front_end, found.rival) == ("samplecnn", "vgg")
    assert any(words.startswith("PR-AUC: SampleCNN is ahead of VGG by 0.050") for words in found.findings)


def test_descriptors_alone_are_held_against_nothing(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"descriptors": 0.4}, sizes=("all",))
    found = conclude(study, 101, 17)
    assert (found.front_end, found.rival) == ("descriptors", None)
    assert found.findings[0] == "Descriptors has 0.400 macro PR-AUC at 802 training tracks."
    assert found.findings[1].startswith("No other baseline is in the study")
    assert study.curves.empty


def test_capacities_of_one_model_are_front_ends_too(tmp_path: Path) -> None:
    scores = {"waveform-x4": 0.5, "waveform-x2": 0.48, "waveform-half": 0.4, "dieleman": 0.3}
    found = conclude(study_of(tmp_path, scores, sizes=("all",)), 101, 17)
    assert found.front_end == "waveform-x4"
    assert any("waveform x4 is ahead of waveform x2" in words for words in found.findings)


def test_the_lines_are_those_of_the_two_best_front_ends(tmp_path: Path) -> None:
    trends = conclude(study_of(tmp_path, SCORES), 101, 17).trends
    assert "PR-AUC: short-chunk CNN is ahead of spectrogram at 100, 300 and 802 tracks." in trends


@pytest.mark.parametrize(("lead", "level"), [(0.002, True), (0.06, False)])
def test_a_difference_whose_interval_holds_0_beats_nobody(tmp_path: Path, lead: float, level: bool) -> None:
    scores = {"waveform": 0.4 + lead, "spectrogram": 0.4, "descriptors": 0.2}
    found = conclude(study_of(tmp_path, scores, resamples=200, sizes=("all",)), 101, 17)
    (words,) = [words for words in found.findings if words.startswith("PR-AUC")]
    assert words.startswith(f"PR-AUC: waveform {'and spectrogram are level' if level else 'beats spectrogram'}")
    assert "beats the descriptors baseline (0.200) by 0.2" in found.findings[0]


def test_a_lost_comparison_may_be_level_too(tmp_path: Path) -> None:
    scores = {"waveform": 0.4, "spectrogram": 0.38, "descriptors": 0.402}
    found = conclude(study_of(tmp_path, scores, resamples=200, sizes=("all",)), 101, 17)
    assert "and is level with the descriptors baseline (0.402), a difference of -0.002 [-0." in found.findings[0]


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Study:
    scores = dict.fromkeys(("waveform", "spectrogram", "vgg", "descriptors", "probe"), 0.4)
    return study_of(tmp_path_factory.mktemp("five"), scores, resamples=100, sizes=("all",))


def rescored(study: Study, valid: Sequence[float], test: Sequence[float]) -> Study:
    """The study with other PR-AUCs, in the order of its models."""
    runs, resamples = study.runs.copy(), study.resamples.copy()
    by_model = {
        part: dict(zip(study.everyone, scores, strict=True)) for part, scores in (("valid", valid), ("test", test))
    }
    resamples["pr_auc"] += resamples["model"].map(by_model["test"]) - 0.4
    for part, scores in by_model.items():
        runs[f"{part}_pr_auc"] = runs["model"].map(scores)
    return replace(study, runs=runs, resamples=resamples)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.1, 0.6), min_size=10, max_size=10), st.sampled_from([1, 25]))
def test_no_two_sentences_about_a_pair_disagree(five: Study, scores: list[float], nearer: int) -> None:
    """Whatever the scores: a pair is level, or one beats the other, in all sentences and in the table's bold."""
    study = rescored(five, scores[:5], [0.4 + (score - 0.4) / nearer for score in scores[5:]])
    found, ours = conclude(study, 101, 17), label_of(study.front_end)
    sentences = [one for words in found.findings if words[:4] not in ("ROC-", "√MSE") for one in words.split(". ")]
    best = study.comparison.set_index("model")["best"].str.split()
    top = study.scores("pr_auc", "all").idxmax()
    named = 0
    for model in study.everyone:
        theirs = label_of(model)
        certain = rf"(beats|loses to)( the)? {theirs}\b|\b{theirs}\b.*(beats|loses to) {ours}\b"
        level = rf"level with( the)? {theirs}\b|\b{theirs}\b.*level with {ours}\b|{ours} and {theirs} are level"
        said = {kind: any(re.search(words, one) for one in sentences) for kind, words in (("c", certain), ("l", level))}
        if model == top:
            assert ("pr_auc" in best[study.front_end]) == study.level(study.front_end, model, "pr_auc", "all")
        if model == study.front_end:
            continue
        assert not all(said.values()), (theirs, found.findings)
        if any(said.values()):
            named += 1
            assert (
                said["l"]
                == study.level(study.front_end, model, "pr_auc", "all")
                == study.level(model, study.front_end, "pr_auc", "all")
            )
    assert named >= 3, "the baseline, the published one and the other front-end"
    assert not any("ahead of" in one or "behind" in one for one in sentences), "there are intervals"


def test_tags_by_one_artist_are_counted_beside_the_macro(tmp_path: Path) -> None:
    study = study_of(tmp_path, SCORES, sizes=("all",))
    (sentence,) = [words for words in conclude(study, 101, 17).findings if "by one artist" in words]
    tags = (
        pd.read_csv(study.folders["short_chunk-all-0"][1] / "per_tag.csv")
        .query("part == 'test'")
        .dropna(subset="pr_auc")
    )
    frequent = tags[(tags["positives"] >= 10) & (tags["artists"] >= 3)]
    several = tags[tags["artists"] >= 2]
    assert 0 < len(tags) - len(several) < 10
    assert sentence == (
        f"Of {len(tags)} tags, {len(tags) - len(several)} have all their positive test tracks by one artist, who may "
        f"not be like others: the PR-AUC of short-chunk CNN is 0.470 over all tags, {several['pr_auc'].mean():.3f} "
        f"without these and {frequent['pr_auc'].mean():.3f} over the {len(frequent)} frequent ones."
    )


def test_intervals_take_the_place_of_the_formula(tmp_path: Path) -> None:
    study = study_of(tmp_path, SCORES, resamples=200, sizes=("all",))
    certainty = conclude(study, 101, 17).certainty
    assert (
        "The ROC-AUC of half of these tags is uncertain by ±0.10 or more (95%, bootstrap over artists)" in certainty[0]
    )
    assert "95% confidence intervals of the mean score over test parts of 17 other artists" in certainty[1]
    assert "Artists were drawn anew 200 times" in certainty[1]
    assert "By simulation, with so few artists about 9" in certainty[1]
    assert "corrected for its 6 comparisons (Holm 1979)" in certainty[2]
    assert "the intervals are of artists alone" in certainty[3]
    assert not any("Hanley" in sentence for sentence in certainty)
