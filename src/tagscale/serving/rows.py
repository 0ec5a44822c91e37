"""Rows of scores: one a file that was tagged, or that could not be, as Parquet, CSV or JSON lines.

What a row says of its file stands in columns of fixed names (`COLUMNS`). A tag is a field in the columns `scores` and
`probabilities`, so no tag meets a fixed name; in CSV these are the columns `scores.TAG` and `probabilities.TAG`, and
lists are JSON. All three formats hold the same, and `read_rows` reads them, alone or as the files of a folder.
"""

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tagscale.registry.profile import MEASURES, shortest
from tagscale.registry.tags import Tags
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import replacing
from tagscale.runtime.journal import Journal, Record
from tagscale.runtime.words import listed
from tagscale.serving.tagger import Tagger

PARQUET = ".parquet"
SUFFIXES = (PARQUET, ".csv", ".jsonl")
COLUMNS = pa.schema(
    [
        ("path", pa.string()),
        ("error", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("seconds", pa.float64()),
        ("rate", pa.int64()),
        ("channels", pa.int64()),
        ("format", pa.string()),
        ("rms_dbfs", pa.float64()),
        ("peak", pa.float64()),
        ("clipped", pa.float64()),
        ("model", pa.string()),
        ("version", pa.string()),
        ("sha256", pa.string()),
        ("state", pa.string()),
        ("tags", pa.list_(pa.string())),
    ]
)
TEXTS = [field.name for field in COLUMNS if pa.types.is_string(field.type)]
NULL_IF_EMPTY = ("error", "format")  # in CSV, which has no other null
OF_TAGS = ("scores", "probabilities")
EMBEDDING = "embedding"
FACTS = MEASURES | {"format": "format"}  # column -> its name among the facts of a recording
T = TypeVar("T")
BATCH = 2000  # rows in memory: 20 MB of them, with embeddings


@dataclass(frozen=True)
class Row:
    """What is known of one file after it was tagged.

    path: the file's path or address, as text
    error: why it has no scores; None where it has
    seconds, rate (Hz), channels, format, rms_dbfs, peak, clipped: of the file, see `decoding.decode.Decoded`
    model, version, sha256: what tagged it
    state: size and time of change of the file, by which a later change is noticed; "" where the file shall be tried
        again
    tags: those that are decided
    scores: tag -> score in [0, 1]; empty where there is an error
    probabilities: tag -> calibrated probability, for the tags with a decision
    embedding: what the model's encoder makes of it; None where it was not asked for
    """

    path: str
    model: str
    version: str
    sha256: str
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    seconds: float | None = None
    rate: int | None = None
    channels: int | None = None
    format: str | None = None
    rms_dbfs: float | None = None
    peak: float | None = None
    clipped: float | None = None
    state: str = ""
    tags: list[str] = field(default_factory=list)
    scores: Mapping[str, float] = field(default_factory=dict)
    probabilities: Mapping[str, float] = field(default_factory=dict)
    embedding: np.ndarray | None = None

    def record(self) -> Record:
        """The row as a line of JSON lines holds it; numbers of tags and embeddings as the shortest of their float32."""
        record = {name: getattr(self, name) for name in COLUMNS.names}
        record |= {name: {tag: shortest(value) for tag, value in getattr(self, name).items()} for name in OF_TAGS}
        return record if self.embedding is None else record | {EMBEDDING: [shortest(value) for value in self.embedding]}


def row_of(tags: Tags, tagger: Tagger, path: str, state: str = "") -> Row:
    """The row of a file, of what a tagger says of it."""
    facts = {name: tags.facts.get(fact) for name, fact in FACTS.items()}
    return Row(
        path=path,
        model=tagger.model,
        version=tagger.version,
        sha256=tagger.sha256,
        error=tags.error,
        warnings=tags.warnings,
        state=state,
        tags=[tag for tag in tagger.tags if tag in tags.decided and tags.decided[tag].decided],
        scores={tag: tags.scores[tag] for tag in tagger.tags if tag in tags.scores},
        probabilities={tag: tags.decided[tag].probability for tag in tagger.tags if tag in tags.decided},
        embedding=tags.embedding,
        **facts,
    )


@dataclass(frozen=True)
class Rows:
    """Rows that were read: tables of the same rows in the same order.

    files: COLUMNS; lists in `warnings` and `tags`, None where there is no text
    scores, probabilities: one float32 column a tag; NaN where a row has none
    embeddings: float32 (rows, dims), NaN where a row has none; None where no row has one
    origin: the file or folder of the rows, for errors
    """

    files: pd.DataFrame
    scores: pd.DataFrame
    probabilities: pd.DataFrame
    embeddings: np.ndarray | None
    origin: str = "rows"

    def __len__(self) -> int:
        return len(self.files)

    @property
    def tagged(self) -> np.ndarray:
        """Which rows have scores: bool (rows,)."""
        return self.files["error"].isna().to_numpy()


def read_rows(path: Path | str) -> Rows:
    """Read rows from a file in one of the three formats, or from all such files in a folder, by name.

    Raises:
        TagscaleError: no such file, another suffix, a folder without rows, or a damaged file; it is named.
    """
    return replace(_joined([_rows(batch) for batch in _batches(Path(path))]), origin=str(path))


def read_records(path: Path | str) -> Iterator[Record]:
    """The rows of a file, or of the files in a folder, as `Row.record` gives them, some thousands in memory at a time.

    Raises:
        TagscaleError: as `read_rows`.
    """
    for file in files_of(Path(path)):
        with damage_named(file):
            yield from _records(file) if suffix_of(file) != PARQUET else map(_tidy, _rows_of_parquet(file))


class Known(NamedTuple):
    """What a row says of its file and its model, without the scores.

    is_embedded: whether it has an embedding
    others: see `Row`
    """

    path: str
    error: str | None
    state: str
    model: str
    version: str
    sha256: str
    is_embedded: bool


def known_of(record: Record) -> Known:
    """What a row says, from its record. Raises KeyError where it is none."""
    return Known._make([*(record[name] for name in Known._fields[:-1]), EMBEDDING in record])


def read_known(path: Path | str) -> Iterator[Known]:
    """The rows of a file, or of the files in a folder, without their scores, which take most of the time to read.

    Raises:
        TagscaleError: as `read_rows`.
    """
    names = list(Known._fields[:-1])
    for file in files_of(Path(path)):
        with damage_named(file):
            if suffix_of(file) != PARQUET:
                yield from map(known_of, _records(file))
                continue
            for batch in _read_parquet(file, [*names, EMBEDDING]):
                is_embedded = [False] * len(batch)
                if EMBEDDING in batch.schema.names:
                    is_embedded = batch.column(EMBEDDING).is_valid().to_pylist()
                columns = [*(batch.column(name).to_pylist() for name in names), is_embedded]
                yield from (Known(*row) for row in zip(*columns, strict=True))


def write_rows(path: Path, records: Iterable[Record], tags: Iterable[str], embeddings: bool = False) -> None:
    """Write rows to a file in the format of its suffix, which appears when it is whole.

    Args:
        records: of `Row.record`, some thousands in memory at a time
        tags: of the model, in the order of the columns
        embeddings: whether rows have one
    Raises:
        TagscaleError: another suffix.
    """
    write = {PARQUET: _write_parquet, ".csv": _write_csv, ".jsonl": _write_lines}[suffix_of(path)]
    with replacing(path) as fresh:
        write(fresh, records, _schema(tags, embeddings))


def suffix_of(path: Path) -> str:
    """The suffix of a file of rows. Raises TagscaleError where it is none of SUFFIXES."""
    if path.suffix.lower() not in SUFFIXES:
        raise TagscaleError(f"{path}: found the suffix {path.suffix!r}, expected one of {', '.join(SUFFIXES)}.")
    return path.suffix.lower()


def files_of(path: Path) -> list[Path]:
    """The files of rows at a path: itself, or those of a folder but for names that begin with `.` or `_`.

    Raises:
        TagscaleError: a folder without any.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and file.name[0] not in "._")
    if not files:
        raise TagscaleError(f"{path}: no rows in this folder, expected files of {', '.join(SUFFIXES)}.")
    return files


def _schema(tags: Iterable[str], embeddings: bool) -> pa.Schema:
    of_tags = pa.struct([(tag, pa.float32()) for tag in tags])
    more = [(name, of_tags) for name in OF_TAGS] + [(EMBEDDING, pa.list_(pa.float32()))] * embeddings
    return pa.schema([*COLUMNS, *more])


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Rows of the files at a path; at least one batch, which may be empty, a file."""
    for file in files_of(path):
        with damage_named(file):
            yield from _as_batches(_records(file)) if suffix_of(file) != PARQUET else _read_parquet(file)


@contextmanager
def damage_named(file: Path, output: Path | None = None) -> Iterator[None]:
    """Turn what is raised while a file of rows is read into a TagscaleError.

    Args:
        output: whose rows these are, where it is not the file itself
    """
    if not file.is_file():
        raise TagscaleError(f"{file}: no such file. `tagscale tag CATALOGUE --out {file}` writes one.")
    try:
        yield
    except TagscaleError:
        raise
    except Exception as error:  # of pyarrow and csv, which raise all kinds of them over wrong bytes
        problem = str(error).partition("\n")[0][:200] or type(error).__name__
        raise TagscaleError(
            f"{file}: no rows of scores, or damaged ({problem}). If it is a file of another kind, name another one; "
            f"damaged rows are written again by `tagscale tag CATALOGUE --out {output or file} --anew`."
        ) from None


def _check_columns(names: Iterable[str]) -> None:
    if missing := [name for name in COLUMNS.names if name not in set(names)]:
        raise ValueError(f"column(s) {', '.join(missing)} missing")


def _read_parquet(path: Path, columns: Collection[str] | None = None) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _check_columns(file.schema_arrow.names)
        names = [name for name in file.schema_arrow.names if columns is None or name in columns]
        yield pa.RecordBatch.from_pylist([], pa.schema([file.schema_arrow.field(name) for name in names]))
        yield from file.iter_batches(BATCH, columns=names)


def _rows_of_parquet(path: Path) -> Iterator[Record]:
    for batch in _read_parquet(path):
        yield from batch.to_pylist()


def _tidy(row: Record) -> Record:
    """A row of Parquet as a record: without the tags that have no number in it, and with the shortest numbers."""
    of_tags = {name: row.get(name) or {} for name in OF_TAGS}
    known = {
        name: {tag: shortest(value) for tag, value in of_tags[name].items() if value is not None} for name in OF_TAGS
    }
    embedding = row.get(EMBEDDING)
    more = {} if embedding is None else {EMBEDDING: [shortest(value) for value in embedding]}
    return {name: row[name] for name in COLUMNS.names} | known | more


def _records(path: Path) -> Iterator[Record]:
    """Rows of JSON lines or CSV; of JSON lines also while a process appends to them: half a last line is left out."""
    if suffix_of(path) == ".jsonl":
        for line in Journal(path).lines():
            if line.record is None:
                raise ValueError(f"line {line.number} is no JSON object")
            _check_columns(line.record)
            yield line.record
        return
    with open(path, encoding="utf-8", newline="") as file:
        rows = csv.reader(file, strict=True)
        head = next(rows, [])
        _check_columns(head)
        yield from (_record(number, head, row) for number, row in enumerate(rows, 2) if row)


def _record(number: int, head: list[str], row: list[str]) -> Record:
    """A row of CSV as a record."""
    if len(row) != len(head):
        raise ValueError(f"row {number} has {len(row)} cells, expected {len(head)}")
    record: Record = {name: {} for name in OF_TAGS}
    for name, cell in zip(head, row, strict=True):
        group, _, tag = name.partition(".")
        if group in OF_TAGS:
            record[group] |= {tag: float(cell)} if cell else {}
        elif name in TEXTS:
            record[name] = cell or (None if name in NULL_IF_EMPTY else "")
        elif cell:  # lists and numbers
            record[name] = json.loads(cell)
    return dict.fromkeys(COLUMNS.names) | record


def _as_batches(records: Iterable[Record]) -> Iterator[pa.RecordBatch]:
    """Records as batches with the tags and embeddings that they have; the last batch is empty."""
    for batch in chain(in_batches(records), [[]]):
        of_tags: dict[str, None] = {}
        for record in batch:
            of_tags |= dict.fromkeys(chain(*(record[name] for name in OF_TAGS)))
        yield pa.RecordBatch.from_pylist(batch, _schema(of_tags, any(EMBEDDING in record for record in batch)))


def in_batches(rows: Iterable[T]) -> Iterator[list[T]]:
    """The rows in lists of BATCH."""
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch


def _write_parquet(path: Path, records: Iterable[Record], schema: pa.Schema) -> None:
    """Without the columns of tags where there is no tag, as in rows of errors alone: Parquet has no empty struct."""
    schema = pa.schema([column for column in schema if not pa.types.is_struct(column.type) or column.type.num_fields])
    with pq.ParquetWriter(path, schema, write_page_checksum=True) as file:
        for batch in in_batches(records):
            file.write_batch(pa.RecordBatch.from_pylist(batch, schema))


def _write_lines(path: Path, records: Iterable[Record], schema: pa.Schema) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def _write_csv(path: Path, records: Iterable[Record], schema: pa.Schema) -> None:
    """Text is quoted, so that no line end in a name ends a row."""
    tags = [field.name for field in schema.field("scores").type]
    head = [f"{name}.{tag}" for name in OF_TAGS for tag in tags]
    lists = [EMBEDDING] * (EMBEDDING in schema.names)
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        rows.writerow([*COLUMNS.names, *head, *lists])
        for record in records:
            cells = [_cell(record[name]) for name in COLUMNS.names]
            cells += [record[name].get(tag) for name in OF_TAGS for tag in tags]
            rows.writerow([*cells, *(_cell(record.get(name)) for name in lists)])


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _rows(batch: pa.RecordBatch) -> Rows:
    files = batch.select(COLUMNS.names).cast(COLUMNS).to_pandas(types_mapper=_PANDAS.get)
    scores, probabilities = (_wide(batch, name) for name in OF_TAGS)
    embeddings = _stacked(batch.column(EMBEDDING)) if EMBEDDING in batch.schema.names else None
    return Rows(files, scores, probabilities, embeddings)


_PANDAS = {pa.int64(): pd.Int64Dtype()}  # whole numbers stay so beside empty cells


def _wide(batch: pa.RecordBatch, name: str) -> pd.DataFrame:
    """A struct of numbers by tag as (rows, tags) float32; without columns where there is none."""
    if name not in batch.schema.names:
        return pd.DataFrame(index=range(len(batch)))
    column: pa.StructArray = batch.column(name)
    names = [field.name for field in column.type]
    values = [part.to_numpy(zero_copy_only=False).astype(np.float32) for part in column.flatten()]
    return pd.DataFrame(np.stack(values, axis=1) if values else np.empty((len(column), 0), np.float32), columns=names)


def _stacked(column: pa.ListArray) -> np.ndarray:
    """Lists of numbers of one length as float32 (rows, dims)."""
    lengths = {len(value) for value in column if value.is_valid}
    if len(lengths) > 1:
        raise ValueError(f"embeddings of {listed(sorted(map(str, lengths)))} numbers")
    stacked = np.full((len(column), max(lengths, default=0)), np.nan, np.float32)
    for row, value in enumerate(column):
        if value.is_valid:
            stacked[row] = value.values.to_numpy(zero_copy_only=False)
    return stacked


def _joined(parts: list[Rows]) -> Rows:
    """Rows of several files; a tag that a file does not know is NaN there."""
    files = pd.concat([part.files for part in parts], ignore_index=True)
    scores = pd.concat([part.scores for part in parts], ignore_index=True)
    probabilities = pd.concat([part.probabilities for part in parts], ignore_index=True)
    dims = max((0 if part.embeddings is None else part.embeddings.shape[1] for part in parts), default=0)
    embeddings = np.full((len(files), dims), np.nan, np.float32) if dims else None
    if embeddings is not None:
        begin = 0
        for part in parts:
            if part.embeddings is not None:
                embeddings[begin : begin + len(part), : part.embeddings.shape[1]] = part.embeddings
            begin += len(part)
    return Rows(files, scores, probabilities, embeddings)
