"""Get the published encoders: their wheel, and from its TensorFlow checkpoints one of tagscale's for each encoder."""

import tempfile
from pathlib import Path

from tagscale.fetch.bundle import read_tensors
from tagscale.fetch.wheel import download_wheel, read_members
from tagscale.models.build import build
from tagscale.models.pretrained import CITATION, ENCODERS, LICENCE, LICENCE_NAME, PACKAGE, SHA256, VERSION, Published
from tagscale.models.pretrained.encoder import architecture_of_published, released_names, released_weights
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing, write_json
from tagscale.training import checkpoint
from tagscale.training.encoders import COMMAND, load_encoder, pretrained_folder

FILES = (".index", ".data-00000-of-00001")  # of a checkpoint in the wheel
SOURCE, NOTICE = "source.json", "LICENCE"  # beside a checkpoint of tagscale's


def run(folder: Path | None = None, wheel: Path | None = None) -> None:
    """Write the encoders that are missing or damaged to their folder; those that are whole stay.

    Args:
        folder: of all encoders; `pretrained_folder()` when not given
        wheel: the wheel, where it is here already; pip downloads it when not given
    Raises:
        TagscaleError: the wheel cannot be had, or is not the pinned one.
    """
    folder = folder or pretrained_folder()
    missing = [published for published in ENCODERS.values() if not _is_whole(published, folder)]
    if not missing:
        print(f"The encoders {', '.join(ENCODERS)} are in {folder}.")
        return
    with tempfile.TemporaryDirectory() as temporary:
        names = [_member(published, file) for published in missing for file in FILES]
        members = read_members(wheel or _downloaded(Path(temporary)), SHA256, names)
    for published in missing:
        _convert(published, members, folder / published.name)
    print(
        f"The encoders {', '.join(published.name for published in missing)} are in {folder} now.\n"
        f"Licence: {LICENCE_NAME} (the text is beside them). Please cite: {CITATION}",
        flush=True,
    )


def _member(published: Published, file: str) -> str:
    return f"{PACKAGE}/{published.checkpoint}/{file}"


def _is_whole(published: Published, folder: Path) -> bool:
    try:
        load_encoder(published.name, folder)
    except TagscaleError:
        return False
    return (folder / published.name / SOURCE).is_file()


def _downloaded(folder: Path) -> Path:
    try:
        return download_wheel(PACKAGE, VERSION, SHA256, folder)
    except TagscaleError as error:
        raise TagscaleError(
            f"The published encoders are not here: {error} Everything else works without them. With a network, run "
            f"`{COMMAND}` again; or get the wheel of {PACKAGE} {VERSION} elsewhere and run `{COMMAND} --wheel FILE`."
        ) from None


def _convert(published: Published, members: dict[str, bytes], target: Path) -> None:
    """Write one encoder's folder."""
    architecture = architecture_of_published(published)
    tagger = build(architecture)
    index, data = (members[_member(published, file)] for file in FILES)
    tensors = read_tensors(index, data, released_names(tagger).values(), f"{PACKAGE} {VERSION}, {published.checkpoint}")
    tagger.load_state_dict(released_weights(tagger, tensors))
    with replacing(target) as fresh:
        checkpoint.write(fresh, tagger, architecture)
        (fresh / NOTICE).write_text(LICENCE, encoding="utf-8")
        write_json(fresh / SOURCE, source_of(published))


def source_of(published: Published) -> dict[str, object]:
    """Where the weights come from, and what their authors ask for and say of them."""
    return {
        "package": f"{PACKAGE} {VERSION}",
        "sha256": SHA256,
        "checkpoint": published.checkpoint,
        "trained_on": published.trained_on,
        "published": published.scores,
        "licence": LICENCE_NAME,
        "citation": CITATION,
    }
