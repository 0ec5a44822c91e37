"""A search of settings: it goes on where it was ended, keeps what is done, and says what to change."""

import itertools
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from tagscale.cli import app
from tagscale.params.load import Params, load
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json
from tagscale.stages import evaluate, train, tune
from tagscale.training import loop

ROOT = Path(__file__).parents[2]
SHORT: dict[str, Any] = {"train": {"max_steps": 6, "validate_every": None}}


def search(study: Any, params: Params, **different: Any) -> tune.Best:
    given: dict[str, Any] = {"model": "waveform", "size": 16, "seed": 0, "minutes": 5, "trials": 2}
    folders = {name: study.root / name for name in ("catalog", "partition")}
    given |= {"folder": study.root / "tuning", "inputs": study.root / "store"}
    return tune.run(params, **given | different, **folders)


def trials_of(study: Any) -> list[optuna.trial.FrozenTrial]:
    storage = f"sqlite:///{study.root / 'tuning' / tune.DATABASE}"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).get_trials()


@pytest.mark.slow
def test_a_search_is_ended_and_goes_on_under_one_parent(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    params = study.params(**SHORT, tracking={"experiment": "searched"})
    step_loss, steps = loop.step_loss, []

    def struck(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 9:  # in the second trial
            raise KeyboardInterrupt
        return step_loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "step_loss", struck)
        with pytest.raises(KeyboardInterrupt):
            search(study, params)
    first = trials_of(study)[0]
    assert first.params["learning_rate"] == params.train.learning_rate, "the settings as they are come first"
    found = search(study, params, trials=3)
    states = [trial.state.name for trial in trials_of(study)]
    assert states[:2] == ["COMPLETE", "FAIL"]
    assert found.trials == 3
    assert len(states) == 4
    assert found.before == first.value
    assert found.score == max(trial.value for trial in trials_of(study) if trial.value is not None)
    assert bool(found.changes) == (found.score > found.before)

    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("searched-tuning")
    runs = client.search_runs([experiment.experiment_id])
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs} - {None}
    assert len(parents) == 1
    assert parents <= {run.info.run_id for run in runs}
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert sorted(int(run.data.tags["tagscale.trial"]) for run in children) == [0, 1, 2, 3]
    scored = next(run for run in children if run.data.tags["tagscale.trial"] == "0")
    assert scored.data.metrics["valid_pr_auc"] == pytest.approx(first.value)
    assert scored.info.status == "FINISHED"
    for part in ("test", "sounds"):
        assert not any(part in name for run in runs for name in run.data.metrics), "the test part is not read"


def test_the_command_prints_a_difference_and_writes_it(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", file)
    found = tune.Best({"train": {"learning_rate": 0.002, "augment": {"mix": 0.1}}}, 0.71, 0.64, 9)
    monkeypatch.setattr(tune, "run", lambda *_, **__: found)
    result = CliRunner().invoke(app, ["tune", "--model", "waveform", "--size", "16", "--params", str(file), "--apply"])
    assert result.exit_code == 0, result.output
    assert "9 trials; validation pr_auc 0.7100, 0.6400 as " in (out := result.output)
    assert "train:\n  learning_rate: 0.002\n  augment:\n    mix: 0.1" in out
    settings = load(file).train
    assert (settings.learning_rate, settings.augment.mix) == (0.002, 0.1)


def test_without_time_for_a_trial_nothing_is_found(study: Any, tmp_path: Path) -> None:
    params = study.params(**SHORT, tracking={"experiment": "hasty"})
    with pytest.raises(TagscaleError, match=r"No trial has finished.*Give more --minutes"):
        search(study, params, minutes=0.0001, folder=tmp_path)


def test_the_settings_as_they_are_come_again_where_they_were_interrupted(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, outcomes = [], iter([KeyboardInterrupt(), 0.25, 0.125])

    def scored(self: tune.Search, trial: optuna.Trial, changes: Any, deadline: float) -> float:
        rates.append(trial.params["learning_rate"])
        outcome = next(outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(tune.Search, "_scored", scored)
    params = study.params(**SHORT, tracking={"experiment": "interrupted"})
    with pytest.raises(KeyboardInterrupt):
        search(study, params, folder=tmp_path)
    found = search(study, params, folder=tmp_path)
    today = params.train.learning_rate
    assert [rate == today for rate in rates] == [True, True, False]
    assert (found.before, found.score, found.changes) == (0.25, 0.25, {})


def test_a_resumed_search_draws_no_settings_again(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    monkeypatch.setattr(
        tune.Search, "_scored", lambda _, trial, *__: rates.append(trial.params["learning_rate"]) or 0.5
    )
    params = study.params(**SHORT, tracking={"experiment": "redrawn"})
    for trials in (2, 3, 4):
        search(study, params, folder=tmp_path, trials=trials)
    assert len(set(rates)) == len(rates) == 4


@pytest.mark.parametrize(
    "changes", [{"registry": {"metric": "roc_auc"}}, {"evaluate": {"hop_seconds": 1.0}}], ids=["metric", "window"]
)
def test_trials_of_another_score_do_not_count(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    scores = iter([0.9, 0.2])
    monkeypatch.setattr(tune.Search, "_scored", lambda *_: next(scores))
    search(study, study.params(**SHORT, tracking={"experiment": "other"}), folder=tmp_path, trials=1)
    found = search(study, study.params(**SHORT, tracking={"experiment": "other"}, **changes), folder=tmp_path, trials=1)
    assert (found.before, found.score, found.trials) == (0.2, 0.2, 1)


@pytest.mark.parametrize("metric", ["f1", "micro_pr_auc"])
def test_a_trial_is_scored_as_stage_evaluate_scores(study: Any, tmp_path: Path, metric: str) -> None:
    """The first trial is the training of stage train, so its score is that of the run's validation part."""
    window = {"hop_seconds": 1.0, "window_seconds": 2.0}
    settings = {"max_steps": 3, "validate_every": 1}  # one validation a step in trials, too
    params = study.params(
        train=settings, evaluate=window, registry={"metric": metric}, tracking={"experiment": "scored alike"}
    )
    found = search(study, params, folder=tmp_path / "tuning", trials=1)
    folders = {name: study.root / name for name in ("catalog", "partition")} | {"inputs": study.root / "store"}
    run, results = tmp_path / "waveform-16-0", tmp_path / "results"
    train.run(params, model="waveform", size=16, seed=0, run=run, **folders)
    evaluate.run(params, run=run, results=results, **folders)
    assert found.score == pytest.approx(read_json(results / "metrics.json")["valid"][metric], abs=1e-6)


def test_the_first_trial_has_settings_beyond_the_space(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    monkeypatch.setattr(tune.Search, "_scored", lambda _, trial, changes, __: tried.append(changes) or 0.0)
    params = study.params(train=SHORT["train"] | {"weight_decay": 0.0}, tracking={"experiment": "beyond"})
    found = search(study, params, folder=tmp_path, trials=1)
    assert tried == [{}]
    assert found.before == 0.0


@pytest.mark.parametrize("budget", tune.BUDGETS)
def test_trials_are_compared_at_the_same_share_of_their_budgets(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    """A loss above the others', which fall with the share of the budget, ends a trial after a quarter of its own."""
    validated = []

    def fitted(*arguments: Any, report: Any, start: None) -> Any:
        settings, number = arguments[4], next(numbers)
        last = settings.max_steps
        for step in range(settings.validate_every, last + 1, settings.validate_every):
            validated.append((number, step / last))
            report({"valid_loss": 1 - step / last + 0.01 * (number == tune.STARTERS)}, step)
        return SimpleNamespace(model=None, kept_step=last)

    numbers, suggest = itertools.count(), optuna.Trial.suggest_categorical
    monkeypatch.setattr(
        optuna.Trial,
        "suggest_categorical",
        lambda trial, name, choices: budget if trial.number == tune.STARTERS else suggest(trial, name, choices),
    )
    monkeypatch.setattr("tagscale.training.fit.fit", fitted)
    monkeypatch.setattr(tune.Search, "_score", lambda *_: 0.5)
    params = study.params(train={"max_steps": 80, "validate_every": None}, tracking={"experiment": f"shares {budget}"})
    search(study, params, folder=tmp_path, trials=tune.STARTERS + 1)
    assert [share for number, share in validated if number == tune.STARTERS] == [0.05, 0.1, 0.15, 0.2, 0.25]


def test_a_search_of_which_every_trial_fails_ends(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scored(*_: Any) -> float:
        raise TagscaleError("a reason")

    monkeypatch.setattr(tune.Search, "_scored", scored)
    params = study.params(**SHORT, tracking={"experiment": "failing"})
    with pytest.raises(TagscaleError, match=rf"{tune.FAILURES} trials failed one after the other. The last: a reason"):
        search(study, params, folder=tmp_path)


@pytest.mark.parametrize("model", ["descriptors", "waveforms"])
def test_what_is_no_network_is_refused(study: Any, model: str) -> None:
    with pytest.raises(TagscaleError, match=rf"--model {model}: .*Expected one of waveform, spectrogram"):
        search(study, study.params(), model=model)


def test_a_capacity_without_a_block_is_refused(study: Any) -> None:
    with pytest.raises(TagscaleError, match=r"params.yaml has no block model.waveform-x4"):
        search(study, study.params(), model="waveform-x4")


def test_a_strength_of_today_is_today(study: Any) -> None:
    augment = {"gain": 3, "polarity": True, "mix": 0.2}
    params = study.params(train={"augment": augment})
    assert tune.augment_at(params, 1.0) == params.train.augment.model_dump()
    assert tune.augment_at(params, 0.5)["gain"] == 1.5
    assert not any(tune.augment_at(study.params(train={"augment": {"mix": 0}}), 0.0).values())
