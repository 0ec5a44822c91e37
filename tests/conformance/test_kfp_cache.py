"""The simulated cache gives the fingerprints that upstream's own test expects, and hits where upstream would."""

import copy
from typing import Any

import yaml

from conformance.kfp_cache import Server, fingerprint
from conformance.kit import UPSTREAM, compiled


def test_fingerprints_are_upstreams() -> None:
    expected = yaml.safe_load((UPSTREAM / "kfp_fingerprints.yaml").read_text(encoding="utf-8"))
    assert [fingerprint(one["key"]) for one in expected] == [one["fingerprint"] for one in expected]


def everything_marked() -> list[dict[str, Any]]:
    """The study with each of its tasks marked for the cache, and a first task that gets no name of the run."""
    documents = copy.deepcopy(compiled()["study"])
    parts = [documents[0]["root"], *documents[0]["components"].values()]
    for name, task in ((name, task) for part in parts for name, task in part.get("dag", {}).get("tasks", {}).items()):
        task["cachingOptions"] = {"enableCache": True}
        if name == "begin":
            for parameter in ("pipeline_run", "title"):
                task["inputs"]["parameters"][parameter] = {"runtimeValue": {"constant": "always the same"}}
    return documents


def test_where_all_tasks_are_marked_and_nothing_changes_the_second_submission_runs_its_end_alone() -> None:
    server = Server(everything_marked())
    assert {task.hit for task in server.submit()} == {False}
    assert {task.name for task in server.submit() if not task.hit} == {"end"}


def test_a_task_that_runs_each_time_runs_all_that_reads_from_it() -> None:
    documents = everything_marked()
    tasks = documents[0]["components"]["comp-study"]["dag"]["tasks"]
    tasks["catalog"]["cachingOptions"] = {}
    server = Server(documents)
    server.submit()
    hits = {task.name for task in server.submit() if task.hit}
    assert hits == {"begin", "synth"}
