"""A version in a project's own SQLite registry, found without MLflow: importing that takes longer than tagging a song.

Only the plain case is handled here: a database in a file, and the version's files below the database's folder. In any
other case, an unknown name among them, the answer is None: then MLflow is asked, whose answer is the same, or an error
that says what is wrong. The tables are those that `tracking.local` keeps up to date.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tagscale.runtime.mlflow_env import TAGGER, file_of, registry_address

_DELETED = "Deleted_Internal"
_ALIAS = "SELECT version FROM registered_model_aliases WHERE workspace = 'default' AND name = ? AND alias = ?"
_VERSION = """
SELECT coalesce(nullif(storage_location, ''), source) FROM model_versions
WHERE workspace = 'default' AND name = ? AND version = ? AND coalesce(current_stage, '') != ?
"""


def local_version(name: str, which: str) -> tuple[str, Path] | None:
    """Number and tagger's folder of a version, given by number or alias; None where MLflow has to be asked."""
    database = file_of(registry_address())
    if database is None or not database.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            holder = connection.execute(_ALIAS, (name, which)).fetchone()
            number = str(holder[0]) if holder else which
            row = connection.execute(_VERSION, (name, number, _DELETED)).fetchone() if number.isdigit() else None
    except sqlite3.Error:  # another schema, or a database in work: MLflow knows
        return None
    location = urlsplit(str(row[0])) if row else None
    if location is None or location.scheme not in ("", "file"):
        return None
    folder = Path(unquote(location.path)) / TAGGER
    own = folder.is_dir() and folder.resolve().is_relative_to(database.parent.resolve())
    return (number, folder) if own else None
