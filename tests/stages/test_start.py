"""The train stage from a start: a run's folder, a registered version, a published encoder; identity and resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient

from encoders import write_encoder
from tagscale import tracking
from tagscale.models.pretrained.finetune import Finetune
from tagscale.registry.package import load_version, register
from tagscale.registry.scorers.mean import MeanScorer
from tagscale.registry.scorers.network import NetworkScorer
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.versions import Registry
from tagscale.runtime.absent import absence_in
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, sha256_of
from tagscale.runtime.identity import RunFacts, run_output
from tagscale.training import checkpoint, loop
from tagscale.training.encoders import PLACE

ENCODER = "msd_vgg"  # the quickest
STEPS = {"max_steps": 2, "validate_every": 2, "patches_per_track": 1}
FINETUNE = {"encoder": ENCODER, "max_steps": 2, "learning_rate": 0.001, "body_rate": 0.1, "freeze_norms": True}


def params_of(study: Any, start: str | None, **changes: Any) -> Any:
    return study.params(
        train=STEPS | {"start_from": start, "sizes": [16]}, tracking={"experiment": "started"}, **changes
    )


def settings_hash(run: Path) -> str:
    return run_output(run).facts(RunFacts)["identity"].settings_hash


def logged(study: Any, run: Path) -> dict[str, str]:
    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("started").experiment_id
    found = client.search_runs([experiment], f"tags.`tagscale.settings_hash` = '{settings_hash(run)}'")
    return dict(found[0].data.params)


@pytest.fixture(scope="module")
def champion(sound_study, trained: Path) -> str:
    """The run `trained` as version 1 and champion of a registered model; version 2 is the mean of it with itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(sound_study.root)
        scorer = NetworkScorer(*checkpoint.load(trained), hop_seconds=0.5)
        registry = Registry.open_or_create("starter", "for tests")
        identity = run_output(trained).facts(RunFacts)["identity"]
        for tagger in (AudioTagger(scorer, {}), AudioTagger(MeanScorer({"one": scorer, "other": scorer}), {})):
            with tracking.find_run("sounds", identity) as run:
                number = register(registry, run, tagger, identity.name, {}, "a description")
        assert number == "2"
        registry.set_alias("champion", "1")
    return "models:/starter@champion"


@pytest.mark.slow
def test_a_run_and_a_version_of_it_are_one_start(study, trained: Path, champion: str) -> None:
    """The weights decide who a run is, not where they lie; another start, or none, is another run."""
    runs = {
        name: study.train(params_of(study, start), "spectrogram", 16, 0, f"runs/{name}")
        for name, start in {"folder": str(trained), "alias": champion, "number": "models:/starter/1"}.items()
    }
    scratch = study.train(params_of(study, None), "spectrogram", 16, 0, "runs/scratch")
    assert len({settings_hash(run) for run in runs.values()}) == 1
    assert len({sha256_of(run / checkpoint.WEIGHTS) for run in runs.values()}) == 1
    assert settings_hash(scratch) != settings_hash(runs["alias"])
    assert logged(study, runs["folder"])["start"] == sha256_of(trained / checkpoint.WEIGHTS)
    other = study.train(params_of(study, str(runs["folder"])), "spectrogram", 16, 0, "runs/other")
    assert settings_hash(other) != settings_hash(runs["folder"])
    assert "start" not in logged(study, scratch)


@pytest.mark.slow
def test_versions_that_are_no_start(study, champion: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(start: str, message: str) -> None:
        with pytest.raises(TagscaleError, match=rf"train\.start_from: {start}: {message}"):
            study.train(params_of(study, start), "spectrogram", 16, 0, "runs/refused")
        assert not (study.root / "runs" / "refused").exists()

    refused("models:/starter/2", "it has no model.json, so it is no network")
    refused("models:/starter/7", "the registry at sqlite:.* has no such version")
    refused("models:/starter@challenger", "the registry at sqlite:.* has no such version")
    refused("models:/stranger@champion", "the registry at sqlite:.* has no such version")
    refused("models:/starter", "expected models:/NAME@ALIAS or models:/NAME/VERSION")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    refused(champion, "there is no registry at sqlite:.*none.db yet")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TagscaleError, match=r"train\.start_from: http://127\.0\.0\.1:9: no MLflow server answers"):
        study.train(params_of(study, champion), "spectrogram", 16, 0, "runs/refused")


@pytest.mark.slow
def test_the_component_starts_from_the_champion(study, champion: str, tmp_path: Path) -> None:
    """As the pipeline `retrain` trains: the setting alone says it."""
    from types import SimpleNamespace

    from components.train import train as component

    from tagscale.cluster.volume import hand_on

    params = params_of(study, champion, kubernetes={"mount": str(tmp_path)})
    (tmp_path / "settings").write_text(params.model_dump_json())
    hand_on(str(tmp_path / "store"), study.root / "store", "0123")
    paths = {"settings": tmp_path / "settings", "inputs": tmp_path / "store", "run": tmp_path / "run"}
    paths |= {name: study.root / name for name in ("catalog", "partition")}
    cell = {
        "model": "spectrogram",
        "size": "16",
        "seed": "0",
        "key": "k",
        "code": "training",
        "image": "",
        "again": False,
    }
    metadata = {"mlflow_run": "0" * 32}
    component.python_func(
        **cell, **{name: SimpleNamespace(path=str(path), metadata=dict(metadata)) for name, path in paths.items()}
    )
    here = study.train(params_of(study, champion), "spectrogram", 16, 0, "runs/here")
    assert settings_hash(tmp_path / "run") == settings_hash(here)
    assert sha256_of(tmp_path / "run" / checkpoint.WEIGHTS) == sha256_of(here / checkpoint.WEIGHTS)


@pytest.mark.slow
def test_an_interrupted_training_ends_as_one_that_was_left_alone(
    study, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = study.params(train=STEPS | {"max_steps": 6, "start_from": str(trained)}, tracking={"experiment": "going"})
    alone = study.train(params, "spectrogram", 16, 3, "runs/alone")
    step_loss, steps = loop.step_loss, []

    def struck(state: Any, *arguments: Any) -> Any:
        steps.append(state.step)
        if steps == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        return step_loss(state, *arguments)

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "step_loss", struck)
    with pytest.raises(KeyboardInterrupt):
        study.train(params, "spectrogram", 16, 3, "runs/going")
    resumed = study.train(params, "spectrogram", 16, 3, "runs/going")
    assert steps == [0, 1, 2, 3, 3, 4, 5]
    assert (resumed / checkpoint.WEIGHTS).read_bytes() == (alone / checkpoint.WEIGHTS).read_bytes()


# --- finetune -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    write_encoder(folder, ENCODER)
    return folder


@pytest.mark.slow
def test_finetune_from_training_to_a_packaged_model(study, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a training that starts from the registered one."""
    monkeypatch.setenv(PLACE, str(weights))
    params = params_of(study, None, model={"finetune": FINETUNE}, evaluate={"hop_seconds": 2.0, "resamples": 0})
    run = study.train(params, "finetune", 16, 0, "runs/finetune-16-0")
    model, architecture = checkpoint.load(run)
    assert isinstance(model, Finetune)
    assert (architecture.model, architecture.capacity) == ("finetune", {"encoder": ENCODER})
    published = checkpoint.load(weights / ENCODER)[0].state_dict()
    ours = model.encoder.state_dict()
    assert (ours["norms.0.running_mean"] == published["norms.0.running_mean"]).all(), "frozen"
    change = (ours["convs.1.weight"] - published["convs.1.weight"]).abs().max()
    assert 0 < change <= 2 * 0.1 * 0.001 * 1.01, "two steps of Adam at the rate of the body"
    assert logged(study, run)["start"] == sha256_of(weights / ENCODER / checkpoint.WEIGHTS)
    assert logged(study, run)["train.max_steps"] == "2", "of its own block"
    results = study.evaluate(params, run, "results/finetune-16-0")
    assert read_json(results / "metrics.json")["test"]["roc_auc"] > 0.5

    registry = Registry.open_or_create("finetuned", "for tests")
    identity = run_output(run).facts(RunFacts)["identity"]
    tagger = AudioTagger(NetworkScorer(model, architecture, 3.0), {})
    with tracking.find_run("started", identity) as tracked:
        register(registry, tracked, tagger, identity.name, {}, "a description")
    loaded, _ = load_version("finetuned", "1")
    wave = (0.1 * np.random.default_rng(0).standard_normal(48_000)).astype(np.float32)
    assert loaded.scorer.scores(wave) == pytest.approx(tagger.scorer.scores(wave))
    monkeypatch.setenv(PLACE, "nowhere")
    further = params_of(study, "models:/finetuned/1", model={"finetune": FINETUNE})
    second = study.train(further, "finetune", 16, 0, "runs/further")
    assert logged(study, second)["start"] == sha256_of(run / checkpoint.WEIGHTS)


def test_without_weights_finetune_is_left_out(study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv(PLACE, str(tmp_path / "pretrained"))
    params = params_of(study, None, model={"finetune": FINETUNE})
    run = study.train(params, "finetune", 16, 0, "runs/absent")
    reason = f"the weights of its encoder {ENCODER} are not in pretrained/; `tagscale fetch-encoders` gets them"
    assert absence_in(run)["reason"].startswith(reason)
    assert absence_in(run)["reason"].endswith("then `dvc repro --force train@finetune-16-0` trains it.")
    assert reason in capsys.readouterr().out
    results = study.evaluate(params, run, "results/absent")
    assert absence_in(results) == absence_in(run)
