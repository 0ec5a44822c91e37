"""The compiled pipelines: valid for kfp, the same every time, complete, and the graph of dvc.yaml."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec
from pipelines.__main__ import main
from pipelines.definitions import PIPELINES, one_cell
from pipelines.graph import Graph, reaches
from pipelines.keys import code_of, key_of
from pipelines.package import compiled_text
from pipelines.tasks import pipeline

from tagscale.params.load import laid_over, load, parse, read_yaml
from tagscale.params.stage_names import STAGES
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]
DATA = {"begin", "synth", "catalog", "preprocess", "validate", "partition", "end"}


def compiled(folder: Path, name: str = "study", preset: str = "") -> Graph:
    """A pipeline, compiled with a preset given as text; the platform's part of the file is left out."""
    (folder / "preset.yaml").write_text(preset or "{}")
    text = compiled_text(name, load(ROOT / "params.yaml", folder / "preset.yaml"))
    return Graph.of(next(yaml.load_all(text, Loader=yaml.CSafeLoader)))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> dict[str, Graph]:
    return {name: compiled(tmp_path_factory.mktemp(name), name) for name in PIPELINES}


@pytest.fixture(scope="module")
def study(graphs) -> Graph:
    return graphs["study"]


def grid(graph: Graph) -> list[tuple[str, str, str]]:
    """Model, size and seed of every item of the loops."""
    items = [item for loop in graph.loops for item in loop.items]
    return [(item["model"], item["size"], item["seed"]) for item in items]


@pytest.mark.parametrize("name", PIPELINES)
def test_parses_into_the_pipeline_spec(graphs, name):
    json_format.ParseDict(graphs[name].pipeline, PipelineSpec(), ignore_unknown_fields=False)


@pytest.mark.parametrize("name", PIPELINES)
def test_every_input_has_a_source(graphs, name):
    """kfp 2.17 compiles loops directly within an exit handler into graphs with inputs that have no source."""

    def check(inputs: dict, tasks: dict) -> None:
        for task, spec in tasks.items():
            for kind, singular in (("artifacts", "Artifact"), ("parameters", "Parameter")):
                for source in spec.get("inputs", {}).get(kind, {}).values():
                    wanted = source.get(f"componentInput{singular}")
                    own = spec.get("parameterIterator", {}).get("itemInput")
                    assert wanted is None or wanted == own or wanted in inputs.get(kind, {}), (task, wanted)

    pipeline = graphs[name].pipeline
    for part in (pipeline["root"], *pipeline["components"].values()):
        if "dag" in part:
            check(part.get("inputDefinitions", {}), part["dag"]["tasks"])


def test_refuses_an_unknown_field(study):
    with pytest.raises(json_format.ParseError, match="retires"):
        json_format.ParseDict(study.pipeline | {"retires": 3}, PipelineSpec(), ignore_unknown_fields=False)


@pytest.mark.slow
def test_compiles_to_the_same_bytes():
    assert compiled_text("study", load(ROOT / "params.yaml")) == compiled_text("study", load(ROOT / "params.yaml"))


def test_the_tasks_of_each_pipeline(graphs):
    done = {name: set(graph.functions.values()) for name, graph in graphs.items()}
    assert done["study"] == {*STAGES, "begin", "end"} - {"encode"}  # the default study has no probe
    assert done["training"] == DATA | {"train", "evaluate"}
    assert done["retrain"] == done["training"] | {"register"}
    assert done["data"] == DATA | {"describe"}
    assert done["watch"] == done["retrain"] | {"watch"}
    assert done["tag"] == {"plan", "tag", "join"}


def test_installs_nothing_when_it_runs(study):
    for executor in study.executors.values():
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_a_study_runs_the_whole_grid(study):
    cells = load(ROOT / "params.yaml").train.cells
    assert grid(study) == [tuple(map(str, cell)) for cell in cells if cell[0] != "ensemble"]


def test_a_training_is_one_cell(graphs):
    assert grid(graphs["training"]) == grid(graphs["retrain"]) == [("waveform", "all", "0")]


def test_a_chosen_cell():
    params = parse(laid_over(read_yaml(ROOT / "params.yaml"), {"train": {"members": ["waveform", "descriptors"]}}))
    chosen = one_cell(params, "spectrogram", "200", 3).train
    assert (chosen.models, chosen.sizes, chosen.seeds) == (["spectrogram"], [200], [3])
    assert (chosen.baselines, chosen.ensembles) == ([], [])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (("wavefrom", None, None), "no block model.wavefrom"),
        (("waveform", "many", None), "--size many: expected a number"),
        (("descriptors", None, None), r"a name of train\.baselines is trained by the pipeline study"),
    ],
)
def test_a_cell_that_does_not_exist(cell, message):
    with pytest.raises(TagscaleError, match=message):
        one_cell(load(ROOT / "params.yaml"), *cell)


def test_an_unknown_pipeline():
    with pytest.raises(
        TagscaleError, match="no pipeline 'studies'; there are: data, training, study, retrain, watch, tag"
    ):
        pipeline("studies", load(ROOT / "params.yaml"))


def test_carries_the_settings_unchanged(study):
    for task in ("begin", "end"):
        assert parse(json.loads(study.constant(task, "params"))) == load(ROOT / "params.yaml")


@pytest.mark.parametrize("name", [name for name, one in PIPELINES.items() if not one.tags])
def test_the_last_task_runs_whatever_happened(graphs, name):
    end = graphs[name].pipeline["root"]["dag"]["tasks"]["end"]
    assert end["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert end["inputs"]["parameters"]["status"] == {"taskFinalStatus": {"producerTask": "exit-handler-1"}}
    assert set(graphs[name].pipeline["root"]["dag"]["tasks"]) == {"exit-handler-1", "end"}


def test_a_folder_is_read_instead_of_composed(tmp_path):
    graph = compiled(tmp_path, preset="dataset: {source: folder, root: songs}")
    assert "synth" not in graph.functions.values()
    assert "root" not in graph.tasks["catalog"]["inputs"].get("parameters", {})


def test_without_baselines_nothing_is_described_and_without_ensembles_none_is_made(tmp_path):
    graph = compiled(tmp_path, preset="train: {baselines: [], ensembles: [], sizes: [5, all], seeds: [0, 1]}")
    assert not {"describe", "ensemble"} & set(graph.functions.values())
    assert len(grid(graph)) == 8
    json_format.ParseDict(graph.pipeline, PipelineSpec(), ignore_unknown_fields=False)


def test_probes_have_a_loop_of_their_own_behind_what_their_encoders_hear(tmp_path):
    graph = compiled(tmp_path, preset="{train: {probes: [probe, probe-v]}, model: {probe-v: {encoder: msd_vgg}}}")
    assert ("encode", "train-2") in graph.edges
    assert ("encode", "train") not in graph.edges
    models = list(dict.fromkeys(item["model"] for loop in graph.loops for item in loop.items))
    assert models == ["waveform", "spectrogram", "probe", "probe-v", "descriptors"]
    json_format.ParseDict(graph.pipeline, PipelineSpec(), ignore_unknown_fields=False)


def test_slices_are_decoded_side_by_side_and_joined(tmp_path):
    graph = compiled(tmp_path, "data", "{kubernetes: {shards: 3}, train: {baselines: []}}")
    (loop,) = graph.loops
    assert [(item["number"], item["of"]) for item in loop.items] == [("1", "3"), ("2", "3"), ("3", "3")]
    assert ("preprocess", "merge") in graph.edges
    assert ("merge", "validate") in graph.edges
    assert ("preprocess", "validate") not in graph.edges
    json_format.ParseDict(graph.pipeline, PipelineSpec(), ignore_unknown_fields=False)


def test_what_retrains_waits_for_a_drift(graphs):
    """And the last task, which records how the pipeline ended, runs without one as well."""
    watch = graphs["watch"].pipeline
    inner = next(
        part["dag"]["tasks"] for part in watch["components"].values() if "watch" in part.get("dag", {}).get("tasks", {})
    )
    (condition,) = (task for name, task in inner.items() if name.startswith("condition"))
    assert condition["triggerPolicy"]["condition"] == (
        "inputs.parameter_values['pipelinechannel--watch-Output'] == 'drift'"
    )
    assert "watch" in condition["dependentTasks"]
    given = watch["root"]["inputDefinitions"]["parameters"]
    assert {name: one.get("defaultValue") for name, one in given.items()} == {
        "rows": "scores",
        "margin": 0.06,
        "again": False,
    }


def test_a_catalogue_is_tagged_in_shards_that_agree_on_the_plan(tmp_path):
    graph = compiled(tmp_path, "tag", "{kubernetes: {shards: 3}}")
    (loop,) = graph.loops
    assert loop.items == [{"number": "1"}, {"number": "2"}, {"number": "3"}]
    assert graph.edges == {("plan", "tag"), ("plan", "join"), ("tag", "join")}
    assert parse(json.loads(graph.settings)).kubernetes.shards == 3
    given = graph.pipeline["root"]["inputDefinitions"]["parameters"]
    assert {name: one.get("defaultValue") for name, one in given.items()} == {
        "catalogue": None,
        "model": "tagscale-tagger",
        "version": "champion",
        "scores": "scores",
        "embeddings": False,
        "again": False,
    }


@pytest.mark.slow
def test_the_image_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TAGSCALE_IMAGE", "registry.example/tagscale:1")
    command = [sys.executable, "-m", "pipelines", "compile", "--output", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    graph = Graph.of(next(yaml.safe_load_all((tmp_path / "training.yaml").read_text())))
    assert {e["container"]["image"] for e in graph.executors.values()} == {"registry.example/tagscale:1"}


def test_bad_settings_are_an_error_without_a_traceback(tmp_path, monkeypatch, capsys):
    (tmp_path / "preset.yaml").write_text("train: {batches: 4}")
    words = ["compile", "--output", str(tmp_path / "out"), "--preset", str(tmp_path / "preset.yaml")]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["pipelines", *words])
    with pytest.raises(SystemExit) as done:
        main()
    errors = capsys.readouterr().err
    assert done.value.code == 1
    assert "train.batches: unknown key; did you mean `batch`?" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_is_the_graph_of_dvc(tmp_path):
    """A component reads what its stage in dvc.yaml reads, after the task that writes it, and nothing else."""
    study = compiled(tmp_path, preset="train: {probes: [probe]}")
    dvc = dvc_edges(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    for writer, reader in dvc:
        pairs = product(named(study, writer), named(study, reader))
        assert any(reaches(study.edges, *pair) for pair in pairs), f"{reader} does not wait for {writer}"
    functions = {(study.functions[writer], study.functions[reader]) for writer, reader in study.edges}
    own = {(writer, reader) for writer, reader in functions if writer != "begin"}
    # Content hashes are handed from task to task beside the artifacts
    assert own - dvc == {("partition", "describe"), ("partition", "encode")} - dvc


def named(graph: Graph, function: str) -> list[str]:
    return [name for name, own in graph.functions.items() if own == function]


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


def test_the_volume_and_dvc_compare_the_same_settings(tmp_path):
    """A task's key changes exactly with the settings that dvc.yaml declares for its stage."""
    params = load(ROOT / "params.yaml")

    def changed(preset: str, stage: str, model: str = "") -> bool:
        (tmp_path / "preset.yaml").write_text(preset)
        other = load(ROOT / "params.yaml", tmp_path / "preset.yaml")
        return key_of(params, stage, model) != key_of(other, stage, model)

    assert changed("train: {learning_rate: 0.1}", "train", "waveform")
    assert changed("model: {waveform: {width: 2}}", "train", "waveform")
    assert not changed("model: {waveform: {width: 2}}", "train", "spectrogram")
    assert not changed("{train: {devices: 2, workers: 1, sizes: [3]}, kubernetes: {parallel: 1}}", "train", "waveform")
    assert not changed("dataset: {version: 'v1@0123456789ab'}", "train", "waveform")
    assert changed("evaluate: {hop_seconds: 1}", "evaluate", "waveform")
    assert not changed("evaluate: {hop_seconds: 1}", "evaluate_baseline", "descriptors")


def test_the_volume_and_dvc_compare_the_same_code():
    assert code_of("train_baseline") == "catalog descriptors partition stages/cell.py stages/train_baseline.py"
    assert "models/spec.py" in code_of("ensemble").split(), "a file by itself"
    assert "pretrained" not in code_of("encode").split(), "no code"


@pytest.mark.parametrize("name", ["study", "retrain", "training"])
def test_a_run_may_train_again_what_is_kept(graphs, name):
    """Each graph around a training hands the pipeline's parameter on to it."""
    (given,) = graphs[name].pipeline["root"]["inputDefinitions"]["parameters"].items()
    assert given == ("again", {"defaultValue": False, "isOptional": True, "parameterType": "BOOLEAN"})
    for task in ("train", "evaluate"):
        source = graphs[name].tasks[task]["inputs"]["parameters"]["again"]
        assert source == {"componentInputParameter": "pipelinechannel--again"}
