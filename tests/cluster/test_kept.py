"""Finished trainings and evaluations on the volume: what is made once, what is made again, and what is said of it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tagscale
from registry.tiny import empty_store
from tagscale import tracking
from tagscale.cluster import kept, trainjob
from tagscale.cluster.kept import Kept, StageKey, code_hash
from tagscale.params.load import Params, laid_over, load, parse
from tagscale.partition.divide import Partition
from tagscale.runtime.absent import write_absent
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, seal, sha256_of
from tagscale.runtime.identity import RunFacts, RunIdentity, run_output
from tagscale.runtime.lock import exclusive
from tagscale.stages import evaluate, preflight, train, train_baseline
from tagscale.stages.cell import write_run
from tagscale.training import checkpoint

ROOT = Path(__file__).parents[2]
CODE = StageKey("key", "stages/train.py stages/cell.py")

PARTS = {
    "partition": SimpleNamespace(data_hash="d" * 12, hash="p" * 12),
    "other data": SimpleNamespace(data_hash="e" * 12, hash="p" * 12),
    "other parts": SimpleNamespace(data_hash="d" * 12, hash="q" * 12),
}


@pytest.fixture
def params(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Settings with a volume, and an empty MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty_store(request.config, tmp_path)}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "volume").mkdir()
    changes = {"kubernetes": {"mount": str(tmp_path / "volume")}}
    return parse(laid_over(load(ROOT / "params.yaml").model_dump(), changes))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of every training; each writes a run with other weights than the one before."""
    done: list[dict[str, Any]] = []

    def run(params: Params, **arguments: Any) -> None:
        done.append(arguments)
        with replacing(arguments["run"]) as fresh:
            fresh.mkdir()
            (fresh / "weights.safetensors").write_text(f"weights {len(done)}")
            identity = RunIdentity(arguments["model"], "all", 3, "corpus", "d" * 12, "p" * 12, "s" * 12)
            cell: Any = SimpleNamespace(training=["a track"], unlearned={})
            write_run(fresh, identity, cell, parameters=1, seconds=1.0)

    for module, name in ((train, "run"), (train_baseline, "run"), (trainjob, "train_on_nodes")):
        monkeypatch.setattr(module, name, run)
    monkeypatch.setattr(preflight, "check_grid", lambda *_: None)  # which reads the folders
    monkeypatch.setattr(Partition, "load", lambda folder: PARTS[folder.name])
    return done


def cell(folder: Path) -> dict[str, Any]:
    """The arguments of a training."""
    given = {"model": "waveform", "size": "all", "seed": 3, "image": "tagscale:1", "inputs": folder / "store"}
    return given | {"catalog": folder / "catalog", "partition": folder / "partition", "run": folder / "run"}


def trained(params: Params, folder: Path, stage_key: StageKey = CODE, **changes: Any) -> str:
    """Train or take what is kept; returns the weights that are handed on."""
    kept.train(params, stage_key, **(cell(folder) | changes))
    return (folder / "run" / "weights.safetensors").read_text()


def test_the_second_training_is_the_first(
    params: Params, tmp_path: Path, trainings: list, capsys: pytest.CaptureFixture
) -> None:
    assert trained(params, tmp_path) == trained(params, tmp_path) == "weights 1"
    (run,) = runs(params)
    said = capsys.readouterr().out
    assert "train waveform-all-3: kept from 20" in said
    assert f" UTC, MLflow run {run.info.run_id}; nothing is trained\n" in said


def test_the_page_of_a_kept_run_says_so(params: Params, tmp_path: Path, trainings: list) -> None:
    assert kept.train(params, CODE, **cell(tmp_path)) == {}
    shown = kept.train(params, CODE, **cell(tmp_path))
    (run,) = runs(params)
    assert shown == {"kept_since": shown["kept_since"], "mlflow_run": run.info.run_id, "mlflow": None}
    assert str(shown["kept_since"]).endswith(" UTC")


def runs(params: Params) -> list[Any]:
    client = tracking.connect()
    experiment = client.get_experiment_by_name(params.tracking.experiment)
    return list(client.search_runs([experiment.experiment_id], "params.model != ''")) if experiment else []


def test_a_kept_training_has_its_run_in_a_new_mlflow(
    params: Params, tmp_path: Path, trainings: list, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    trained(params, tmp_path)
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{empty_store(request.config, tmp_path / 'other')}/mlflow.db")
    renamed = parse(laid_over(params.model_dump(), {"tracking": {"experiment": "renamed"}}))
    trained(renamed, tmp_path)
    (run,) = runs(renamed)
    assert (run.info.run_name, run.info.status) == ("waveform-all-3", "FINISHED")
    assert run.data.params["model"] == "waveform"
    assert len(trainings) == 1


@pytest.mark.parametrize(
    ("stage_key", "partition"),
    [
        (StageKey("other settings", CODE.code), "partition"),
        (StageKey(CODE.settings, f"{CODE.code} training"), "partition"),
        (CODE, "other data"),
        (CODE, "other parts"),
    ],
)
def test_other_settings_code_or_data_are_another_training(
    params: Params, tmp_path: Path, trainings: list, stage_key: StageKey, partition: str
) -> None:
    trained(params, tmp_path)
    assert trained(params, tmp_path, stage_key, partition=tmp_path / partition) == "weights 2"
    assert trained(params, tmp_path) == "weights 1", "both are kept"
    first, second = (training["unfinished"].name for training in trainings)
    assert first != second, "no code or settings finish what others began"


def test_what_decides_no_result_is_no_part_of_the_key(params: Params, tmp_path: Path, trainings: list) -> None:
    trained(params, tmp_path)
    elsewhere = {"train": {"nodes": 2, "devices": 2, "workers": 1}, "kubernetes": {"parallel": 1}}
    trained(parse(laid_over(params.model_dump(), elsewhere)), tmp_path, image="registry.example/tagscale:2")
    assert len(trainings) == 1


def test_again_trains_anew_and_keeps_the_new_run(params: Params, tmp_path: Path, trainings: list) -> None:
    trained(params, tmp_path)
    assert trained(params, tmp_path, again=True) == trained(params, tmp_path) == "weights 2"


def test_a_training_that_mlflow_has_not_seen_end_is_finished_first(
    params: Params, tmp_path: Path, trainings: list
) -> None:
    """A pod was killed when the run was written and its state was still there: the stage resumes, and ends the run."""
    trained(params, tmp_path)
    trainings[0]["unfinished"].mkdir(parents=True)
    assert trained(params, tmp_path) == "weights 2"
    trainings[0]["unfinished"].rmdir()
    nodes = trainings[0]["unfinished"].with_name(f"{trainings[0]['unfinished'].name}.nodes")
    nodes.mkdir()  # of a TrainJob, whose task was killed before it had fetched the run
    assert trained(params, tmp_path) == "weights 3"


def test_other_descriptors_are_another_training(params: Params, tmp_path: Path, trainings: list) -> None:
    for rows in ("rows", "other rows"):
        (tmp_path / "descriptors.parquet").write_text(rows)
        trained(params, tmp_path, model="descriptors", inputs=tmp_path)
    assert len(trainings) == 2


def test_other_weights_to_start_from_are_another_training(
    params: Params, tmp_path: Path, trainings: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`models:/NAME@champion` is one text for many versions."""
    params = parse(laid_over(params.model_dump(), {"train": {"start_from": "models:/tagger@champion"}}))
    champion = SimpleNamespace(sha256="1")
    monkeypatch.setattr(train, "start_of", lambda *_: champion)
    trained(params, tmp_path)
    trained(params, tmp_path)
    assert len(trainings) == 1
    champion.sha256 = "2"
    assert trained(params, tmp_path) == "weights 2"


def test_a_training_does_not_start_from_its_own_result(
    params: Params, tmp_path: Path, trainings: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retraining every week moves @champion to its own result; on the same data it ends there."""
    params = parse(laid_over(params.model_dump(), {"train": {"start_from": "models:/tagger@champion"}}))
    champion = SimpleNamespace(sha256="1" * 64)
    monkeypatch.setattr(train, "start_of", lambda *_: champion)
    monkeypatch.setattr(checkpoint, "describe", lambda folder: (None, sha256_of(folder / "weights.safetensors")))
    trained(params, tmp_path)
    champion.sha256 = sha256_of(tmp_path / "run" / "weights.safetensors")
    assert trained(params, tmp_path) == "weights 1"
    assert trained(params, tmp_path, partition=tmp_path / "other data") == "weights 2"
    assert trained(params, tmp_path, again=True) == "weights 3"
    numbered = parse(laid_over(params.model_dump(), {"train": {"start_from": "models:/tagger/2"}}))
    assert trained(numbered, tmp_path) == "weights 3", "a start by number is meant: this one was trained again above"


def write_results(results: Path, run: Path) -> None:
    with replacing(results) as fresh:
        fresh.mkdir()
        (fresh / "per_tag.csv").write_text("tag\n")
        (fresh / "decisions.json").write_text("{}")
        identity = run_output(run).facts(RunFacts)["identity"].as_dict()
        seal(fresh, "metrics.json", {"identity": identity, "valid": {}, "test": {"pr_auc": 0.25}})


def test_results_are_kept_for_the_run_that_they_are_of(
    params: Params, tmp_path: Path, trainings: list, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    done: list[Path] = []

    def run(params: Params, *, run: Path, results: Path, **_: Any) -> None:
        done.append(results)
        write_results(results, run)

    monkeypatch.setattr(evaluate, "run", run)
    trained(params, tmp_path)
    inputs = {name: tmp_path / name for name in ("catalog", "partition", "inputs", "results", "run")}
    stage_key = StageKey("key", "stages/evaluate.py")
    for _ in range(2):
        kept.evaluate(params, stage_key, **inputs)
    (of_mlflow,) = runs(params)
    expected = f"MLflow run {of_mlflow.info.run_id}; nothing is evaluated"
    assert expected in capsys.readouterr().out
    assert of_mlflow.data.metrics["test_pr_auc"] == 0.25, "an MLflow that lacks the scores gets them"
    assert len(done) == 1
    kept.evaluate(params, stage_key, **inputs, again=True)
    trained(params, tmp_path, again=True)  # the run has other weights now
    kept.evaluate(params, stage_key, **inputs)
    assert len(done) == 3


def test_the_results_of_an_absent_run_are_not_kept(
    params: Params, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_absent(tmp_path / "run", "probe-all-0", "the weights are missing.")
    inputs = {name: tmp_path / name for name in ("catalog", "partition", "inputs", "results", "run")}
    capsys.readouterr()
    for _ in range(2):
        kept.evaluate(params, StageKey("key", "stages/evaluate.py"), **inputs)
    assert capsys.readouterr().out.count("probe-all-0 is left out") == 2
    assert not (tmp_path / "volume" / "finished").exists()


def maker(done: list[Path], text: str = "weights") -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        done.append(folder)
        with replacing(folder) as fresh:
            fresh.mkdir()
            (fresh / "weights").write_text(text)
            seal(fresh, "run.json", {})

    return make


def test_a_damaged_result_is_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    place, done = Kept(tmp_path / "kept", "run.json"), list[Path]()
    assert place.fetch(tmp_path / "out", maker(done)) is None
    (done[0] / "weights").write_text("weight")
    assert place.fetch(tmp_path / "out", maker(done)) is None
    said = "weights: not the file that run.json beside it was written with. The result that was kept is made anew.\n"
    assert said in capsys.readouterr().out
    assert str(place.fetch(tmp_path / "out", maker(done))).endswith("UTC")
    assert (tmp_path / "out" / "weights").read_text() == "weights"


def test_each_fold_of_a_kept_run_is_checked(tmp_path: Path) -> None:
    place, done = Kept(tmp_path / "kept", "run.json"), list[Path]()

    def make(folder: Path) -> None:
        maker(done)(folder)
        maker([])(folder / "fold-1")

    place.fetch(tmp_path / "out", make)
    (done[0] / "fold-1" / "weights").write_text("weight")
    assert place.fetch(tmp_path / "out", make) is None


def test_an_absence_is_not_kept(tmp_path: Path) -> None:
    """What the run needs may come later."""
    place, done = Kept(tmp_path / "kept", "run.json"), list[Path]()
    place.fetch(tmp_path / "out", lambda folder: write_absent(folder, "probe-all-0", "the weights are missing."))
    assert (tmp_path / "out" / "absent.json").exists()
    assert place.fetch(tmp_path / "out", maker(done)) is None
    assert place.fetch(tmp_path / "out", maker(done)) is not None
    assert len(done) == 1


def test_who_waits_for_the_same_result_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    place, done, since = Kept(tmp_path / "waveform-all-0-aaaa", "run.json"), list[Path](), list[str | None]()
    second = threading.Thread(target=lambda: since.append(place.fetch(tmp_path / "second", maker(done))))
    said = ""
    with exclusive(place.folder / "lock", ""):
        second.start()
        while "waits for it" not in said and second.is_alive():
            time.sleep(0.01)
            said += capsys.readouterr().out
        maker(done)(place.folder / "result")
    second.join(60)
    assert since[0] is not None
    assert len(done) == 1
    said += capsys.readouterr().out
    assert said.count("works on the same result. This task waits for it.") == 1
    assert "waveform-all-0-aaaa: process " in said


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of three files in place of tagscale."""
    for name in ("store/read.py", "store/deep/__pycache__/read.cpython-311.pyc", "training/fit.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(tagscale, "__file__", str(tmp_path / "__init__.py"))
    return tmp_path


def test_the_hash_of_the_code_is_that_of_the_named_files(package: Path) -> None:
    hashed = code_hash.__wrapped__
    before = hashed("store training/fit.py")
    (package / "store" / "deep" / "__pycache__" / "read.cpython-311.pyc").write_text("compiled again")
    (package / "training" / "other.py").write_text("not named")
    assert hashed("store training/fit.py") == before
    (package / "training" / "fit.py").write_text("changed")
    changed = hashed("store training/fit.py")
    (package / "store" / "deep" / "more.py").write_text("new")
    assert len({before, changed, hashed("store training/fit.py")}) == 3


def test_code_that_the_image_does_not_have(package: Path) -> None:
    with pytest.raises(TagscaleError, match=r"stages/train.py: no such file or folder.*compile it again"):
        code_hash.__wrapped__("store stages/train.py")
