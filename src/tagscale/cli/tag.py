"""The command that tags: files for people to read, and catalogues to a table."""

import json
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from tagscale.cli.stages import PARAMS, ParamsFile, Registered, Version, slice_of
from tagscale.cli.use import USE
from tagscale.params.load import registered_model
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.machine import sleep_while_waiting
from tagscale.runtime.memory import keep_freed_memory
from tagscale.runtime.signals import Interrupted

if TYPE_CHECKING:  # importing it takes half a second, which no other command needs
    from tagscale.serving.tagger import Tagger

app = typer.Typer()

TO_FILE = "Catalogues (with --out)"
TOP = 10  # tags that are shown of a file


@app.command(rich_help_panel=USE)
def tag(
    catalogue: Annotated[
        list[str],
        typer.Argument(
            help="Audio files, or folders of them. With --out also tables with a column `path`, lists (.txt, .m3u; - "
            "reads one from stdin) and addresses such as s3://songs/2024."
        ),
    ],
    version: Version = None,
    model: Registered = None,
    top: Annotated[int | None, typer.Option(min=1, help=f"How many tags to show per file; {TOP} by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all scores as JSON.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write a row a file to this .parquet, .csv or .jsonl.", rich_help_panel=TO_FILE),
    ] = None,
    embeddings: Annotated[
        bool, typer.Option("--embeddings", help="With the model's embedding in each row.", rich_help_panel=TO_FILE)
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="I/N: the I-th of N shards, as a file of the folder --out.", rich_help_panel=TO_FILE),
    ] = None,
    anew: Annotated[
        bool, typer.Option("--anew", help="Tag all files, also those with rows.", rich_help_panel=TO_FILE)
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit status 1 where a file has no scores.", rich_help_panel=TO_FILE)
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode; one a core by default.", rich_help_panel=TO_FILE)
    ] = None,
    params: ParamsFile = PARAMS,
) -> None:
    """Give audio files the tags of a registered model or a published encoder: printed, or as rows of a table.

    Of a folder, all audio files in it and below are tagged, but for hidden ones. A file that validation would have
    kept from training gets its tags with a warning; one that cannot be decoded, or holds nothing to hear, gets the
    reason instead. Printing then ends with exit status 1, and --out with 0 unless --strict.

    With --out, files that have a row and have not changed are skipped, and an interrupted run resumes.
    """
    sleep_while_waiting()
    from tagscale.serving.tagger import load_model

    options = {"--embeddings": embeddings, "--shard": shard, "--anew": anew, "--strict": strict, "--workers": workers}
    given = [option for option, value in options.items() if value]
    if out is None and given:
        raise TagscaleError(f"{', '.join(given)}: only with --out FILE, which takes the rows.")
    printed = [option for option, value in {"--top": top, "--json": as_json}.items() if value]
    if out is not None and printed:
        raise TagscaleError(
            f"{', '.join(printed)}: only without --out, whose rows hold all scores; --out FILE.jsonl writes JSON."
        )
    if "" in catalogue:  # as a path it would be the current folder
        raise TagscaleError("An argument is empty, as an unset variable is: expected audio files or folders.")
    keep_freed_memory()
    tagger = load_model(model or registered_model(params), version)
    if out is None:
        _print(tagger, catalogue, top or TOP, as_json)
        return
    target, part = _target(out, slice_of(shard))
    if part and not anew:
        _check_beside(target, tagger, embeddings)
    failed = _write(tagger, catalogue, target, part, embeddings, anew, workers)
    if strict and failed:
        raise typer.Exit(1)


def _print(tagger: "Tagger", files: list[str], top: int, as_json: bool) -> None:
    """Print tables for people, or one JSON object; exit status 1 where a file is not tagged."""
    from tagscale.serving.catalogue import is_list
    from tagscale.serving.tagging import as_json as to_json
    from tagscale.serving.tagging import print_tags, tag_files

    if lists := [file for file in files if is_list(file)]:
        raise TagscaleError(f"{lists[0]}: add --out FILE, as scores.parquet, for the rows of what it names.")
    results, tagged, failed = [], 0, 0
    console = Console()
    if tagger.decisions is None and not as_json:
        note = f"{tagger.model} ({tagger.version}) has no decisions: scores rank the tags of a file, and are no "
        console.print(Text(f"{note}probabilities.", style="dim"), soft_wrap=True)
    try:
        for file in tag_files(tagger.audio, map(Path, files)):
            if as_json:
                results.append(file)
            else:
                print_tags(console, file, tagger.audio, top)
            tagged, failed = tagged + (file.error is None), failed + (file.error is not None)
    except Interrupted as interruption:
        interruption.add_note("")
        typer.echo(f"interrupted: {tagged} file(s) are tagged, {failed} could not be, the rest is not begun", err=True)
        raise
    finally:
        if as_json:
            typer.echo(json.dumps(to_json(tagger, results), indent=2))
    if failed:
        raise typer.Exit(1)


def _target(out: Path, part: tuple[int, int] | None) -> tuple[Path, tuple[int, int] | None]:
    """The file that takes the rows: `out`, or that of a shard in the folder `out`, in the format of its suffix."""
    from tagscale.serving.output import check_shards
    from tagscale.serving.rows import suffix_of

    suffix = suffix_of(out)
    if part is None:
        if out.is_dir():
            raise TagscaleError(f"{out}: a folder, which holds shards. Give --shard, or another file.")
        return out, None
    number, shards = part
    if not 1 <= number <= shards:
        raise TagscaleError(f"--shard {number}/{shards}: expected I/N with I from 1 to N.")
    if out.is_file():
        raise TagscaleError(f"{out}: a file; with --shard it is the folder of the shards. Give another --out.")
    check_shards(out, shards)
    return out / f"part-{number}-of-{shards}{suffix}", part


def _check_beside(shard: Path, tagger: "Tagger", embeddings: bool) -> None:
    """Refuse a shard beside one of another model: an alias may have moved since that one was tagged."""
    from tagscale.serving.output import misfit_of
    from tagscale.serving.rows import read_known

    others = (file for file in sorted(shard.parent.glob(f"part-*{shard.suffix}")) if file != shard)
    for row in islice(chain.from_iterable(map(read_known, others)), 1):
        if misfit := misfit_of(row, tagger, embeddings):
            advice = "Tag all shards with one --version, give another --out, or --anew with every shard"
            raise TagscaleError(f"{shard.parent}: a shard is there, and {misfit}. {advice}.")


def _write(
    tagger: "Tagger",
    arguments: list[str],
    out: Path,
    part: tuple[int, int] | None,
    embeddings: bool,
    anew: bool,
    workers: int | None,
) -> int:
    """Tag a catalogue to a file. Returns how many of its files have no scores."""
    from tagscale.serving.catalogue import entries
    from tagscale.serving.output import partial_of
    from tagscale.serving.tag_catalogue import tag_catalogue

    try:
        progressed = tag_catalogue(
            tagger, entries(arguments, part), out, embeddings=embeddings, anew=anew, workers=workers
        )
    except Interrupted as interruption:
        interruption.add_note(f"The rows so far are kept in {partial_of(out)}.")
        raise
    print(*progressed.summary(out), sep="\n")
    return progressed.errors.total()
