"""What one does around the stages: lay a preset over the settings, look at results, tag files, move the champion."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from ruamel.yaml import YAML

from tagscale.cli.stages import PARAMS, ParamsFile
from tagscale.errors import TagscaleError
from tagscale.files import replacing
from tagscale.params import laid_over, parse, read_yaml

app = typer.Typer()

USE = "Around the stages"
PRESETS = Path("presets")


@app.command(rich_help_panel=USE)
def preset(
    name: Annotated[str, typer.Argument(help="A file of presets/, with or without .yaml, or any path.")],
    params: ParamsFile = PARAMS,
) -> None:
    """Lay a preset over params.yaml: only the values that differ change, the comments stay."""
    named = Path(name) if name.endswith(".yaml") else PRESETS / f"{name}.yaml"
    if not named.is_file():
        known = ", ".join(sorted(path.stem for path in PRESETS.glob("*.yaml"))) or "none"
        raise TagscaleError(f"{named}: no such preset. In {PRESETS}/: {known}.")
    changes = read_yaml(named)
    parse(laid_over(read_yaml(params), changes), origin=f"{params} with {named}")  # refuse before writing
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    content = yaml.load(params.read_text(encoding="utf-8"))
    changed = _lay_over(content, changes)
    with replacing(params) as fresh, fresh.open("w", encoding="utf-8") as file:
        yaml.dump(content, file)
    console = Console(highlight=False)
    console.print(f"{params} now follows {named} ({len(changed)} value(s) changed; git diff shows them):")
    for key, before, after in changed:
        console.print(f"  {key}: {before} -> [bold]{after}[/]")


def _lay_over(content: Any, changes: dict[str, Any], parents: str = "") -> list[tuple[str, Any, Any]]:
    """Change `content` in place, keeping its comments; return (key, value before, value after) of each change."""
    changed = []
    for key, value in changes.items():
        where = f"{parents}{key}"
        if isinstance(value, dict):
            changed += _lay_over(content[key], value, f"{where}.")
        elif content.get(key) != value:
            changed.append((where, content.get(key), value))
            content[key] = value
    return changed
