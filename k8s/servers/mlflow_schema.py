"""The tables of MLflow and of its users, against the MLflow of this image. The database is MLFLOW_BACKEND_STORE_URI.

    python mlflow_schema.py check     before the server starts: makes the tables of an empty database; changes no other
    python mlflow_schema.py upgrade   migrates an older database; refused while anybody else uses it

MLflow migrates the users' tables whenever it starts, and the others when a new version has a new table (MLflow 3.17.2,
server/auth/db/utils.py, store/tracking/sqlalchemy_store.py): a server of a new image would do so while older replicas
write. `check` fails in front of such a server, and the older replicas stay.
"""

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

MIGRATIONS = {"alembic_version": "store/db_migrations", "alembic_version_auth": "server/auth/db/migrations"}
LOCK = 7305163318  # of those who make tables in an empty database
SESSIONS = text(
    "SELECT coalesce(nullif(application_name, ''), 'a client') || coalesce(' at ' || host(client_addr), '') "
    "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND coalesce(backend_type, 'client backend') = 'client backend'"
)


def main(command: str, address: str) -> None:
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
    if command == "check":
        check(revisions(engine) or create(engine, address))
    elif command == "upgrade":
        upgrade(engine, address)
    else:
        sys.exit(f"error command is `{command}`; expected check or upgrade")


def revisions(engine: Engine) -> dict[str, str | None] | None:
    """Table of versions -> revision, None without one. None for a database without any table."""
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).get_table_names():
            return None
        return {table: _revision(connection, table) for table in MIGRATIONS}


def check(present: dict[str, str | None]) -> None:
    """Exit with the way out unless every revision is this image's."""
    for table, revision in present.items():
        script = migrations(table)
        head = script.get_current_head()
        if revision == head:
            print(f"{table}: {revision}, as this image expects")
        elif revision is None or revision in {one.revision for one in script.walk_revisions()}:
            sys.exit(
                f"error {table}: the database has revision {revision}, this image expects {head}. Nothing is changed. "
                "Scale the server to 0, take a backup and run the job database-upgrade (docs/cluster.md)."
            )
        else:
            sys.exit(
                f"error {table}: the database has revision {revision}, which this image does not know: a newer one has "
                "migrated it. Use that image, or restore a dump from before its upgrade (docs/cluster.md)."
            )


def create(engine: Engine, address: str) -> dict[str, str | None]:
    """Make the tables of an empty database; servers that start together make them once. Their revisions."""
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        if revisions(engine) is None:
            migrate(address)
            print("the database was empty: tables made")
        return revisions(engine) or {}


def upgrade(engine: Engine, address: str) -> None:
    """Migrate all tables to this image's revisions."""
    with engine.connect() as connection:  # the first one: sessions of ours that just ended would be seen here
        others = sorted(connection.scalars(SESSIONS))
    if others:
        sys.exit(
            f"error the database is in use by {', '.join(others)}. Nothing is changed. Scale the server to 0 and wait "
            "until its pods are gone: what they write during a migration is lost."
        )
    before = revisions(engine) or dict.fromkeys(MIGRATIONS)
    begin = time.monotonic()
    migrate(address)
    after = revisions(engine) or {}
    for table, revision in after.items():
        print(f"{table}: {before[table]} -> {revision}")
    check(after)
    print(f"upgraded in {time.monotonic() - begin:.1f} s")


def migrate(address: str) -> None:
    """Bring all tables to this image's revisions, from nothing or from older ones."""
    from mlflow.db import commands as runs
    from mlflow.server.auth.db.cli import commands as users

    runs(["upgrade", address], standalone_mode=False)
    users(["upgrade", "--url", address], standalone_mode=False)


def migrations(table: str) -> ScriptDirectory:
    """This image's migrations of the tables whose versions are in `table`."""
    package = find_spec("mlflow")
    assert package
    assert package.origin
    return ScriptDirectory(str(Path(package.origin).parent / MIGRATIONS[table]))


def _revision(connection: Connection, table: str) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": table}).get_current_revision()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) == 2 else "", os.environ["MLFLOW_BACKEND_STORE_URI"])
