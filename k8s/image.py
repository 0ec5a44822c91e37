"""`python -m k8s.image REGISTRY/tagscale:TAG`: one image for everything, written into the overlays.

It does what `kustomize edit set image` does, which `kubectl kustomize` lacks. All else in the files stays as it is.
"""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from tagscale.cluster.image import Image
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.runtime.yaml_text import parse_yaml

HERE = Path(__file__).parent
OWN = "tagscale"  # the image's name in servers, tasks and components
_ENTRY = re.compile(rf"^( *- )\{{name: {OWN},[^}}\n]*\}}", re.MULTILINE)


def set_image(image: Image, root: Path = HERE) -> list[Path]:
    """Write the image into every overlay that takes its images from a registry; returns their files.

    Raises:
        TagscaleError: the image has no registry, or a tag that may name another image later; an overlay is not laid out
            as here.
    """
    if "/" not in image.name:
        raise TagscaleError(
            f"{image.name}: expected an image in a registry, as registry.example.org/{OWN}:0d40257. Overlay `local` "
            f"takes {OWN}:latest as `make image` makes it."
        )
    image.check_lasting()
    value = f'digest: "{image.digest}"' if image.digest else f'newTag: "{image.tag}"'  # quoted: 1234567 is no text
    entry = rf"\g<1>{{name: {OWN}, newName: {image.name}, {value}}}"
    files = []
    for file in sorted((root / "overlays").glob("*/kustomization.yaml")):
        text = file.read_text(encoding="utf-8")
        images = parse_yaml(text, str(file)).get("images") or []
        if not any(one["name"] == OWN for one in images):
            continue
        written, count = _ENTRY.subn(entry, text)
        if count != 1:
            raise TagscaleError(
                f"{file}: expected one line `- {{name: {OWN}, newName: ..., newTag: ...}}` in `images`."
            )
        files.append((file, written))
    for file, written in files:
        with replacing(file) as fresh:
            fresh.write_text(written, encoding="utf-8")
    return [file for file, _ in files]


def command(
    image: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG, as it was pushed.")],
    root: Annotated[Path, typer.Option(help="The folder that holds the overlays.")] = HERE,
) -> None:
    """Write the image into the overlays, and print how compiled pipelines get the same one."""
    try:
        files = set_image(Image.of(image), root)
    except TagscaleError as error:
        typer.echo(f"error {error}", err=True)
        sys.exit(1)
    for file in files:
        typer.echo(f"{file.relative_to(root.parent)}: {image}")
    typer.echo(f"Pipelines compiled or submitted from now on need it, too:\n  export TAGSCALE_IMAGE={image}")


if __name__ == "__main__":
    typer.run(command)
