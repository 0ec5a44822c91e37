"""What a task gets on a cluster, as the block `kubernetes` of params.yaml says."""

from kfp import kubernetes
from kfp.dsl import PipelineTask

from tagscale.cluster import KubernetesParams
from tagscale.errors import TagscaleError
from tagscale.params import Params

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
TRACKED = ("train", "evaluate", "compare", "register")  # what talks to MLflow needs to know who it is
BACK_OFF = "60s"  # before the first repetition, twice as long before the next


def on_cluster(task: PipelineTask, stage: str, settings: KubernetesParams, with_gpus: bool) -> PipelineTask:
    """Give a task its share of the cluster: resources, place, time, repetitions, volume, addresses and credentials.

    Args:
        with_gpus: whether the task gets the GPUs of its stage; the trees of the baseline have no use for them
    """
    wanted = settings.task(stage)
    # KFP's cache key holds the names of input artifacts, not what they are: new data would find old results
    task.set_caching_options(stage == "synth")  # which has none
    task.set_cpu_request(f"{wanted.cpu:g}").set_cpu_limit(f"{wanted.cpu:g}")
    task.set_memory_request(wanted.memory).set_memory_limit(wanted.memory)
    task.set_retry(settings.retries, backoff_duration=BACK_OFF, backoff_factor=2.0)
    if with_gpus and wanted.gpus:
        task.set_accelerator_type(settings.gpu.resource).set_accelerator_limit(wanted.gpus)
        for label, value in settings.gpu.node_selector.items():
            kubernetes.add_node_selector(task, label, value)
        for toleration in settings.gpu.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump())
    kubernetes.set_timeout(task, round(wanted.hours * 3600))
    kubernetes.mount_pvc(task, settings.volume, settings.mount)
    kubernetes.use_config_map_as_env(task, settings.config, {key: key for key in CONFIG})
    if settings.secret and stage in TRACKED:
        kubernetes.use_secret_as_env(task, settings.secret, {key: key for key in SECRET})
    return task


def check_devices(params: Params) -> None:
    """Refuse a training that wants more devices than its task gets.

    Raises:
        TagscaleError: more GPUs than `kubernetes.tasks.train` has, or without GPUs more processes than it has cores.
    """
    devices, given = params.train.devices, params.kubernetes.task("train")
    there, what = (given.gpus, "gpus") if given.gpus else (int(given.cpu), "cpu")
    if devices is not None and devices > there:
        raise TagscaleError(
            f"train.devices: {devices}, but kubernetes.tasks.train gives a training {what}: {there}. Raise it there (a "
            "node must have so many), or lower train.devices."
        )
