"""Changing values in params.yaml without losing its comments.

The file keeps the layout in which DVC writes it for `dvc exp run --set-param`: lists as blocks, null as nothing, blocks
in one line within 80 columns. So neither changes more lines than those of its settings.
"""

from pathlib import Path
from typing import Any

from tagscale.runtime.files import replacing


def rewrite(file: Path, changes: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Set the values of `changes`, block by block, in a YAML file; comments and all other values stay.

    Returns:
        (dotted key, value before, value after) of each change.
    """
    from ruamel.yaml import YAML  # here and below: of an extra, and every command imports this module

    yaml = YAML()
    content = yaml.load(file.read_text(encoding="utf-8"))
    changed = _lay_over(content, changes)
    with replacing(file) as fresh, fresh.open("w", encoding="utf-8") as out:
        yaml.dump(content, out)
    return changed


def _lay_over(content: Any, changes: dict[str, Any], parents: str = "") -> list[tuple[str, Any, Any]]:
    """Change `content` in place, keeping its comments; return (key, value before, value after) of each change."""
    changed = []
    for key, value in changes.items():
        where = f"{parents}{key}"
        if isinstance(value, dict) and not isinstance(content.get(key), dict):  # a new block, written in one line
            changed.append((where, content.get(key), value))
            from ruamel.yaml.comments import CommentedMap

            content[key] = CommentedMap(value)
            content[key].fa.set_flow_style()
        elif isinstance(value, dict):
            changed += _lay_over(content[key], value, f"{where}.")
        elif key not in content or content[key] != value:
            changed.append((where, content.get(key), value))
            content[key] = value
            if value == [] and key in content.ca.items:
                content.ca.items[key][3] = None  # the comment stood above a block; beside [] it ends the line
    return changed
