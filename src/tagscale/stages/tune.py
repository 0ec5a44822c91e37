"""Tune: search the training settings of one model on the validation part, within a number of minutes.

Each trial trains a network with other settings; Optuna suggests them, and ends a trial early where its validation loss
is worse than the median of the others at that share of their budgets, a quarter at the soonest. The test part is never
read. What is found is a difference of params.yaml.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna  # type: ignore[import-not-found, unused-ignore]
from optuna.trial import Trial, TrialState  # type: ignore[import-not-found, unused-ignore]

from tagscale import tracking
from tagscale.catalog.tables import Catalog
from tagscale.models.architecture import architecture_of
from tagscale.models.spec import NETWORKS, base_model
from tagscale.params.blocks import TrainParams, epochs_of
from tagscale.params.load import Params, laid_over, parse
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import hash_of
from tagscale.runtime.lock import exclusive
from tagscale.stages.cell import Cell
from tagscale.store.read import Store

if TYPE_CHECKING:  # torch takes seconds to import
    from tagscale.training.fit import Fitted

DATABASE, LOCK = "trials.db", "lock"
VALIDATIONS = 20  # of a trial, whatever its budget: trials are compared where as much of their schedules has passed
STARTERS = 4  # trials before the first may be ended early
SPARED = 5  # validations at which no trial is ended: early losses say how high the rate is, no more
FAILURES = 4  # trials that fail one after the other, after which the search ends
TODAY = "today"  # attribute of the trial that has the settings of params.yaml
BUDGETS = (0.5, 1.0, 2.0)  # of train.max_steps
WIDEST = {"gain": 6.0, "polarity": True, "speed": 0.03, "noise": 0.05, "mix": 0.4, "band_mask": 0.15, "time_mask": 0.1}


class TimeUp(Exception):
    """The minutes of the search are over."""


@dataclass(frozen=True)
class Best:
    """What a search has found so far.

    changes: the difference of params.yaml; empty where its settings are the best
    score, before: registry.metric on the validation part, with the changes and without
    trials: finished ones, those that were ended early among them
    """

    changes: dict[str, Any]
    score: float
    before: float
    trials: int


def run(
    params: Params,
    *,
    model: str,
    size: int | str,
    seed: int,
    minutes: float,
    trials: int | None,
    catalog: Path,
    partition: Path,
    inputs: Path | str,
    folder: Path,
) -> Best:
    """Search until the minutes or the trials are over; trials of earlier calls count, and are built upon.

    The first trial has the settings of params.yaml; where it was interrupted, it comes again. A search belongs to data,
    model, size, seed and settings; another one of these begins anew, beside it. Ctrl-C keeps every finished trial.

    Args:
        trials: number of trials of the whole search; None: as many as the minutes allow
        folder: keeps the trials, in Optuna's SQLite storage
    Raises:
        TagscaleError: no network of train.models, more tracks than there are, another search in the folder, no finished
            trial, or `FAILURES` that fail one after the other.
    """
    check(params, model)
    cell = Cell(Catalog.load(catalog), Partition.load(partition), model, size, seed)
    search = Search(params, next(iter(cell.folds.values())), inputs, folder)  # of folds, on the first
    deadline = time.monotonic() + 60 * minutes
    holder = f"{folder}: {{holder}} searches there now. Wait until it has ended."
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / LOCK, holder):
        search.open()
        failures = 0
        while time.monotonic() < deadline and (trials is None or search.finished < trials):
            try:
                print(search.attempt(deadline), flush=True)
                failures = 0
            except TagscaleError as problem:
                failures += 1
                print(f"a trial failed: {problem}", flush=True)
                if failures == FAILURES:
                    raise TagscaleError(f"{FAILURES} trials failed one after the other. The last: {problem}") from None
            except TimeUp:
                break
        return search.best()


def check(params: Params, model: str) -> None:
    """Refuse what has no training settings, or settings of its own."""
    networks = [name for name, entry in NETWORKS.items() if not entry.on_encoder]
    if base_model(model) not in networks:
        raise TagscaleError(f"--model {model}: tune searches for networks. Expected one of {', '.join(networks)}.")
    if not hasattr(params.model, model):
        raise TagscaleError(f"--model {model}: params.yaml has no block model.{model}.")


class Search:
    """One search: its space, its trials, and their runs in MLflow."""

    def __init__(self, params: Params, cell: Cell, inputs: Path | str, folder: Path) -> None:
        self.params, self.cell, self.inputs, self.folder = params, cell, inputs, folder
        self.dropout = dropout_of(params, cell.model)
        fixed: dict[str, Any] = {
            "validations": VALIDATIONS,
            "train": params.train.model_dump(mode="json"),
            "model": params.model.model_dump(mode="json"),
            "metric": params.registry.metric,
            "evaluate": params.evaluate.model_dump(mode="json", exclude={"resamples", "confidence"}),
        }
        self.name = f"{cell.model}-{cell.size}-{cell.seed}-{hash_of(fixed | cell.identity({}).as_dict())}"
        self.study: optuna.Study

    def open(self) -> None:
        """Create the study, or take up the one of the same name; a trial that a killed process left is a failed one."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(
            storage=f"sqlite:///{self.folder / DATABASE}",
            study_name=self.name,
            load_if_exists=True,
            direction="minimize" if self._sign < 0 else "maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTERS, n_warmup_steps=SPARED),
        )
        seed = np.random.SeedSequence([self.cell.seed, len(self.study.get_trials(deepcopy=False))])
        self.study.sampler = optuna.samplers.TPESampler(  # a sampler of the same seed would draw the first trials again
            seed=int(seed.generate_state(1)[0]), n_startup_trials=STARTERS
        )
        for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(left.number, state=TrialState.FAIL)
        if not any(TODAY in trial.user_attrs and trial.state != TrialState.FAIL for trial in self.study.get_trials()):
            self.study.enqueue_trial(self._today, user_attrs={TODAY: True})
        if "mlflow_run" not in self.study.user_attrs:
            with tracking.study_run(self.experiment, self.name, {"tagscale.tuned_model": self.cell.model}) as parent:
                self.study.set_user_attr("mlflow_run", parent.run_id)

    @property
    def experiment(self) -> str:
        return f"{self.params.tracking.experiment}-tuning"

    @property
    def finished(self) -> int:
        """Trials with a score, and those that were ended early."""
        states = (TrialState.COMPLETE, TrialState.PRUNED)
        return len(self.study.get_trials(deepcopy=False, states=states))

    def attempt(self, deadline: float) -> str:
        """Train and score with the next settings; the line about it. Raises TimeUp, and TagscaleError on failure."""
        trial = self.study.ask()
        suggested = self.suggested(trial)
        changes = {} if TODAY in trial.user_attrs else suggested  # today's may lie outside the space
        begin = time.monotonic()
        try:
            score = self._scored(trial, changes, deadline)
        except optuna.TrialPruned:
            self.study.tell(trial, state=TrialState.PRUNED)
            outcome = "ended early"
        except BaseException:  # a failure, Ctrl-C, and the end of the minutes
            self.study.tell(trial, state=TrialState.FAIL)
            raise
        else:
            self.study.tell(trial, score)
            outcome = f"{self.params.registry.metric} {score:.4f}"
        values = ", ".join(f"{name} {value:.3g}" for name, value in trial.params.items())
        return f"trial {trial.number}: {outcome}  ({values})  {time.monotonic() - begin:.0f} s"

    def suggested(self, trial: Trial) -> dict[str, Any]:
        """The next settings, as a difference of params.yaml."""
        train = self.params.train
        rate = train.learning_rate
        settings: dict[str, Any] = {
            "learning_rate": rounded(trial.suggest_float("learning_rate", rate / 5, rate * 5, log=True)),
            "weight_decay": rounded(trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True)),
        }
        budget = trial.suggest_categorical("budget", BUDGETS)
        settings["max_steps"] = train.max_steps if budget == 1 else max(1, round(budget * self._steps_of(train)))
        strength = trial.suggest_float("augmentation", 0.0, 1.0)
        settings["augment"] = augment_at(self.params, strength)
        changes: dict[str, Any] = {"train": settings}
        if self.dropout:
            block, _ = self.dropout
            changes["model"] = {block: {"dropout": round(trial.suggest_float("dropout", 0.0, 0.6), 2)}}
        return changes

    def best(self) -> Best:
        """The best of all trials so far. Raises TagscaleError where none has a score."""
        scored = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not scored:
            raise TagscaleError(
                f"No trial has finished, so nothing is found; {self.folder / DATABASE} keeps the search. Give more "
                "--minutes: a trial takes about as long as one training."
            )
        best = self.study.best_trial
        assert best.value is not None
        before = next((trial.value for trial in scored if TODAY in trial.user_attrs), math.nan)
        fixed = optuna.trial.FixedTrial(best.params)
        changes = {} if TODAY in best.user_attrs else self.suggested(fixed)  # type: ignore[arg-type, unused-ignore]
        score_before = math.nan if before is None else float(before)
        return Best(difference(changes, self.params.model_dump()), best.value, score_before, self.finished)

    def _scored(self, trial: Trial, changes: dict[str, Any], deadline: float) -> float:
        """registry.metric on the validation part, after a training that is a run of MLflow."""
        params = parse(laid_over(self.params.model_dump(), changes), origin=f"trial {trial.number}")
        settings = {"tune": self.name, "trial": trial.number, "params": trial.params}
        identity = self.cell.identity(settings)
        with (
            tracking.nested_in(self.study.user_attrs["mlflow_run"]),
            tracking.start_run(self.experiment, identity, trial.params, data=self.cell.data) as child,
        ):
            child.set_tags({"tagscale.trial": trial.number})
            try:
                fitted = self._fitted(params, trial, child, deadline)
            except optuna.TrialPruned:
                child.set_tags({"tagscale.ended_early": True})
            else:
                score = self._score(fitted, params)
                child.log_metrics({f"valid_{self.params.registry.metric}": score, "kept_step": fitted.kept_step})
                return score
        raise optuna.TrialPruned

    def _fitted(self, params: Params, trial: Trial, child: tracking.TrackedRun, deadline: float) -> "Fitted":
        from tagscale.stages.train import start_of
        from tagscale.training.fit import Labelled, fit

        def report(numbers: Mapping[str, float], step: int) -> None:
            child.log_metrics(numbers, step)
            if time.monotonic() > deadline:
                raise TimeUp
            if "valid_loss" in numbers:
                trial.report(self._sign * -numbers["valid_loss"], round(VALIDATIONS * step / steps))
                if trial.should_prune():
                    raise optuna.TrialPruned

        cell, steps = self.cell, self._steps_of(params.train)
        settings = params.train.model_copy(update={"validate_every": max(1, -(-steps // VALIDATIONS))})
        training, valid = (
            Labelled(tracks, cell.labels(tracks)) for tracks in (cell.training, cell.partition.tracks("valid"))
        )
        architecture = architecture_of(params, cell.model, cell.tags, cell.kinds)
        fitting = architecture, Store.open(self.inputs), training, valid, settings, cell.seed
        return fit(*fitting, report=report, start=start_of(params, cell.model, architecture))

    def _score(self, fitted: "Fitted", params: Params) -> float:
        """registry.metric on the validation part, as stage evaluate computes it."""
        from tagscale.evaluation.calibration import learn
        from tagscale.evaluation.metrics import evaluate
        from tagscale.evaluation.predict import predict

        cell, valid, window = self.cell, self.cell.partition.tracks("valid"), params.evaluate
        architecture = architecture_of(params, cell.model, cell.tags, cell.kinds)
        store, spans = Store.open(self.inputs), (window.hop_seconds, window.window_seconds)
        scores = predict(fitted.model, architecture, store, valid, *spans).to_numpy()
        labels, regression = cell.labels(valid), np.array(cell.kinds) == "regression"
        decisions = learn(labels, scores, regression, cell.tags, window.thresholds).of(cell.tags)
        metric, artist = self.params.registry.metric, cell.partition.artist_of(valid)
        score = evaluate(labels, scores, regression, decisions, artist).overall()[metric]
        if math.isnan(score):
            raise TagscaleError(
                f"no {metric} on the validation part of {len(valid)} tracks: it needs tags with positive and negative "
                "ones. Add tracks, or raise partition.valid."
            )
        return score

    @property
    def _sign(self) -> int:
        from tagscale.evaluation.metrics import METRICS, check_fits, check_known

        metric = self.params.registry.metric
        check_known(metric, "registry.metric")
        check_fits(metric, self.cell.kinds, "registry.metric")
        return METRICS[metric].sign

    @property
    def _today(self) -> dict[str, Any]:
        """The settings of params.yaml as a trial."""
        train = self.params.train
        today = {"learning_rate": train.learning_rate, "weight_decay": min(max(train.weight_decay, 1e-6), 1e-2)}
        today |= {"budget": 1.0, "augmentation": float(any(train.augment.model_dump().values()))}
        return today | ({"dropout": min(self.dropout[1], 0.6)} if self.dropout else {})

    def _steps_of(self, train: TrainParams) -> int:
        """train.max_steps, in steps."""
        from tagscale.audio.loading import epoch_steps

        epochs = epochs_of(train.max_steps)
        per_epoch = epoch_steps(len(self.cell.training) * train.patches_per_track, train.batch)
        return int(train.max_steps) if epochs is None else epochs * per_epoch


def dropout_of(params: Params, model: str) -> tuple[str, float] | None:
    """The block of `model` that states the dropout of a network, and its value; None: it has none."""
    own = getattr(getattr(params.model, model), "dropout", None)
    if own is not None:
        return model, float(own)
    return ("backend", params.model.backend.dropout) if NETWORKS[base_model(model)].shares_backend else None


def augment_at(params: Params, strength: float) -> dict[str, Any]:
    """The block `train.augment` at a share of its strength: of today's, or where all is off, of `WIDEST`."""
    today = params.train.augment.model_dump()
    full = today if any(today.values()) else WIDEST
    return {
        part: bool(value and strength > 0) if isinstance(value, bool) else rounded(value * strength)
        for part, value in full.items()
    }


def rounded(value: float) -> float:
    """To three digits, as people write settings.

    >>> rounded(0.0051237), rounded(0.0)
    (0.00512, 0.0)
    """
    return float(f"{value:.3g}")


def difference(changes: Mapping[str, Any], today: Mapping[str, Any]) -> dict[str, Any]:
    """What of some settings differs from today's.

    >>> difference({"train": {"batch": 16, "max_steps": 9}}, {"train": {"batch": 16, "max_steps": 5}})
    {'train': {'max_steps': 9}}
    """
    different: dict[str, Any] = {}
    for key, value in changes.items():
        if isinstance(value, Mapping):
            if below := difference(value, today.get(key) or {}):
                different[key] = below
        elif value != today.get(key):
            different[key] = value
    return different
