"""One training on several machines of a cluster: a task starts a TrainJob of Kubeflow Trainer and follows it.

The task and the pods of the job share nothing but a volume. The task copies what the pods need to a folder there, lets
them train (`cluster.worker`, one process for each device), and fetches the finished run from there. The job's name
follows from what it trains, so a retried task finds the job that it had started, and follows it.
"""

import re
import shutil
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagscale import tracking
from tagscale.cluster.jobs import COMPLETE, FAILED, Jobs, PodsLost
from tagscale.params.load import Params
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, replacing, write_json
from tagscale.runtime.identity import hash_of, run_name
from tagscale.runtime.signals import answered

if TYPE_CHECKING:
    from kubeflow.trainer.backends.base import RuntimeBackend
    from kubeflow.trainer.options import RuntimePatch

RUNTIME = "tagscale-torch"  # k8s/components/training-runtime
VOLUME = "data"  # the volume's name there
REQUEST = "request.json"
MEET_SECONDS = 3600  # how long the first pod waits for the others: nodes may have to start, and to pull the image


def processes_on_nodes(params: Params) -> int:
    """Processes that train one model together: `train.devices` on each of `train.nodes`.

    Raises:
        TagscaleError: they cannot share a batch evenly.
    """
    nodes, devices, batch = params.train.nodes, params.train.devices or 1, params.train.batch
    processes = nodes * devices
    if batch % processes:
        raise TagscaleError(
            f"train.batch {batch} cannot be divided evenly over train.nodes {nodes} x train.devices {devices} = "
            f"{processes} processes. Take {max(1, batch // processes) * processes}, or fewer nodes or devices."
        )
    return processes


def train_on_nodes(
    params: Params,
    *,
    model: str,
    size: int | str,
    seed: int,
    catalog: Path,
    partition: Path,
    inputs: Path | str,
    run: Path,
    unfinished: Path,
    image: str | None = None,
    env: Mapping[str, str] | None = None,
    backend: "RuntimeBackend | None" = None,
    in_pods: Callable[[Path], Path] = Path,
) -> None:
    """Train one model on `train.nodes` machines and wait for it; leaves the run where `stages.train.run` leaves it.

    Args:
        catalog, partition: anywhere; they are copied to a place that the pods see.
        inputs: the store, on the volume that this task and the pods mount (or an address of `Store.open`).
        run: where the finished run goes; anywhere.
        unfinished: folder of the training's state, on the volume; the folder shared with the pods lies beside it.
        image: of the pods; default: the runtime's.
        env: environment of the pods, added to the runtime's.
        backend: of the Kubeflow SDK; default: the cluster that this process runs in, or that kubectl talks to.
        in_pods: maps a path of this machine to the pods' path, where they mount the volume elsewhere.
    Raises:
        TagscaleError: the training failed (its job is kept for inspection), or lost pods to the cluster more than
            `kubernetes.retries` times; somebody deleted it; the cluster refuses the job, lacks the runtime, has a
            Kubeflow Trainer older than 2.2, or is away for long.
    """
    processes, folder = processes_on_nodes(params), unfinished.with_name(f"{unfinished.name}.nodes")
    shared = {"catalog": folder / "catalog", "partition": folder / "partition", "run": folder / "run"}
    order: dict[str, Any] = {"processes": processes, "params": params.model_dump(mode="json")}
    order |= {"model": model, "size": size, "seed": seed}
    order |= {"inputs": str(in_pods(inputs)) if isinstance(inputs, Path) else inputs}
    order |= {name: str(in_pods(path)) for name, path in (shared | {"unfinished": unfinished}).items()}
    name, request = job_name(run_name(model, size, seed), [order, image]), in_pods(folder / REQUEST)
    jobs = Jobs(backend or cluster(), lambda line: print(line, flush=True))

    def begin() -> None:
        _share(folder, order, catalog, partition)
        jobs.create(lambda: start(jobs.backend, params, name, request, image, env or {}))
        jobs.check_kept(name)
        jobs.say(f"TrainJob {name}: {params.train.nodes} nodes train {run_name(model, size, seed)}")

    with answered(jobs.stop, signal.SIGTERM):  # as Ctrl-C does: no job goes on without a task
        try:
            for retry in range(params.kubernetes.retries, -1, -1):
                if _is_finished(folder, order) or _is_complete(jobs, name, begin, retry):
                    break
            _fetch(folder, order, run, name)
        except (KeyboardInterrupt, SystemExit):
            jobs.say(f"TrainJob {name}: deleted, because this task was stopped")
            jobs.delete(name)
            raise
    jobs.delete(name)
    shutil.rmtree(folder, ignore_errors=True)


def job_name(run: str, content: object) -> str:
    """Name of the job: the run's name and a hash of its order, short enough for the names of its pods.

    >>> job_name("waveform-x4-all-0", {})
    'train-waveform-x4-all-0-44136fa3'
    """
    readable = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    return f"train-{readable[:30].rstrip('-')}-{hash_of(content)[:8]}"


def train_share(request: str) -> None:
    """What every process in the pods runs. Only this source reaches them, through a shell: no dollar sign in it."""
    from tagscale.cluster.worker import main

    main(request)


def cluster() -> "RuntimeBackend":
    """The cluster that this process runs in, or that kubectl talks to. Raises TagscaleError without one."""
    from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend, KubernetesBackendConfig
    from kubernetes.config import ConfigException  # type: ignore[import-untyped]

    try:
        return KubernetesBackend(KubernetesBackendConfig())
    except ConfigException as error:
        raise TagscaleError(
            f"train.nodes is more than 1, which needs a Kubernetes cluster, and this process finds none ({error}). "
            "Run it as a task of a pipeline, or set train.nodes: 1."
        ) from None


def start(
    backend: "RuntimeBackend", params: Params, name: str, request: Path, image: str | None, env: Mapping[str, str]
) -> None:
    """Create the job, with one process for each device; without a number torchrun would start one for every core."""
    from kubeflow.trainer.constants.constants import EXEC_FUNC_SCRIPT
    from kubeflow.trainer.options import ActiveDeadlineSeconds, Name
    from kubeflow.trainer.types.types import CustomTrainer

    if not re.fullmatch(r"[\w./@+-]+", str(request)):
        raise TagscaleError(f"{request}: a shell of the pods reads this path; use letters, digits and ./@+-_ only.")
    share, devices = params.kubernetes.task("train"), params.train.devices or 1
    threads = {"OMP_NUM_THREADS": str(max(1, int(share.cpu) // devices))}  # torch would count the node's cores
    resources = {"cpu": f"{share.cpu:g}", "memory": share.memory}
    if share.gpus:
        resources[params.kubernetes.gpu.resource] = str(share.gpus)
    runtime, options = backend.get_runtime(RUNTIME), list[Any]([Name(name)])
    if hasattr(backend, "core_api"):  # a cluster
        # exec: torchrun takes the place of the shell, so signals reach it
        torchrun = f"exec torchrun --nproc-per-node={devices} --rdzv-conf=timeout={MEET_SECONDS}"
        runtime.trainer.set_command(("bash", "-c", EXEC_FUNC_SCRIPT.replace("__ENTRYPOINT__", torchrun)))
        options += [ActiveDeadlineSeconds(round(share.hours * 3600)), place(params)]
    elif devices > 1:
        resources["gpu"] = str(devices)  # the processes that a container starts
    trainer = CustomTrainer(
        func=train_share,
        func_args={"request": str(request)},
        image=image,
        num_nodes=params.train.nodes,
        resources_per_node=resources,
        env=threads | tracking.context() | dict(env),
    )
    backend.train(runtime=runtime, trainer=trainer, options=options)


def place(params: Params) -> "RuntimePatch":
    """Where the pods run and what they mount: the same as a task, by the block `kubernetes`."""
    from kubeflow.trainer.options import kubernetes as patches

    settings = params.kubernetes
    pod = patches.PodSpecPatch(
        volumes=[{"name": VOLUME, "persistentVolumeClaim": {"claimName": settings.volume}}],
        containers=[
            patches.ContainerPatch("node", volume_mounts=[{"name": VOLUME, "mountPath": settings.mount}]),
        ],
    )
    if settings.task("train").gpus:
        pod.node_selector = settings.gpu.node_selector or None
        pod.tolerations = [one.model_dump(exclude_none=True) for one in settings.gpu.tolerations] or None
    job = patches.JobSpecPatch(template=patches.PodTemplatePatch(spec=pod))
    node = patches.ReplicatedJobPatch("node", template=patches.JobTemplatePatch(spec=job))
    jobs = patches.JobSetTemplatePatch(spec=patches.JobSetSpecPatch(replicated_jobs=[node]))
    return patches.RuntimePatch(patches.TrainingRuntimeSpecPatch(template=jobs))


def _is_complete(jobs: Jobs, name: str, begin: Callable[[], None], retries: int) -> bool:
    """Begin a job, or find it running, and follow it to its end; False where it lost pods, and `retries` are left."""
    if not _is_running(jobs, name):
        begin()
    try:
        jobs.follow(name)
    except PodsLost as loss:
        if not retries:
            raise
        jobs.say(f"{loss} The job is started again (retries left: {retries}): training resumes from its state.")
        return False
    return True


def _is_running(jobs: Jobs, name: str) -> bool:
    """Whether the job of an earlier attempt trains; deletes one that has ended."""
    job = jobs.find(name)
    if job is None:
        return False
    if job.status not in (COMPLETE, FAILED):
        jobs.say(f"TrainJob {name}: an earlier attempt of this task started it, and this one follows it")
        return True
    jobs.say(f"TrainJob {name}: {job.status} before; starting it again")
    jobs.delete(name, wait=True)
    return False


def _share(folder: Path, order: Mapping[str, Any], catalog: Path, partition: Path) -> None:
    """Copy what the pods read to where they see it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copytree(catalog, folder / "catalog")
    shutil.copytree(partition, folder / "partition")
    write_json(folder / REQUEST, order)


def _is_finished(folder: Path, order: Mapping[str, Any]) -> bool:
    """Whether the pods have written the run of this order."""
    with suppress(OSError, ValueError):
        return (folder / "run" / "run.json").is_file() and bool(read_json(folder / REQUEST) == order)
    return False  # a damaged order is shared again


def _fetch(folder: Path, order: Mapping[str, Any], run: Path, name: str) -> None:
    """Copy the finished run out of the shared folder."""
    if not _is_finished(folder, order):
        raise TagscaleError(
            f"TrainJob {name} is complete, but {folder / 'run'} is missing. Check that its pods mount the same volume "
            f"at the same place (kubernetes.volume, kubernetes.mount), and that nobody else writes to {folder}."
        )
    with replacing(run) as fresh:
        shutil.copytree(folder / "run", fresh)
