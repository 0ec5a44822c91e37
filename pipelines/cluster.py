"""What a task gets on a cluster, as the block `kubernetes` of params.yaml says."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

from tagscale.cluster.trainjob import processes_on_nodes
from tagscale.params.kubernetes import DEFAULT, KubernetesParams
from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError

# Keys of the config map and of the secret. A task does not start where one is absent: without its address MLflow would
# write into the pod, and what was measured would go with it.
CONFIG = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_DISABLE_TELEMETRY",
    "GX_ANALYTICS_ENABLED",
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
)
SECRET = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
TRACKED = ("begin", "train", "evaluate", "compare", "register", "end")  # what talks to MLflow needs to know who it is
CACHED = ("train", "evaluate")  # the others keep their own books on the volume, or have to happen every time
LIKE = {"merge": "preprocess"}  # tasks that are no stages get what a stage gets, or the default
LOADING = ("train", "evaluate")  # processes that read patches hand them on through shared memory; usual are 64 MB
SHARED_MEMORY = "4Gi"  # of the task's memory
BACK_OFF = "60s"  # before the first repetition, twice as long before the next


def on_cluster(
    task: PipelineTask, stage: str, settings: KubernetesParams, with_gpus: bool = True, follows: bool = False
) -> PipelineTask:
    """Give a task its share of the cluster: resources, place, time, repetitions, volume, addresses and credentials.

    Args:
        with_gpus: whether the task gets the GPUs of its stage; the trees of the baseline have no use for them
        follows: the work is done elsewhere, by the pods of a TrainJob: the task has its stage's time and little else
    """
    wanted = settings.task(LIKE.get(stage, stage))
    if follows:
        wanted = settings.task(DEFAULT).model_copy(update={"gpus": 0, "hours": wanted.hours})
    # KFP's cache key holds a task's parameters and the names of its input artifacts, not what is in them: these two get
    # the hashes of settings and data as parameters
    task.set_caching_options(stage in CACHED)
    task.set_cpu_request(f"{wanted.cpu:g}").set_cpu_limit(f"{wanted.cpu:g}")
    task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory)
    task.set_retry(settings.retries, backoff_duration=BACK_OFF, backoff_factor=2.0)
    if with_gpus and wanted.gpus:
        task.set_accelerator_type(settings.gpu.resource).set_accelerator_limit(wanted.gpus)
        for label, value in settings.gpu.node_selector.items():
            kubernetes.add_node_selector(task, label, value)
        for toleration in settings.gpu.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump())
    if stage in LOADING and with_gpus and not follows:
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=SHARED_MEMORY)
    kubernetes.set_image_pull_policy(task, "IfNotPresent")  # an image that was loaded into the nodes is in no registry
    kubernetes.set_timeout(task, round(wanted.hours * 3600))
    kubernetes.mount_pvc(task, settings.volume, settings.mount)
    kubernetes.use_config_map_as_env(task, settings.config, {key: key for key in CONFIG})
    if settings.secret and stage in TRACKED:
        kubernetes.use_secret_as_env(task, settings.secret, {key: key for key in SECRET})
    return task


def check_devices(params: Params) -> None:
    """Refuse a study that wants more devices than its tasks get, or than it may use.

    Raises:
        TagscaleError: `train.devices` is more than the GPUs that `kubernetes.tasks.train` has, or without GPUs more
            than its cores; the trainings at the same time hold more GPUs than `kubernetes.gpu.most`;
            processes that cannot share a batch evenly.
    """
    devices, settings = params.train.devices, params.kubernetes
    given = settings.task("train")
    there, what = (given.gpus, "gpus") if given.gpus else (int(given.cpu), "cpu")
    if devices is not None and devices > there:
        raise TagscaleError(
            f"train.devices: {devices}, but kubernetes.tasks.train gives a training {what}: {there}. Raise it there (a "
            "node must have so many), or lower train.devices."
        )
    processes_on_nodes(params)
    grid = params.train
    at_once = min(settings.parallel, len(grid.models) * len(grid.sizes) * len(grid.seeds))
    wanted = at_once * given.gpus * grid.nodes
    if settings.gpu.most is not None and wanted > settings.gpu.most:
        raise TagscaleError(
            f"{at_once} trainings at the same time (kubernetes.parallel) with {given.gpus} GPUs "
            f"(kubernetes.tasks.train.gpus) on {grid.nodes} nodes (train.nodes) each hold "
            f"{wanted} GPUs, and kubernetes.gpu.most allows {settings.gpu.most}. "
            "Lower one of these, or raise the last."
        )
