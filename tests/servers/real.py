"""What a cluster has around the pipelines, on loopback: PostgreSQL, an S3 server, and MLflow with users.

    with real_servers(request.config, folder) as servers:
        environment = os.environ | servers.client   # MLFLOW_TRACKING_*, and no S3 keys
        servers.keys                                # S3's address and keys, for DVC and for looking

MLflow is started as k8s/servers/mlflow.yaml says, so that a manifest that does not work fails here.
"""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
import mlflow
import pytest
from moto.server import ThreadedMotoServer

import warm
from servers.manifest import K8S, MlflowManifest, basic_auth
from servers.postgres import DATABASE, Postgres
from servers.processes import Process, free_port
from tagscale.runtime.files import replacing

ADMIN, ADMIN_PASSWORD = "admin", "thePasswordOfTheAdministrator"
NAME, PASSWORD = "tagscale", "thePasswordOfTheClients"
READER, READER_PASSWORD = "tagscale-reader", "thePasswordOfTheChampion"
KEY, SECRET = "tagscale", "theSecretOfTheServer"
REGION = "us-east-1"
TABLES = """
import sys
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore as Users
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
SqlAlchemyStore(sys.argv[1], "mlflow-artifacts:/")
Users().init_db(sys.argv[1])
"""


class RealServers:
    """The three servers.

    Attributes:
        postgres: the database; can be stopped and started
        address: MLflow's
        client, reader: environments of those who have MLflow's users and passwords: tasks, and the champion
        keys: environment of those who have S3's address and keys
        bucket: of the artifacts
        path: of programs, those of tests/warm first
    """

    def __init__(self, postgres: Postgres, endpoint: str, folder: Path, programs: Path) -> None:
        self.postgres, self.endpoint, self.folder = postgres, endpoint, folder
        self.path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.client = {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": NAME,
            "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        }
        self.reader = self.client | {"MLFLOW_TRACKING_USERNAME": READER, "MLFLOW_TRACKING_PASSWORD": READER_PASSWORD}
        self.keys = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        self.manifest = self.manifest_for(postgres.uri())
        self.bucket = self.manifest.environment("mlflow")["MLFLOW_ARTIFACTS_DESTINATION"].split("/")[2]
        self.mlflow = self.mlflow_process(self.manifest, folder, port)

    def manifest_for(self, database_uri: str) -> MlflowManifest:
        """The manifest, with what the secrets hold here."""
        secrets = {
            ("tagscale-mlflow-client", "MLFLOW_TRACKING_USERNAME"): NAME,
            ("tagscale-mlflow-client", "MLFLOW_TRACKING_PASSWORD"): PASSWORD,
            ("tagscale-mlflow-reader", "MLFLOW_TRACKING_USERNAME"): READER,
            ("tagscale-mlflow-reader", "MLFLOW_TRACKING_PASSWORD"): READER_PASSWORD,
            ("tagscale-mlflow-server", "MLFLOW_AUTH_ADMIN_PASSWORD"): ADMIN_PASSWORD,
            ("tagscale-mlflow-server", "MLFLOW_FLASK_SERVER_SECRET_KEY"): "aSecretOfTheSessions",
            ("tagscale-mlflow-server", "MLFLOW_BACKEND_STORE_URI"): database_uri,
            ("tagscale-s3", "AWS_ACCESS_KEY_ID"): KEY,
            ("tagscale-s3", "AWS_SECRET_ACCESS_KEY"): SECRET,
        }
        return MlflowManifest(secrets, {"AWS_ENDPOINT_URL": self.endpoint, "AWS_DEFAULT_REGION": REGION})

    def mlflow_process(self, manifest: MlflowManifest, folder: Path, port: int) -> Process:
        """MLflow's server as the manifest starts it, but on loopback, at another port, with one worker."""
        users = basic_auth(manifest.environment("mlflow")["MLFLOW_BACKEND_STORE_URI"])
        (folder / "basic_auth.ini").write_text(users)
        changes = {"--host": "127.0.0.1", "--port": str(port), "--workers": "1"}
        command = manifest.command("mlflow", changes)

        def answers() -> bool:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return True

        return Process(command, self.environment(manifest, "mlflow", folder), folder, answers)

    def environment(self, manifest: MlflowManifest, container: str, folder: Path) -> dict[str, str]:
        """A container's environment: nothing of this process's but where programs are."""
        here = {"PATH": self.path, "HOME": str(folder), "MLFLOW_AUTH_CONFIG_PATH": f"{folder}/basic_auth.ini"}
        return manifest.environment(container) | here

    def initialise(self, container: str) -> str:
        """What an init container says."""
        python, script, *words = self.manifest.command(container, {})
        assert (python, script[:9]) == ("python", "/scripts/")
        command = [sys.executable, str(K8S / "servers" / script[9:]), *words]
        environment = self.environment(self.manifest, container, self.folder)
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def s3(self) -> Any:
        """A client with the keys."""
        keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": REGION}
        return boto3.client("s3", endpoint_url=self.endpoint, **keys)

    def stored(self) -> list[str]:
        """Names of all objects in the bucket."""
        pages = self.s3().get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [one["Key"] for page in pages for one in page.get("Contents", [])]


@contextmanager
def real_servers(config: pytest.Config, folder: Path) -> Iterator[RealServers]:
    """All three, started; skips where PostgreSQL is not installed."""
    postgres = Postgres()
    s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    servers: RealServers | None = None
    stack = ExitStack()
    try:
        postgres.start()
        s3.start()
        host, port = s3.get_host_and_port()
        fill(postgres, config)
        servers = RealServers(postgres, f"http://{host}:{port}", folder, stack.enter_context(warm.serving()))
        servers.s3().create_bucket(Bucket=servers.bucket)
        assert servers.initialise("user") == f"user {NAME}: made\nuser {READER}: made"
        servers.mlflow.start()
        yield servers
    finally:
        if servers:
            servers.mlflow.stop()
        s3.stop()
        postgres.remove()
        stack.close()


def fill(postgres: Postgres, config: pytest.Config) -> None:
    """MLflow's tables, still empty."""
    filled(postgres, config, DATABASE, TABLES)


def filled(postgres: Postgres, config: pytest.Config, database: str, program: str, *words: str) -> None:
    """A database that a Python program fills; it takes long (15 s), so pytest keeps a dump.

    Args:
        words: arguments of the program after the database's address
    """
    versions = f"{mlflow.__version__}-postgresql-{postgres.programs.parent.name}"
    template = config.cache.mkdir("mlflow") / f"{database}-{versions}.dump"  # type: ignore[union-attr]
    uri = postgres.create(database)
    if template.exists():
        postgres.run("pg_restore", "--no-owner", "--exit-on-error", f"--dbname={uri}", str(template))
        return
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run([sys.executable, "-c", program, uri, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with replacing(template) as fresh:
        postgres.run("pg_dump", "--format=custom", "--no-owner", f"--file={fresh}", f"--dbname={uri}")
