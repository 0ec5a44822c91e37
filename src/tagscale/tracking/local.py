"""The SQLite store of a project: a database, and the folder of artifacts beside it.

MLflow gives a new database its tables in seventy migrations, and changes those of an older one in place. A kill in
between leaves a database that it can never open again. Here migrations happen in a copy, one process at a time, and a
single transaction writes the copy over the database.

MLflow keeps artifacts under absolute addresses. When a database is opened whose folder was moved or copied, addresses
below its former folder are rewritten, so that a project finds its own files and writes into no other one's.
"""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from tagscale.runtime.command import print_plainly
from tagscale.runtime.errors import TagscaleError, causes
from tagscale.runtime.lock import in_turn
from tagscale.runtime.mlflow_env import SQLITE

ARTIFACTS = "mlartifacts"  # folder beside the database
PATIENCE_SECONDS = 20.0  # for another process that writes; MLflow waits as long
_EMPTY = {"alembic_version", "workspaces", "experiments"}  # tables with rows in a database without runs
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def database_of(uri: str) -> Path | None:
    """File of the database behind an SQLite address; None for a server and for a database in memory.

    >>> database_of("sqlite:////srv/mlflow.db"), database_of("http://mlflow:5000"), database_of("sqlite:///:memory:")
    (PosixPath('/srv/mlflow.db'), None, None)
    """
    if not uri.startswith("sqlite"):
        return None
    with suppress(ArgumentError):
        name = make_url(uri).database
        return Path(name).absolute() if name and not name.startswith((":memory:", "file:")) else None
    return None


def address_of(path: Path) -> str:
    """SQLite address of a file, or the beginning of those in a folder; SQLAlchemy splits at `?` and unquotes the path.

    >>> address_of(Path("/srv/100 % jazz?/mlflow.db"))
    'sqlite:////srv/100 %25 jazz%3F/mlflow.db'
    """
    return SQLITE + str(path).replace("%", "%25").replace("?", "%3F")


def prepare(database: Path) -> None:
    """Bring a database to the schema of this MLflow, and its artifact addresses to its folder.

    Raises:
        TagscaleError: a newer MLflow made the database, or its schema cannot be upgraded; it stays as it is.
        sqlite3.Error: it cannot be read or written.
    """
    if _schema(database) != newest_schema():
        with turn(database):
            while (schema := _schema(database)) != newest_schema():  # another process may have been first
                _migrate(database, schema)
    _relocate(database)


@contextmanager
def turn(database: Path) -> Iterator[None]:
    """Wait for the database's lock, and hold it while the block runs."""
    with in_turn(database.with_name(f"{database.name}.lock")):
        yield


@cache
def newest_schema() -> str:
    """Name of the schema that this MLflow works with."""
    from alembic.script import ScriptDirectory  # here and below: a client of a server does without these imports

    migrations = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    return str(migrations.get_current_head())


def reason_of(error: BaseException, database: Path) -> str | None:
    """What an error of SQLite means and what to do, in a sentence; None where it is about something else."""
    text = " ".join(str(one) for one in causes(error))
    for sign, reason in _REASONS.items():
        if sign in text:
            return f"{database}: {sign}. " + reason.format(file=database)
    return None


_ANEW = "a new one is made, and `tagscale send-runs` sends what is in runs/ to it."
_REASONS = {
    "database is locked": (
        f"Another process has been writing to it for over {PATIENCE_SECONDS:.0f} s. Wait for it or end it (`fuser "
        "{file}` names it), then run the same command again."
    ),
    "attempt to write a readonly database": (
        "The file or its folder is read-only. Let this user write to both, or set MLFLOW_TRACKING_URI to another store."
    ),
    "unable to open database file": (
        "Let this user read and write the file and its folder, or set MLFLOW_TRACKING_URI to another store."
    ),
    "database or disk is full": "Free space, then run the same command again. What was written before is kept.",
    "disk I/O error": "The disk does not answer, or is full. Mend that, then run the same command again.",
    "database disk image is malformed": f"The file is damaged. Restore a copy of it, or move it aside: {_ANEW}",
    "file is not a database": (
        f"Another program wrote it, or it is damaged. Restore a copy of it, or move it aside: {_ANEW}"
    ),
}


def _schema(database: Path) -> str | None:
    """The schema that a database has; None for none at all."""
    if not database.exists() or not database.stat().st_size:
        return None
    with _opened(database) as present:
        if not present.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone():
            return None
        row = present.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(row[0]) if row else None


def _migrate(database: Path, schema: str | None) -> None:
    """Write a database of the newest schema over this one: a new one where it holds no run, else an upgraded copy.

    What was there is kept beside it. Where another process has written meanwhile, nothing is changed.
    """
    workshop = database.with_name(f"{database.name}.fresh")
    shutil.rmtree(workshop, ignore_errors=True)  # left by a process that was killed
    workshop.mkdir(parents=True)
    fresh = workshop / database.name
    try:
        with _opened(database) as present:
            version = _data_version(present)
            tables, rows = _content(present)
            if rows:
                _copy(present, fresh)
                _upgrade(fresh, database, schema)
            else:
                _make(fresh, database.parent)
            if _data_version(present) != version:
                return
            if tables:
                backup = database.with_name(f"{database.name}.{f'schema-{schema}' if rows else 'half-made'}")
                _copy(present, backup)
                news = "is upgraded to this MLflow" if rows else "was half-made, without a run, and is made anew"
                print_plainly(f"{database} {news}. The one before is kept in {backup}.")
            with _opened(fresh) as source:
                source.backup(present, progress=_stop_if_locked)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _make(fresh: Path, folder: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # As a URI: MLflow writes the folder of artifacts into a statement, where an apostrophe would end it
    SqlAlchemyStore(address_of(fresh), (folder / "mlruns").as_uri()).engine.dispose()


def _upgrade(fresh: Path, database: Path, schema: str | None) -> None:
    from alembic.util import CommandError
    from mlflow.db import upgrade

    try:
        upgrade.main([address_of(fresh)], standalone_mode=False)
    except (CommandError, SQLAlchemyError) as error:
        raise TagscaleError(
            f"{database}: a database of schema {schema}, which MLflow {mlflow.__version__} cannot upgrade "
            f"({str(error).splitlines()[0]}). It stays as it is. Use the MLflow that made it, or move it aside: {_ANEW}"
        ) from error


def _content(present: sqlite3.Connection) -> tuple[int, bool]:
    """Number of tables, and whether a row was written since they were made."""
    tables = [
        str(name)
        for (name,) in present.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        )
    ]
    queries = [f'SELECT 1 FROM "{table}" LIMIT 1' for table in tables if table not in _EMPTY]
    if "experiments" in tables:
        queries.append("SELECT 1 FROM experiments WHERE experiment_id > 0 LIMIT 1")
    return len(tables), any(present.execute(query).fetchone() for query in queries)


def _relocate(database: Path) -> None:
    """Rewrite artifact addresses below the folders that this database was in before."""
    here = database.parent
    with _opened(database) as present:
        locations = present.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
        own = re.compile(rf"(file:)?/.*/{ARTIFACTS}")  # as `server.made_experiment` gives them
        formers = {_path(str(one)).parent for (one,) in locations if own.fullmatch(str(one))}
        for former in sorted(formers):
            if former != here and not (former.exists() and former.samefile(here)):
                _rewrite(present, former, here)


def _rewrite(present: sqlite3.Connection, former: Path, here: Path) -> None:
    """Point addresses below `former` to `here`, in one transaction. Files that are at `former` alone keep theirs."""
    kept = set[str]()

    def moved(address: str, table: str) -> str:
        for old, new in ((f"{former.as_uri()}/", f"{here.as_uri()}/"), (f"{former}/", f"{here}/")):
            if address.startswith(old):
                target = new + address.removeprefix(old)
                if table == "experiments" or _path(target).exists() or not _path(address).exists():
                    return target
                kept.add(address)
        return address

    present.create_function("moved", 2, moved)
    with present:
        rows = sum(
            present.execute(
                f"UPDATE {table} SET {column} = moved({column}, '{table}') "
                f"WHERE {column} IS NOT NULL AND moved({column}, '{table}') != {column}"
            ).rowcount
            for table, column in _ADDRESSES
        )
    missing = f" {len(kept)} folders of artifacts are still in {former} alone." if kept else ""
    print_plainly(f"The project was in {former} before: {rows} addresses of artifacts now lead to {here}.{missing}")


def _path(address: str) -> Path:
    """Path of a local address, which is a file: URI or a plain path."""
    return Path(unquote(urlsplit(address).path)) if address.startswith("file:") else Path(address)


@contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database, timeout=PATIENCE_SECONDS)) as connection:
        yield connection


def _copy(source: sqlite3.Connection, target: Path) -> None:
    with _opened(target) as copy:
        source.backup(copy, progress=_stop_if_locked)


def _stop_if_locked(status: int, *_: int) -> None:
    if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):  # for as long as the connection waits
        raise sqlite3.OperationalError("database is locked")


def _data_version(present: sqlite3.Connection) -> int:
    """A number that changes when another connection writes."""
    return int(present.execute("PRAGMA data_version").fetchone()[0])
