"""A catalogue tagged in shards, a task each: one version for all of them, and one data set of what they write.

Everything lies on the volume:

    taggers/<model>-<version>           the version's files, fetched once: all shards hear with the same, and none of
                                        these tasks, which read files of strangers, logs in to MLflow
    <scores>/<model>-<version>/         part-I-of-N.parquet, and _SUCCESS when all of them are whole
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from typing_extensions import TypedDict

from tagscale.cluster.volume import Volume
from tagscale.params.load import Params
from tagscale.registry.tagger import AudioTagger
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, write_json
from tagscale.runtime.reading import read_json
from tagscale.serving.catalogue import entries, shard_of
from tagscale.serving.output import check_shards
from tagscale.serving.tag_catalogue import tag_catalogue
from tagscale.serving.tagger import Tagger

SUCCESS = "_SUCCESS"  # readers of Parquet folders pass over it; see `serving.rows.files_of`
FACTS = ("path", "error", "seconds", "model", "version", "sha256")  # columns that `join` reads
REASONS = 20  # of files without scores, in the summary


class Plan(TypedDict):
    """What the tasks of a run agree on.

    catalogue: a folder, table or list on the volume, or an address
    tagger: folder of the version's files
    scores: folder of the shards
    """

    catalogue: str
    model: str
    version: str
    sha256: str
    tagger: str
    scores: str
    shards: int
    embeddings: bool
    again: bool


def plan(
    params: Params, *, catalogue: str, model: str, version: str, scores: str, embeddings: bool, again: bool
) -> Plan:
    """Resolve the version once, fetch its files to the volume, and look where the shards go.

    Args:
        catalogue, scores: on the volume where they are relative
        model: a registered model; "": registry.name
        version: number or alias
        again: tag all files, also those with rows
    Raises:
        TagscaleError: no such catalogue, model or version; the volume is not writable; the folder has shards of
            another number.
    """
    from tagscale.registry.versions import Registry
    from tagscale.tracking.versions import version_files

    volume, shards = Volume.of(params), params.kubernetes.shards
    volume.check_writable()
    place = catalogue if "://" in catalogue else str(volume.root / catalogue)
    if not catalogue or ("://" not in place and not Path(place).exists()):
        raise TagscaleError(
            f"catalogue: {place}: nothing there; expected a folder, a table with a column `path` or a list on the "
            f"volume (a relative one lies in {volume.root}), or an address such as s3://songs/2024."
        )
    registry = Registry.open(model or params.registry.name)
    registered = registry.version(version)
    name = f"{registered.name}-{registered.number}"
    folder, tagger = volume.root / scores / name, volume.root / "taggers" / name
    if not tagger.is_dir():
        with replacing(tagger) as fresh:
            fresh.mkdir()
            version_files(registry.client, registered.name, registered.number, fresh).rename(fresh / "files")
    check_shards(folder, shards)
    (folder / SUCCESS).unlink(missing_ok=True)
    digest = AudioTagger.load(tagger / "files").sha256
    print(
        f"{registered.name}: version {registered.number} ({digest[:12]}) tags {place} to {folder}, {shards} shards",
        flush=True,
    )
    return Plan(
        catalogue=place, model=registered.name, version=registered.number, sha256=digest, tagger=str(tagger / "files"),
        scores=str(folder), shards=shards, embeddings=embeddings, again=again,
    )  # fmt: skip


def tag(plan: Plan, number: int) -> Path:
    """Tag one shard; what has rows already is skipped. Returns its file.

    Raises:
        TagscaleError: the tagger's files are not those of the plan.
    """
    tagger = Tagger(plan["model"], plan["version"], AudioTagger.load(Path(plan["tagger"])))
    if tagger.sha256 != plan["sha256"]:
        raise TagscaleError(
            f"{plan['tagger']}: its files are not those that the first task found (sha256 {tagger.sha256[:12]}, "
            f"expected {plan['sha256'][:12]}). Delete the folder, and submit the pipeline again."
        )
    shard, file = (number, plan["shards"]), part(plan, number)
    catalogue = entries([plan["catalogue"]], shard)
    done = tag_catalogue(tagger, catalogue, file, embeddings=plan["embeddings"], anew=plan["again"])
    for line in done.summary(file):
        print(line, flush=True)
    return file


def join(plan: Plan) -> dict[str, Any]:
    """Check that the shards are one data set, and say in `_SUCCESS` what is in it; returns that.

    Raises:
        TagscaleError: a shard is missing, has files of another or rows of another version; or no file has scores.
    """
    files = [part(plan, number) for number in range(1, plan["shards"] + 1)]
    schemas = {file: pq.read_schema(file) for file in files}
    counts, reasons, seconds = Counter[str](), Counter[str](), 0.0
    for number, file in enumerate(files, 1):
        if not schemas[file].equals(schemas[files[0]]):
            raise _spoiled(file, f"its columns are not those of {files[0].name}")
        rows = pq.read_table(file, columns=list(FACTS)).to_pandas()
        if set(rows["sha256"]) - {plan["sha256"]}:
            raise _spoiled(file, f"it has rows of other versions than {plan['version']}")
        if any(shard_of(name, plan["shards"]) != number for name in rows["path"]):
            raise _spoiled(file, "it has files of another shard")
        failed = rows["error"].dropna()
        counts.update(files=len(rows), errors=len(failed))
        reasons.update(failed)
        seconds += float(rows["seconds"].sum())
    tagged = counts["files"] - counts["errors"]
    if counts["files"] and not tagged:
        raise TagscaleError(f"{plan['catalogue']}: none of its {counts['files']} files has scores: {reasons}")
    identity = {name: plan[name] for name in ("catalogue", "model", "version", "sha256", "shards", "embeddings")}
    counted = {"files": counts["files"], "tagged": tagged, "errors": counts["errors"], "hours": seconds / 3600}
    summary = identity | counted | {"reasons": dict(reasons.most_common(REASONS))}
    write_json(Path(plan["scores"]) / SUCCESS, summary)
    print(
        f"{plan['scores']}: {tagged:,} of {counts['files']:,} files have scores, {seconds / 3600:.1f} h of music",
        flush=True,
    )
    return summary


def part(plan: Plan, number: int) -> Path:
    """The file of a shard, as `tagscale tag --shard` names it."""
    return Path(plan["scores"]) / f"part-{number}-of-{plan['shards']}.parquet"


def plan_in(artifact: str) -> Plan:
    """The plan that the first task has handed on."""
    return read_json(Path(artifact), Plan, "tagscale pipelines submit --pipeline tag")


def _spoiled(file: Path, what: str) -> TagscaleError:
    return TagscaleError(f"{file}: {what}. Delete it, and submit the pipeline again.")
