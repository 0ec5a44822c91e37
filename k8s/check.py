"""`python -m k8s.check`: render overlays and validate every resource, without a cluster.

Each resource must fit its schema, which refuses unknown fields, and our own rules (k8s/rules.py, k8s/policies.py).
Whatever it names must exist (k8s/references.py).
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from k8s.policies import reachable
from k8s.references import reference_faults, secrets_of
from k8s.render import Fault, Resource, read, render
from k8s.rules import RULES, UNSET, own_images
from k8s.strict import KUBERNETES, schema_faults
from tagscale.runtime.errors import TagscaleError

HERE = Path(__file__).parent
NAMESPACES = "namespaces"  # applied before an overlay


def faults_of(resources: list[Resource], template: Path) -> list[Fault]:
    """All faults of an overlay's resources.

    Args:
        template: the script that creates the secrets.
    """
    faults = [fault for resource in resources for fault in schema_faults(resource)]
    if faults:
        return faults  # rules and references rely on the schema's fields
    faults += [fault for rule in (*RULES, reachable) for fault in rule(resources)]
    return faults + list(reference_faults(resources, secrets_of(template)))


def check(overlays: list[str], root: Path = HERE) -> list[Fault]:
    """Check the namespaces and overlays, print a table, and return the faults.

    Args:
        overlays: names of folders in root/overlays; all where none is given.
        root: the folder that holds servers, tasks, overlays and secrets.

    Raises:
        TagscaleError: an overlay is missing or cannot be rendered; kubectl is missing.
    """
    known = sorted(path.name for path in (root / "overlays").iterdir() if path.is_dir())
    for name in overlays:
        if name not in known:
            raise TagscaleError(f"{name}: no such overlay; there are {', '.join(known)}.")
    counts: dict[str, Counter[str]] = {}
    faults: list[Fault] = []
    unset = []
    for name in [NAMESPACES, *(overlays or known)]:
        resources = read(root / NAMESPACES) if name == NAMESPACES else render(root / "overlays" / name)
        counts[name] = Counter(resource.kind for resource in resources)
        own = faults_of(resources, root / "secrets" / "create.sh")
        counts[name]["(faults)"] = len(own)
        faults += own
        if any(image.endswith(f":{UNSET}") for _, _, image in own_images(resources)):
            unset.append(name)
    table = Table("resources", *counts, title=f"k8s, against Kubernetes {KUBERNETES[:4]}")
    for kind in sorted({kind for of_overlay in counts.values() for kind in of_overlay}, key=lambda k: (k[0] == "(", k)):
        table.add_row(kind, *(str(of_overlay[kind]) for of_overlay in counts.values()))
    Console().print(table)
    if unset:
        Console(highlight=False).print(
            f"Without an image yet: {', '.join(unset)}. Write it with: python -m k8s.image REGISTRY/tagscale:TAG"
        )
    return faults


def command(
    overlays: Annotated[list[str] | None, typer.Argument(help="Names of overlays; all where none is given.")] = None,
    root: Annotated[Path, typer.Option(help="The folder that holds servers, tasks, overlays and secrets.")] = HERE,
) -> None:
    """Validate the manifests of overlays strictly."""
    try:
        faults = check(overlays or [], root)
    except TagscaleError as error:
        typer.echo(f"error {error}", err=True)
        sys.exit(1)
    for fault in dict.fromkeys(map(str, faults)):  # print a fault of several overlays once
        typer.echo(f"error {fault}", err=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    typer.run(command)
