"""Kubeflow's cache: a task that is marked for it has to hit, and what is dear must not rest on it."""

from collections.abc import Iterator
from typing import Any

from conformance.kfp_cache import Done, Server
from conformance.kit import Installation, Planted, Rule

KFP = "Kubeflow Pipelines 2.17.0: backend/src/v2/cacheutils/cache.go"
DEAR = ("train", "evaluate")  # hours of GPUs
DECIDING = ("key", "code")  # parameters of a task whose results are kept on the volume, under a hash of them


def _twice(installation: Installation) -> Iterator[tuple[str, Done, Done]]:
    """Every task of every pipeline with its name, as the first and as the second submission executes it."""
    for name, documents in installation.pipelines.items():
        server = Server(documents)
        for first, second in zip(server.submit(), server.submit(), strict=True):
            yield f"{name}, {first.name}", first, second


def _changed(first: Done, second: Done, part: str) -> list[str]:
    """The inputs that differ between two submissions."""
    return sorted(name for name, value in first.key[part].items() if second.key[part][name] != value)


def _hits(installation: Installation) -> Iterator[str]:
    for name, first, second in _twice(installation):
        options = second.task.get("cachingOptions", {})
        if options.get("cacheKey"):
            yield f"{name}: cacheKey, one text for all iterations of a loop, says nothing of the data"
        if options.get("enableCache") and not second.hit:
            artifacts, parameters = (
                _changed(first, second, part) for part in ("inputArtifactNames", "inputParameterValues")
            )
            what = [f"new ids of {', '.join(artifacts)}"] * bool(artifacts)
            what += [f"other values of {', '.join(parameters)}"] * bool(parameters)
            yield f"{name} is marked for the cache and misses: {'; '.join(what)}"


def _kept(installation: Installation) -> Iterator[str]:
    for name, first, second in _twice(installation):
        if first.name.partition("-")[0] not in DEAR or second.hit:
            continue
        given = first.key["inputParameterValues"]
        if missing := [parameter for parameter in DECIDING if not given.get(parameter)]:
            yield f"{name} is dear, no hit, and lacks {', '.join(missing)}, under which its result would be kept"
        elif changed := [one for one in _changed(first, second, "inputParameterValues") if one in DECIDING]:
            yield f"{name}: {', '.join(changed)} is another in each submission, so nothing that is kept is found"


HITS = Rule("a task that is marked for Kubeflow's cache comes from it", KFP, _hits)
KEPT = Rule("what is dear is kept on the volume, under what is the same in each submission", KFP, _kept)


def _tasks(installation: Installation, *functions: str) -> Iterator[dict[str, Any]]:
    for documents in installation.pipelines.values():
        for component in documents[0]["components"].values():
            for name, task in component.get("dag", {}).get("tasks", {}).items():
                if name.partition("-")[0] in functions:
                    yield task


def _mark(installation: Installation) -> None:
    for task in _tasks(installation, *DEAR):
        task["cachingOptions"] = {"enableCache": True}


def _give_cache_key(installation: Installation) -> None:
    for task in _tasks(installation, "train"):
        task["cachingOptions"] = {"enableCache": True, "cacheKey": "a hash of the settings"}


def _give_the_runs_name(installation: Installation) -> None:
    for task in _tasks(installation, "train"):
        task["inputs"]["parameters"]["key"] = {"runtimeValue": {"constant": "{{$.pipeline_job_name}}"}}


def _take_the_code(installation: Installation) -> None:
    for task in _tasks(installation, "evaluate"):
        del task["inputs"]["parameters"]["code"]


RULES = [HITS, KEPT]
PLANTED = [
    Planted(
        "trainings rely on Kubeflow's cache, behind tasks that run each time",
        HITS,
        _mark,
        "study, train is marked for the cache and misses: new ids of catalog, inputs, partition, settings",
    ),
    Planted(
        "a cache key of the SDK's: ignored by 2.17.0, and one for all cells of a loop later",
        HITS,
        _give_cache_key,
        "training, train: cacheKey, one text for all iterations",
    ),
    Planted(
        "the name of the pipeline's run decides what is kept",
        KEPT,
        _give_the_runs_name,
        "retrain, train: key is another in each submission",
    ),
    Planted(
        "an evaluation that is kept whatever its code is",
        KEPT,
        _take_the_code,
        "study, evaluate-2 is dear, no hit, and lacks code",
    ),
]
