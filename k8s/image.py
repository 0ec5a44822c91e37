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
OWN, SERVE = "tagscale", "tagscale-serve"  # names in the manifests: of the image, and of the champion's


def set_image(image: Image, root: Path = HERE, serve: Image | None = None) -> list[Path]:
    """Write the image into every overlay that takes its images from a registry; returns their files.

    Args:
        serve: the champion's, where it is another
    Raises:
        TagscaleError: the image has no registry, or a tag that may name another image later; an overlay is not laid out
            as here.
    """
    images = {OWN: image, SERVE: serve or image}
    for one in images.values():
        if "/" not in one.name:
            raise TagscaleError(
                f"{one.name}: expected an image in a registry, as registry.example.org/{OWN}:0d40257. Overlay `local` "
                f"takes {OWN}:latest as `make image` makes it."
            )
        one.check_lasting()
    files = []
    for file in sorted((root / "overlays").glob("*/kustomization.yaml")):
        text = file.read_text(encoding="utf-8")
        names = {one["name"] for one in parse_yaml(text, str(file)).get("images") or []}
        if OWN not in names:
            continue
        for name in images.keys() & names:
            text = _written(file, text, name, images[name])
        files.append((file, text))
    for file, written in files:
        with replacing(file) as fresh:
            fresh.write_text(written, encoding="utf-8")
    return [file for file, _ in files]


def _written(file: Path, text: str, name: str, image: Image) -> str:
    """An overlay's text with the image under a name."""
    value = f'digest: "{image.digest}"' if image.digest else f'newTag: "{image.tag}"'  # quoted: 1234567 is no text
    entry = rf"\g<1>{{name: {name}, newName: {image.name}, {value}}}"
    written, count = re.subn(rf"^( *- )\{{name: {name},[^}}\n]*\}}", entry, text, flags=re.MULTILINE)
    if count != 1:
        raise TagscaleError(f"{file}: expected one line `- {{name: {name}, newName: ..., newTag: ...}}` in `images`.")
    return written


def command(
    image: Annotated[str, typer.Argument(help="REGISTRY/NAME:TAG, as it was pushed.")],
    root: Annotated[Path, typer.Option(help="The folder that holds the overlays.")] = HERE,
    serve: Annotated[str | None, typer.Option(help="The champion's, where it is another one of the same tag.")] = None,
) -> None:
    """Write the image into the overlays, and print how compiled pipelines get the same one."""
    try:
        files = set_image(Image.of(image), root, Image.of(serve) if serve else None)
    except TagscaleError as error:
        typer.echo(f"error {error}", err=True)
        sys.exit(1)
    for file in files:
        typer.echo(f"{file.relative_to(root.parent)}: {image}" + (f", the champion {serve}" if serve else ""))
    typer.echo(f"Pipelines compiled or submitted from now on need it, too:\n  export TAGSCALE_IMAGE={image}")


if __name__ == "__main__":
    typer.run(command)
