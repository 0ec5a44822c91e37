"""Finding out which settings a stage reads."""

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel


class Recorder:
    """Stands for a block of settings and notes the keys that are read from it."""

    def __init__(self, block: BaseModel, prefix: str, seen: set[str]) -> None:
        self._block, self._prefix, self._seen = block, prefix, seen

    def __getattr__(self, name: str) -> Any:
        made = getattr(type(self._block), name, None)
        if isinstance(made, property) and name not in BaseModel.__dict__:
            return made.fget(self)  # reads the settings that it is made of
        value = getattr(self._block, name)
        if isinstance(value, BaseModel):
            return Recorder(value, f"{self._prefix}{name}.", self._seen)
        known = name in type(self._block).model_fields
        self._seen.update([f"{self._prefix}{name}"] if known else leaves(self._block, self._prefix))
        return value

    def model_dump(self, exclude: Collection[str] = (), **options: Any) -> dict[str, Any]:
        """The keys that are left in are read."""
        self._seen.update(
            key for key in leaves(self._block, self._prefix)
            if key.removeprefix(self._prefix).partition(".")[0] not in exclude
        )  # fmt: skip
        return self._block.model_dump(exclude=set(exclude), **options)


def leaves(block: BaseModel, prefix: str = "") -> set[str]:
    """Dotted names of all settings of a block."""
    found = set()
    for name in type(block).model_fields:
        value = getattr(block, name)
        found |= leaves(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}"}
    return found
