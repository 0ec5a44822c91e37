"""What published encoders and a champion call five songs.

    python benchmarks/five_songs.py FOLDER --output benchmarks/results/five-songs.md

FOLDER holds labels.csv (path, artist, title, licence, source, tags) and the audio; the songs are those of at least
five seconds that an artist is named for. --project is a project whose champion tags them, too.
"""

import argparse
import csv
import datetime
from contextlib import chdir
from pathlib import Path

from machine import processor

from tagscale.params.load import load
from tagscale.registry.package import load_version
from tagscale.registry.published import published_tagger
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.tags import Tags
from tagscale.serving.tagging import tag_files

ENCODERS = ("msd-musicnn", "mtt-musicnn")
TOP = 5


def words(tagger: AudioTagger, file: Tags) -> str:
    """The best classification tags with their scores; bold where the model decides that they are true."""
    best = [tag for tag in file.scores if tagger.kinds[tag] == "classification"][:TOP]
    bold = {tag for tag in best if tag in file.decided and file.decided[tag].decided}
    return ", ".join(f"{'**' if tag in bold else ''}{tag} {file.scores[tag]:.2f}{'**' * (tag in bold)}" for tag in best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--project", type=Path, help="a project with a champion")
    parser.add_argument("--output", type=Path, help="a Markdown file to write the table to as well")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["artist"].startswith("see ")]
    songs = [row for row in rows if float(row["seconds"]) >= 5]
    taggers = {name: published_tagger(name) for name in ENCODERS}
    if arguments.project:
        with chdir(arguments.project):
            tagger, version = load_version(load().registry.name)
        taggers[f"champion ({version.tags['tagscale.run']} of {version.tags['tagscale.dataset']})"] = tagger
    paths = [folder / row["path"] for row in songs]
    tagged = {name: list(tag_files(tagger, paths)) for name, tagger in taggers.items()}
    lines = [
        "# Five songs",
        "",
        "`python benchmarks/five_songs.py FOLDER --project PROJECT`, as `tagscale tag` tags them.",
        "",
        f"{datetime.date.today()}, {processor()}. The {TOP} highest scores of classification tags. The published "
        "encoders have no decisions, so none of theirs is decided; in bold, what the champion decides to be true. It "
        "has learned from composed music alone.",
    ]
    for number, row in enumerate(songs):
        lines += ["", f"## {row['title']}", ""]
        lines += [f"{row['artist']}, {row['licence']}, {row['source']}; {float(row['seconds']):.0f} s.", ""]
        lines += ["| model | tags |", "|---|---|"]
        lines += [f"| labelled by hand | {row['tags'].replace('|', ', ')} |"]
        lines += [f"| {name} | {words(taggers[name], files[number])} |" for name, files in tagged.items()]
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
