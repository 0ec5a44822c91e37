"""Register: the best run becomes a version, and champion only if it is better on the same test tracks."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from registry.tiny import TinyStudy, empty_store, make_study
from tagscale import tracking
from tagscale.evaluation.metrics import METRICS
from tagscale.params.load import Params, parse
from tagscale.registry import package
from tagscale.registry.gate import Decision
from tagscale.registry.package import load_version
from tagscale.registry.promote import history, promote, rollback
from tagscale.registry.versions import CHALLENGER, CHAMPION, Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.stages import register

NAME = "tagscale-tagger"


@pytest.fixture
def study(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyStudy:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TAGSCALE_GIT_COMMIT", "c0ffee")
    monkeypatch.chdir(tmp_path)
    empty_store(request.config, tmp_path)
    return make_study(tmp_path / "study")


def another(study: TinyStudy, seed: int, valid: float, test: float, split: int = 0) -> TinyStudy:
    """A second study whose spectrogram has other weights, and these values."""
    made = make_study(study.root.parent / f"study{seed}", seed=seed, split=split)
    made.set_metrics("spectrogram", valid, test)
    return made


def registered(study: TinyStudy, params: Params | None = None) -> dict[str, object]:
    register.run(params or study.params, **study.paths())
    return study.registration()


def aliases() -> dict[str, str]:
    return Registry.open(NAME).aliases()


def with_settings(study: TinyStudy, block: str, **changes: object) -> Params:
    content = study.params.model_dump()
    content[block] |= changes
    return parse(content)


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
        "candidate_value": 0.55,
        "champion_version": None,
        "champion_value": None,
        "baseline": "descriptors-all-0",
        "baseline_value": pytest.approx(0.35),
    }
    assert aliases() == {CHAMPION: "1"}
    assert capsys.readouterr().out.startswith(f"spectrogram-all-0 is now version 1 of {NAME}: champion")
    assert [record["why"] for record in history(NAME)] == [outcome["reason"]]


def test_version_carries_the_limits_of_its_training(study: TinyStudy) -> None:
    registered(study, with_settings(study, "validation", min_seconds=0.75, silence_dbfs=-50.0))
    limits = load_version(NAME)[0].limits
    assert limits.model_dump() == {"min_seconds": 0.75, "silence_dbfs": -50.0, "max_clipped": 0.05, "max_dc": 0.05}


def test_version_carries_identity_metrics_commit_and_its_run(study: TinyStudy) -> None:
    registered(study)
    version = Registry.open(NAME).version(1)
    identity = json.loads((study.root / "runs" / "spectrogram-all-0" / "run.json").read_text())["identity"]
    for key, value in identity.items():
        assert version.tags[f"tagscale.{key}"] == str(value)
    assert version.tags["tagscale.git_commit"] == "c0ffee"
    assert version.tags["tagscale.train_tracks"] == "4"
    assert version.tags["tagscale.gate"].startswith("passed: the first champion")
    assert version.test_metrics == dict.fromkeys(METRICS, 0.5) | {"pr_auc": 0.55, "rmse": 0.3}
    client = tracking.connect()
    run = client.get_run(version.run_id)
    assert run.info.run_name == "spectrogram-all-0"
    assert [one.model_id for one in run.outputs.model_outputs], "the run's page leads to the model"
    assert "spectrogram front-end trained on 4 tracks of tiny" in client.get_model_version(NAME, "1").description


def test_registered_tagger_gives_the_scores_that_were_evaluated(study: TinyStudy) -> None:
    import pandas as pd

    from tagscale.store.read import Store

    registered(study)
    tagger, version = load_version(NAME)
    table = pd.read_parquet(study.root / "results" / "spectrogram-all-0" / "predictions.parquet").set_index("track_id")
    scores = tagger.scorer.predict(Store.open(study.root / "store"), list(table.index))
    pd.testing.assert_frame_equal(scores, table.drop(columns="part"), atol=1e-6)
    assert version.number == "1"
    assert tagger.groups == {"rock": "genre", "jazz": "genre", "energy": "genre"}


def test_better_candidate_replaces_the_champion(study: TinyStudy) -> None:
    registered(study)
    outcome = registered(another(study, 1, valid=0.7, test=0.65))
    assert (outcome["version"], outcome["alias"]) == ("2", CHAMPION)
    assert outcome["reason"] == "PR-AUC 0.6500 is better than the champion's 0.5500 on the same test tracks"
    assert (outcome["champion_version"], outcome["champion_value"]) == ("1", 0.55)
    assert aliases() == {CHAMPION: "2"}
    assert history(NAME)[-1]["metrics"]["replaced"]["pr_auc"] == 0.55


@pytest.mark.parametrize(("test", "words"), [(0.55, "is the same as"), (0.4, "is worse than")])
def test_candidate_that_is_not_better_stays_challenger(study: TinyStudy, test: float, words: str) -> None:
    registered(study)
    outcome = registered(another(study, 1, valid=0.7, test=test))
    assert outcome["alias"] == CHALLENGER
    assert f"{words} the champion's" in str(outcome["reason"])
    assert aliases() == {CHAMPION: "1", CHALLENGER: "2"}
    assert len(history(NAME)) == 1


def test_lower_rmse_is_better(study: TinyStudy) -> None:
    params = with_settings(study, "registry", metric="rmse")
    study.set_metrics("spectrogram", valid=0.2, test=0.2, metric="rmse")
    assert registered(study, params)["candidate_value"] == 0.2
    worse = another(study, 1, valid=0.9, test=0.9)
    worse.set_metrics("spectrogram", valid=0.25, test=0.25, metric="rmse")
    assert registered(worse, params)["alias"] == CHALLENGER
    better = another(study, 2, valid=0.1, test=0.1)
    better.set_metrics("spectrogram", valid=0.1, test=0.1, metric="rmse")
    assert registered(better, params)["alias"] == CHAMPION


def test_the_same_run_is_not_registered_twice(study: TinyStudy) -> None:
    registered(study)
    outcome = registered(study)
    assert (outcome["version"], outcome["alias"]) == ("1", CHAMPION)
    assert "registered already, as version 1, the champion" in str(outcome["reason"])
    assert list(Registry.open(NAME).versions()) == ["1"]


def test_a_rollback_by_hand_outlives_another_registration(study: TinyStudy) -> None:
    registered(study)
    better = another(study, 1, valid=0.7, test=0.65)
    registered(better)
    rollback(NAME)
    outcome = registered(better)
    assert (outcome["version"], outcome["alias"]) == ("2", None)
    assert "tagscale promote 2" in str(outcome["reason"])
    assert aliases() == {CHAMPION: "1"}
    promote(NAME, 2)
    assert aliases() == {CHAMPION: "2"}


def test_registration_that_was_interrupted_before_the_gate_is_finished(
    study: TinyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(register, "move", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            registered(study)
    assert aliases() == {CHALLENGER: "1"}
    assert registered(study)["alias"] == CHAMPION
    assert list(Registry.open(NAME).versions()) == ["1"]


def test_champion_of_another_partition_is_scored_again(study: TinyStudy) -> None:
    study.set_metrics("spectrogram", valid=0.99, test=0.99)  # on its own test part; says nothing about the new one
    registered(study)
    other = another(study, 1, valid=0.99, test=0.01, split=4)
    outcome = registered(other)
    assert "the present test part (4 tracks, 3 shared tags" in str(outcome["reason"])
    assert outcome["champion_value"] not in (None, 0.99)
    assert outcome["candidate_value"] not in (None, 0.01), "both are scored over the shared tags"
    won = outcome["candidate_value"] > outcome["champion_value"]  # type: ignore[operator]
    assert aliases() == ({CHAMPION: "2"} if won else {CHAMPION: "1", CHALLENGER: "2"})


def test_champion_that_is_older_than_the_metric_is_scored_again(study: TinyStudy) -> None:
    registered(study)
    tracking.connect().delete_model_version_tag(NAME, "1", "tagscale.test.pr_auc")
    outcome = registered(another(study, 1, valid=0.7, test=0.65))
    assert "the present test part (4 tracks, 3 shared tags; the champion was scored again)" in str(outcome["reason"])
    assert outcome["champion_value"] is not None


def test_same_model_on_another_partition_scores_the_same(study: TinyStudy) -> None:
    """The champion's new score is what evaluating it there gives: with equal weights, a tie."""
    registered(study)
    moved = make_study(study.root.parent / "moved", seed=0, split=4)
    outcome = registered(moved)
    assert outcome["candidate_value"] == outcome["champion_value"]
    assert "is the same as" in str(outcome["reason"])


def test_champion_with_other_tags_keeps_its_place(study: TinyStudy) -> None:
    registered(study)
    stranger = make_study(study.root.parent / "strange", seed=3, tags=("techno", "folk"))
    outcome = registered(stranger)
    assert outcome["alias"] == CHALLENGER
    assert "none of them shared" in str(outcome["reason"])


def test_champion_that_cannot_be_read_keeps_its_place_and_is_named(study: TinyStudy) -> None:
    registered(study)
    (weights,) = Path("mlartifacts/models").rglob("weights.safetensors")
    weights.write_bytes(b"damaged")
    outcome = registered(another(study, 1, valid=0.7, test=0.65, split=4))
    assert outcome["alias"] == CHALLENGER
    assert "the champion, version 1, cannot be scored" in str(outcome["reason"])


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
    request: pytest.FixtureRequest, study: TinyStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(study)
    first = (study.root / "registration" / "candidate.json").read_bytes()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    empty_store(request.config, elsewhere)
    monkeypatch.chdir(elsewhere)
    again = make_study(elsewhere / "study")
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


def test_a_champion_that_comes_while_the_gate_judges_is_judged_against(
    study: TinyStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered(study)
    better, best = another(study, 1, valid=0.7, test=0.65), another(study, 2, valid=0.9, test=0.9)
    decide = register._decide

    def decided_by_two(*arguments: Any) -> Decision:
        monkeypatch.setattr(register, "_decide", decide)
        decision = decide(*arguments)
        assert decision.passed
        registered(best)
        return decision

    monkeypatch.setattr(register, "_decide", decided_by_two)
    outcome = registered(better)
    assert outcome["reason"] == "PR-AUC 0.6500 is worse than the champion's 0.9000 on the same test tracks"
    assert (outcome["version"], outcome["champion_version"]) == ("2", "3")
    assert aliases() == {CHAMPION: "3", CHALLENGER: "2"}
    assert [record["champion"] for record in history(NAME)] == ["1", "3"]


def standing(study: TinyStudy, capsys: pytest.CaptureFixture) -> str:
    """What `tagscale results` prints of the registry."""
    capsys.readouterr()
    paths = study.paths()
    register.show(study.params, runs=paths["runs"], results=paths["results"])
    return str(capsys.readouterr().out)


def test_results_say_what_the_registry_holds_now(study: TinyStudy, capsys: pytest.CaptureFixture) -> None:
    best = "spectrogram-all-0"
    missing = (
        f"Registered: not {best}, the best run. The registry at sqlite:///{Path.cwd()}/mlflow.db has no version of it. "
        "`tagscale register` makes one from the run's folder."
    )
    assert standing(study, capsys) == f"{missing}\n"
    registered(study)
    first = "passed: the first champion: there was none to compare with"
    said, cost = standing(study, capsys).split(" Its cost: ")
    assert said == f"Registered: {NAME} version 1 ({best}), champion. The gate: {first}."
    assert re.fullmatch(r"[\d.e+]+ ms per 30 s of audio on one CPU thread, [\d.]+ MB\.\n", cost)
    better = another(study, 1, valid=0.7, test=0.65)
    assert standing(better, capsys) == f"{missing} The champion is version 1 ({best}).\n"
    registered(better)
    assert f"version 2 ({best}), champion. The gate: passed: PR-AUC 0.6500 is better" in standing(better, capsys)
    promote(NAME, 1)
    lost = f"version 2 ({best}), neither champion nor challenger. The champion is version 1 ({best}). The gate: passed"
    assert lost in standing(better, capsys)
    assert better.registration()["alias"] == CHAMPION, "the record of then, which `results` must not read"


def test_results_say_that_the_store_is_lost_and_make_none(
    study: TinyStudy, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    registered(study)
    Path("mlflow.db").unlink()
    assert f"sqlite:///{Path.cwd()}/mlflow.db has no version of it. `tagscale register` makes" in standing(
        study, capsys
    )
    assert not Path("mlflow.db").exists()
    empty_store(request.config, Path.cwd())
    registered(study)
    assert f"{NAME} version 1 (spectrogram-all-0), champion" in standing(study, capsys)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "Registered: unknown, for the registry cannot be asked. http://127.0.0.1:9" in standing(study, capsys)


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
    better = make_study(copy / "better", seed=5)
    better.set_metrics("spectrogram", 0.9, 0.9)
    assert registered(better)["version"] == "2"
    assert load_version(NAME)[1].number == "2"
    assert files_in(moved) == before
    assert not original.exists()
    location = tracking.connect().get_model_version_download_uri(NAME, "2")
    assert location.startswith((copy / "mlartifacts").as_uri())
