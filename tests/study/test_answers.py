"""The first answers: chosen on the validation part, judged on the test part, in a few numbers for DVC."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from study.compare_fixtures import make_study
from tagscale.params.load import load
from tagscale.study.answers import answers, headline
from tagscale.study.grid import Study, read_study
from tagscale.study.verdict import conclude

ROOT = Path(__file__).parents[2]
SCORES = {"waveform": 0.42, "spectrogram": 0.6, "descriptors": 0.35}


def study_of(folder: Path, scores: Mapping[str, float] = SCORES, resamples: int = 200) -> Study:
    baselines = [model for model in scores if model == "descriptors"]
    models = [model for model in scores if model not in baselines]
    files = make_study(
        folder,
        models=models,
        baselines=baselines,
        sizes={"all": 802},
        resamples=resamples,
        epochs=2,
        pr_auc=lambda model, tracks, seed: scores[model],
    )
    return read_study(files.runs, files.results, models=[*models, *baselines], sizes=["all"], seeds=[0])


def told(study: Study) -> tuple[list[str], list[str]]:
    """The answers, and whether each is good news."""
    return [one.answer for one in answers(study)], [one.mark for one in answers(study)]


def test_a_model_that_is_better_than_all_is_named_and_certain(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    which, sure, enough = answers(study)[:3]
    assert (which.answer, sure.answer) == (
        "Spectrogram.",
        "Certain at 95%: no other model is level on the test part.",
    )
    assert which.reasons == ["On the validation part its PR-AUC is 0.620, the best of 3 models."]
    row = study.comparison.set_index("model").loc["spectrogram"]
    ends = f"[{row['test_pr_auc_low']:.3f}, {row['test_pr_auc_high']:.3f}]"
    assert sure.reasons == [f"On the test part its PR-AUC is 0.600 {ends}."]
    assert enough.answer == "Better than the descriptors baseline (0.350)."
    assert enough.reasons[0].startswith("Guessing has 0.2")
    assert [one.mark for one in (which, sure, enough)] == ["good"] * 3
    numbers = headline(study)
    assert numbers["best"] == {"model": "spectrogram", "pr_auc": 0.6} | {
        end: pytest.approx(row[f"test_pr_auc_{end}"], abs=1e-4) for end in ("low", "high")
    }
    assert (numbers["gain_over_baseline"], numbers["hours"]) == (0.25, round(3 * (0.2 * 802 + 10) / 3600, 4))
    assert 0.2 < numbers["gain_low"] < 0.25


def test_models_that_print_alike_on_validation_are_named(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"waveform": 0.5001, "spectrogram": 0.5, "descriptors": 0.35})
    words = "On the validation part its PR-AUC is 0.520, the best of 3 models, level in print with spectrogram."
    assert answers(study)[0].reasons == [words]
    lead = "The best front-end on validation (PR-AUC 0.520, level in print with spectrogram) is waveform. On test it"
    assert conclude(study, 101, 17).findings[0].startswith(lead)


def test_the_run_that_goes_to_the_registry_is_named_where_it_is_another_models(tmp_path: Path) -> None:
    study, registry = study_of(tmp_path), load(ROOT / "params.yaml").registry
    assert len(answers(study, registry)[0].reasons) == 1, "it takes the recommended model"
    trees = registry.model_copy(update={"candidates": ["descriptors"], "metric": "roc_auc"})
    said = "To the registry goes the best run by ROC-AUC of the kinds in `registry.candidates`, descriptors-all-0."
    assert answers(study, trees)[0].reasons[-1] == said
    assert answers(study, trees)[0].answer == "Spectrogram."


def test_a_lead_that_may_be_chance_is_level(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"waveform": 0.402, "spectrogram": 0.3, "descriptors": 0.4})
    words, marks = told(study)
    assert words[1] == "Level on the test part with descriptors (0.400): which is better may be chance."
    assert words[2] == "Not shown: it is level with the descriptors baseline (0.400)."
    assert marks[:3] == ["good", "open", "open"]
    assert headline(study)["gain_low"] < 0 < headline(study)["gain_over_baseline"]


def test_a_model_that_only_the_validation_part_likes_is_no_good_news(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    study.runs.loc[study.runs["model"] == "waveform", "valid_pr_auc"] = 0.9
    words, marks = told(study)
    assert words[:2] == ["Waveform.", "Not sure: on the test part spectrogram (0.600) is better."]
    assert words[2] == "Better than the descriptors baseline (0.350)."
    assert marks[:3] == ["good", "bad", "good"]


def test_the_best_of_another_kind_leaves_the_front_end_named(tmp_path: Path) -> None:
    words, marks = told(study := study_of(tmp_path, {"waveform": 0.42, "probe": 0.7, "descriptors": 0.5}))
    assert words[0] == "Probe."
    assert answers(study)[0].reasons[1] == "Of the front-ends, it is waveform (0.440)."
    assert words[2] == "Better than the descriptors baseline (0.500)."
    trees = study_of(tmp_path / "trees", {"waveform": 0.42, "probe": 0.7, "descriptors": 0.8})
    words, marks = told(trees)
    assert words[2] == "Only as a baseline: descriptors needs no network."
    assert not {"gain_over_baseline", "gain_low"} & set(headline(trees)), "it is the baseline"
    behind = study_of(tmp_path / "behind", {"waveform": 0.42, "probe": 0.7, "descriptors": 0.5})
    behind.runs.loc[behind.runs["model"] == "descriptors", "test_pr_auc"] = 0.9
    words, marks = told(behind)
    assert (words[2], marks[2]) == ("No: the descriptors baseline (0.900) is better on the test part.", "bad")


def test_without_intervals_nothing_is_certain(tmp_path: Path) -> None:
    study = study_of(tmp_path, resamples=0)
    words, marks = told(study)
    assert words[1] == "Unknown: the scores have no intervals (set `evaluate.resamples`)."
    assert answers(study)[1].reasons[1] == "No other model is ahead of it there."
    assert words[2].startswith("Not shown: it is ahead of the descriptors baseline (0.350), and")
    assert marks[1:3] == ["open", "open"]
    one_artist = replace(study_of(tmp_path / "one"), artists=1)
    assert told(one_artist)[0][1] == "Unknown: the scores have no intervals (the test part is by one artist)."


def test_a_study_of_one_model_without_intervals_says_what_it_lacks(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"waveform": 0.42}, resamples=0)
    words, _ = told(study)
    assert words[1] == "On the test part its PR-AUC is 0.420."
    assert answers(study)[0].reasons == ["On the validation part its PR-AUC is 0.440. It is the only model."]
    assert words[2] == "Unknown: the study has no baseline (train.baselines)."
    assert headline(study) == {"best": {"model": "waveform", "pr_auc": 0.42}, "hours": pytest.approx(0.0473, abs=1e-4)}


def test_more_models_have_no_more_numbers(tmp_path: Path) -> None:
    scores = {f"waveform-x{number}": 0.3 + number / 100 for number in range(2, 7)} | {"descriptors": 0.3}
    numbers = headline(study_of(tmp_path, scores, resamples=20))
    assert len(numbers.pop("best")) + len(numbers) <= 8
