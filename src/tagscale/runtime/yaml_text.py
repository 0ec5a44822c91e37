"""YAML that people write: read without executing anything, with each key once, within bounds of size and depth.

PyYAML keeps the last of two equal keys without a word, reads the keys `007`, `yes` and `1980` as numbers and truth
values, and expands aliases without a limit. Here a key is a name, as it is written, and a doubled one is an error.
"""

from typing import Any

import yaml

from tagscale.runtime.errors import TagscaleError

LARGEST = 16 << 20  # bytes of a file
MOST_NODES = 1_000_000  # values and keys, each alias counted as what it stands for
DEEPEST = 64  # blocks within blocks
LONGEST_NUMBER = 100  # digits
_TEXT, _INTEGER, _MERGE = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "merge"))


def parse_yaml(text: str, origin: str) -> Any:
    """The content of a YAML text of one document; None where it is empty.

    Args:
        origin: begins the message of an error: the file
    Raises:
        TagscaleError: not YAML; a key twice, or one that is no plain text; too large, too deep, or an alias that
            contains itself. Names key and line.
    """
    documents = parse_documents(text, origin)
    if len(documents) > 1:
        raise TagscaleError(f"{origin}: {len(documents)} documents, divided by `---`; expected one.")
    return documents[0] if documents else None


def parse_documents(text: str, origin: str) -> list[Any]:
    """The documents of a YAML text. Raises as `parse_yaml`."""
    if len(text) > LARGEST:
        raise TagscaleError(f"{origin}: {len(text):,} characters; expected settings, at most {LARGEST:,}.")
    try:
        _check_bounds(text, origin)
        loader = yaml.CSafeLoader(text)  # ten times as fast as SafeLoader
        try:
            documents = []
            while node := loader.get_node() if loader.check_node() else None:
                _Check(origin).size_of(node, "")
                documents.append(loader.construct_document(node))
            return documents
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2026-13-01
        raise TagscaleError(f"{origin}: not valid YAML: {error}") from None


def _check_bounds(text: str, origin: str) -> None:
    """Refuse what would exhaust the stack or the memory of the composer, before it runs."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        nodes += isinstance(event, yaml.NodeEvent)
        if depth > DEEPEST:
            raise TagscaleError(
                f"{origin}, line {_line(event)}: more than {DEEPEST} blocks within each other. "
                "No settings are so deep: is it another file?"
            )
        if nodes > MOST_NODES:
            raise _too_large(origin)


class _Check:
    """Walks the nodes of a document: counts them, turns keys into text, and refuses doubled keys."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.sizes: dict[int, int] = {}  # by id of the node; 0 while it is being counted

    def size_of(self, node: yaml.Node, where: str) -> int:
        """Nodes that a node stands for, itself included, where an alias counts as often as it is used."""
        if id(node) in self.sizes:
            if not self.sizes[id(node)]:
                raise TagscaleError(f"{self._place(node)}: the alias in `{where}` contains itself. Write it out.")
            return self.sizes[id(node)]
        self.sizes[id(node)] = 0
        size = 1
        if isinstance(node, yaml.MappingNode):
            self._check_keys(node, where)
            size += sum(1 + self.size_of(value, _dotted(where, key.value)) for key, value in node.value)
        elif isinstance(node, yaml.ScalarNode) and node.tag == _INTEGER and len(node.value) > LONGEST_NUMBER:
            raise TagscaleError(f"{self._place(node)}: `{where}` is a number of {len(node.value):,} digits.")
        elif isinstance(node, yaml.SequenceNode):
            size += sum(self.size_of(value, where) for value in node.value)
        if size > MOST_NODES:
            raise _too_large(self.origin)
        self.sizes[id(node)] = size
        return size

    def _check_keys(self, node: yaml.MappingNode, where: str) -> None:
        first: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise TagscaleError(f"{self._place(key)}: a key that is a list or a block; expected a name.")
            if key.tag != _MERGE:
                key.tag = _TEXT
            if key.value in first:
                raise TagscaleError(
                    f"{self._place(key)}: `{_dotted(where, key.value)}` stands here again; line "
                    f"{_line(first[key.value])} has it already. Keep one of the two."
                )
            first[key.value] = key

    def _place(self, node: yaml.Node) -> str:
        return f"{self.origin}, line {_line(node)}"


def _line(place: yaml.Node | yaml.Event) -> int:
    """Number of the line where a node or an event begins."""
    return place.start_mark.line + 1 if place.start_mark else 0


def _dotted(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _too_large(origin: str) -> TagscaleError:
    return TagscaleError(
        f"{origin}: more than {MOST_NODES:,} values, with every alias written out. No settings are so large."
    )
