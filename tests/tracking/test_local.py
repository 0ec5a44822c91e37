"""A project's SQLite store: made and upgraded in spite of kills and of other processes, and moved with its folder."""

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from killed import start
from tagscale import tracking
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity
from tagscale.tracking import local

IDENTITY = RunIdentity("waveform", "300", 0, "corpus", "aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")


def change(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def logged(folder: Path) -> str:
    """Log a run to the store of a folder, with a file. Returns its id."""
    (folder / "note.txt").write_text("note")
    with tracking.find_run("study", IDENTITY) as run:
        run.log_metrics({"pr_auc": 0.5})
        run.log_artifacts(folder / "note.txt")
    return run.run_id


def connect_in(folder: Path, statement: int | None = None) -> None:
    """Open the store of a folder; be killed at an SQL statement of that number."""
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if statement is not None:
        kill_at(statement)
    tracking.connect().search_experiments()


def kill_at(statement: int) -> None:
    left, connect = [statement], sqlite3.dbapi2.connect

    def count(_: str) -> None:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = traced


def is_whole(folder: Path) -> bool:
    """Whether MLflow itself opens the store, and nothing is left beside it."""
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    assert [one.name for one in client.search_experiments()] == ["Default"]
    beside = {path.name for path in folder.iterdir()} - {"mlflow.db.half-made"}
    return beside == {"mlflow.db", "mlflow.db.lock"}


@pytest.mark.slow
@pytest.mark.parametrize("statement", [300, 1000, 1700])
def test_a_kill_while_the_store_is_made_costs_nothing(tmp_path: Path, statement: int) -> None:
    process = start(connect_in, tmp_path, statement)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    process = start(connect_in, tmp_path)
    process.join(60)
    assert process.exitcode == 0
    assert is_whole(tmp_path)


@pytest.mark.slow
def test_first_processes_at_once_make_one_store(tmp_path: Path) -> None:
    processes = [start(connect_in, tmp_path) for _ in range(4)]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert is_whole(tmp_path)
    assert not (tmp_path / "mlflow.db.half-made").exists()


@pytest.mark.slow
def test_a_store_that_a_kill_left_half_made_is_made_anew(store: Path, capsys: pytest.CaptureFixture) -> None:
    """As earlier versions left it: a schema on the way, and tables that the next migration would make again."""
    change(store / "mlflow.db", "UPDATE alembic_version SET version_num = '90e64c465722'", "DROP TABLE webhooks")
    tracking.connect()
    assert is_whole(store)
    expected = f"{store}/mlflow.db was half-made, without a run, and is made anew. The one before is kept in {store}/ml"
    assert expected in capsys.readouterr().err
    assert (store / "mlflow.db.half-made").is_file()


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of an older MLflow, with a run in it."""
    import sqlalchemy
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from mlflow.store.tracking.dbmodels.initial_models import Base

    folder = str(Path(local.mlflow.__file__).parent / "store" / "db_migrations")
    config, file = Config(), tmp_path_factory.mktemp("older") / "mlflow.db"
    config.set_main_option("script_location", folder)
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    Base.metadata.create_all(engine)
    before = ScriptDirectory(folder).get_revision(local.newest_schema())
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, str(before.down_revision))
    engine.dispose()
    change(
        file,
        "INSERT INTO experiments (experiment_id, name, lifecycle_stage, artifact_location) "
        "VALUES (0, 'Default', 'active', '')",
        "INSERT INTO runs (run_uuid, name, experiment_id, lifecycle_stage, status, user_id, start_time) "
        "VALUES ('a', 'old', 0, 'active', 'FAILED', 'somebody', 1)",
    )
    return file


@pytest.mark.slow
def test_a_database_of_an_older_mlflow_is_upgraded_and_kept(
    older: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(older, tmp_path / "mlflow.db")
    assert tracking.connect().get_run("a").info.run_name == "old"
    assert "is upgraded to this MLflow. The one before is kept in" in capsys.readouterr().err
    (kept,) = tmp_path.glob("mlflow.db.schema-*")
    with closing(sqlite3.connect(kept)) as before:
        assert before.execute("SELECT run_uuid FROM runs").fetchall() == [("a",)]
        assert before.execute("SELECT version_num FROM alembic_version").fetchone() == (kept.suffix[8:],)


def test_a_database_of_a_newer_mlflow_stays_as_it_is(store: Path) -> None:
    logged(store)
    change(store / "mlflow.db", "UPDATE alembic_version SET version_num = 'fffffffffff1'")
    content = (store / "mlflow.db").read_bytes()
    with pytest.raises(TagscaleError, match=r"mlflow\.db: a database of schema fffffffffff1, which MLflow .* cannot"):
        tracking.connect()
    assert (store / "mlflow.db").read_bytes() == content
    assert not list(store.glob("mlflow.db.fresh*"))


def test_another_program_s_database_is_left_alone(store: Path) -> None:
    (store / "mlflow.db").unlink()
    change(store / "mlflow.db", "CREATE TABLE songs (title)", "INSERT INTO songs VALUES ('So What')")
    content = (store / "mlflow.db").read_bytes()
    with pytest.raises(TagscaleError, match=r"mlflow\.db: a database of schema None"):
        tracking.connect()
    assert (store / "mlflow.db").read_bytes() == content


def addresses(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        queries = [f"SELECT {column} FROM {table}" for table, column in local._ADDRESSES]
        return {str(row[0]) for query in queries for row in connection.execute(query)}


@pytest.mark.parametrize("name", ["Bob's", "what?a=1", "a%20b"])
def test_a_store_lies_in_its_folder_whatever_signs_are_in_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run_id = logged(tmp_path / name)
    assert [path.parent.name for path in tmp_path.rglob("mlflow.db")] == [name]
    assert all(path.is_dir() for path in tmp_path.iterdir())
    assert (tmp_path / name / "mlartifacts" / run_id / "artifacts" / "note.txt").is_file()
    assert Path(tracking.connect().download_artifacts(run_id, "note.txt")).read_text() == "note"


def test_a_moved_project_keeps_its_files_and_writes_into_its_new_folder(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (store / "a b%").mkdir()
    old, new = store / "a b%" / "project", store / "elsewhere"
    old.mkdir()
    shutil.move(store / "mlflow.db", old)
    monkeypatch.chdir(old)
    run_id = logged(old)
    old.rename(new)
    monkeypatch.chdir(new)
    client = tracking.connect()
    assert capsys.readouterr().err.startswith(f"The project was in {old} before: 2 addresses of artifacts now lead to")
    assert Path(client.download_artifacts(run_id, "note.txt")).read_text() == "note"
    with tracking.study_run("study", "comparison", {}) as run:
        run.log_artifacts(new / "note.txt")
    assert (new / "mlartifacts" / run.run_id / "artifacts" / "note.txt").is_file()
    assert not old.exists()
    assert not any(str(old) in address or old.as_uri() in address for address in addresses(new))
    assert capsys.readouterr().err == "", "it is said once"


def test_a_copy_writes_nothing_into_the_original(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, copy = store / "original", store / "copy"
    original.mkdir()
    shutil.move(store / "mlflow.db", original)
    monkeypatch.chdir(original)
    run_id = logged(original)
    shutil.copytree(original, copy)
    before = {path: path.read_bytes() for path in original.rglob("*") if path.is_file()}
    monkeypatch.chdir(copy)
    assert tracking.connect().get_run(run_id).info.artifact_uri.startswith(copy.as_uri())
    with tracking.study_run("study", "comparison", {}) as run:
        run.log_artifacts(copy / "note.txt")
    assert (copy / "mlartifacts" / run.run_id / "artifacts" / "note.txt").is_file()
    assert {path: path.read_bytes() for path in original.rglob("*") if path.is_file()} == before


def test_files_that_stayed_behind_are_still_found(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The database alone was moved: old files are read where they are, new ones go to the new folder."""
    run_id = logged(store)
    (store / "new").mkdir()
    (store / "mlflow.db").rename(store / "new" / "mlflow.db")
    monkeypatch.chdir(store / "new")
    client = tracking.connect()
    assert f"1 folders of artifacts are still in {store} alone." in capsys.readouterr().err
    assert Path(client.download_artifacts(run_id, "note.txt")).read_text() == "note"
    assert client.get_experiment_by_name("study").artifact_location == (store / "new" / "mlartifacts").as_uri()


def test_addresses_outside_the_project_and_its_other_names_stay(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged(store)
    tracking.connect().create_experiment("bucket", artifact_location="s3://music/mlartifacts")
    before = addresses(store)
    (store.parent / f"{store.name}-link").symlink_to(store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store.parent}/{store.name}-link/mlflow.db")
    tracking.connect()
    assert addresses(store) == before


def refused(store: Path, match: str) -> None:
    with pytest.raises(TagscaleError, match=match), tracking.find_run("study", IDENTITY):
        pass


def test_a_store_that_another_process_locks_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PATIENCE_SECONDS", 0.1)
    with closing(sqlite3.connect(store / "mlflow.db", isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        refused(store, r"mlflow\.db: database is locked\. Another process .*`fuser .*mlflow\.db` names it")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_named(store: Path) -> None:
    (store / "mlflow.db").chmod(0o444)
    refused(store, r"mlflow\.db: attempt to write a readonly database\. The file or its folder is read-only\.")


def test_a_damaged_store_is_named(store: Path, capfd: pytest.CaptureFixture) -> None:
    logged(store)
    content = bytearray((store / "mlflow.db").read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    (store / "mlflow.db").write_bytes(content)
    refused(store, r"mlflow\.db: database disk image is malformed\. The file is damaged\. .*`tagscale send-runs`")
    assert "Traceback" not in capfd.readouterr().err


def test_a_full_disk_is_named(store: Path) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    with (
        pytest.raises(TagscaleError, match=r"mlflow\.db: database or disk is full\. Free space"),
        tracking.explained(f"sqlite:///{store}/mlflow.db"),
    ):
        raise error
