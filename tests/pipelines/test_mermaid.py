"""Flowcharts of compiled pipelines: every task, every loop, and no arrow that a longer way implies."""

import re
from pathlib import Path

import pytest
from pipelines.__main__ import app
from pipelines.definitions import PIPELINES
from pipelines.graph import Graph, graph_of
from pipelines.mermaid import flowchart, shown_edges
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]


def golden(name: str) -> Graph:
    return graph_of((ROOT / "tests" / "pipelines" / "golden" / f"{name}.yaml").read_text())


def named(task: str) -> str:
    return task.replace("-", "_")


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_is_a_node_and_every_edge_an_arrow(name: str) -> None:
    graph = golden(name)
    text = flowchart(graph)
    assert sorted(re.findall(r'^ +task_(\S+)\["\w+"\]$', text, re.MULTILINE)) == sorted(map(named, graph.tasks))
    assert set(re.findall(r"^    task_(\S+) --> task_(\S+)$", text, re.MULTILINE)) == {
        (named(writer), named(reader)) for writer, reader in shown_edges(graph)
    }
    assert text.count("subgraph ") == text.count("\n    end\n") == len(graph.loops)


@pytest.mark.parametrize("name", PIPELINES)
def test_every_path_leads_from_begin_to_end(name: str) -> None:
    first, last = ({"plan"}, "join") if name == "tag" else ({"begin"}, "end")
    first |= {"watch"} & {name}  # what follows waits for its verdict, and reads nothing of it
    edges = shown_edges(golden(name))
    tasks = set(golden(name).tasks)
    assert tasks - {reader for _, reader in edges} == first
    assert tasks - {writer for writer, _ in edges} == {last}


def test_a_task_stands_in_the_frame_of_its_loop() -> None:
    frames = re.findall(r'subgraph \w+ \["(.*)"\]\n((?: {8}.*\n)+)    end', flowchart(golden("study")))
    assert [(title, re.findall(r'"(\w+)"', tasks)) for title, tasks in frames] == [
        ("front-ends: 6 x, 4 at once", ["train", "evaluate"]),
        ("baselines: 3 x, 3 at once", ["train", "evaluate"]),
    ]


def test_arrows_that_longer_ways_imply_are_left_out() -> None:
    edges = shown_edges(golden("study"))
    assert ("partition", "train") in edges
    assert ("catalog", "train") not in edges
    assert ("compare", "end") in edges


def test_the_readme_shows_the_study() -> None:
    command = CliRunner().invoke(app, ["draw", "--params", str(ROOT / "params.yaml")])
    assert command.exit_code == 0, command.output
    assert command.output == flowchart(golden("study"))
    assert f"```mermaid\n{command.output}```" in (ROOT / "README.md").read_text(), "paste what `draw` prints"
