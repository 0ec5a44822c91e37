"""Command-line options that several commands share, written once as the fields of a dataclass."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """A typer command whose parameters may be dataclasses: each of their fields becomes an option of its own.

    Fields are annotated like the parameters of a command: `token: Annotated[Path | None, typer.Option()] = None`. The
    command receives the dataclasses, filled with what was typed.
    """
    own = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {name: one.annotation for name, one in own.items() if is_dataclass(one.annotation)}

    @functools.wraps(command)
    def spread(**typed: Any) -> None:
        for name, group in groups.items():
            typed[name] = group(**{field.name: typed.pop(field.name) for field in fields(group)})
        command(**typed)

    flat = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in own.items()
        for parameter in (_options_of(groups[name]) if name in groups else [one])
    ]
    spread.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return spread


def _options_of(group: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(group, eval_str=True).parameters.values())
