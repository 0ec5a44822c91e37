"""Components, called as Kubeflow's executor calls them: the paths on the volume that their stages get, and errors."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from components.partition import partition
from components.train import train
from components.watch import watch

from tagscale.cluster import trainjob
from tagscale.cluster.volume import hand_on
from tagscale.params.load import laid_over, load
from tagscale.params.stage_names import STAGES
from tagscale.report import drift
from tagscale.runtime.identity import RunIdentity
from tagscale.serving import watch as serving_watch
from tagscale.stages import partition as partition_stage
from tagscale.stages import preflight, train_baseline
from tagscale.stages import train as train_stage
from tagscale.stages.cell import write_run
from tagscale.tracking.nesting import context_tags

ROOT = Path(__file__).parents[2]
CELL = {"model": "waveform", "size": "all", "seed": "3", "key": "aaaa", "code": "stages/train.py"}
CELL |= {"image": "tagscale:1", "again": False}
PARTITION = "tagscale.partition.divide.Partition.load"
PARTS = SimpleNamespace(data_hash="d" * 12, hash="p" * 12)
AROUND = ("begin", "end", "merge", "plan", "tag", "join", "watch")  # components that are no stages


def artifact(path: Path) -> SimpleNamespace:
    return SimpleNamespace(path=str(path), metadata={})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    (tmp_path / "store").mkdir()
    hand_on(str(tmp_path / "address"), tmp_path / "store", "0123")
    return tmp_path


def settings(place: Path, **blocks: Any) -> SimpleNamespace:
    changes = laid_over({"kubernetes": {"mount": str(place / "volume")}}, blocks)
    (place / "settings").write_text(json.dumps(laid_over(load(ROOT / "params.yaml").model_dump(), changes)))
    return SimpleNamespace(path=str(place / "settings"), metadata={"mlflow_run": "3f0c"})


def trained(place: Path, monkeypatch: pytest.MonkeyPatch, model: str = "waveform", **blocks: Any) -> dict[str, Any]:
    """What the component train hands to the stage or to the TrainJob; `who` says to which of them."""
    given: dict[str, Any] = {}

    def note(who: str) -> Any:
        def run(params: Any, **arguments: Any) -> None:
            given.update(arguments, who=who, tags=context_tags())
            arguments["run"].mkdir()
            identity = RunIdentity(arguments["model"], "all", 3, "corpus", "d" * 12, "p" * 12, "s" * 12)
            cell: Any = SimpleNamespace(training=["a track"], unlearned={})
            write_run(arguments["run"], identity, cell, parameters=1, seconds=1.0)

        return run

    monkeypatch.setattr(train_stage, "run", note("stage"))
    monkeypatch.setattr(train_baseline, "run", note("baseline"))
    monkeypatch.setattr(trainjob, "train_on_nodes", note("nodes"))
    monkeypatch.setattr(preflight, "check_grid", lambda *_: None)  # which reads the folders
    monkeypatch.setattr(PARTITION, lambda _: PARTS)
    names = {name: artifact(place / name) for name in ("catalog", "partition", "run")}
    train.python_func(
        settings=settings(place, **blocks), inputs=artifact(place / "address"), **(CELL | {"model": model}), **names
    )
    return given


def test_a_training_keeps_its_state_on_the_volume(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = trained(place, monkeypatch)
    assert given["who"] == "stage"
    assert given["unfinished"].parent == place / "volume" / "unfinished"
    assert given["unfinished"].name.startswith("waveform-all-3-")
    assert given["inputs"] == place / "store"
    assert (given["size"], given["seed"]) == ("all", 3)
    assert given["tags"] == {"mlflow.parentRunId": "3f0c"}, "its run nests in the pipeline's"


def test_a_training_on_several_nodes_is_a_trainjob(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = trained(place, monkeypatch, train={"nodes": 2})
    assert (given["who"], given["image"]) == ("nodes", "tagscale:1")
    assert given["unfinished"].is_relative_to(place / "volume")


def test_the_task_itself_trains_the_trees(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained(place, monkeypatch, model="descriptors", train={"nodes": 2})["who"] == "baseline"


def test_a_partition_starts_from_the_last_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = []

    def run(params: Any, *, previous: Path, partition: Path, **_: Any) -> None:
        before.append(sorted(path.name for path in previous.iterdir()) if previous.is_dir() else None)
        partition.mkdir()
        (partition / f"made-{len(before)}").write_text("")
        facts = {"hash": "p" * 12, "data_hash": "d" * 12, "split": "artist", "counts": {"train": 3}}
        (partition / "partition.json").write_text(json.dumps(facts))

    monkeypatch.setattr(partition_stage, "run", run)
    monkeypatch.setattr(PARTITION, lambda _: PARTS)
    for number in (1, 2):
        others = {name: artifact(place / name) for name in ("catalog", "validation")}
        made = partition.python_func(settings=settings(place), partition=artifact(place / f"out-{number}"), **others)
        assert made == f"{'d' * 12}-{'p' * 12}"
    assert before == [None, ["made-1", "partition.json"]]


@pytest.mark.parametrize("drifts", [True, False])
def test_a_watch_reads_rows_on_the_volume_and_returns_its_verdict(
    place: Path, monkeypatch: pytest.MonkeyPatch, drifts: bool
) -> None:
    record = {"model": "m", "version": "4", "drift": drifts}
    monkeypatch.setattr("tagscale.serving.rows.read_rows", str)
    monkeypatch.setattr(serving_watch, "watch", lambda rows, model, margin, files: record | {"read": rows})
    monkeypatch.setattr(serving_watch, "reason_of", lambda record: "A reason.")
    monkeypatch.setattr(drift, "write", lambda page, record, reason, source: page.write_text(record["read"]))
    report, given = artifact(place / "report"), json.loads(Path(settings(place).path).read_text())
    verdict = watch.python_func(params=json.dumps(given), rows="scores/2026", margin=0.06, report=report)
    assert verdict == ("drift" if drifts else "no drift"), "the pipeline's condition compares it"
    assert Path(report.path).read_text() == str(place / "volume" / "scores" / "2026")
    assert (report.metadata["version"], report.metadata["verdict"]) == ("4", verdict)


@pytest.mark.parametrize("name", [*STAGES, *AROUND])
def test_the_whole_of_a_component_is_a_command(name: str) -> None:
    """So an error that its user can mend is one message in the log of its pod."""
    (function,) = ast.parse((ROOT / "components" / f"{name}.py").read_text()).body[-1:]
    assert isinstance(function, ast.FunctionDef)
    work = [one for one in function.body[1:] if not isinstance(one, ast.Import | ast.ImportFrom | ast.Return)]
    assert [type(one) for one in work] == [ast.With]
    assert ast.unparse(work[0]).startswith("with command()")


def test_an_error_of_a_user_is_one_message_and_exit_status_1(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = settings(place)
    (place / "settings").write_text("{}")
    with pytest.raises(SystemExit) as end:
        partition.python_func(settings=given, **dict.fromkeys(("catalog", "validation", "partition"), given))
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith(f"error {place / 'settings'}: ")
