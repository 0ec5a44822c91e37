"""The image as a cluster runs it: an unprivileged user, a read-only root file system, only /tmp writable."""

import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.version import Version

from containers.engine import Engine

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements-image.lock").read_text()
# As the pods of k8s/: without privileges, with a volume for /tmp.
CONFINED = {
    "read_only": True,
    "tmpfs": {"/tmp": "exec"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "network_mode": "none",
}
EVERYTHING = """
import importlib, pkgutil, tagscale, torch
for module in pkgutil.walk_packages(tagscale.__path__, "tagscale."):
    importlib.import_module(module.name)
from tagscale.runtime.provenance import git_commit, user
print(user(), git_commit(), torch.__version__, torch.version.cuda, tagscale.__file__)
"""


@pytest.fixture(scope="session")
def attributes(engine: Engine, image: str) -> dict[str, Any]:
    return engine.client.images.get(image).attrs


def said(engine: Engine, image: str, *command: str, **options: Any) -> str:
    """The output of a command in a confined container."""
    output: bytes = engine.client.containers.run(image, list(command), remove=True, **CONFINED | options)
    return output.decode()


def locked(package: str) -> str:
    found = re.search(rf"^{package}==([^ ]+)", LOCK, re.MULTILINE)
    assert found, package
    return found[1]


def test_the_user_has_no_rights(engine: Engine, image: str, attributes: dict[str, Any]) -> None:
    assert attributes["Config"]["User"] == "1000:1000"
    assert said(engine, image, "id") == "uid=1000(tagscale) gid=1000(tagscale) groups=1000(tagscale)\n"
    places = "/opt /app /usr /etc /var/lib"
    assert said(engine, image, "sh", "-c", f"find {places} -writable -not -type l 2>/dev/null || true") == ""
    assert (
        said(engine, image, "sh", "-c", "find / -xdev -perm /6000 -type f -newer /opt/tagscale 2>/dev/null || true")
        == ""
    )


def test_labels_say_what_it_is_and_what_it_was_made_from(image: str, attributes: dict[str, Any]) -> None:
    labels = {key.rpartition(".")[2]: value for key, value in attributes["Config"]["Labels"].items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (labels["title"], labels["version"]) == ("tagscale", project["version"])
    assert labels["licenses"] == project["license"]
    assert "@" not in labels["source"]
    revision = labels["revision"]
    assert f"TAGSCALE_GIT_COMMIT={revision}" in attributes["Config"]["Env"]
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if asked.returncode == 0 and image.startswith("tagscale-test"):
        commit = asked.stdout.strip()
        assert revision in (commit, f"{commit}-dirty")
        assert f"tagscale-test:{revision[:7]}{revision[40:]}" in attributes["RepoTags"]


def test_it_holds_what_the_lock_says_and_neither_tools_nor_secrets(
    engine: Engine, image: str, attributes: dict[str, Any]
) -> None:
    listed = said(
        engine,
        image,
        "python",
        "-c",
        "import importlib.metadata as m\nfor d in m.distributions(): print(d.name, d.version)",
    )
    found = dict(line.lower().replace("_", "-").split() for line in listed.splitlines())
    for package in ("mlflow", "kfp", "lightning-fabric", "dvc", "psycopg-binary"):
        assert found[package] == locked(package)
    assert not {"pip", "uv", "pytest", "ruff", "mypy", "moto"} & set(found)
    history = engine.client.images.get(image).history()
    assert not [step["CreatedBy"] for step in history if "PIP_" in step["CreatedBy"] or "://" in step["CreatedBy"]]
    names = {variable.partition("=")[0] for variable in attributes["Config"]["Env"]}
    assert not {name for name in names if re.search("PASSWORD|SECRET|TOKEN|_KEY|PIP_|UV_", name)}
    names = [".git", ".env", ".netrc", ".pypirc", "pip.conf", "id_rsa", "credentials.json"]
    wanted = " -o ".join(f"-name {name}" for name in names)
    assert said(engine, image, "sh", "-c", f"find / -xdev \\( {wanted} \\) 2>/dev/null || true") == ""


def test_every_module_imports_also_for_a_user_without_a_name(
    engine: Engine, image: str, attributes: dict[str, Any]
) -> None:
    revision = attributes["Config"]["Labels"]["org.opencontainers.image.revision"]
    told = said(engine, image, "python", "-c", EVERYTHING, user="4242:4242")
    who, commit, torch, cuda, file = told.split()[-5:]
    assert (who, commit) == ("unknown", revision)
    assert Version(torch).public == locked("torch")
    assert cuda == "13.0" or "+cpu" in torch
    assert file.startswith("/opt/tagscale/lib/"), "not installed"


def test_bytecode_is_there(engine: Engine, image: str) -> None:
    """None can be written later, and every task would compile its imports anew."""
    asks = "from importlib.util import find_spec as f; print(*(f(name).cached for name in {names}))"
    names = ["tagscale", "torch", "mlflow", "kfp"]
    files = said(engine, image, "python", "-c", asks.format(names=names)).split()
    assert said(engine, image, "ls", *files).split() == sorted(files)
    assert len(files) == len(names)


def test_commands(engine: Engine, image: str) -> None:
    assert "published baseline" in said(engine, image, "env", "COLUMNS=120", "tagscale", "models")
    assert "preprocess" in said(engine, image, "bash", "--login", "-c", "tagscale --help"), "also in a login shell"
    assert "training.yaml" in said(engine, image, "python", "-m", "pipelines", "compile", "--output", "/tmp/compiled")
    for preset in (ROOT / "presets").glob("*.yaml"):
        assert said(engine, image, "ls", f"presets/{preset.name}")


def test_the_mlflow_server_of_the_manifests_starts(engine: Engine, image: str) -> None:
    """With users, as k8s/servers/mlflow.yaml starts it; on SQLite, in place of PostgreSQL."""
    documents = yaml.safe_load_all((ROOT / "k8s" / "servers" / "mlflow.yaml").read_text())
    (pod,) = (one["spec"]["template"]["spec"] for one in documents if one["kind"] == "Deployment")
    (container,) = pod["containers"]
    given = {"ALLOWED_HOSTS": "localhost:*", "CORS_ALLOWED_ORIGINS": "http://localhost:5000"}
    environment = {f"MLFLOW_SERVER_{name}": value for name, value in given.items()} | {
        "MLFLOW_ARTIFACTS_DESTINATION": "/tmp/artifacts",
        "MLFLOW_BACKEND_STORE_URI": "sqlite:////tmp/mlflow.db",
        "MLFLOW_AUTH_CONFIG_PATH": "/tmp/basic_auth.ini",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "0123456789abcdef",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "a-password-of-tests",
        "MLFLOW_AUTH_ADMIN_USERNAME": "admin",
    }
    arguments = [re.sub(r"\$\((\w+)\)", lambda found: environment[found[1]], word) for word in container["args"]]
    settings = "[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:////tmp/users.db\nadmin_username = admin\n"
    settings += "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    start = 'printf "%s" "$SETTINGS" >/tmp/basic_auth.ini && exec "$@"'
    running = engine.client.containers.run(
        image,
        ["sh", "-c", start, "server", *container["command"], *arguments],
        detach=True,
        working_dir=container["workingDir"],
        environment=environment | {"SETTINGS": settings},
        **CONFINED,
    )
    try:
        asks = "import urllib.request as r; print(r.urlopen('http://localhost:5000/health').read())"
        ends = time.monotonic() + 120
        while (asked := running.exec_run(["python", "-c", asks])).exit_code:
            running.reload()
            assert running.status == "running", running.logs().decode()[-3000:]
            assert time.monotonic() < ends, running.logs().decode()[-3000:]
            time.sleep(1)
        assert asked.output == b"b'OK'\n"
        refused = (
            "import urllib.request as r; r.urlopen('http://localhost:5000/api/2.0/mlflow/users/get?username=admin')"
        )
        assert b"401" in running.exec_run(["python", "-c", refused]).output
    finally:
        running.remove(force=True, v=True)


def test_its_size(attributes: dict[str, Any]) -> None:
    gigabytes = attributes["Size"] / 1e9
    print(f"\nthe image has {gigabytes:.2f} GB", file=sys.stderr)
    assert gigabytes < 6.5, "4.5 GB are torch and CUDA; has something come twice?"
