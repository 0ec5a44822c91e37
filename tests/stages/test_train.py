"""Train: a run's folder holds a model that learned, says who it is, and is the same every time."""

import json
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from sounds import TAGS
from tagscale.catalog.tables import Catalog
from tagscale.descriptors.baseline import DescriptorTrees
from tagscale.descriptors.table import read_descriptors
from tagscale.models.build import build, parameter_count
from tagscale.partition.divide import Partition
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import seal
from tagscale.runtime.identity import RunFacts, RunIdentity, content_of_run, run_output
from tagscale.stages.cell import Cell, join_folds, say, write_run
from tagscale.training import checkpoint

SHORT = {"train": {"max_steps": "1 epoch"}}


def identity_of(run: Path) -> RunIdentity:
    return RunIdentity(**json.loads((run / "run.json").read_text())["identity"])


def test_a_run_says_who_it_is(study, trained: Path) -> None:
    facts = json.loads((trained / "run.json").read_text())
    numbers = {"train_tracks", "parameters", "seconds", "kept_step"}
    assert set(facts) == {"identity", "unlearned", "files", "sha256"} | numbers
    assert facts["kept_step"] == 96, "that of the last validation"
    identity = identity_of(trained)
    assert (identity.model, identity.size, identity.seed, identity.name) == ("spectrogram", "all", 0, trained.name)
    assert identity.dataset_hash == Partition.load(study.root / "partition").data_hash
    assert identity.partition_hash == Partition.load(study.root / "partition").hash
    assert facts["train_tracks"] == 48
    model, architecture = checkpoint.load(trained)
    assert architecture.tags == TAGS
    assert architecture.patch_seconds == 1.5
    assert facts["parameters"] == parameter_count(model) == parameter_count(build(architecture))


def test_a_run_holds_nothing_but_its_files(trained: Path) -> None:
    files = {"run.json", "model.json", "weights.safetensors", "history.csv", "logged.jsonl"}
    assert {path.name for path in trained.iterdir()} == files


def test_the_history_falls(trained: Path) -> None:
    history = pd.read_csv(trained / "history.csv")
    assert history["step"].tolist() == list(range(12, 97, 12))
    assert {"train_loss", "valid_loss", "learning_rate", "patches_per_second", "seconds"} < set(history)
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]


def test_mlflow_has_parameters_curves_and_the_checkpoint(study, trained: Path) -> None:
    client = MlflowClient(f"sqlite:///{study.root / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sounds")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`tagscale.model` = 'spectrogram'", max_results=1)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.loss"] == "cross_entropy"
    assert run.data.params["model.filters"] == "8"
    assert run.data.params["train_tracks"] == "48"
    assert int(run.data.params["parameters"]) > 1000
    history = pd.read_csv(trained / "history.csv")
    for name in ("train_loss", "valid_loss", "learning_rate", "patches_per_second"):
        curve = {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}
        np.testing.assert_allclose([curve[step] for step in history["step"]], history[name], atol=1e-5)
    of_run = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{run.info.run_id}'")
    (model,) = [model for model in of_run if "tagscale.kind" in model.tags]  # the others are packages of versions
    assert (model.name, model.status, model.params["train_tracks"]) == (run.info.run_name, "READY", "48")
    assert {file.path for file in client.list_logged_model_artifacts(model.model_id, "checkpoint")} == {
        f"checkpoint/{file.name}" for file in trained.iterdir() if file.name != "logged.jsonl"
    }


def test_training_again_gives_the_same_weights_and_replaces_the_folder(study) -> None:
    params = study.params(**SHORT)
    run = study.train(params, "waveform", 16, 1, "runs/waveform-16-1")
    first = (run / "weights.safetensors").read_bytes()
    (run / "left over").touch()
    study.train(params, "waveform", 16, 1, "runs/waveform-16-1")
    assert (run / "weights.safetensors").read_bytes() == first
    assert not (run / "left over").exists()


def test_an_interrupted_training_leaves_the_old_run(study, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(trained, study.root / "runs" / "kept")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.train(study.params(**SHORT), "spectrogram", 16, 0, "runs/kept")
    before, after = (
        {file.name: file.read_bytes() for file in run.iterdir()} for run in (trained, trained.parent / "kept")
    )
    assert before == after
    assert not [path for path in trained.parent.iterdir() if path.name.startswith(".")]


def test_the_settings_hash_holds_what_decides_a_run_beside_its_name(study, trained: Path) -> None:
    """The same for every size and seed of a model, another for another setting."""
    params = study.params(**SHORT)
    small = identity_of(study.train(params, "spectrogram", 16, 1, "runs/spectrogram-16-1"))
    wide = study.params(**SHORT, model={"backend": {"filters": 9}})
    assert identity_of(study.train(wide, "spectrogram", 16, 1, "runs/wide")).settings_hash != small.settings_hash
    again = identity_of(study.train(params, "spectrogram", 20, 2, "runs/spectrogram-20-2"))
    assert again.settings_hash == small.settings_hash
    assert {field.name for field in fields(small) if getattr(small, field.name) != getattr(again, field.name)} == {
        "size",
        "seed",
    }


def test_more_tracks_than_there_are_is_refused(study) -> None:
    with pytest.raises(TagscaleError, match="training size 49: the training part holds 48 tracks"):
        study.train(study.params(), "waveform", 49, 0, "runs/waveform-49-0")


def test_patches_too_short_for_the_model_are_refused(study) -> None:
    nine = study.params(model={"waveform": {"layers": 9}})
    with pytest.raises(TagscaleError, match=r"patch_seconds"):
        study.train(nine, "waveform", 16, 0, "runs/waveform-16-0")
    assert not (study.root / "runs" / "waveform-16-0").exists()


def test_the_baseline_is_a_run_like_any_other(study) -> None:
    run = study.train(study.params(), "descriptors", 32, 0, "runs/descriptors-32-0")
    facts = json.loads((run / "run.json").read_text())
    trees = DescriptorTrees.load(run)
    assert facts["train_tracks"] == 32
    assert facts["parameters"] == trees.parameters > 10
    assert identity_of(run).name == run.name
    assert identity_of(run).partition_hash == Partition.load(study.root / "partition").hash
    assert trees.tags == list(TAGS)
    first = (run / "trees.ubj.gz").read_bytes()
    content = content_of_run(run)
    study.train(study.params(), "descriptors", 32, 0, "runs/descriptors-32-0")
    assert (run / "trees.ubj.gz").read_bytes() == first
    assert content_of_run(run) == content
    (run / "trees.ubj.gz").write_bytes(b"other trees")
    run_json = json.loads((run / "run.json").read_text())
    seal(run, "run.json", {"identity": run_json["identity"], "train_tracks": 32, "parameters": 1, "seconds": 1.0})
    assert content_of_run(run) != content


def test_tags_without_two_sides_are_named(study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the console and in run.json, whatever the model; a run in folds says in which."""
    catalog, partition = Catalog.load(study.root / "catalog"), Partition.load(study.root / "partition")
    training = partition.training_subset(16)
    catalog.labels.loc[training, "tone"], catalog.labels.loc[training, "loudness"] = 0.3, np.nan
    few, all_ = (Cell(catalog, partition, "waveform", size, 0) for size in (16, "all"))
    identity, folders = few.identity({}), [tmp_path / name for name in ("fold-1", "fold-2")]
    for folder, cell in zip(folders, (few, all_), strict=True):
        folder.mkdir()
        write_run(folder, identity, cell, 10, 1.0)
        say(identity, cell, 10, 0, "done")
    why = {"tone": "0 in all annotated training tracks", "loudness": "not annotated in the training tracks"}
    assert [run_output(folder).facts(RunFacts)["unlearned"] for folder in folders] == [why, {}]
    named = " and ".join(f"{tag} ({reason})" for tag, reason in why.items())
    assert capsys.readouterr().out.count(f"every track scores about alike: {named}\n") == 1
    joined = join_folds(tmp_path, [folder.name for folder in folders], identity)
    assert joined["unlearned"] == {tag: f"{reason} (fold-1)" for tag, reason in why.items()}


def test_tracks_without_descriptors_are_named(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"descriptors\.parquet: no such file"):
        read_descriptors(tmp_path, ["a"])
    pd.DataFrame({"track_id": ["a"], "rms": [0.1]}).to_parquet(tmp_path / "descriptors.parquet")
    with pytest.raises(TagscaleError, match="no descriptors of 1 of 2 tracks, the first is 'b'"):
        read_descriptors(tmp_path, ["a", "b"])
