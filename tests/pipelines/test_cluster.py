"""The share of a cluster that the tasks of a compiled pipeline get, by the block `kubernetes` of params.yaml."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from pipelines.graph import Graph
from pipelines.package import compiled_text

from tagscale.params.load import laid_over, load, parse, read_yaml
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]
PLACE = """
kubernetes:
  volume: songs
  mount: /songs
  secret: who-am-i
  retries: 5
  parallel: 3
  tasks:
    default: {cpu: 0.5, memory: 2Gi, hours: 1}
    train: {cpu: 6, memory: 24G, gpus: 2, hours: 0.5}
    evaluate: {gpus: 0}
  gpu: {node_selector: {pool: gpus}, tolerations: [{key: reserved, operator: Equal, value: audio, effect: NoExecute}]}
"""


def compiled(folder: Path, preset: str = PLACE, name: str = "study") -> tuple[dict, dict]:
    """The pipeline, and the Kubernetes part of every executor."""
    (folder / "preset.yaml").write_text(preset)
    text = compiled_text(name, load(ROOT / "params.yaml", folder / "preset.yaml"))
    pipeline, platform = yaml.load_all(text, Loader=yaml.CSafeLoader)
    return pipeline, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, dict]:
    return compiled(tmp_path_factory.mktemp("compiled"))


def resources(pipeline: dict, executor: str) -> dict:
    return pipeline["deploymentSpec"]["executors"][executor]["container"]["resources"]


def test_requests_are_limits_and_come_from_the_stage_or_the_default(cluster: tuple[dict, dict]) -> None:
    pipeline, _ = cluster
    train, catalog = resources(pipeline, "exec-train"), resources(pipeline, "exec-catalog")
    assert (train["resourceCpuRequest"], train["resourceCpuLimit"]) == ("6", "6")
    assert (train["resourceMemoryRequest"], train["resourceMemoryLimit"]) == ("24G", "24G")
    assert (catalog["resourceCpuLimit"], catalog["resourceMemoryLimit"]) == ("0.5", "2Gi")
    assert len(pipeline["deploymentSpec"]["executors"]) == 15
    assert all(resources(pipeline, name) for name in pipeline["deploymentSpec"]["executors"])


def test_only_networks_get_gpus(cluster: tuple[dict, dict]) -> None:
    pipeline, platform = cluster
    given = {name for name in pipeline["deploymentSpec"]["executors"] if "accelerator" in resources(pipeline, name)}
    assert given == {"exec-train"}  # exec-train-2 grows trees, evaluate has none by the settings
    assert resources(pipeline, "exec-train")["accelerator"]["resourceCount"] == "2"
    assert platform["exec-train"]["nodeSelector"]["labels"] == {"pool": "gpus"}
    (toleration,) = platform["exec-train"]["tolerations"]
    expected = {"key": "reserved", "operator": "Equal", "value": "audio", "effect": "NoExecute"}
    assert {name: toleration[name] for name in expected} == expected
    assert "tolerations" not in platform["exec-train-2"]


def test_volume_addresses_and_credentials(cluster: tuple[dict, dict]) -> None:
    pipeline, platform = cluster
    assert platform.keys() == pipeline["deploymentSpec"]["executors"].keys()
    for name, config in platform.items():
        (mounted,) = config["pvcMount"]
        assert (mounted["constant"], mounted["mountPath"]) == ("songs", "/songs")
        assert config["configMapAsEnv"][0]["configMapName"] == "tagscale-config"
        stage = name.removeprefix("exec-").removesuffix("-2")
        tracked = {"begin", "train", "evaluate", "ensemble", "compare", "register", "end"}
        assert ("secretAsEnv" in config) == (stage in tracked)
    assert platform["exec-train"]["secretAsEnv"][0]["secretName"] == "who-am-i"


def test_a_task_does_not_start_without_its_address(cluster: tuple[dict, dict]) -> None:
    for config in cluster[1].values():
        given = [*config["configMapAsEnv"], *config.get("secretAsEnv", [])]
        assert not any(source.get("optional") for source in given)
        assert "MLFLOW_TRACKING_URI" in [key["envVar"] for key in config["configMapAsEnv"][0]["keyToEnv"]]


def test_without_a_secret_no_task_gets_credentials(tmp_path: Path) -> None:
    _, platform = compiled(tmp_path, "kubernetes: {secret: null}")
    assert not any("secretAsEnv" in config for config in platform.values())


def test_time_retries_and_parallelism(cluster: tuple[dict, dict]) -> None:
    pipeline, platform = cluster
    assert platform["exec-train"]["activeDeadlineSeconds"] == "1800"
    graph = Graph.of(pipeline)
    retry = graph.tasks["catalog"]["retryPolicy"]
    assert retry["maxRetryCount"] == 5
    assert int(retry["backoffMaxDuration"].removesuffix("s")) > 6 * (1800 + 7 * 86400)  # an attempt may wait for a node
    assert [loop.at_once for loop in graph.loops] == [3, 3]


def test_no_task_comes_from_kubeflows_cache(cluster: tuple[dict, dict]) -> None:
    """Trainings and evaluations look on the volume for what is done; they get what decides it."""
    pipeline, _ = cluster
    graph = Graph.of(pipeline)
    dags = [pipeline["root"], *(part for part in pipeline["components"].values() if "dag" in part)]
    inner = [
        task["cachingOptions"] for dag in dags for task in dag["dag"]["tasks"].values() if "cachingOptions" in task
    ]
    assert inner == [{}] * len(inner) != []
    assert all(task["cachingOptions"] == {} for task in graph.tasks.values())
    deciding = {"key", "code", "again"}
    given = {name for name, task in graph.tasks.items() if deciding <= set(task["inputs"].get("parameters", {}))}
    assert {graph.functions[name] for name in given} == {"train", "evaluate"}


def test_loaders_get_enough_shared_memory(cluster: tuple[dict, dict]) -> None:
    platform = cluster[1]
    assert {name for name, config in platform.items() if "emptyDirMounts" in config} == {"exec-train", "exec-evaluate"}
    (mounted,) = platform["exec-train"]["emptyDirMounts"]
    assert (mounted["mountPath"], mounted["medium"], mounted["sizeLimit"]) == ("/dev/shm", "Memory", "4Gi")


def test_an_image_on_the_node_is_not_pulled(cluster: tuple[dict, dict]) -> None:
    assert {config["imagePullPolicy"] for config in cluster[1].values()} == {"IfNotPresent"}


def test_a_task_that_follows_a_trainjob_gets_no_gpu(tmp_path: Path) -> None:
    pipeline, platform = compiled(tmp_path, "{train: {nodes: 2}, kubernetes: {gpu: {most: 16}}}", "training")
    train = resources(pipeline, "exec-train")
    assert "accelerator" not in train
    assert train["resourceCpuLimit"] == "2"
    assert platform["exec-train"]["activeDeadlineSeconds"] == str(72 * 3600)
    assert "accelerator" in resources(pipeline, "exec-evaluate")


def test_slices_and_their_join_get_the_share_of_preprocess(tmp_path: Path) -> None:
    pipeline, _ = compiled(tmp_path, "kubernetes: {shards: 2}", "data")
    assert resources(pipeline, "exec-preprocess") == resources(pipeline, "exec-merge")


def test_parses_into_the_kubernetes_message(cluster: tuple[dict, dict]) -> None:
    for config in cluster[1].values():
        json_format.ParseDict(config, KubernetesExecutorConfig(), ignore_unknown_fields=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("train: {devices: 4}", "train.devices: 4, but kubernetes.tasks.train gives a training gpus: 1"),
        (
            "{train: {devices: 9}, kubernetes: {tasks: {train: {gpus: 0}}}}",
            "train.devices: 9, but kubernetes.tasks.train gives a training cpu: 8",
        ),
        ("kubernetes: {parallel: 9, gpu: {most: 5}}", "6 trainings at the same time .* hold 6 GPUs, .*most allows 5"),
        ("train: {nodes: 4}", "4 trainings at the same time .* on 4 nodes .* hold 16 GPUs, .*most allows 8"),
        ("train: {nodes: 3}", "train.batch 32 cannot be divided evenly over train.nodes 3"),
    ],
)
def test_more_devices_than_a_training_gets(tmp_path: Path, settings: str, message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        compiled(tmp_path, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": {"trian": {"cpu": 1}}}, "tasks.trian: no such stage; expected default, synth, catalog"),
        ({"tasks": {"train": {"gpu": 1}}}, "kubernetes.tasks.train.gpu: unknown key; did you mean `gpus`"),
        ({"tasks": {"default": {"cpu": None}}}, "tasks.default must state cpu"),
        ({"tasks": {"train": {"memory": "32 GB"}}}, "kubernetes.tasks.train.memory: .* found '32 GB'"),
        (
            {"gpu": {"tolerations": [{"keys": "a"}]}},
            "gpu.tolerations.0.keys: unknown key; did you mean `key`",
        ),
        ({"mount": "data"}, "kubernetes.mount"),
    ],
)
def test_bad_settings(settings: dict, message: str) -> None:
    with pytest.raises(TagscaleError, match=message):
        parse(laid_over(read_yaml(ROOT / "params.yaml"), {"kubernetes": settings}))


def test_a_stage_without_a_value_gets_the_default() -> None:
    kubernetes = load(ROOT / "params.yaml").kubernetes
    assert kubernetes.task("evaluate").hours == kubernetes.task("catalog").hours == 12
    assert (kubernetes.task("evaluate").gpus, kubernetes.task("catalog").gpus) == (1, 0)
