"""Reading a study, refusing what cannot be compared, and the numbers and words made of it."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.compare_fixtures import SIZES, Files, make_study
from tagscale.evaluation.bootstrap import standard_error
from tagscale.evaluation.metrics import METRICS
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.study.compare import all_scores, difference, group_scores, tag_scores
from tagscale.study.comparison import means_of_seeds
from tagscale.study.grid import Study, read_study
from tagscale.study.verdict import conclude, hanley_mcneil

ONE_SIZE = {"300": 300}
MODELS = ["waveform", "spectrogram", "vgg"]


def read(files: Files, **grid: Any) -> Study:
    given: dict[str, Any] = {
        "models": ["waveform", "spectrogram"],
        "baselines": ["descriptors"],
        "sizes": [*SIZES],
        "seeds": [0],
    }
    given |= grid
    return read_study(files.runs, files.results, models=given.pop("models") + given.pop("baselines"), **given)


def change(file: Path, **content: Any) -> None:
    facts = read_json(file)
    write_json(file, facts | content)


def change_identity(folder: Path, name: str, **fields: Any) -> None:
    """In the run and in its result, as if both had been made that way."""
    for file in (folder / "runs" / name / "run.json", folder / "results" / name / "metrics.json"):
        change(file, identity=read_json(file)["identity"] | fields)


def test_means_and_deviations_over_seeds_against_brute_force(tmp_path: Path) -> None:
    files = make_study(tmp_path, seeds=(0, 1, 4))
    table = read(files, seeds=[0, 1, 4]).comparison.set_index(["model", "size"])
    for model in ("waveform", "spectrogram", "descriptors"):
        for size in SIZES:
            cells = [read_json(tmp_path / "results" / f"{model}-{size}-{seed}" / "metrics.json") for seed in (0, 1, 4)]
            for part in ("valid", "test"):
                for metric in ("roc_auc", "pr_auc", "rmse"):
                    values = [cell[part][metric] for cell in cells]
                    mean = sum(values) / 3
                    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
                    assert table.loc[(model, size), f"{part}_{metric}"] == pytest.approx(mean)
                    assert table.loc[(model, size), f"{part}_{metric}_sd"] == pytest.approx(deviation)
            seconds = [read_json(tmp_path / "runs" / f"{model}-{size}-{s}" / "run.json")["seconds"] for s in (0, 1, 4)]
            assert table.loc[(model, size), "seconds"] == pytest.approx(sum(seconds) / 3)
            assert table.loc[(model, size), "train_tracks"] == SIZES[size]


def test_the_comparison_is_computed_once(tmp_path: Path) -> None:
    study = read(make_study(tmp_path, sizes=ONE_SIZE), sizes=[300])
    assert study.comparison is study.comparison


def resamples_of(root: Path, model: str, size: str, seed: int) -> pd.DataFrame:
    return pd.read_parquet(root / "results" / f"{model}-{size}-{seed}" / "resamples.parquet")


def test_intervals_are_students_with_the_spread_of_artists_and_seeds(tmp_path: Path) -> None:
    study = read(make_study(tmp_path, sizes=ONE_SIZE, seeds=(0, 1, 4), resamples=200), sizes=[300], seeds=[0, 1, 4])
    assert study.resamples.columns.tolist() == ["model", "size", "seed", "resample", *METRICS]
    assert len(study.resamples) == 9 * 200
    table = study.comparison.set_index(["model", "size"])
    for model in ("waveform", "descriptors"):
        for metric in ("roc_auc", "pr_auc", "rmse"):
            columns = [resamples_of(tmp_path, model, "300", seed)[metric].to_numpy() for seed in (0, 1, 4)]
            row = table.loc[(model, "300")]
            over_artists = 17 / 16 * np.var((columns[0] + columns[1] + columns[2]) / 3)
            over_seeds = row[f"test_{metric}_sd"] ** 2 / 3
            degrees = (over_artists + over_seeds) ** 2 / (over_artists**2 / 16 + over_seeds**2 / 2)
            reach = stats.t.ppf(0.975, degrees) * np.sqrt(over_artists + over_seeds)
            ends = row[[f"test_{metric}_low", f"test_{metric}_high"]].to_numpy(float)
            assert ends.mean() == pytest.approx(row[f"test_{metric}"])
            assert np.diff(ends) / 2 == pytest.approx(reach, rel=0.15), "200 draws of the seeds vary by themselves"


def made_runs(random: np.random.Generator, artists: int, seeds: int, draws: np.ndarray) -> tuple[pd.DataFrame, ...]:
    """An additive model: a score is the mean of the artists' levels, plus the level of the seed; two sizes."""
    runs, resamples = [], []
    for size in ("100", "all"):
        levels = random.normal(0, 0.1, artists)
        for seed in range(seeds):
            score = levels.mean() + random.normal(0, 0.03)
            of_artists = (levels @ draws) / artists - levels.mean()
            about = {"model": "waveform", "size": size, "seed": seed}
            runs.append({**about, **dict.fromkeys((f"test_{metric}" for metric in METRICS), score)})
            rows = pd.DataFrame(dict.fromkeys(METRICS, score + of_artists)).rename_axis("resample").reset_index()
            resamples.append(rows.assign(**about))
    return pd.DataFrame(runs), pd.concat(resamples, ignore_index=True)


@pytest.mark.parametrize("seeds", [1, 3, 6])
def test_artists_and_seeds_add_up(seeds: int) -> None:
    """The mean variance of a mean over seeds, of many made-up studies, against the one that they were made with."""
    random = np.random.default_rng(seeds)
    draws = random.multinomial(25, np.full(25, 1 / 25), size=150).T
    variances = []
    for _ in range(40):
        means = means_of_seeds(*made_runs(random, 25, seeds, draws)).groupby("size")["pr_auc"]
        variances += [standard_error(rows.to_numpy(), 25) ** 2 for _, rows in means]
    expected = 0.1**2 / 25 + (0.03**2 / seeds if seeds > 1 else 0)
    assert np.mean(variances) == pytest.approx(expected, rel=0.12)


def test_the_difference_of_two_models_is_paired(tmp_path: Path) -> None:
    study = read(make_study(tmp_path, sizes=ONE_SIZE, seeds=(0, 1), resamples=200), sizes=[300], seeds=[0, 1])
    found = difference(study, "spectrogram", "waveform", "pr_auc", "300")
    means = {
        model: sum(resamples_of(tmp_path, model, "300", seed)["pr_auc"].to_numpy() for seed in (0, 1)) / 2
        for model in ("spectrogram", "waveform")
    }
    gaps = means["spectrogram"] - means["waveform"]
    spread = study.runs.groupby("model")["test_pr_auc"].var()[["spectrogram", "waveform"]] / 2
    variance = 17 / 16 * np.var(gaps) + spread.sum()
    degrees = variance**2 / ((17 / 16 * np.var(gaps)) ** 2 / 16 + (spread**2).sum())
    reach = stats.t.ppf(0.975, degrees) * np.sqrt(variance)
    table = study.comparison.set_index(["model", "size"])["test_pr_auc"]
    assert found.difference == pytest.approx(table["spectrogram", "300"] - table["waveform", "300"])
    assert (found.low + found.high) / 2 == pytest.approx(found.difference)
    assert (found.high - found.low) / 2 == pytest.approx(reach, rel=0.15)
    assert reach < 0.8 * stats.t.ppf(0.975, 16) * np.std(means["waveform"]), "the artists are the same"
    turned = difference(study, "waveform", "spectrogram", "pr_auc", "300")
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-found.difference, -found.high, -found.low))


def test_comparisons_of_a_family_are_corrected(tmp_path: Path) -> None:
    scores = constant(waveform=0.391, spectrogram=0.407, vgg=0.404, descriptors=0.2)
    files = make_study(tmp_path, models=MODELS, sizes=ONE_SIZE, resamples=200, pr_auc=scores)
    study = read(files, models=MODELS, sizes=[300])
    assert study.front_end == "spectrogram"
    family = study.against("spectrogram", "pr_auc", "300")
    alone = {model: difference(study, "spectrogram", model, "pr_auc", "300") for model in family}
    assert sorted(alone, key=lambda model: alone[model].p) == ["descriptors", "waveform", "vgg"]
    for model, gap in family.items():
        times = {"descriptors": 3, "waveform": 2, "vgg": 1}[model]
        assert gap.difference == alone[model].difference
        assert gap.p == pytest.approx(times * alone[model].p)
        ends = stats.t(16, gap.difference, gap.error).interval(1 - 0.05 / times)
        assert (gap.low, gap.high) == pytest.approx(ends)
        assert study.level("spectrogram", model, "pr_auc", "300") == (gap.p > 0.05) == (gap.low <= 0 <= gap.high)
        assert study.level(model, "spectrogram", "pr_auc", "300") == study.level("spectrogram", model, "pr_auc", "300")
    assert {model: gap.p > 0.05 for model, gap in family.items()} == {
        "waveform": True,
        "vgg": True,
        "descriptors": False,
    }
    assert alone["waveform"].p < 0.05, "by itself it would have been certain"
    best = study.comparison.set_index("model")["best"].str.split()
    assert {model: "pr_auc" in metrics for model, metrics in best.items()} == {
        "waveform": True, "spectrogram": True, "vgg": True, "descriptors": False,
    }  # fmt: skip


def test_models_are_chosen_on_the_validation_part(tmp_path: Path) -> None:
    files = make_study(tmp_path, sizes=ONE_SIZE, pr_auc=constant(waveform=0.41, spectrogram=0.4, descriptors=0.2))
    metrics = tmp_path / "results" / "spectrogram-300-0" / "metrics.json"
    change(metrics, valid=read_json(metrics)["valid"] | {"pr_auc": 0.5})
    study = read(files, sizes=[300])
    assert study.front_end == "spectrogram"
    assert study.ranked(study.everyone) == ["spectrogram", "waveform", "descriptors"]


def test_scores_that_print_alike_are_level(tmp_path: Path) -> None:
    scores = constant(waveform=0.40012, spectrogram=0.40049, descriptors=0.3994)
    study = read(make_study(tmp_path, sizes=ONE_SIZE, pr_auc=scores), sizes=[300])
    assert study.level("waveform", "spectrogram", "pr_auc", "300")
    assert not study.level("waveform", "descriptors", "pr_auc", "300"), "nothing says that it may be chance"
    best = study.comparison.set_index("model")["best"].str.split()
    assert [model for model, metrics in best.items() if "pr_auc" in metrics] == ["waveform", "spectrogram"]


def test_a_lower_error_is_ahead(tmp_path: Path) -> None:
    scores = constant(waveform=0.7, spectrogram=0.3, descriptors=0.2)
    study = read(make_study(tmp_path, sizes=ONE_SIZE, resamples=50, pr_auc=scores), sizes=[300])
    assert difference(study, "waveform", "spectrogram", "rmse", "300").difference < 0
    best = study.comparison.set_index("model")["best"].str.split()
    assert [model for model, metrics in best.items() if "rmse" in metrics] == ["waveform"]


def test_what_cannot_be_told_is_not_a_number(tmp_path: Path) -> None:
    without = read(make_study(tmp_path / "a", sizes=ONE_SIZE), sizes=[300])
    assert without.resamples.empty
    assert without.comparison["test_pr_auc_low"].isna().all()
    assert without.tags[["pr_auc_low", "rmse_high"]].isna().all(axis=None)
    found = difference(without, "waveform", "spectrogram", "pr_auc", "300")
    assert np.isfinite(found.difference)
    assert np.isnan([found.error, found.low, found.high, found.p]).all()
    assert without.artists == 0
    study = read(make_study(tmp_path / "b", sizes=ONE_SIZE, kinds=("classification",), resamples=20), sizes=[300])
    assert np.isnan(difference(study, "waveform", "spectrogram", "rmse", "300").difference)
    assert study.comparison["test_rmse_high"].isna().all()
    with pytest.raises(TagscaleError, match="no runs of vgg at size '300'; its models are waveform, spectrogram"):
        difference(study, "waveform", "vgg", "pr_auc", "300")


def test_the_intervals_over_seeds_are_students(tmp_path: Path) -> None:
    study = read(make_study(tmp_path, sizes=ONE_SIZE, seeds=(0, 1, 4)), sizes=[300], seeds=[0, 1, 4])
    row = study.comparison.set_index(["model", "size"]).loc[("waveform", "300")]
    values = study.runs.query("model == 'waveform' and size == '300'")["test_pr_auc"].to_numpy()
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["seeds"], row["test_pr_auc_seeds_low"], row["test_pr_auc_seeds_high"]) == pytest.approx((3, low, high))
    once = read(make_study(tmp_path / "one", sizes=ONE_SIZE), sizes=[300])
    assert once.comparison["test_pr_auc_seeds_low"].isna().all()


def test_results_of_other_resamples_are_refused(tmp_path: Path) -> None:
    files = make_study(tmp_path, sizes=ONE_SIZE, resamples=20)
    metrics = tmp_path / "results" / "spectrogram-300-0" / "metrics.json"
    drawn = read_json(metrics)["bootstrap"]
    change(metrics, bootstrap=drawn | {"confidence": 0.9})
    study = read(files, sizes=[300])
    assert study.confidence == 0.95, "that of the first run"
    assert study.notes == [
        "The intervals of single tags were made with different confidences (0.95, 0.9). "
        "Run `dvc repro` to make them all alike."
    ]
    change(metrics, bootstrap=drawn | {"resamples": 10, "hash": "other"})
    with pytest.raises(TagscaleError, match=r"different resamples of the test artists.*\n.*") as caught:
        read(files, sizes=[300])
    assert "bootstrap other (10 resamples): spectrogram-300-0\n" in str(caught.value)
    change(metrics, bootstrap={"resamples": 10})
    with pytest.raises(
        TagscaleError, match=r"metrics.json: not as it was written \(key `bootstrap.hash`: Field required\)"
    ):
        read(files, sizes=[300])
    change(metrics, bootstrap=None)
    with pytest.raises(TagscaleError, match="bootstrap none: spectrogram-300-0"):
        read(files, sizes=[300])


def test_resamples_that_are_missing_or_cut_are_named(tmp_path: Path) -> None:
    files = make_study(tmp_path, sizes=ONE_SIZE, resamples=20)
    file = tmp_path / "results" / "descriptors-300-0" / "resamples.parquet"
    pd.read_parquet(file).head(10).to_parquet(file)
    with pytest.raises(
        TagscaleError, match=r"10 resamples, but metrics.json beside it says 20. .*evaluate --model descriptors"
    ):
        read(files, sizes=[300])
    pd.read_parquet(file).drop(columns="rmse").to_parquet(file)
    with pytest.raises(TagscaleError, match=r"resamples.parquet: damaged \(column\(s\) rmse missing"):
        read(files, sizes=[300])
    file.unlink()
    with pytest.raises(TagscaleError, match=r"resamples.parquet: no such file"):
        read(files, sizes=[300])


def test_front_ends_and_published_baselines_are_told_apart(tmp_path: Path) -> None:
    models = ["waveform", "vgg", "spectrogram-x4", "crnn", "transformer"]
    files = make_study(tmp_path, models=models, sizes={"all": 50})
    study = read(files, models=models, sizes=["all"])
    assert study.front_ends == ["waveform", "spectrogram-x4", "transformer"]
    assert study.published == ["vgg", "crnn"]
    assert study.everyone == [*models, "descriptors"]
    assert set(study.curves["model"]) == set(models)
    (tmp_path / "results" / "vgg-all-0" / "metrics.json").unlink()
    with pytest.raises(TagscaleError, match="vgg-all-0: no result; `dvc repro evaluate@vgg-all-0`"):
        read(files, models=models, sizes=["all"])


def test_rows_are_ordered_and_the_best_of_each_size_is_marked(tmp_path: Path) -> None:
    scores = {("waveform", 100): 0.2, ("spectrogram", 100): 0.3, ("descriptors", 100): 0.4}
    scores |= {("waveform", 300): 0.6, ("spectrogram", 300): 0.5, ("descriptors", 300): 0.45}
    files = make_study(tmp_path, sizes={"300": 300, "100": 100}, pr_auc=lambda model, tracks, _: scores[model, tracks])
    table = read(files, sizes=[300, 100]).comparison
    assert table["model"].tolist() == ["waveform", "spectrogram", "descriptors"] * 2
    assert table["train_tracks"].tolist() == [100] * 3 + [300] * 3
    assert table["best"].tolist() == ["", "", " ".join(METRICS), " ".join(METRICS), "", ""]
    assert table["test_pr_auc_sd"].isna().all(), "one seed has no deviation"


def test_only_the_cells_of_the_grid_are_taken(tmp_path: Path) -> None:
    files = make_study(tmp_path, seeds=(0, 1))
    (files.results[0] / "notes.txt").write_text("not a run")
    study = read(files, sizes=[100], seeds=[1])
    assert study.runs[["model", "size", "seed"]].values.tolist() == [
        ["waveform", "100", 1],
        ["spectrogram", "100", 1],
        ["descriptors", "100", 1],
    ]


def test_a_missing_cell_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    files = make_study(tmp_path)
    (tmp_path / "results" / "waveform-300-0" / "metrics.json").unlink()
    (tmp_path / "runs" / "descriptors-all-0" / "run.json").unlink()
    with pytest.raises(TagscaleError) as caught:
        read(files)
    assert "2 of 9 cells" in str(caught.value)
    assert "waveform-300-0: no result; `dvc repro evaluate@waveform-300-0`" in str(caught.value)
    assert "descriptors-all-0: no run; `dvc repro evaluate_baseline@descriptors-all-0`" in str(caught.value)


@pytest.mark.parametrize("field", ["dataset_hash", "partition_hash"])
def test_runs_on_different_data_are_refused(tmp_path: Path, field: str) -> None:
    files = make_study(tmp_path)
    change_identity(tmp_path, "spectrogram-100-0", **{field: "fffff0000000"})
    with pytest.raises(TagscaleError, match=f"{field} fffff0000000: spectrogram-100-0\n"):
        read(files)


def test_scores_of_another_training_are_refused(tmp_path: Path) -> None:
    files = make_study(tmp_path)
    file = tmp_path / "runs" / "waveform-100-0" / "run.json"
    change(file, identity=read_json(file)["identity"] | {"settings_hash": "retrained"})
    with pytest.raises(TagscaleError, match=r"scores of another training.*evaluate@waveform-100-0"):
        read(files)


def test_different_settings_of_one_model_are_marked(tmp_path: Path) -> None:
    files = make_study(tmp_path)
    assert read(files).notes == []
    change_identity(tmp_path, "waveform-all-0", settings_hash="wider")
    (note,) = read(files).notes
    assert note.startswith("The waveform runs were trained with different settings (settings-waveform, wider)")


@pytest.mark.parametrize("content", ["{", "[]", '{"identity": {"model": "waveform"}}'])
def test_an_unreadable_file_is_named(tmp_path: Path, content: str) -> None:
    files = make_study(tmp_path)
    (files.runs[0] / "run.json").write_text(content)
    with pytest.raises(
        TagscaleError,
        match=r"waveform-100-0/run.json: not as it was written.*tagscale train --model waveform --size 100 --seed 0",
    ):
        read(files)


def test_a_missing_history_and_a_column_less_are_named(tmp_path: Path) -> None:
    files = make_study(tmp_path)
    history = files.runs[0] / "history.csv"
    pd.read_csv(history).drop(columns="valid_loss").to_csv(history, index=False)
    with pytest.raises(TagscaleError, match=r"history.csv: damaged \(column\(s\) valid_loss missing"):
        read(files)
    history.unlink()
    with pytest.raises(
        TagscaleError,
        match=r"history.csv: no such file. Run `tagscale train --model waveform --size 100 --seed 0` first",
    ):
        read(files)


def test_a_tag_may_be_called_nan(tmp_path: Path) -> None:
    files = make_study(tmp_path)
    for folder in files.results:
        table = pd.read_csv(folder / "per_tag.csv")
        table["tag"] = table["tag"].replace({"rock": "none", "jazz": "NA"})
        table.to_csv(folder / "per_tag.csv", index=False)
    tags = set(tag_scores(read(files), "all")["tag"])
    assert {"none", "NA"} <= tags


def test_group_means_against_brute_force(tmp_path: Path) -> None:
    files = make_study(tmp_path, seeds=(0, 1))
    groups = group_scores(tag_scores(read(files, seeds=[0, 1]), "300")).set_index(["group", "model"])
    tables = [pd.read_csv(tmp_path / "results" / f"waveform-300-{seed}" / "per_tag.csv") for seed in (0, 1)]
    rows = pd.concat(tables).query("part == 'test'")
    meter = rows[rows["group"] == "meter"]["pr_auc"]
    assert groups.loc[("meter", "waveform"), "score"] == pytest.approx(np.nanmean(meter))
    assert groups.loc[("meter", "waveform"), "tags"] == 3, "the tag without positives counts nowhere"
    energy = rows[rows["group"] == "energy"]["rmse"]
    assert groups.loc[("energy", "waveform"), "score"] == pytest.approx(energy.mean())


def test_scores_have_null_where_nothing_was_scored(tmp_path: Path) -> None:
    files = make_study(tmp_path, kinds=("classification",), pr_auc=lambda model, tracks, seed: 0.123456)
    numbers = json.loads(json.dumps(all_scores(read(files))))
    assert list(numbers) == ["waveform", "spectrogram", "descriptors"]
    assert list(numbers["waveform"]["all"]) == list(METRICS)
    expected = {"roc_auc": 0.6117, "pr_auc": 0.1235, "rmse": None, "f1": 0.1235}
    assert {metric: numbers["waveform"]["all"][metric] for metric in expected} == expected


def constant(**scores: float) -> Any:
    return lambda model, tracks, seed: scores[model]


def test_the_verdict_says_plainly_whether_the_baseline_is_beaten(tmp_path: Path) -> None:
    better = conclude(
        read(make_study(tmp_path / "a", pr_auc=constant(waveform=0.5, spectrogram=0.4, descriptors=0.45))), 1, 1
    )
    assert (better.front_end, better.rival) == ("waveform", "descriptors")
    assert better.findings[0] == (
        "The best front-end on validation (PR-AUC 0.520) is waveform. On test it has 0.500 macro "
        "PR-AUC at 802 training tracks and is ahead of the descriptors baseline (0.450) by 0.050."
    ), "without an interval nothing beats anything"
    worse = conclude(
        read(make_study(tmp_path / "b", pr_auc=constant(waveform=0.3, spectrogram=0.4, descriptors=0.45))), 1, 1
    )
    assert worse.findings[0].endswith("and is behind the descriptors baseline (0.450) by 0.050.")
    assert any(
        finding.startswith("PR-AUC: spectrogram is ahead of waveform by 0.100, 0.400 to 0.300;")
        for finding in worse.findings
    )
    files = make_study(tmp_path / "c", models=["waveform"], pr_auc=constant(waveform=0.3, descriptors=0.45))
    alone = conclude(read(files, models=["waveform"]), 1, 1)
    assert alone.findings[:1] == [
        "Waveform has 0.300 macro PR-AUC at 802 training tracks and is behind the descriptors baseline (0.450) by "
        "0.150."
    ]
    assert alone.trends == []


def test_level_scores_are_called_level(tmp_path: Path) -> None:
    files = make_study(tmp_path, pr_auc=constant(waveform=0.4001, spectrogram=0.4, descriptors=0.3))
    assert "PR-AUC: waveform and spectrogram are level at 0.400." in conclude(read(files), 101, 17).findings


def test_a_lead_within_the_spread_of_the_seeds_is_qualified(tmp_path: Path) -> None:
    base = {"waveform": 0.40, "spectrogram": 0.41, "descriptors": 0.30}
    files = make_study(tmp_path, seeds=(0, 1), pr_auc=lambda model, tracks, seed: base[model] + 0.02 * seed)
    found = conclude(read(files, seeds=[0, 1]), 101, 17)
    assert found.findings[0].endswith("(0.310) by 0.110.")
    lead = next(finding for finding in found.findings if finding.startswith("PR-AUC"))
    assert lead.endswith("(but seeds alone differ by as much: the SD of the difference is 0.020).")
    assert any("trained 2 times" in sentence for sentence in found.certainty)


def test_tags_on_which_the_leader_is_ahead_are_counted(tmp_path: Path) -> None:
    files = make_study(tmp_path)
    scores = {
        model: pd.read_csv(tmp_path / "results" / f"{model}-all-0" / "per_tag.csv").query("part == 'test'")
        for model in ("waveform", "spectrogram")
    }
    for metric, sign in (("pr_auc", 1), ("rmse", -1)):
        difference = sign * (scores["spectrogram"][metric] - scores["waveform"][metric]).dropna()
        expected = f"is ahead on {(difference > 0).sum()} of {len(difference)} tags."
        label = {"pr_auc": "PR-AUC", "rmse": "√MSE"}[metric]
        (finding,) = [words for words in conclude(read(files), 101, 17).findings if words.startswith(label)]
        assert finding.endswith(expected)


def test_without_regression_tags_without_baselines_and_with_one_size(tmp_path: Path) -> None:
    files = make_study(tmp_path, baselines=(), sizes={"all": 50}, kinds=("classification",))
    found = conclude(read(files, baselines=[], sizes=["all"]), 101, 17)
    assert found.rival == "waveform", "the other front-end, where there is no baseline"
    assert found.findings[1].startswith("No baseline is in the grid")
    assert not any(words.startswith("√MSE") for words in found.findings), "which no tag of the study has"
    assert found.trends == ["No law over the training size is fitted: that takes 3 sizes, this study has 1."]


def test_with_regression_tags_alone_the_error_decides(tmp_path: Path) -> None:
    files = make_study(tmp_path, kinds=("regression",))
    found = conclude(read(files), 101, 17)
    assert re.search(r"√MSE .* is ahead of the descriptors baseline", found.findings[0])
    assert not any("ROC-AUC" in words for words in found.certainty), "it does not exist"


def test_the_uncertainty_of_an_auc_against_simulation() -> None:
    """Hanley and McNeil's formula assumes exponential scores, so the simulation draws from these."""
    generator = np.random.default_rng(5)
    positives, negatives, auc = 12, 80, 0.8
    above = generator.exponential(auc / (1 - auc), (4000, positives, 1))
    below = generator.exponential(1.0, (4000, 1, negatives))
    areas = (above > below).mean(axis=(1, 2))
    assert areas.mean() == pytest.approx(auc, abs=0.005)
    assert hanley_mcneil(auc, positives, negatives) == pytest.approx(areas.std(), rel=0.05)


def test_the_certainty_names_the_size_of_the_test_part(tmp_path: Path) -> None:
    certainty = conclude(read(make_study(tmp_path)), 101, 17).certainty
    assert "101 tracks by 17 artists" in certainty[0]
    assert "half of its 31 scored classification tags have 22 positive tracks or fewer" in certainty[0]
    assert certainty[1].startswith("The scores have no intervals (set `evaluate.resamples`)")
    assert "judged on the test part" in certainty[2]
    assert "trained once" in certainty[3]
