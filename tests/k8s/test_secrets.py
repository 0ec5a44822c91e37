"""The script that makes the secrets, run as an operator runs it, with kubectl printing what it would make."""

import base64
import configparser
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from k8s.references import secrets_named, secrets_of
from k8s.rules import SERVERS

from manifests import K8S, OVERLAYS, rendered
from tagscale.runtime.errors import TagscaleError

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

SCRIPT = K8S / "secrets" / "create.sh"
TASKS = "tagscale"
REGISTRY = {"REGISTRY": "registry.example.org", "REGISTRY_USER": "puller", "REGISTRY_PASSWORD": 'p"ss\\word'}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], env=os.environ | environment, capture_output=True, text=True
    )


def made(overlay: str, **environment: str) -> dict[tuple[str, str], dict[str, str]]:
    """Secrets by namespace and name: their keys and values."""
    done = run(overlay, "--dry-run", **environment)
    assert done.returncode == 0, done.stderr
    secrets = [secret for secret in yaml.safe_load_all(done.stdout) if secret]
    return {
        (secret["metadata"]["namespace"], secret["metadata"]["name"]): {
            key: base64.b64decode(value).decode() for key, value in secret["data"].items()
        }
        for secret in secrets
    }


def in_template(tasks: str = TASKS) -> dict[tuple[str, str], set[str]]:
    """Keys of the secrets in the script's text, by namespace and name."""
    sides = {"servers": SERVERS, "tasks": tasks}
    return {(sides[side], name): keys for side, secrets in secrets_of(SCRIPT).items() for name, keys in secrets.items()}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> dict[str, str]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    options = ["-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=mlflow.example.org"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "certificate")]
    subprocess.run(["openssl", "req", *options, *files], check=True, capture_output=True)
    return {"TLS_CERTIFICATE": str(folder / "certificate"), "TLS_KEY": str(folder / "key")}


def of_cloud(certificate: dict[str, str]) -> dict[str, str]:
    uri = "postgresql://mlflow:p%40ss@db.example.org:5432/mlflow"
    return certificate | {"DATABASE_URI": uri, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3 cret/+="}


def test_the_template_has_exactly_the_secrets_that_the_manifests_name():
    named = set().union(*(secrets_named(rendered(K8S, overlay)) for overlay in OVERLAYS if overlay != "standalone"))
    assert set(in_template()) == named


@pytest.mark.parametrize("overlay", ["local", "gpu", "standalone"])
def test_an_overlay_gets_what_it_names_and_the_template_says_its_keys(overlay):
    tasks = "kubeflow" if overlay == "standalone" else TASKS
    secrets, template = made(overlay), in_template(tasks)
    if (tasks, "tagscale-registry") in secrets_named(rendered(K8S, overlay)):
        secrets |= made("registry", **REGISTRY, NAMESPACE=tasks)
    clients = {(tasks, "tagscale-mlflow-client"), (tasks, "tagscale-mlflow-reader")}  # of pipelines, and of a champion
    assert set(secrets) == secrets_named(rendered(K8S, overlay)) | clients
    assert {name: set(values) for name, values in secrets.items()} == {name: template[name] for name in secrets}


def test_the_server_knows_the_password_that_the_database_gets():
    secrets = made("local")
    password = secrets[SERVERS, "tagscale-postgres"]["POSTGRES_PASSWORD"]
    server = secrets[SERVERS, "tagscale-mlflow-server"]
    assert server["MLFLOW_BACKEND_STORE_URI"] == f"postgresql://mlflow:{password}@tagscale-postgres:5432/mlflow"
    config = configparser.ConfigParser()
    config.read_string(server["basic_auth.ini"])
    assert config["mlflow"]["database_uri"] == server["MLFLOW_BACKEND_STORE_URI"]


@pytest.mark.parametrize("name", ["tagscale-mlflow-client", "tagscale-mlflow-reader"])
def test_the_server_and_its_clients_have_the_same_user(name):
    secrets = made("local")
    assert secrets[SERVERS, name] == secrets[TASKS, name]
    users = {values["MLFLOW_TRACKING_USERNAME"] for values in secrets.values() if "MLFLOW_TRACKING_USERNAME" in values}
    assert users == {"tagscale", "tagscale-reader"}


def test_passwords_are_random_and_long():
    first, second = made("local"), made("local")
    passwords = {
        (name, key): value
        for name, values in first.items()
        for key, value in values.items()
        if name[0] == SERVERS and key.endswith(("PASSWORD", "SECRET_KEY", "SECRET_ACCESS_KEY"))
    }
    assert len(passwords) == len(set(passwords.values())) == 6
    for (name, key), value in passwords.items():
        assert len(value) == 32
        assert value.isalnum()
        assert value != second[name][key]


def test_the_cloud_gets_the_providers_values_as_they_are(certificate):
    secrets = made("cloud", **of_cloud(certificate))
    assert set(secrets | made("registry", **REGISTRY)) == secrets_named(rendered(K8S, "cloud"))
    assert secrets[SERVERS, "tagscale-s3"] == {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "s3 cret/+="}
    assert secrets[SERVERS, "tagscale-mlflow-tls"]["tls.crt"] == Path(certificate["TLS_CERTIFICATE"]).read_text()
    config = configparser.ConfigParser()
    config.read_string(secrets[SERVERS, "tagscale-mlflow-server"]["basic_auth.ini"])  # `%` is a sign of its own there
    assert config["mlflow"]["database_uri"] == "postgresql://mlflow:p%40ss@db.example.org:5432/mlflow"


def test_the_pull_secret_is_what_docker_writes():
    for namespace in (SERVERS, TASKS):
        written = json.loads(made("registry", **REGISTRY)[namespace, "tagscale-registry"][".dockerconfigjson"])
        login = base64.b64decode(written["auths"]["registry.example.org"]["auth"]).decode()
        assert login == 'puller:p"ss\\word'


@pytest.mark.parametrize(
    ("which", "name"), [("clients", "tagscale-mlflow-client"), ("reader", "tagscale-mlflow-reader")]
)
def test_a_renewed_password_is_one_for_both_namespaces(which, name):
    secrets = made(which)
    assert set(secrets) == {(SERVERS, name), (TASKS, name)}
    assert len({values["MLFLOW_TRACKING_PASSWORD"] for values in secrets.values()}) == 1


def test_no_secret_is_made_before_both_namespaces_are_there(tmp_path):
    calls = tmp_path / "calls"
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\necho "$*" >>{calls}\n[ "$3" = {SERVERS} ]\n')
    (tmp_path / "kubectl").chmod(0o755)
    done = run("local", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 1
    assert f"error no namespace {TASKS}" in done.stderr
    assert "create" not in calls.read_text()


@pytest.mark.parametrize("missing", ["DATABASE_URI", "AWS_SECRET_ACCESS_KEY", "TLS_KEY"])
def test_the_cloud_does_not_start_without_a_value(certificate, missing):
    done = run("cloud", "--dry-run", **(of_cloud(certificate) | {missing: ""}))
    assert done.returncode != 0
    assert missing in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("arguments", [[], ["clouds"], ["local", "--dryrun"]])
def test_an_argument_that_it_does_not_know_is_refused(arguments):
    done = run(*arguments)
    assert done.returncode == 1
    assert "expected" in done.stderr


def test_a_template_without_commands_is_refused(tmp_path):
    (tmp_path / "create.sh").write_text("echo nothing\n")
    with pytest.raises(TagscaleError, match="found no `kubectl create secret` command"):
        secrets_of(tmp_path / "create.sh")
