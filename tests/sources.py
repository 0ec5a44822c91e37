"""What a module imports, read from its source."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, at its top or inside its functions."""
    yield from _names(path, ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def loaded(module: str) -> set[str]:
    """Dotted names that importing a module of tagscale loads, itself and those of tagscale's modules among them.

    What functions import is not loaded yet, and what is for a type checker alone never is.
    """
    names, left = {module}, [module]
    while left:
        more = _loaded_at_once(left.pop()) - names
        names |= more
        left += [name for name in more if name.startswith("tagscale")]
    return names


@cache
def _loaded_at_once(module: str) -> set[str]:
    parents = {module.rpartition(".")[0]} - {""}
    path = _file_of(module)
    if path is None:  # a name in a module
        return parents
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return parents | set(_names(path, _at_the_top(tree.body)))


def _file_of(module: str) -> Path | None:
    place = SRC.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _at_the_top(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """The statements that run when a module is loaded, those of its classes and branches among them."""
    for node in body:
        functions = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if functions or (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            continue
        yield node
        yield from _at_the_top([child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)])


def _names(path: Path, nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
