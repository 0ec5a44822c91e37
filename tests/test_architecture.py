"""docs/architecture.md draws the folders and who imports whom, as it is."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

from sources import imported

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tagscale"
SPEC = "tagscale.models.spec"
PAGE = ROOT / "docs" / "architecture.md"


def node_of(module: str) -> str:
    """The node of the picture that a module belongs to: its folder; models/spec.py is one of its own."""
    if f"{module}.".startswith(f"{SPEC}."):
        return "spec"
    top, _, rest = module.partition(".")
    return rest.partition(".")[0] if top == "tagscale" else top


def imports_of_folders() -> dict[str, set[str]]:
    """Node -> the nodes that its modules import, of src/tagscale, components and pipelines."""
    edges: dict[str, set[str]] = {}
    for folder, root in [(SOURCE, ROOT / "src"), (ROOT / "components", ROOT), (ROOT / "pipelines", ROOT)]:
        for path in folder.rglob("*.py"):
            own = node_of(".".join(path.relative_to(root).with_suffix("").parts))
            edges.setdefault(own, set()).update(node_of(name) for name in imported(path))
    edges.pop("__init__")
    return {own: below & edges.keys() - {own} for own, below in edges.items()}


def reduced(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The edges that do not follow from others, so that the picture can be read."""
    reach: dict[str, set[str]] = {}
    for folder in TopologicalSorter(edges).static_order():
        reach[folder] = edges[folder] | {further for below in edges[folder] for further in reach[below]}
    return {
        folder: {below for below in edges[folder] if not any(below in reach[other] for other in edges[folder])}
        for folder in edges
    }


def drawing() -> str:
    arrows = [
        f"    {folder} --> {below}"
        for folder, all_below in sorted(reduced(imports_of_folders()).items())
        for below in sorted(all_below)
    ]
    return "\n".join(["```mermaid", "flowchart TD", '    spec["models/spec.py"]', *arrows, "```"])


def test_the_picture_shows_the_imports() -> None:
    assert drawing() in PAGE.read_text(encoding="utf-8"), f"{PAGE.name} should draw\n{drawing()}"


def test_every_folder_is_described_once() -> None:
    described = re.findall(r"^\| `(\w+)/` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    folders = {path.name for path in SOURCE.iterdir() if any(path.glob("*.py"))}
    assert sorted(described) == sorted(folders)


def test_reduction_keeps_what_is_not_implied() -> None:
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def test_every_file_on_the_way_through_the_code_is_there() -> None:
    way = PAGE.read_text(encoding="utf-8").partition("## An hour in the code")[2]
    names = re.findall(r"`([\w/]+(?:\.py|\.yaml|/))`", way.replace("NAME.py", "train.py"))
    assert len(names) > 20
    missing = [name for name in names if not any((root / name).exists() for root in (ROOT, SOURCE))]
    assert not missing
