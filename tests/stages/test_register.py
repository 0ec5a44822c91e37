"""Register: the best run becomes a version, and champion only past the gate."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from registry.tiny import TinyStudy, empty_store, make_study, package_little_code
from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.evaluation.metrics import METRICS, evaluate
from tagscale.params.load import Params, parse
from tagscale.partition.divide import Partition
from tagscale.registry import judgement, package
from tagscale.registry.cost import CPU, Cost
from tagscale.registry.gate import Verdict
from tagscale.registry.looks import look_records
from tagscale.registry.package import load_version
from tagscale.registry.paired import power
from tagscale.registry.promote import history, promote, rollback
from tagscale.registry.versions import CHALLENGER, CHAMPION, Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.stages import register
from tagscale.store.read import Store

NAME = "tagscale-tagger"
TRACKS = 48  # 16 artists in the test part
WEAK, STRONG = 0.3, 4.0  # skills that 16 artists tell apart


def surround(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder the current one, and leave out what takes long and is tested elsewhere."""
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)
    patch.setenv("TAGSCALE_GIT_COMMIT", "c0ffee")
    patch.setattr(register, "cost_of", lambda _: Cost(12.3, 0.4, CPU))  # a second, which test_candidates.py takes
    package_little_code(patch, folder)
    patch.chdir(folder)


def weak_study(folder: Path) -> TinyStudy:
    made = make_study(folder, tracks=TRACKS)
    made.set_skill("spectrogram", WEAK)
    return made


@pytest.fixture
def study(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyStudy:
    surround(monkeypatch, tmp_path)
    empty_store(request.config, tmp_path)
    return weak_study(tmp_path / "study")


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    """A study whose weak spectrogram is version 1 and champion, with its store; nobody changes it."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        surround(patch, folder)
        empty_store(request.config, folder)
        study = weak_study(folder / "study")
        registered(study)
    return study


@pytest.fixture
def champion(project: TinyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyStudy:
    """A copy of the project with a champion, in the current folder."""
    shutil.copytree(project.root.parent, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("code"))
    surround(monkeypatch, tmp_path)
    return TinyStudy(tmp_path / "study", project.params)


def another(study: TinyStudy, seed: int, skill: float, split: int = 0) -> TinyStudy:
    """A second study whose spectrogram has other weights, and scores of this skill."""
    made = make_study(study.root.parent / f"study{seed}", seed=seed, split=split, tracks=TRACKS)
    made.set_skill("spectrogram", skill, seed)
    return made


def registered(study: TinyStudy, params: Params | None = None) -> dict[str, Any]:
    register.run(params or study.params, **study.paths())
    return study.registration()


def aliases() -> dict[str, str]:
    return Registry.open(NAME).aliases()


def with_settings(study: TinyStudy, block: str, **changes: object) -> Params:
    content = study.params.model_dump()
    content[block] |= changes
    return parse(content)


def with_gate(study: TinyStudy, **changes: object) -> Params:
    return with_settings(study, "registry", gate=study.params.registry.gate.model_dump() | changes)


def test_best_run_by_validation_becomes_the_first_champion(study: TinyStudy, capsys: pytest.CaptureFixture) -> None:
    study.set_metrics("waveform", valid=0.5, test=0.99)  # better on the test part, which must not choose
    outcome = registered(study)
    assert outcome == {
        "name": NAME,
        "version": "1",
        "alias": CHAMPION,
        "candidate": "spectrogram-all-0",
        "role": "front-end",
        "reason": "the first champion: there was none to compare with",
        "metric": "pr_auc",
        "candidate_value": None,
        "candidate_test": pytest.approx(0.55),
        "champion_version": None,
        "champion_value": None,
        "baseline": "descriptors-all-0",
        "baseline_value": pytest.approx(0.35),
        "look": None,
    }
    assert aliases() == {CHAMPION: "1"}
    assert capsys.readouterr().out.startswith(f"spectrogram-all-0 is now version 1 of {NAME}: champion")
    assert [record["why"] for record in history(NAME)] == [outcome["reason"]]


def test_version_carries_the_limits_of_its_training(study: TinyStudy) -> None:
    registered(study, with_settings(study, "validation", min_seconds=0.75, silence_dbfs=-50.0))
    limits = load_version(NAME)[0].limits
    assert limits.model_dump() == {"min_seconds": 0.75, "silence_dbfs": -50.0, "max_clipped": 0.05, "max_dc": 0.05}


def test_version_carries_identity_metrics_commit_and_its_run(champion: TinyStudy) -> None:
    version = Registry.open(NAME).version(1)
    identity = json.loads((champion.root / "runs" / "spectrogram-all-0" / "run.json").read_text())["identity"]
    for key, value in identity.items():
        assert version.tags[f"tagscale.{key}"] == str(value)
    assert version.tags["tagscale.git_commit"] == "c0ffee"
    assert version.tags["tagscale.train_tracks"] == "16"
    assert version.tags["tagscale.gate"].startswith("passed: the first champion")
    assert version.test_metrics == dict.fromkeys(METRICS, 0.5) | {"pr_auc": 0.55, "rmse": 0.3}
    client = tracking.connect()
    run = client.get_run(version.run_id)
    assert run.info.run_name == "spectrogram-all-0"
    assert [one.model_id for one in run.outputs.model_outputs], "the run's page leads to the model"
    assert "spectrogram front-end trained on 16 tracks of tiny" in client.get_model_version(NAME, "1").description


def test_registered_tagger_gives_the_scores_that_were_evaluated(study: TinyStudy) -> None:
    study = make_study(study.root.parent / "real")
    registered(study)
    tagger, version = load_version(NAME)
    table = pd.read_parquet(study.root / "results" / "spectrogram-all-0" / "predictions.parquet").set_index("track_id")
    scores = tagger.scorer.predict(Store.open(study.root / "store"), list(table.index))
    pd.testing.assert_frame_equal(scores, table.drop(columns="part"), atol=1e-6)
    assert version.number == "1"
    assert tagger.groups == {"rock": "genre", "jazz": "genre", "energy": "genre"}


def test_better_candidate_replaces_the_champion(champion: TinyStudy) -> None:
    outcome = registered(another(champion, 1, STRONG))
    assert (outcome["version"], outcome["alias"], outcome["champion_version"]) == ("2", CHAMPION, "1")
    assert re.match(
        r"PR-AUC [\d.]+ is [\d.]+ better than the [\d.]+ of the champion \(95% interval \+", outcome["reason"]
    )
    assert outcome["candidate_value"] > outcome["champion_value"]
    assert aliases() == {CHAMPION: "2"}
    assert history(NAME)[-1]["metrics"]["replaced"]["pr_auc"] == 0.55
    (look,) = look_records(Registry.open(NAME))
    assert (look["number"], look["version"], look["champion"], look["passed"]) == (1, "2", "1", True)
    verdict = champion.root.parent / "study1" / "registration" / "gate.json"
    assert json.loads(verdict.read_text()) == json.loads(Registry.open(NAME).version(2).tags["tagscale.verdict"])


def test_candidate_that_is_no_better_beyond_chance_stays_challenger(study: TinyStudy) -> None:
    study.set_skill("spectrogram", 1.0)
    registered(study)
    outcome = registered(another(study, 1, skill=1.2))
    assert outcome["alias"] == CHALLENGER
    assert outcome["reason"].startswith("not proven better: PR-AUC")
    assert aliases() == {CHAMPION: "1", CHALLENGER: "2"}
    assert len(history(NAME)) == 1
    assert [look["passed"] for look in look_records(Registry.open(NAME))] == [False]


def test_what_the_test_part_can_show_goes_by_the_margin(study: TinyStudy) -> None:
    study.set_skill("spectrogram", 1.0)
    registered(study)
    close = another(study, 1, skill=1.2)
    registered(close, with_gate(study, rule="non_inferior", margin=0.3))
    foreseen = close.registration("gate.json")["power"]
    assert list(foreseen["chances"]) == ["0", "0.01", "0.02", "0.05"], "a candidate that is as good may pass"
    equal = power(0.3, foreseen["error"], TRACKS // 3 - 1, foreseen["level"])
    assert foreseen["chances"]["0"] == pytest.approx(equal, abs=1e-3)


@pytest.mark.slow
def test_candidate_that_is_behind_on_the_validation_part_costs_no_look(study: TinyStudy) -> None:
    study.set_skill("spectrogram", STRONG)
    registered(study)
    outcome = registered(another(study, 1, WEAK))
    assert outcome["alias"] == CHALLENGER
    assert re.match(r"on the validation part PR-AUC .* worse than .* the test part is not looked at", outcome["reason"])
    assert look_records(Registry.open(NAME)) == []


@pytest.mark.slow
def test_lower_rmse_is_better(study: TinyStudy) -> None:
    params = with_settings(study, "registry", metric="rmse")
    study.set_metrics("spectrogram", valid=0.2, test=0.2, metric="rmse")

    def shifted(one: TinyStudy, by: float) -> TinyStudy:
        """Scores of the regression tag that are off by so much."""
        file = one.root / "results" / "spectrogram-all-0" / "predictions.parquet"
        table = pd.read_parquet(file)
        truth = Catalog.load(one.root / "catalog").labels.loc[table["track_id"], "energy"].to_numpy()
        sign = 1 - 2 * (truth > 0.5)
        table["energy"] = (truth + sign * by * (1 + 0.1 * (table.index % 5))).astype("float32")
        table.to_parquet(file, index=False)
        one.set_metrics("spectrogram", valid=0.1, test=0.1, metric="rmse")
        return one

    registered(shifted(study, 0.2), params)
    assert registered(shifted(another(study, 1, 1.0), 0.3), params)["alias"] == CHALLENGER
    outcome = registered(shifted(another(study, 2, 1.0), 0.1), params)
    assert outcome["alias"] == CHAMPION
    assert "√MSE 0.1" in outcome["reason"]
    assert outcome["candidate_value"] < outcome["champion_value"]


def test_where_the_alias_was_deleted_the_last_champion_counts(
    champion: TinyStudy, capsys: pytest.CaptureFixture
) -> None:
    tracking.connect().delete_registered_model_alias(NAME, CHAMPION)
    same = registered(champion)
    assert same["reason"] == "this run is registered already, as version 1, the last champion, whose alias is missing"
    note = "the alias `champion` is missing, so version 1, the last champion that still exists, counts as the champion"
    alike = another(champion, 1, WEAK)
    outcome = registered(alike)
    assert re.match(rf"not proven better: PR-AUC .* of the champion .* \({note}\)$", outcome["reason"])
    assert (outcome["alias"], outcome["champion_version"], outcome["vacant"]) == (CHALLENGER, "1", "1")
    put_back = "Nobody is champion: `tagscale rollback` makes version 1, the last that still exists, champion again."
    assert put_back in capsys.readouterr().out
    assert put_back in standing(alike, capsys)
    page = (alike.root / "registration" / "gate.html").read_text()
    assert "held against version 1, the last champion that still existed" in page
    assert "Nobody is champion: <code>tagscale rollback</code> makes version 1" in page
    outcome = registered(another(champion, 2, STRONG))
    assert (outcome["alias"], outcome["champion_version"], "vacant" in outcome) == (CHAMPION, "1", False)
    assert re.match(rf"PR-AUC .* better than the .* of the champion .* \({note}\)$", outcome["reason"])
    assert [(record["champion"], record["replaced"]) for record in history(NAME)] == [("1", None), ("3", None)]


def test_where_no_champion_is_left_the_floor_decides_and_nobody_is_first(champion: TinyStudy) -> None:
    tracking.connect().delete_model_version(NAME, "1")
    outcome = registered(another(champion, 1, WEAK))
    lost = "the alias `champion` is missing, and no version that was champion is left to compare with"
    assert (outcome["alias"], outcome["reason"]) == (CHAMPION, lost)


def test_the_same_run_is_not_registered_twice(champion: TinyStudy) -> None:
    outcome = registered(champion)
    assert (outcome["version"], outcome["alias"]) == ("1", CHAMPION)
    assert "registered already, as version 1, the champion" in outcome["reason"]
    assert list(Registry.open(NAME).versions()) == ["1"]


def test_a_rollback_by_hand_outlives_another_registration(champion: TinyStudy) -> None:
    better = another(champion, 1, STRONG)
    registered(better)
    rollback(NAME)
    outcome = registered(better)
    assert (outcome["version"], outcome["alias"]) == ("2", None)
    assert "`tagscale promote 2` makes it champion by hand" in outcome["reason"]
    assert "another version was made champion since" in (better.root / "registration" / "gate.html").read_text()
    assert aliases() == {CHAMPION: "1"}
    promote(NAME, 2)
    assert aliases() == {CHAMPION: "2"}


def test_registration_that_was_interrupted_before_the_gate_is_finished(
    study: TinyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(judgement, "move", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            registered(study)
    assert aliases() == {CHALLENGER: "1"}
    assert registered(study)["alias"] == CHAMPION
    assert list(Registry.open(NAME).versions()) == ["1"]


def test_champion_of_another_partition_is_scored_again(champion: TinyStudy) -> None:
    other = another(champion, 1, STRONG, split=16)
    outcome = registered(other)
    assert "the champion comes from another partition and was scored again, perhaps on tracks that it learned" in str(
        outcome["reason"]
    )
    assert outcome["champion_value"] not in (None, 0.55)
    network, catalog = load_version(NAME, "1")[0].scorer, Catalog.load(other.root / "catalog")
    tracks = Partition.load(other.root / "partition").tracks("test")
    labels = catalog.labels.loc[tracks, ["rock", "jazz"]].to_numpy()
    scores = network.predict(Store.open(other.root / "store"), tracks)[["rock", "jazz"]].to_numpy()
    expected = evaluate(labels, scores, np.zeros(2, bool)).overall()["pr_auc"]
    assert outcome["champion_value"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_champion_whose_results_are_not_kept_is_scored_again(study: TinyStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(register, "kept_files", lambda _: [])
        registered(study)
    outcome = registered(another(study, 1, STRONG))
    assert "(the champion was scored again)" in outcome["reason"]
    assert outcome["champion_value"] is not None


@pytest.mark.slow
def test_same_model_on_another_partition_scores_the_same(study: TinyStudy) -> None:
    """The champion's new score is what evaluating it there gives: with equal weights, a tie."""
    registered(make_study(study.root.parent / "first", seed=0))
    moved = make_study(study.root.parent / "moved", seed=0, split=4)
    outcome = registered(moved)
    assert outcome["alias"] == CHALLENGER
    assert re.search(r"is the same as the [\d.]+ of the champion", outcome["reason"])


def test_champion_with_other_tags_keeps_its_place(champion: TinyStudy) -> None:
    stranger = make_study(champion.root.parent / "strange", seed=3, tags=("techno", "folk"))
    outcome = registered(stranger)
    assert outcome["alias"] == CHALLENGER
    assert "none of them shared; `tagscale promote 2 --force --why TEXT` decides by hand" in outcome["reason"]


def test_a_candidate_without_a_tag_of_the_champion_is_no_champion_by_itself(champion: TinyStudy) -> None:
    fewer = make_study(champion.root.parent / "fewer", seed=6, tags=("rock", "folk"), tracks=TRACKS)
    fewer.set_skill("spectrogram", STRONG)
    outcome = registered(fewer)
    assert outcome["alias"] == CHALLENGER
    assert outcome["reason"].startswith(
        "the candidate lacks 2 tags of the champion: jazz and energy (compared without 1 tag that"
    )
    assert look_records(Registry.open(NAME)) == []
    page = (fewer.root / "registration" / "gate.html").read_text()
    assert "Who reads these tags would miss them" in page


def test_champion_that_cannot_be_read_keeps_its_place_and_is_named(champion: TinyStudy) -> None:
    for weights in Path("mlartifacts/models").rglob("weights.safetensors"):
        weights.write_bytes(b"damaged")
    outcome = registered(another(champion, 1, STRONG, split=16))
    assert outcome["alias"] == CHALLENGER
    assert "the champion, version 1, cannot be scored" in outcome["reason"]


def test_the_first_champion_stands_on_the_floor(study: TinyStudy) -> None:
    study.set_skill("descriptors", 2.0)
    no_trees = [role for role in study.params.registry.candidates if role != "descriptors"]
    params = with_gate(study, floor=["baseline", "constant"])
    only_networks = parse(params.model_dump() | {"registry": params.registry.model_dump() | {"candidates": no_trees}})
    outcome = registered(study, only_networks)
    assert outcome["alias"] == CHALLENGER
    assert "stand_in" not in outcome
    assert re.match(
        r"PR-AUC [\d.]+ is [\d.]+ worse than the [\d.]+ of descriptors \(descriptors-all-0\)", outcome["reason"]
    )
    assert aliases() == {CHALLENGER: "1"}
    with pytest.raises(TagscaleError, match=r"Version 1 .* is not promoted: the gate held it back: PR-AUC .*--force"):
        promote(NAME, 1)
    good = another(study, 1, STRONG)
    good.set_skill("descriptors", 2.0)
    outcome = registered(good, with_gate(study, floor=["baseline", "constant"]))
    assert outcome["alias"] == CHAMPION
    assert re.search(
        r"none to compare with; PR-AUC .*descriptors.*; PR-AUC .* the 0\.5000 of the constant$", outcome["reason"]
    )
    assert [(look["number"], look["champion"]) for look in look_records(Registry.open(NAME))] == [(1, None), (2, None)]


@pytest.mark.slow
def test_the_floor_becomes_the_first_champion_where_the_candidate_is_below_it(
    study: TinyStudy, capsys: pytest.CaptureFixture
) -> None:
    """Or a level candidate would leave a new project without a champion by the toss of a coin."""
    study.set_skill("waveform", 2.0)
    params = with_gate(study, floor=["waveform", "constant"])
    outcome = registered(study, params)
    assert (outcome["candidate"], outcome["version"], outcome["alias"]) == ("spectrogram-all-0", "1", CHALLENGER)
    assert outcome["stand_in"] == "2"
    assert aliases() == {CHALLENGER: "1", CHAMPION: "2"}
    stand_in = Registry.open(NAME).version("2")
    assert stand_in.tags["tagscale.run"] == "waveform-all-0"
    assert re.match(r"passed: the first champion: .*of the constant$", stand_in.tags["tagscale.gate"])
    told = capsys.readouterr().out
    assert re.search(rf"spectrogram-all-0 is now version 1 of {NAME}: challenger\n  PR-AUC .* worse than", told)
    assert re.search(rf"waveform-all-0 is now version 2 of {NAME}: champion\n  the first champion", told)
    page = (study.root / "registration" / "gate.html").read_text()
    assert "Version 2, the model of the floor, is champion in its place" in page
    assert len(look_records(Registry.open(NAME))) == 2
    again = registered(study, params)
    assert (again["alias"], again["stand_in"], aliases()) == (CHALLENGER, "2", {CHALLENGER: "1", CHAMPION: "2"})
    assert len(look_records(Registry.open(NAME))) == 2, "nothing was looked at again"


@pytest.mark.slow
def test_a_floor_that_the_gate_holds_back_is_not_said_to_be_champion(study: TinyStudy) -> None:
    study.set_skill("spectrogram", -2.0)
    study.set_skill("waveform", 0.0)
    outcome = registered(study, with_gate(study, floor=["waveform", "constant"]))
    assert "stand_in" not in outcome
    assert aliases() == {CHALLENGER: "1"}
    assert "could be chance" in Registry.open(NAME).version("2").tags["tagscale.gate"]
    assert "in its place" not in (study.root / "registration" / "gate.html").read_text()


@pytest.mark.slow
def test_the_floor_may_be_any_model_of_the_study_or_an_encoder(study: TinyStudy) -> None:
    study.set_skill("waveform", 2.0)
    outcome = registered(study, with_gate(study, floor=["waveform"]))
    assert re.search(r"worse than the [\d.]+ of waveform \(waveform-all-0\)", str(outcome["reason"]))
    unknown = another(study, 1, STRONG)
    with pytest.raises(
        TagscaleError, match=r"registry\.gate\.floor: found 'msd_vgg', expected baseline, constant, a model"
    ):
        registered(unknown, with_gate(study, floor=["msd_vgg"]))
    with pytest.raises(
        TagscaleError, match=r"registry\.gate\.guard: found 'moods', expected a group \(genre\) or a tag"
    ):
        registered(unknown, with_gate(study, guard={"moods": 0.1}))
    params = with_gate(study, floor=["baseline"])
    alone = parse(params.model_dump() | {"train": params.train.model_dump() | {"baselines": []}})
    reason = str(registered(unknown, alone)["reason"])
    assert "the floor (registry.gate.floor) names baseline, and the study has none (train.baselines)" in reason
    assert look_records(Registry.open(NAME))[-1]["number"] == 1, "nothing was looked at"


@pytest.mark.slow
def test_guards_and_costs_hold_back_a_better_candidate(champion: TinyStudy) -> None:
    costly = registered(another(champion, 1, STRONG), with_gate(champion, most_ms=1e-6))
    assert re.match(r"the candidate takes [\d.]+ ms, and 1e-06 are allowed$", costly["reason"])
    assert look_records(Registry.open(NAME)) == []
    guarded = another(champion, 2, STRONG)
    file = guarded.root / "results" / "spectrogram-all-0" / "predictions.parquet"
    table = pd.read_parquet(file)
    table["rock"] = np.float32(0.5)  # no better than guessing, where jazz is perfect
    table.to_parquet(file, index=False)
    outcome = registered(guarded, with_gate(champion, guard={"rock": 0.05}))
    assert re.search(r"rock, guarded: PR-AUC 0\.5000 is [\d.]+ worse than .*; it may fall by 0\.05", outcome["reason"])
    assert outcome["alias"] == CHALLENGER


@pytest.mark.slow
def test_a_smaller_model_replaces_the_champion_where_it_is_not_worse(
    study: TinyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.set_skill("spectrogram", 3.0)
    registered(study)
    gate = {"rule": "non_inferior", "margin": 0.2, "reasons": ["smaller"]}
    alike = registered(another(study, 1, 3.0), with_gate(study, **gate))
    assert re.match(r"not worse by 0\.2 in PR-AUC: .*; none of the reasons holds \(smaller\)", alike["reason"])
    costs = [Cost(1.0, 1.0, "here"), Cost(1.0, 2.0, "here")]  # of the candidate, and of the champion
    monkeypatch.setattr(judgement, "costs_of", lambda *_: costs)
    outcome = registered(another(study, 2, 3.0), with_gate(study, **gate))
    assert outcome["alias"] == CHAMPION
    assert outcome["reason"].endswith("reason: smaller")


@pytest.mark.slow
def test_looks_are_used_up_and_a_version_takes_one_only(study: TinyStudy, capsys: pytest.CaptureFixture) -> None:
    study.set_skill("spectrogram", 1.0)
    registered(study)
    params = with_gate(study, looks=2)
    for seed in (1, 2):
        assert registered(another(study, seed, 1.2), params)["look"] == seed
    assert "have spent 100% of the error of this test part, and it is used up" in capsys.readouterr().out
    registered(TinyStudy(study.root.parent / "study2", study.params), params)
    outcome = registered(another(study, 3, STRONG), params)
    assert outcome["reason"].startswith("the test part is used up: its looks have spent the error of 0.05")
    assert outcome["look"] is None
    page = (study.root.parent / "study3" / "registration" / "gate.html").read_text()
    assert "What this test part can show" not in page, "it can show nothing more"
    assert [look["spent"] for look in look_records(Registry.open(NAME))] == pytest.approx([0.025, 0.05])


@pytest.mark.slow
def test_what_was_held_back_at_no_cost_is_judged_again_until_it_was_champion(champion: TinyStudy) -> None:
    better = another(champion, 1, STRONG)
    assert registered(better, with_gate(better, most_ms=1))["alias"] == CHALLENGER
    page = (better.root / "registration" / "gate.html").read_text()
    assert "raise the limit in registry.gate: <code>tagscale register</code> then judges this version again" in page
    assert registered(better, with_gate(better, most_ms=100))["alias"] == CHAMPION
    assert list(Registry.open(NAME).versions()) == ["1", "2"]
    other = another(champion, 2, STRONG)
    assert registered(other, with_gate(other, most_ms=1))["alias"] == CHALLENGER
    promote(NAME, 3, "by hand", force=True)
    rollback(NAME)
    assert "registered already, as version 3, and was judged then" in registered(other)["reason"]
    assert aliases() == {CHAMPION: "2"}, "a rollback by hand stays in force"


def test_study_without_the_metric_names_the_setting(study: TinyStudy) -> None:
    for model in ("waveform", "spectrogram", "descriptors"):
        study.set_metrics(model, valid=None, test=None)  # type: ignore[arg-type]
    with pytest.raises(TagscaleError, match=r"No run of the study.*PR-AUC.*registry\.metric"):
        registered(study)


def test_an_unknown_metric_is_refused_before_anything_is_read(study: TinyStudy) -> None:
    params = with_settings(study, "registry", metric="f2")
    with pytest.raises(TagscaleError, match=r"registry\.metric: found 'f2', expected a metric: roc_auc, pr_auc, rmse"):
        register.run(params, **study.paths() | {"runs": [], "results": []})


def test_candidate_file_is_alike_wherever_it_is_registered(
    request: pytest.FixtureRequest, champion: TinyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (champion.root / "registration" / "candidate.json").read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    empty_store(request.config, elsewhere)
    monkeypatch.chdir(elsewhere)
    again = make_study(elsewhere / "study", tracks=TRACKS)
    registered(again)
    assert (again.root / "registration" / "candidate.json").read_bytes() == first


def test_a_run_that_another_process_registers_meanwhile_is_registered_once(
    study: TinyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = package.package

    def packaged_by_two(*arguments: Any) -> None:
        monkeypatch.setattr(package, "package", packaged)
        registered(study)
        packaged(*arguments)

    monkeypatch.setattr(package, "package", packaged_by_two)
    outcome = registered(study)
    assert (outcome["version"], outcome["alias"]) == ("1", CHAMPION)
    assert list(Registry.open(NAME).versions()) == ["1"]
    assert len(history(NAME)) == 1
    client = tracking.connect()
    run = client.get_run(Registry.open(NAME).version(1).run_id)
    assert len(run.outputs.model_outputs) == 1


@pytest.mark.slow
def test_a_champion_that_comes_while_the_gate_judges_is_judged_against(
    champion: TinyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    better, best = another(champion, 1, skill=2.0), another(champion, 2, skill=6.0)
    judged = judgement._Case.verdict

    def judged_by_two(*arguments: Any) -> Verdict:
        monkeypatch.setattr(judgement._Case, "verdict", judged)
        verdict = judged(*arguments)
        assert verdict.passed
        registered(best)
        return verdict

    monkeypatch.setattr(judgement._Case, "verdict", judged_by_two)
    outcome = registered(better)
    assert outcome["reason"].startswith(
        "on the validation part PR-AUC 1.0000 is the same as the 1.0000 of the champion"
    )
    assert (outcome["version"], outcome["champion_version"]) == ("2", "3")
    looks = look_records(Registry.open(NAME))
    assert [(look["number"], look["version"], look["champion"], look["passed"]) for look in looks] == [
        (1, "2", "1", None),
        (2, "3", "1", True),
    ], "two judges at once take two looks, and the first stays spent"
    assert aliases() == {CHAMPION: "3", CHALLENGER: "2"}
    assert [record["champion"] for record in history(NAME)] == ["1", "3"]


def standing(study: TinyStudy, capsys: pytest.CaptureFixture) -> str:
    """What `tagscale results` prints of the registry."""
    capsys.readouterr()
    paths = study.paths()
    register.show(study.params, runs=paths["runs"], results=paths["results"])
    return str(capsys.readouterr().out)


@pytest.mark.slow
def test_results_say_what_the_registry_holds_now(study: TinyStudy, capsys: pytest.CaptureFixture) -> None:
    best = "spectrogram-all-0"
    missing = (
        f"Registered: not {best}, the best run. The registry at sqlite:///{Path.cwd()}/mlflow.db has no version of it. "
        "`tagscale register` makes one from the run's folder."
    )
    assert standing(study, capsys) == f"{missing}\n"
    registered(study)
    first = "passed: the first champion: there was none to compare with"
    said, gate = standing(study, capsys).rstrip("\n").split("\n")
    assert gate == f"The gate: {first}."
    cost = "12.3 ms per 30 s of audio on one CPU thread, 0.4 MB"
    assert said == f"Registered: {NAME} version 1 ({best}), champion. Its cost: {cost}."
    better = another(study, 1, STRONG)
    assert standing(better, capsys) == f"{missing} The champion is version 1 ({best}).\n"
    registered(better)
    assert re.search(rf"version 2 \({best}\), champion\..*\nThe gate: passed: PR-AUC", standing(better, capsys))
    promote(NAME, 1, "by hand", force=True)
    lost = f"version 2 ({best}), neither champion nor challenger. The champion is version 1 ({best})."
    assert lost in standing(better, capsys)
    assert better.registration()["alias"] == CHAMPION, "the record of then, which `results` must not read"


def test_results_say_that_the_store_is_lost_and_make_none(
    champion: TinyStudy, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    Path("mlflow.db").unlink()
    assert f"sqlite:///{Path.cwd()}/mlflow.db has no version of it. `tagscale register` makes" in standing(
        champion, capsys
    )
    assert not Path("mlflow.db").exists()
    empty_store(request.config, Path.cwd())
    registered(champion)
    assert f"{NAME} version 1 (spectrogram-all-0), champion" in standing(champion, capsys)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "Registered: unknown, for the registry cannot be asked. http://127.0.0.1:9" in standing(champion, capsys)


def test_results_without_a_candidate_say_why(study: TinyStudy, capsys: pytest.CaptureFixture) -> None:
    for model in ("waveform", "spectrogram", "descriptors"):
        study.set_metrics(model, valid=None, test=None)  # type: ignore[arg-type]
    assert "Registered: nothing, for there is no candidate. No run of the study" in standing(study, capsys)


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_moved_project_keeps_its_champion_and_a_copy_leaves_the_original_alone(
    study: TinyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    original, moved, copy = (tmp_path / name for name in ("original", "moved", "copy"))
    original.mkdir()
    for path in (study.root, tmp_path / "mlflow.db"):
        path.rename(original / path.name)
    monkeypatch.chdir(original)
    registered(TinyStudy(original / "study", study.params))
    original.rename(moved)
    monkeypatch.chdir(moved)
    tagger, version = load_version(NAME)
    assert (version.number, tagger.scorer.architecture.model) == ("1", "spectrogram")

    shutil.copytree(moved, copy)
    before = files_in(moved)
    monkeypatch.chdir(copy)
    better = make_study(copy / "better", seed=5, tracks=TRACKS)
    better.set_skill("spectrogram", STRONG)
    assert registered(better)["version"] == "2"
    assert load_version(NAME)[1].number == "2"
    assert files_in(moved) == before
    assert not original.exists()
    location = tracking.connect().get_model_version_download_uri(NAME, "2")
    assert location.startswith((copy / "mlartifacts").as_uri())


def test_a_version_carries_the_profile_of_its_test_part(champion: TinyStudy) -> None:
    profile = load_version(NAME, 1)[0].profile
    assert profile is not None
    parts = Partition.load(champion.root / "partition")
    test = parts.tracks("test")
    predictions = pd.read_parquet(champion.root / "results" / "spectrogram-all-0" / "predictions.parquet")
    scores = predictions.set_index("track_id").loc[test]
    assert (profile.tracks, profile.folds, profile.artists) == (TRACKS // 3, 0, list(range(TRACKS // 3)))
    for tag in parts.tags:
        assert np.array_equal(np.array(profile.scores[tag], np.float32), scores[tag].to_numpy(np.float32))
    assert set(profile.measures["rms_dbfs"]) == {None}, "a store without measurements"
    tagger, store = load_version(NAME, 1)[0], Store.open(champion.root / "store")
    assert profile.embedded == list(range(TRACKS // 3))
    first = tagger.scorer.embed(store.read(test[0], 0, store.samples(test[0])))
    assert profile.embeddings[0] == pytest.approx(first.tolist(), rel=1e-4, abs=1e-6)
