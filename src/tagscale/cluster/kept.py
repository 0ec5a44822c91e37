"""Finished trainings and evaluations stay on the volume: a task whose result is there copies it and computes nothing.

Kubeflow's own cache cannot do that. Its key names input artifacts by ids, and a task that runs gives its outputs new
ones (Kubeflow Pipelines 2.17.0: backend/src/v2/cacheutils/cache.go, backend/src/v2/metadata/converter.go). So every
task behind one that has to run each time would run as well.

A result is kept under a hash of all that decides it: the settings and the code that dvc.yaml names for its stage, and
the content of its inputs. The image, its tag, the commit, devices and nodes are no part of that. Neither is the version
of a library: a new torch alone trains nothing anew.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

from tagscale import tracking
from tagscale.cluster import trainjob
from tagscale.cluster.metadata import Facts, of_mlflow
from tagscale.cluster.volume import Volume
from tagscale.models.spec import NETWORKS, base_model, group_of
from tagscale.params.load import Params
from tagscale.partition.divide import Partition
from tagscale.runtime.absent import absence_in
from tagscale.runtime.code import NoSuchCode, digests_of
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, sha256_of
from tagscale.runtime.identity import RUN, RunFacts, content_of_run, hash_of, run_name, run_output
from tagscale.runtime.lock import Busy, exclusive, in_turn
from tagscale.runtime.reading import Damaged, Output
from tagscale.stages import preflight
from tagscale.stages.send_runs import send
from tagscale.stages.training_of import training_of

INPUTS = {"probes": "{model}/features.json", "baselines": "descriptors.parquet"}  # what vouches for a stage's input


@dataclass(frozen=True)
class StageKey:
    """A stage's part of the key.

    Attributes:
        settings: hash of the settings that it reads.
        code: folders and modules below src/tagscale that it runs, with spaces between them.
    """

    settings: str
    code: str

    def of(self, *inputs: str | None) -> str:
        """The key of a result, from the hashes of the stage's inputs; the code is hashed as this process has it."""
        return hash_of([self.settings, code_hash(self.code), *inputs])


def train(
    params: Params,
    stage_key: StageKey,
    *,
    model: str,
    size: int | str,
    seed: int,
    catalog: Path,
    partition: Path,
    inputs: Path,
    run: Path,
    image: str,
    again: bool = False,
) -> Facts:
    """Write the run's folder: the one that is kept, or that of a training, which is kept from now on.

    A kept training has its run in this MLflow, too. The state of a training that is interrupted lies under the same
    hash, so that no code finishes what other code began.

    Args:
        inputs: what the stage reads: the store, features or descriptors.
        image: of the pods, where the training runs in a TrainJob.
        again: train even if a run is kept; the new one takes its place.
    Returns:
        what the page of a kept run adds: since when it is kept, and where MLflow has it; nothing of a new one
    """
    volume, name = Volume.of(params), run_name(model, size, seed)
    parts = Partition.load(partition)
    key = stage_key.of(parts.data_hash, parts.hash, _hash_of_inputs(model, inputs))
    if start := _hash_of_start(params, model):
        own = None if again else _key_of_own_start(params, volume.finished("runs", name, key), start)
        key = own or f"{key}-{start[:12]}"
    unfinished = volume.unfinished(name, key)
    in_pods = group_of(model) == "models" and params.train.nodes > 1
    stage = partial(trainjob.train_on_nodes, image=image) if in_pods else training_of(model)

    def make(folder: Path) -> None:
        preflight.check_grid(params, catalog, partition)
        cell = {"model": model, "size": size, "seed": seed}
        stage(params, **cell, catalog=catalog, partition=partition, inputs=inputs, run=folder, unfinished=unfinished)

    since = Kept(volume.finished("runs", name, key), RUN, unfinished).fetch(run, make, again)
    if since is None:
        return {}
    run_id, _ = send(params.tracking.experiment, run)
    tracking.name_kept(name, run_id)
    print(f"train {name}: kept from {since}, MLflow run {run_id}; nothing is trained", flush=True)
    return {"kept_since": since} | of_mlflow(run_id)


def evaluate(
    params: Params,
    stage_key: StageKey,
    *,
    run: Path,
    catalog: Path,
    partition: Path,
    inputs: Path,
    results: Path,
    again: bool = False,
) -> Facts:
    """Write the results of a run: those that are kept, or those of an evaluation, which are kept from now on.

    Args:
        inputs: what the stage reads: the store, features or descriptors.
        again: evaluate even if results are kept; the new ones take their place.
    Returns:
        what the page of kept results adds, as of `train`
    """
    from tagscale.stages import evaluate as stage

    make = partial(stage.run, params, run=run, catalog=catalog, partition=partition, inputs=inputs)
    if absence_in(run):
        make(results=results)
        return {}
    identity = run_output(run).facts(RunFacts)["identity"]
    key = stage_key.of(content_of_run(run), _hash_of_inputs(identity.model, inputs))
    kept = Kept(Volume.of(params).finished("results", identity.name, key), "metrics.json")
    since = kept.fetch(results, lambda folder: make(results=folder), again)
    if since is None:
        return {}
    run_id, _ = send(params.tracking.experiment, run, results)
    print(f"evaluate {identity.name}: kept from {since}, MLflow run {run_id}; nothing is evaluated", flush=True)
    return {"kept_since": since} | of_mlflow(run_id)


@dataclass(frozen=True)
class Kept:
    """The place of a result on the volume.

    Attributes:
        folder: holds the result, and a lock.
        sealed: name of the file that vouches for the result's others; without it there is no result.
        unfinished: state of the work, which is there until MLflow knows its end.
    """

    folder: Path
    sealed: str
    unfinished: Path | None = None

    def fetch(self, target: Path, make: Callable[[Path], None], again: bool = False) -> str | None:
        """Copy the result to `target`; returns since when it is kept, or None where it was made now.

        Tasks that want the same result at the same time wait for the first, and copy what it has made.

        Args:
            make: writes the result's folder. A folder without the sealed file is copied, but not kept.
            again: make the result even if one is kept.
        """
        result = self.folder / "result"
        with self._alone():
            unfinished = self.unfinished and any(self.unfinished.parent.glob(f"{self.unfinished.name}*"))
            since = None if again or unfinished else self._since(result)
            if since is None:
                make(result)
            with replacing(target) as fresh:
                shutil.copytree(result, fresh)
        return since

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock while the block runs; wait for another task that holds it."""
        lock, busy = self.folder / "lock", "{holder} works on the same result. This task waits for it."
        with ExitStack() as stack:
            try:
                stack.enter_context(exclusive(lock, f"{self.folder.name}: {busy}"))
            except Busy as error:
                print(error, flush=True)
                stack.enter_context(in_turn(lock))
            yield

    def _since(self, result: Path) -> str | None:
        """When the result was made: "2026-11-29 13:05 UTC"; None where there is none, or it is damaged."""
        if not (result / self.sealed).exists():
            return None
        try:
            for file in sorted(result.rglob(self.sealed)):  # a run in folds has one for each
                Output(file.parent, file.name, "the task").check()
        except Damaged as damage:
            print(f"{damage.path}: {damage.what}. The result that was kept is made anew.", flush=True)
            return None
        return f"{datetime.fromtimestamp((result / self.sealed).stat().st_mtime, UTC):%Y-%m-%d %H:%M UTC}"


@cache
def code_hash(code: str) -> str:
    """Hash of all files of some folders and modules of this package.

    Args:
        code: their paths below src/tagscale, with spaces between them.
    Raises:
        TagscaleError: one of them is missing: the pipeline was compiled from other code than this.
    """
    try:
        return hash_of({file: digest for name in code.split() for file, digest in digests_of(name).items()})
    except NoSuchCode as error:
        raise TagscaleError(
            f"{error} The pipeline names it as code of the stage. The image has another tagscale than the one that "
            "compiled the pipeline: compile it again, or build the image again."
        ) from None


def _hash_of_inputs(model: str, inputs: Path) -> str | None:
    """Hash of what a probe or the baseline learns from. None: a model that reads the store, which is in the data."""
    name = INPUTS.get(group_of(model))
    file = inputs / name.format(model=model) if name else None
    return sha256_of(file) if file and file.is_file() else None


def _key_of_own_start(params: Params, place: Path, start: str) -> str | None:
    """The key of the kept training whose result a training would start from; None where there is none.

    An alias moves on to the result of the training that started from it. On the same data that would train for ever,
    and put each result in the place of the one before.

    Args:
        place: of such trainings, without their starts.
        start: SHA-256 of the weights that the alias names now.
    """
    from tagscale.training import checkpoint

    name = params.train.start_from or ""
    for folder in sorted(place.parent.glob(f"{place.name}-*")) if "@" in name else ():
        with suppress(TagscaleError):
            if checkpoint.describe(folder / "result")[1] == start:
                print(f"{name} is the result of a training that is kept, on the same data.", flush=True)
                return "-".join(folder.name.rsplit("-", 2)[1:])
    return None


def _hash_of_start(params: Params, model: str) -> str | None:
    """SHA-256 of the weights that a training starts from, which settings only name; None: random ones, or missing."""
    if group_of(model) != "models":
        return None
    if params.train.start_from is None and not NETWORKS[base_model(model)].finetunes:
        return None
    from tagscale.models.architecture import architecture_of
    from tagscale.stages.train import absence, start_of

    if absence(params, model, model):
        return None
    start = start_of(params, model, architecture_of(params, model, ["any"], ["classification"]))
    return start.sha256 if start else None
