"""A PostgreSQL server on loopback, in a folder of its own. Its programs come from Debian's package postgresql."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest

from servers.manifest import job_command
from servers.processes import Process, free_port

OWNER = "postgres"  # the server refuses to run as root
USER, PASSWORD, DATABASE = "mlflow", "aPasswordOfTheTests", "mlflow"  # names as in k8s/components/postgres


def programs() -> Path:
    """Where initdb, postgres and pg_dump are; skips the test where they are not."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    pytest.skip("needs PostgreSQL's programs: apt-get install postgresql")


class Postgres:
    """A server with an empty database; what must survive a crash is written as in earnest."""

    def __init__(self) -> None:
        self.programs = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # not below pytest's, which only its user may enter
        owner = OWNER if os.getuid() == 0 else None
        (self.folder / "password").write_text(PASSWORD)
        if owner:
            for path in (self.folder, self.folder / "password"):
                shutil.chown(path, owner, owner)
        identity = {"user": owner, "group": owner, "extra_groups": []} if owner else {}
        made = [self.programs / "initdb", "--pgdata", self.folder / "data", "--username", USER, "--no-sync"]
        made += ["--encoding", "UTF8", "--locale", "C", "--auth", "scram-sha-256", "--pwfile", self.folder / "password"]
        environment = {"PATH": os.environ["PATH"], "TZ": "UTC"}
        subprocess.run(made, cwd=self.folder, env=environment, check=True, capture_output=True, **identity)
        self.port = free_port()
        settings = {"unix_socket_directories": "", "listen_addresses": "127.0.0.1", "port": str(self.port)}
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data")]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self.process = Process(command, environment, self.folder, self._answers, owner)

    def start(self) -> None:
        self.process.start()

    def stop(self) -> None:
        """End it at once, as after a loss of power; its log says how it recovers."""
        self.process.stop(signal.SIGKILL)

    def remove(self) -> None:
        self.process.stop(signal.SIGINT)  # "fast": it does not wait for clients
        shutil.rmtree(self.folder, ignore_errors=True)

    def uri(self, database: str = DATABASE) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new database; its address."""
        with psycopg.connect(self.uri("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}"')
        return self.uri(database)

    def wait_until_unused(self, database: str = DATABASE) -> None:
        """Until the sessions of clients that are gone have ended."""
        with psycopg.connect(self.uri("postgres"), autocommit=True) as connection:
            for _ in range(1000):
                query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
                if connection.execute(query, [database]).fetchone() == (0,):
                    return
                time.sleep(0.1)
        raise AssertionError(f"{database} is still in use")

    def run(self, program: str, *words: str) -> None:
        """One of PostgreSQL's client programs."""
        done = subprocess.run([self.programs / program, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def job(self, name: str, folder: Path, uri: str = "", **settings: str) -> subprocess.CompletedProcess:
        """Run the command of a CronJob of the manifests, with backups in `folder`."""
        uri = uri or self.uri()
        environment = os.environ | {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}
        environment |= {"DATABASE_URI": uri, "MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment |= {"BACKUP_FOLDER": str(folder)} | settings
        return subprocess.run(job_command(name), env=environment, capture_output=True, text=True)

    def backup(self, folder: Path, uri: str = "") -> Path:
        """The file that the nightly job makes."""
        done = self.job("tagscale-backup", folder, uri)
        assert done.returncode == 0, done.stderr
        return max(folder.glob("mlflow-*.dump"))

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.uri("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
