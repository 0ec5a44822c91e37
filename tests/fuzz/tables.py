"""Tables and settings of users and of published datasets, changed, and read by `tagscale catalog`.

A changed file ends in a message that names it, or in a catalog. That of the user's own table is compared with a strict
reading of the file by other code; the published ones are held to their bounds of time and memory, and to messages.
"""

import codecs
import csv
import io
import re
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from catalog.sources import test_fma, test_jamendo, test_mgphot, test_msd, test_mtt
from fetch import test_archives
from fuzz import mutations
from fuzz.harness import ACCEPTED, MESSAGE, RIGHT, TRACEBACK, Kind, Verdict, random_of
from fuzz.project import ROOT, SETTINGS, command, preload, working_in
from tagscale.fetch.archives import unpack
from tagscale.params.load import laid_over, read_yaml
from tagscale.runtime.errors import TagscaleError
from user_folder import rows, write_table

TEXT = (*mutations.BYTES, *mutations.TEXT, *mutations.TEXT, *mutations.CELLS)


@dataclass(frozen=True)
class Table:
    """A file that users hand in: who writes its dataset, which file is changed, and the settings that read it."""

    file: str
    cases: int
    write: Callable[[Path], Any]
    source: str
    changes: tuple[mutations.Change, ...] = TEXT


def _own(root: Path) -> None:
    write_table(root, rows(12))


def _settings(root: Path) -> None:
    _own(root)
    settings = laid_over(read_yaml(ROOT / "params.yaml"), SETTINGS)
    (root / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def _mgphot(root: Path) -> None:
    test_mgphot.write(root)
    test_mgphot.write_split(root, song1="train", song10="val", song2="test")


def _msd(root: Path) -> None:
    test_msd.write_tags(root)
    vectors = zip(test_msd.IDS, test_msd.VALUES, strict=True)
    test_msd.dump(root / "msd_id_to_tag_vector.cP", {track: vector[:, None] for track, vector in vectors})
    test_msd.dump(root / "filtered_list_train.cP", test_msd.PART["train"] + test_msd.PART["valid"])
    test_msd.dump(root / "filtered_list_test.cP", test_msd.PART["test"])
    test_msd.dump(root / "MSD_id_to_7D_id.pkl", test_msd.SEVEN)


def _arrays(root: Path) -> None:
    test_msd.write_tags(root)
    for part, ids in test_msd.PART.items():
        (root / f"{part}_x_msd_id.txt").write_text("\n".join(ids) + "\n")
        (root / f"{part}_x_7d_id.txt").write_text("\n".join(test_msd.SEVEN[track] for track in ids) + "\n")
        np.save(root / f"{part}_y.npy", test_msd.VALUES[[test_msd.IDS.index(track) for track in ids]])


TABLES = {
    "tracks.csv": Table("tracks.csv", 120, _own, "folder"),
    "tags.yaml": Table("tags.yaml", 50, _own, "folder"),
    "params.yaml": Table("params.yaml", 80, _settings, "folder"),
    "mtt annotations": Table("annotations_final.csv", 40, test_mtt.write, "mtt"),
    "mtt clips": Table("clip_info_final.csv", 20, test_mtt.write, "mtt"),
    "jamendo": Table("autotagging_top50tags-train.tsv", 40, test_jamendo.write, "jamendo"),
    "fma": Table("fma_metadata/tracks.csv", 40, test_fma.write, "fma"),
    "mgphot": Table("mgphot_gene_values.tsv", 20, _mgphot, "mgphot"),
    "mgphot index": Table("genome_index_split_without_gene.json", 20, _mgphot, "mgphot"),
    "msd pickle": Table("msd_id_to_tag_vector.cP", 50, _msd, "msd", mutations.BYTES),
    "msd list": Table("filtered_list_train.cP", 20, _msd, "msd", mutations.BYTES),
    "msd array": Table("train_y.npy", 50, _arrays, "msd", mutations.BYTES),
}


def judge(name: str, number: int, place: Path) -> Verdict:
    """Change the file of a case, and read its dataset."""
    table, chance, root = TABLES[name], random_of(name, number), place / "root"
    root.mkdir()
    table.write(root)
    file = root / table.file
    how, content = mutations.any_of(table.changes, file.read_bytes(), chance)
    file.write_bytes(content)
    settings = laid_over(read_yaml(ROOT / "params.yaml"), SETTINGS)
    choice = {"source": table.source, "root": "root", "tags": "tags.yaml" if table.source == "folder" else None}
    settings = laid_over(settings, {"dataset": choice | {"variant": "msd" if table.source == "msd" else None}})
    if table.source == "mgphot":  # regression tags alone, which have no other metric
        settings = laid_over(settings, {"registry": {"metric": "rmse"}})
    (place / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    if table.file == "params.yaml":
        file.replace(place / "params.yaml")
    try:
        with working_in(place):
            ended = command("catalog", "--root", "root")
            if ended.code:
                named = any(name in ended.message for name in (file.name, "root/", "root:"))
                return Verdict(MESSAGE if named else ACCEPTED, f"{how}: {ended.message}{'' if named else ' (file?)'}")
            wrong = _differences(file, place) if name == "tracks.csv" else ""
    except MemoryError:
        raise
    except Exception as error:
        return Verdict(TRACEBACK, f"{how}: {type(error).__name__}: {error}")
    return Verdict(ACCEPTED if wrong else RIGHT, f"{how}: {wrong or 'read'}")


def _differences(file: Path, place: Path) -> str:
    """How the catalog differs from the table as csv.DictReader reads it; "" where it does not."""
    content = file.read_bytes()
    wide = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = content.decode("utf-16" if wide else "utf-16-le" if content[1:2] == b"\0" else "utf-8-sig").lstrip("\r\n")
    head = re.split("[\r\n]", text)[0]
    table = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t|", key=head.count))
    expected = {}
    for row in table:
        row = {_form(key or ""): (cell or "").strip() for key, cell in row.items() if not isinstance(cell, list)}
        if any(row.values()):
            expected[_form(row["track_id"])] = row
    tracks = pd.read_parquet(place / "data/catalog/tracks.parquet").set_index("track_id")
    labels = pd.read_parquet(place / "data/catalog/labels.parquet").set_index("track_id")
    if set(tracks.index) != set(expected):
        return f"tracks {sorted(set(tracks.index) ^ set(expected))[:3]}"
    for track, row in expected.items():
        if any(_form(tracks.loc[track, key]) != _form(row[key]) for key in ("artist", "path")):
            return f"{track}: artist or path {tracks.loc[track].to_dict()}"
        for tag in set(labels.columns) & row.keys():
            value = float(row[tag].replace(",", ".")) if row[tag] else np.nan
            if not np.isclose(labels.loc[track, tag], value, equal_nan=True):
                return f"{track}: {tag} {labels.loc[track, tag]}, expected {value}"
    return ""


def _form(text: str) -> str:
    """A text as it looks: NFC, spaces alike, nothing that has no width."""
    kinds = {"Cf": "", "Cc": " "}
    seen = "".join(kinds.get(unicodedata.category(letter), letter) for letter in unicodedata.normalize("NFC", text))
    return " ".join(seen.split())


def judge_zip(number: int, place: Path) -> Verdict:
    """Unpack a changed archive: all of its members' bytes, or a message and nothing."""
    chance = random_of("zip", number)
    method = chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    whole = test_archives.zipped(test_archives.MEMBERS, method)
    how, content = mutations.any_of((*mutations.BYTES, mutations.set_anywhere), whole, chance)
    archive = test_archives.put(place, content, chance.choice((1, 3)))
    try:
        unpack(archive, place)
    except TagscaleError as error:
        left = [path.name for path in place.iterdir() if not path.name.startswith("mp3.zip")]
        return Verdict(ACCEPTED if left else MESSAGE, f"{how}: {error}{f' left {left}' if left else ''}")
    except MemoryError:
        raise
    except Exception as error:
        return Verdict(TRACEBACK, f"{how}: {type(error).__name__}: {error}")
    right = sorted(test_archives.tree(place / "mp3").values()) == sorted(test_archives.MEMBERS.values())
    return Verdict(RIGHT if right else ACCEPTED, f"{how}: unpacked")


def kinds(folder: Path) -> list[Kind]:
    def judging(name: str) -> Kind:
        return Kind(f"table {name}", TABLES[name].cases, lambda number, place: judge(name, number, place), 20, 300)

    preload()
    return [*map(judging, TABLES), Kind("table zip", 60, judge_zip, 20, 300)]
