"""The share of a cluster that a task gets, by the block `kubernetes` of params.yaml."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

from tagscale.cluster.trainjob import processes_on_nodes
from tagscale.params.kubernetes import DEFAULT, KubernetesParams
from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError

# Keys of the config map and of the secret. A task does not start where one is missing: without an address MLflow would
# write into the pod, and the measurements would be lost with it.
CONFIG = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_UI_ENDPOINT",
    "TAGSCALE_MLFLOW_WAIT",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR",
    "MLFLOW_DISABLE_TELEMETRY",
    "GX_ANALYTICS_ENABLED",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)
SECRET = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
# These log in to MLflow.
TRACKED = ("begin", "train", "evaluate", "ensemble", "compare", "register", "plan", "watch", "end")
# A task that is no stage gets the share of this stage, or the default.
LIKE = {"merge": "preprocess", "tag": "preprocess"}
LOADING = ("train", "evaluate")  # their loaders hand patches on through shared memory, of which pods have 64 MB
SHARED_MEMORY = "4Gi"  # part of the task's memory
BACK_OFF = "60s"  # before the first retry, twice as long before the next
# Argo counts this time from the start of the first attempt, the wait for a node included: a later failure is not
# retried, and a retried pod is killed when the time is over (Argo 4.0.5, workflow/controller/operator.go). kfp sets an
# hour. `kubernetes.retries` and the hours of a task are limits enough, so this is longer than any task.
RETRIED_FOR = "52w"


def on_cluster(
    task: PipelineTask, cluster: KubernetesParams | None, on_gpus: bool = True, in_pods: bool = False
) -> PipelineTask:
    """Give a task its share of a cluster: resources, place, time, retries, volume, addresses and credentials.

    Args:
        cluster: None: the pipeline runs on this machine, and the task stays as it is.
        on_gpus: the task gets the GPUs of its stage.
        in_pods: the pods of a TrainJob do the work: the task gets the time of its stage, and else the default.
    """
    if cluster is None:
        return task
    stage = task.component_spec.name
    share = cluster.task(LIKE.get(stage, stage))
    if in_pods:
        share = cluster.task(DEFAULT).model_copy(update={"gpus": 0, "hours": share.hours})
    task.set_caching_options(False)  # it never hits: see tagscale.cluster.kept, which does the same for certain
    task.set_cpu_request(f"{share.cpu:g}").set_cpu_limit(f"{share.cpu:g}")
    task.set_memory_request(share.memory).set_memory_limit(share.memory)
    task.set_retry(cluster.retries, BACK_OFF, backoff_factor=2.0, backoff_max_duration=RETRIED_FOR)
    if on_gpus and share.gpus:
        task.set_accelerator_type(cluster.gpu.resource).set_accelerator_limit(share.gpus)
        for label, value in cluster.gpu.node_selector.items():
            kubernetes.add_node_selector(task, label, value)
        for toleration in cluster.gpu.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump())
    if stage in LOADING and on_gpus and not in_pods:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=SHARED_MEMORY)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")  # an image loaded into the nodes is in no registry
    kubernetes.set_timeout(task, round(share.hours * 3600))
    kubernetes.mount_pvc(task, cluster.volume, cluster.mount)
    kubernetes.use_config_map_as_env(task, cluster.config, {key: key for key in CONFIG})
    if cluster.secret and stage in TRACKED:
        kubernetes.use_secret_as_env(task, cluster.secret, {key: key for key in SECRET})
    return task


def check_devices(params: Params) -> None:
    """Refuse a study that needs more devices than its tasks get, or than it may use.

    Raises:
        TagscaleError: `train.devices` is more than the GPUs that `kubernetes.tasks.train` has, or without GPUs more
            than its cores; the trainings at the same time hold more GPUs than `kubernetes.gpu.most`;
            processes that cannot share a batch evenly.
    """
    grid, cluster = params.train, params.kubernetes
    share = cluster.task("train")
    limit, kind = (share.gpus, "gpus") if share.gpus else (int(share.cpu), "cpu")
    if grid.devices is not None and grid.devices > limit:
        raise TagscaleError(
            f"train.devices: {grid.devices}, but kubernetes.tasks.train gives a training {kind}: {limit}. Raise it "
            "there (a node must have so many), or lower train.devices."
        )
    processes_on_nodes(params)
    at_once = min(cluster.parallel, len(grid.models) * len(grid.sizes) * len(grid.seeds))
    gpus = at_once * share.gpus * grid.nodes
    if cluster.gpu.most is not None and gpus > cluster.gpu.most:
        raise TagscaleError(
            f"{at_once} trainings at the same time (kubernetes.parallel) with {share.gpus} GPUs "
            f"(kubernetes.tasks.train.gpus) on {grid.nodes} nodes (train.nodes) each hold {gpus} GPUs, and "
            f"kubernetes.gpu.most allows {cluster.gpu.most}. Lower one of these, or raise the last."
        )
