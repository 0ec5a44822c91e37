"""Backup, restore and upgrade of MLflow's database, by the scripts of the manifests on a real PostgreSQL."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from servers.postgres import DATABASE, Postgres
from servers.real import fill

pytestmark = pytest.mark.slow
RESTORE = "tagscale-database-restore"
EXPERIMENTS = """
INSERT INTO experiments (name, lifecycle_stage, workspace) VALUES
('lines' || E'\\n\\\\.\\n', 'active', 'default'), ('COPY public.later (id) FROM stdin;', 'active', 'default')
"""
LATER = """
CREATE TABLE later (id serial PRIMARY KEY, experiment integer REFERENCES experiments (experiment_id));
INSERT INTO later (experiment) SELECT experiment_id FROM experiments;
"""


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """PostgreSQL with MLflow's tables in a template database."""
    postgres = Postgres()
    try:
        postgres.start()
        fill(postgres, request.config)
        with psycopg.connect(postgres.uri("postgres"), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # many databases are made, and none has to outlive this
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(f"ALTER DATABASE {DATABASE} RENAME TO tables")
            connection.execute("CREATE ROLE tenant LOGIN PASSWORD 'aPasswordOfTheTests'")
        yield postgres
    finally:
        postgres.remove()


@pytest.fixture
def postgres(server: Postgres) -> Iterator[Postgres]:
    """The server, with a database of three experiments, whose names look like parts of a dump."""
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE tables")
    with psycopg.connect(server.uri()) as connection:
        connection.execute(EXPERIMENTS)
    yield server
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        for name in databases(server) - {"tables"}:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def databases(server: Postgres) -> set[str]:
    with psycopg.connect(server.uri("postgres")) as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'")
        return {name for (name,) in names}


def tables(uri: str, schema: str = "public") -> dict[str, int]:
    """Name of every table, and its rows."""
    with psycopg.connect(uri) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
        return {
            name: connection.execute(f'SELECT count(*) FROM "{schema}"."{name}"').fetchone()[0]  # type: ignore[index, arg-type]
            for (name,) in names
        }


def change(server: Postgres, uri: str = "") -> None:
    """What happens after a dump: another experiment, and a newer version's table that refers to them."""
    with psycopg.connect(uri or server.uri()) as connection:
        connection.execute(
            "INSERT INTO experiments (name, lifecycle_stage, workspace) VALUES ('new', 'active', 'default')"
        )
        connection.execute(LATER)


def test_a_restore_over_newer_tables_leaves_the_dumps_alone(postgres: Postgres, tmp_path: Path) -> None:
    dump, before = postgres.backup(tmp_path), tables(postgres.uri())
    change(postgres)
    done = postgres.job(RESTORE, tmp_path, postgres.uri() + "?application_name=restore", RESTORE_FILE=dump.name)
    assert done.returncode == 0, done.stderr
    assert tables(postgres.uri()) == before
    assert "  experiments: 4 -> 3\n  later: 4 -> -\n" in done.stdout
    (old,) = databases(postgres) - {"tables", DATABASE}
    assert old in done.stdout
    assert tables(postgres.uri(old)) == before | {"experiments": 4, "later": 4}


def test_an_empty_database_is_restored(postgres: Postgres, tmp_path: Path) -> None:
    """As after the loss of the database's volume."""
    dump, before = postgres.backup(tmp_path), tables(postgres.uri())
    with psycopg.connect(postgres.uri()) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    done = postgres.job(RESTORE, tmp_path, RESTORE_FILE=dump.name)
    assert done.returncode == 0, done.stderr
    assert tables(postgres.uri()) == before
    assert "  experiments: - -> 3\n" in done.stdout
    assert "  : " not in done.stdout


def test_a_user_who_may_make_no_database_restores_within_it(postgres: Postgres, tmp_path: Path) -> None:
    """Twice: what the first restore has put aside is neither in the next dump nor in the way of the next restore."""
    with psycopg.connect(postgres.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE provided OWNER tenant TEMPLATE {DATABASE}")
    with psycopg.connect(postgres.uri("provided"), autocommit=True) as connection:
        for name in tables(postgres.uri("provided")):
            connection.execute(f'ALTER TABLE "{name}" OWNER TO tenant')
    uri = postgres.uri("provided").replace("mlflow:", "tenant:")
    before = tables(uri)
    for right in ("NOCREATEDB", "CREATEDB"):
        with psycopg.connect(postgres.uri("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER ROLE tenant {right}")  # with it, but without a third database to rename from
            connection.execute("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
        dump = postgres.backup(tmp_path, uri)
        change(postgres, uri)
        done = postgres.job(RESTORE, tmp_path, uri, RESTORE_FILE=dump.name)
        assert done.returncode == 0, done.stderr
        assert tables(uri) == before
        (old,) = re.findall(r"are the schema (\w+)", done.stdout)
        assert tables(uri, old) == before | {"experiments": 4, "later": 4}
        time.sleep(1)  # dumps are named by the second
    assert databases(postgres) == {"tables", DATABASE, "provided"}


def test_pg_restore_into_the_same_database_fails_over_newer_tables(postgres: Postgres, tmp_path: Path) -> None:
    """Why the script takes a fresh one: the newer table stays, and so does what it refers to, with rows of today."""
    dump, before = postgres.backup(tmp_path), tables(postgres.uri())
    change(postgres)
    words = ["--clean", "--if-exists", "--no-owner", f"--dbname={postgres.uri()}", dump]
    done = subprocess.run([postgres.programs / "pg_restore", *words], capture_output=True, text=True)
    assert done.returncode != 0
    assert "cannot drop" in done.stderr
    assert tables(postgres.uri()) == before | {"experiments": 4, "later": 4}


def test_a_restore_is_refused_while_the_database_is_in_use(postgres: Postgres, tmp_path: Path) -> None:
    dump = postgres.backup(tmp_path)
    with psycopg.connect(postgres.uri(), application_name="mlflow"):
        done = postgres.job(RESTORE, tmp_path, RESTORE_FILE=dump.name)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error the database is in use by mlflow at 127.0.0.1. Nothing is changed. Scale the server"
    )
    assert databases(postgres) == {"tables", DATABASE}


def test_a_damaged_dump_changes_nothing(postgres: Postgres, tmp_path: Path) -> None:
    dump, before = postgres.backup(tmp_path), tables(postgres.uri())
    content = dump.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-2000] + bytes(1000) + content[-1000:]):
        dump.write_bytes(damaged)
        done = postgres.job(RESTORE, tmp_path, RESTORE_FILE=dump.name)
        assert done.returncode != 0, done.stdout
        assert "pg_restore: error" in done.stderr
        assert (tables(postgres.uri()), databases(postgres)) == (before, {"tables", DATABASE})


def test_without_a_file_the_dumps_are_listed(postgres: Postgres, tmp_path: Path) -> None:
    dump = postgres.backup(tmp_path)
    done = postgres.job(RESTORE, tmp_path, RESTORE_FILE="mlflow-1999.dump")
    assert done.returncode == 1
    assert done.stderr == f"error RESTORE_FILE is `mlflow-1999.dump`; expected a dump in {tmp_path}: {dump.name}\n"
