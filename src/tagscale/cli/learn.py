"""`tagscale learn`: from tracks of a user's own to a registered tagger. Runs every stage in a folder of its own.

That folder is a project: params.yaml, data, runs, results, reports. The registry and the published encoders are those
of the project that the command is called in.
"""

import csv
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from shutil import copyfile
from typing import Annotated, Any

import typer
import yaml

from tagscale.cli import stages
from tagscale.cli.settings import rewrite
from tagscale.cli.stages import PARAMS, ParamsFile
from tagscale.cli.use import PRESETS, USE, preset_file
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.runtime.names import normalised
from tagscale.runtime.project import shipped

app = typer.Typer()

TAGGERS = Path("tagger")
TABLE, TAGS = "tracks.csv", "tags.yaml"


@app.command(rich_help_panel=USE)
def learn(
    tracks: Annotated[
        Path, typer.Argument(help="A CSV of tracks, a folder with tracks.csv, or one with a folder of audio a class.")
    ],
    name: Annotated[str, typer.Option(help="Of the tagger in the registry.")],
    work: Annotated[Path | None, typer.Option(help="Folder of all that is made; tagger/NAME when not given.")] = None,
    preset: Annotated[
        str, typer.Option(help="Differences from the settings: a file of presets/, or any path.")
    ] = "own",
    params: ParamsFile = PARAMS,
) -> None:
    """Learn a tagger from tracks of your own: every stage, from the table to the registry.

    The tagger's folder keeps what was computed. After an interruption the same command resumes; with more tracks it
    decodes and encodes only the new ones. Its params.yaml holds the settings, and later calls take it as it is. Where
    the current folder has no params.yaml, the settings and presets are those that tagscale comes with.
    """
    from tagscale.models.pretrained import is_published

    if is_published(name):
        raise TagscaleError(f"--name {name}: a published encoder has this name. Choose another one.")
    work = work or TAGGERS / name
    presets = PRESETS
    if params == PARAMS and not params.is_file():
        params, presets = shipped() / PARAMS, shipped() / PRESETS
    differences = preset_file(preset, presets)
    _write_settings(work, _dataset(tracks.absolute(), work.absolute(), name), name, params, differences)
    print(f"All that is made is kept in {work}/; the paths below are in it.")
    with _in_folder(work):
        _run_stages()
        from tagscale.stages import summary

        settings = stages.read(PARAMS)
        summary.show(settings, **stages.folders(settings), data=stages.DATA)
    print(f"\nReport:    {work / 'reports' / 'report.html'}")
    print(f"Settings:  {work / PARAMS} (edit, and run the same command again)")
    print(f"Tag files: tagscale tag FILE... --model {name}")
    print(f"Versions:  tagscale history --params {work / PARAMS} (and so promote, rollback)")


def _dataset(tracks: Path, work: Path, name: str) -> dict[str, Any]:
    """The block `dataset` for what the user named: a table, a folder that holds one, or a folder of classes."""
    dataset: dict[str, Any] = {"name": name, "version": None, "source": "folder", "split": None, "variant": None}
    if tracks.is_dir() and not (tracks / TABLE).is_file():
        _write_table(tracks, work)
        return dataset | {"root": str(tracks), "table": str(work / TABLE), "tags": str(work / TAGS)}
    table = tracks / TABLE if tracks.is_dir() else tracks
    if not table.is_file():
        raise TagscaleError(f"{tracks}: no such table or folder. Name a CSV of tracks, or a folder of audio.")
    root = table.parent
    return dataset | {"root": str(root), "table": table.name, "tags": TAGS if (root / TAGS).is_file() else None}


def _write_table(folder: Path, work: Path) -> None:
    """Write tracks.csv and tags.yaml for a folder that has a folder of audio for every class.

    Tracks in a folder within a class count as those of one artist, which keeps them in one part.
    """
    from tagscale.catalog.sources.columns import RESERVED
    from tagscale.serving.catalogue import audio_files

    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise TagscaleError(
            f"{folder}: neither a {TABLE} nor a folder of audio for each of two or more classes; found "
            f"{len(classes)} folder(s). Add one of both (README, Your own data)."
        )
    forms = [normalised(path.name) for path in classes]
    for one, form in zip(classes, forms, strict=True):
        if not form or form in RESERVED:
            raise TagscaleError(f"{one}: no class can have this name. Rename the folder.")
        if forms.count(form) > 1:
            raise TagscaleError(
                f"{one}: another class has this name, if spaces, Unicode forms and characters without width do not "
                "count. Rename one of the folders."
            )
    rows = []
    for one in classes:
        for file, reason in audio_files(one):
            if reason:
                raise TagscaleError(f"{file}: {reason}.")
            path, inside = file.relative_to(folder).as_posix(), file.relative_to(one).parts
            artist = f"{one.name}/{inside[0]}" if len(inside) > 1 else ""
            rows.append([path, path, artist, *(int(one == other) for other in classes)])
    names = [path.name for path in classes]
    entry = {"kind": "classification", "group": "class", "exclusive": "class"}
    work.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(work / TABLE) as fresh, fresh.open("w", encoding="utf-8", newline="") as out:
            csv.writer(out, lineterminator="\n").writerows([["track_id", "path", "artist", *names], *rows])
        with replacing(work / TAGS) as fresh:
            kinds = {"columns": {name: dict(entry) for name in names}}
            fresh.write_text(yaml.safe_dump(kinds, allow_unicode=True, sort_keys=False), encoding="utf-8")
    except UnicodeEncodeError as error:
        raise TagscaleError(f"{folder}: a name that is not UTF-8, {error.object[:80]!r}. Rename it.") from None


def _write_settings(work: Path, dataset: dict[str, Any], name: str, params: Path, preset: Path) -> None:
    """Write the tagger's params.yaml: the project's, with the preset and the dataset laid over.

    One that is there already stays, but for the dataset, the name, and keys that it lacks, as after an update.
    """
    file = work / PARAMS
    own = {"dataset": dataset, "registry": {"name": name}, "tracking": {"experiment": name}}
    if file.is_file():
        base, changes = file, laid_over(laid_over(read_yaml(params), read_yaml(file)), own)
    else:
        base, changes = params, laid_over(read_yaml(preset), own)
    parse(laid_over(read_yaml(base), changes), origin=str(base))  # refuse before writing
    work.mkdir(parents=True, exist_ok=True)
    with replacing(file) as fresh:
        copyfile(base, fresh)
        rewrite(fresh, changes)


@contextmanager
def _in_folder(work: Path) -> Iterator[None]:
    """Work in the tagger's folder, with the registry and the published encoders of the project."""
    from tagscale import tracking
    from tagscale.training.encoders import PLACE, pretrained_folder

    places = {"MLFLOW_TRACKING_URI": tracking.configure(), "MLFLOW_REGISTRY_URI": tracking.registry_uri()}
    with tracking.environment(places | {PLACE: str(pretrained_folder())}), chdir(work):
        yield


def _run_stages() -> None:
    from tagscale.stages import catalog

    settings = stages.read(PARAMS)
    catalog.run(settings, root=Path(settings.dataset.root), catalog=stages.CATALOG)
    for change in _changes_for(settings):
        for key, before, after in rewrite(PARAMS, change):
            print(f"{PARAMS}: {key} is {after} for these tracks, not {before}")
    for name, command, options in stages.in_order(settings):
        if name not in ("synth", "catalog"):
            command(**options)


def _changes_for(params: Params) -> Iterator[dict[str, Any]]:
    """What the tracks themselves decide: their own split takes the place of folds, and the metric fits the tags."""
    from tagscale.catalog.tables import Catalog
    from tagscale.evaluation.metrics import KINDS, METRICS, main_metric

    catalog = Catalog.load(stages.CATALOG)
    if catalog.split and params.partition.folds:
        yield {"partition": {"folds": None}}
    present = [kind for kind in KINDS if (catalog.tags["kind"] == kind).any()]
    metric = METRICS.get(params.registry.metric)
    if metric and not set(metric.kinds) & set(present):
        yield {"registry": {"metric": main_metric(present[0]).key}}
