"""The compiled pipeline: valid for kfp, the same every time, complete, and the graph of dvc.yaml."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from pipelines.__main__ import compile_pipeline

from tagscale.params import load, parse
from tagscale.stage_names import STAGES

ROOT = Path(__file__).parents[2]


def compiled(folder: Path, preset: str = "") -> dict:
    """The pipeline of training.yaml, with a preset given as text; behind it in the file is what is for a cluster."""
    (folder / "preset.yaml").write_text(preset or "{}")
    compile_pipeline(output=folder / "out", params=ROOT / "params.yaml", preset=folder / "preset.yaml")
    return next(yaml.safe_load_all((folder / "out" / "training.yaml").read_text()))


@pytest.fixture(scope="module")
def training(tmp_path_factory) -> dict:
    return compiled(tmp_path_factory.mktemp("compiled"))


def executors(pipeline: dict) -> dict[str, dict]:
    return pipeline["deploymentSpec"]["executors"]


def grid(pipeline: dict) -> list[tuple[str, str, str]]:
    """Model, size and seed of every item of the loops."""
    loops = [
        task["parameterIterator"] for task in pipeline["root"]["dag"]["tasks"].values() if "parameterIterator" in task
    ]
    return [(i["model"], i["size"], i["seed"]) for loop in loops for i in json.loads(loop["items"]["raw"])]


def test_parses_into_the_pipeline_spec(training):
    json_format.ParseDict(training, PipelineSpec(), ignore_unknown_fields=False)


def test_refuses_an_unknown_field(training):
    with pytest.raises(json_format.ParseError, match="retires"):
        json_format.ParseDict(training | {"retires": 3}, PipelineSpec(), ignore_unknown_fields=False)


def test_compiles_to_the_same_bytes(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for folder in (tmp_path / "one", tmp_path / "two"):
        compiled(folder)
    one, two = ((tmp_path / name / "out" / "training.yaml").read_bytes() for name in ("one", "two"))
    assert one == two


def test_has_the_component_of_every_stage(training):
    functions = {executor["container"]["args"][-1] for executor in executors(training).values()}
    assert functions == set(STAGES)


def test_installs_nothing_when_it_runs(training):
    for executor in executors(training).values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_runs_the_whole_grid(training):
    train = load(ROOT / "params.yaml").train
    models = [*train.models, *train.baselines]
    assert grid(training) == [(m, str(size), str(seed)) for m in models for size in train.sizes for seed in train.seeds]


def test_carries_the_settings_unchanged(training):
    text = training["root"]["inputDefinitions"]["parameters"]["params"]["defaultValue"]
    assert parse(json.loads(text)) == load(ROOT / "params.yaml")


def test_a_folder_is_imported_instead_of_composed(tmp_path):
    pipeline = compiled(tmp_path, "dataset: {source: folder, root: s3://bucket/songs}")
    assert "synth" not in pipeline["root"]["dag"]["tasks"]
    assert "importer" in executors(pipeline)["exec-importer"]
    assert pipeline["root"]["inputDefinitions"]["parameters"]["root"]["defaultValue"] == "s3://bucket/songs"
    json_format.ParseDict(pipeline, PipelineSpec(), ignore_unknown_fields=False)


def test_without_baselines_nothing_is_described(tmp_path):
    pipeline = compiled(tmp_path, "train: {baselines: [], sizes: [5, all], seeds: [0, 1]}")
    assert "describe" not in pipeline["root"]["dag"]["tasks"]
    assert len(grid(pipeline)) == 8
    json_format.ParseDict(pipeline, PipelineSpec(), ignore_unknown_fields=False)


def test_the_image_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TAGSCALE_IMAGE", "registry.example/tagscale:1")
    command = [sys.executable, "-m", "pipelines", "compile", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    pipeline = next(yaml.safe_load_all((tmp_path / "training.yaml").read_text()))
    assert {e["container"]["image"] for e in executors(pipeline).values()} == {"registry.example/tagscale:1"}


def test_bad_settings_are_told_without_a_traceback(tmp_path):
    (tmp_path / "preset.yaml").write_text("train: {batches: 4}")
    command = [sys.executable, "-m", "pipelines", "compile", "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--preset", str(tmp_path / "preset.yaml")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "train.batches: unknown key; did you mean `batch`?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_is_the_graph_of_dvc(training):
    assert kubeflow_edges(training) == dvc_edges(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])


def dvc_edges(stages: dict[str, dict]) -> set[tuple[str, str]]:
    """(stage that writes, stage that reads), by the paths in dvc.yaml; train_baseline counts as train."""
    outs = [
        (path.split("/$")[0], name)
        for name, stage in stages.items()
        for out in stage["outs"]
        for path in ([out] if isinstance(out, str) else out)
    ]
    edges = set()
    for reader, stage in stages.items():
        for dep in (path.replace("${dataset.root}", "data/corpus") for path in stage["deps"]):
            edges |= {(writer, reader) for path, writer in outs if Path(dep).is_relative_to(path)}
    return {(writer.split("_")[0], reader.split("_")[0]) for writer, reader in edges}


def kubeflow_edges(pipeline: dict) -> set[tuple[str, str]]:
    """(stage that writes, stage that reads), by the artifacts passed between tasks, through the loops."""
    stage = {name: component.get("executorLabel", "") for name, component in pipeline["components"].items()}

    def producer(tasks: dict, task: str, key: str) -> str:
        component = tasks[task]["componentRef"]["name"]
        if stage[component]:
            return executors(pipeline)[stage[component]]["container"]["args"][-1]
        dag = pipeline["components"][component]["dag"]
        (inner,) = dag["outputs"]["artifacts"][key]["artifactSelectors"]
        return producer(dag["tasks"], inner["producerSubtask"], inner["outputArtifactKey"])

    def edges(tasks: dict, outside: dict[str, str]) -> set[tuple[str, str]]:
        found = set()
        for name, task in tasks.items():
            sources = {}
            for key, source in task["inputs"].get("artifacts", {}).items():
                made = source.get("taskOutputArtifact")
                sources[key] = (
                    producer(tasks, made["producerTask"], made["outputArtifactKey"])
                    if made
                    else outside[source["componentInputArtifact"]]
                )
            component = task["componentRef"]["name"]
            if stage[component]:
                found |= {(source, producer(tasks, name, "")) for source in sources.values()}
            else:
                found |= edges(pipeline["components"][component]["dag"]["tasks"], sources)
        return found

    return edges(pipeline["root"]["dag"]["tasks"], {})
