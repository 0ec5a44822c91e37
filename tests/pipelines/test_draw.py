"""Pictures of compiled pipelines: every task has a place of its own, and what is before another is left of it."""

from pathlib import Path

import pytest
from pipelines.__main__ import app
from pipelines.definitions import PIPELINES
from pipelines.draw import draw, placed, shown_edges
from pipelines.graph import Graph, graph_of
from typer.testing import CliRunner

from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]


def golden(name: str) -> Graph:
    return graph_of((ROOT / "tests" / "pipelines" / "golden" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_has_a_place_of_its_own(name: str) -> None:
    graph = golden(name)
    places = placed(graph)
    assert places.keys() == graph.tasks.keys()
    assert len(set(places.values())) == len(places)


@pytest.mark.parametrize("name", PIPELINES)
def test_data_goes_from_left_to_right(name: str) -> None:
    graph = golden(name)
    places = placed(graph)
    for writer, reader in graph.edges | shown_edges(graph):
        assert places[writer][0] < places[reader][0]
    assert max(places, key=lambda task: places[task][0]) == "end"


def test_ways_that_longer_ones_say_too_are_left_out() -> None:
    edges = shown_edges(golden("study"))
    assert ("partition", "train") in edges
    assert ("catalog", "train") not in edges
    assert ("compare", "end") in edges


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_writes_a_picture(tmp_path: Path, suffix: str, begins: bytes) -> None:
    file = tmp_path / "pictures" / f"study{suffix}"
    told = CliRunner().invoke(app, ["draw", "--output", str(file), "--params", str(ROOT / "params.yaml")])
    assert told.exit_code == 0, told.output
    assert file.read_bytes().startswith(begins)


def test_a_format_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"study.gif: expected a name that ends in .png, .svg or .pdf"):
        draw(golden("study"), tmp_path / "study.gif")
