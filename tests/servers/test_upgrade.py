"""The tables of MLflow in older, newer and empty databases, by the manifests' script on a real PostgreSQL."""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psycopg
import pytest

from servers.postgres import DATABASE, Postgres
from servers.real import K8S, filled
from threads import at_once

pytestmark = pytest.mark.slow
SCRIPT = K8S / "servers" / "mlflow_schema.py"
OLDER = """
import sys
from pathlib import Path
from alembic import command
from alembic.config import Config
from mlflow.server.auth.db.cli import commands
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

uri, script = sys.argv[1:]
sys.path.insert(0, str(Path(script).parent))
from mlflow_schema import MIGRATIONS, migrations

runs, users = (migrations(table) for table in MIGRATIONS)
Base.metadata.create_all(create_engine(uri))
config = Config()
config.set_main_option("script_location", runs.dir)
config.set_main_option("sqlalchemy.url", uri)
command.upgrade(config, runs.get_revision("head").down_revision)
commands(["upgrade", "--url", uri, "--revision", users.get_revision("head").down_revision])
"""


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """PostgreSQL with a template `older`: what the version before MLflow's last migrations has."""
    postgres = Postgres()
    try:
        postgres.start()
        filled(postgres, request.config, "older", OLDER, str(SCRIPT))
        yield postgres
    finally:
        postgres.remove()


@pytest.fixture
def postgres(server: Postgres) -> Iterator[Postgres]:
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE} TEMPLATE older")
        yield server
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture(scope="module")
def schema() -> ModuleType:
    specification = importlib.util.spec_from_file_location("mlflow_schema", SCRIPT)
    assert specification
    assert specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def state(server: Postgres) -> list[tuple]:
    """Every column of every table, and the revisions."""
    with psycopg.connect(server.uri()) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
        )
        return [*columns, *connection.execute("SELECT * FROM alembic_version, alembic_version_auth")]


def test_a_server_does_not_start_over_an_older_database(postgres: Postgres, schema: ModuleType) -> None:
    before = state(postgres)
    with pytest.raises(
        SystemExit, match=r"alembic_version: the database has revision \w+, this image expects \w+\. Not"
    ):
        schema.main("check", postgres.uri())
    assert state(postgres) == before


def test_mlflow_alone_would_migrate_it_beneath_older_servers(postgres: Postgres) -> None:
    """The fault that the check is there for: the users' tables are migrated by whoever opens them."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore  # two seconds

    before = state(postgres)
    with psycopg.connect(postgres.uri()):  # an older server at work
        SqlAlchemyStore().init_db(postgres.uri())
    assert state(postgres)[-1][0] == before[-1][0]
    assert state(postgres)[-1][1] != before[-1][1]


def test_an_upgrade_is_refused_while_a_server_runs_and_then_brings_all_tables(
    postgres: Postgres, schema: ModuleType, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    before = state(postgres)
    with psycopg.connect(postgres.uri(), application_name="mlflow"):
        with pytest.raises(
            SystemExit, match=r"error the database is in use by mlflow at 127\.0\.0\.1\. Nothing is changed"
        ):
            schema.main("upgrade", postgres.uri())
        assert state(postgres) == before
    done = postgres.job("tagscale-database-upgrade", tmp_path)
    assert done.returncode == 0, done.stderr
    runs, users = before[-1]
    assert f"alembic_version: {runs} -> " in done.stdout
    assert f"alembic_version_auth: {users} -> " in done.stdout
    schema.main("check", postgres.uri())
    assert capsys.readouterr().out.count("as this image expects") == 2


def test_a_database_of_a_newer_image_is_refused(postgres: Postgres, schema: ModuleType) -> None:
    with psycopg.connect(postgres.uri()) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'c0ffee'")
    with pytest.raises(
        SystemExit, match="has revision c0ffee, which this image does not know: a newer one has migrated"
    ):
        schema.main("check", postgres.uri())


def test_servers_that_start_together_make_the_tables_once(
    postgres: Postgres, schema: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, made = postgres.create("empty"), list[str]()

    def migrate(address: str) -> None:
        made.append(address)
        time.sleep(0.3)
        with psycopg.connect(address) as connection:
            for table in schema.MIGRATIONS:
                head = schema.migrations(table).get_current_head()
                connection.execute(f"CREATE TABLE {table} AS SELECT '{head}' AS version_num")

    monkeypatch.setattr(schema, "migrate", migrate)
    at_once(3, lambda _: schema.main("check", uri))
    assert made == [uri]
