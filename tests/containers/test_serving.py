"""The champion's pod of k8s/ in the image: its user, command, variables and root; what it answers, and its end."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from containers.engine import Engine
from registry.tiny import empty_store
from serving.served import MODEL, TAGS, registered
from tagscale.registry.package import example_wav

ROOT = Path(__file__).parents[2]
CHAMPION = ROOT / "k8s" / "components" / "champion-deployment" / "champion.yaml"
TOKEN = "a token that nobody guesses"
SERVED = set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", (ROOT / "requirements-serve.lock").read_text(), re.MULTILINE))
# The modules of packages that requirements-serve.lock lacks. The image for serving, which it makes, has none of them.
LACKING = """
import json, re, sys
from importlib.metadata import packages_distributions
served = set(json.loads(sys.argv[1]))
of_module = packages_distributions().items()
known = lambda name: re.sub("[-_.]+", "-", name).lower() in served
print(json.dumps([module for module, packages in of_module if not any(map(known, packages))]))
"""
REFUSING = """
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in LACKING:
            raise ModuleNotFoundError(f"{name} is not in the image for serving", name=name)
sys.meta_path.insert(0, Refusing())
"""
ASKING = """
import sys, urllib.error, urllib.request
path, token, *files = sys.argv[1:]
body = open(files[0], "rb").read() if files else None
headers = {"Authorization": f"Bearer {token}", "Content-Type": "audio/wav"}
try:
    answer = urllib.request.urlopen(urllib.request.Request(f"http://localhost:8080{path}", body, headers))
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"""
UPLOADING = """
import os, socket, sys, time
token, file = sys.argv[1:]
body = open(file, "rb").read()
head = f"POST /tag HTTP/1.1\\r\\nHost: a\\r\\nAuthorization: Bearer {token}\\r\\nContent-Type: audio/wav\\r\\n"
connection = socket.create_connection(("localhost", 8080))
connection.sendall(f"{head}Content-Length: {len(body)}\\r\\n\\r\\n".encode() + body[:-10])
open("/tmp/begun", "w").close()
while not os.path.exists("/tmp/go"):
    time.sleep(0.05)
connection.sendall(body[-10:])
print(connection.recv(1000).splitlines()[0].decode(), file=open("/proc/1/fd/2", "w"))
"""


class Pod:
    """A container that runs the command of the champion's pod."""

    def __init__(self, container: Any, song: Path) -> None:
        self.container, self.song = container, song

    def run(self, *command: str) -> str:
        """The output of a command beside the server."""
        done = self.container.exec_run(list(command))
        assert done.exit_code == 0, done.output.decode()
        output: str = done.output.decode()
        return output

    def ask(self, path: str, *files: str, token: str = TOKEN) -> tuple[int, str]:
        status, _, content = self.run("python", "-c", ASKING, path, token, *files).partition(" ")
        return int(status), content

    def log(self) -> str:
        log: str = self.container.logs().decode()
        return log

    def wait(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        ends = time.monotonic() + seconds
        while not condition():
            self.container.reload()
            assert self.container.status == "running", self.log()[-3000:]
            assert time.monotonic() < ends, self.log()[-3000:]
            time.sleep(0.5)


@pytest.fixture(scope="module")
def pod(
    engine: Engine, image: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pod]:
    """The pod with a registry of its own, a folder, in place of the server that the manifests name."""
    folder = empty_store(request.config, tmp_path_factory.mktemp("registry"))
    shutil.copy(ROOT / "params.yaml", folder)
    registered(folder, 0)
    song = folder / "song.wav"
    song.write_bytes(example_wav(2.0))
    lacking = engine.client.containers.run(
        image, ["python", "-c", LACKING, json.dumps([*SERVED, "tagscale"])], remove=True
    )
    assert {"kfp", "dvc", "great_expectations"} <= set(json.loads(lacking))
    (folder / "sitecustomize.py").write_text(f"LACKING = set({json.loads(lacking)})\n{REFUSING}")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    deployment = next(one for one in yaml.safe_load_all(CHAMPION.read_text()) if one["kind"] == "Deployment")
    template = deployment["spec"]["template"]["spec"]
    (described,) = template["containers"]
    own = {variable["name"]: variable["value"] for variable in described["env"] if "value" in variable}
    given = {"CHAMPION_VERSION": "1", "TAGSCALE_TOKENS": TOKEN, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    assert own.keys() | given.keys() == {variable["name"] for variable in described["env"]}
    mounts = {mount["mountPath"] for mount in described["volumeMounts"]}
    assert all("emptyDir" in volume for volume in template["volumes"])
    rights, confined = template["securityContext"], described["securityContext"]
    container = engine.client.containers.run(
        image,
        [re.sub(r"\$\((\w+)\)", lambda found: given[found[1]], word) for word in described["args"]],
        entrypoint=described["command"],
        detach=True,
        working_dir=described["workingDir"],
        user=f"{rights['runAsUser']}:{rights['runAsGroup']}",
        environment=own | given | {"PYTHONPATH": str(folder)},
        volumes={str(folder): {"bind": str(folder), "mode": "rw"}},
        tmpfs=dict.fromkeys(mounts, "mode=1777"),
        read_only=confined["readOnlyRootFilesystem"],
        cap_drop=confined["capabilities"]["drop"],
        security_opt=[] if confined["allowPrivilegeEscalation"] else ["no-new-privileges"],
        network_mode="none",
    )
    try:
        made = Pod(container, song)
        (probe,) = {described[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe")}
        made.wait(lambda: container.exec_run(["python", "-c", ASKING, probe, ""]).output.startswith(b"200"))
        yield made
    finally:
        container.remove(force=True, v=True)


def test_it_is_ready_and_tags_a_song(pod: Pod) -> None:
    assert json.loads(pod.ask("/readyz", token="")[1]) == {"ready": True, "model": MODEL, "version": "1"}
    assert pod.ask("/tag", str(pod.song), token="")[0] == 401
    status, content = pod.ask("/tag?taggram=true", str(pod.song))
    (result,) = json.loads(content)["results"]
    assert (status, set(result["scores"])) == (200, set(TAGS))
    metrics = pod.ask("/metrics", token="")[1]
    assert 'tagscale_requests_total{path="/tag",status="200"} 1.0' in metrics
    assert f'model="{MODEL}",name="1",role="lead"' in metrics
    assert pod.ask("/")[0] == 200, "the page"


def test_a_catalogue_is_tagged_in_it(pod: Pod) -> None:
    words = ("tagscale", "tag", str(pod.song), "--model", MODEL, "--version", "1", "--out")
    for suffix in ("parquet", "jsonl"):
        assert "1 file (1 tagged)" in pod.run(*words, f"/tmp/scores.{suffix}")
    (row,) = map(json.loads, pod.run("cat", "/tmp/scores.jsonl").splitlines())
    assert set(row["scores"]) == set(TAGS)
    assert "kfp is not in the image for serving" in str(
        pod.container.exec_run(["python", "-c", "import kfp"]).output
    ), "or no package that it lacks is missed here"


def test_sigterm_lets_a_request_end(pod: Pod) -> None:
    """The last test: it ends the pod."""
    pod.container.exec_run(["python", "-c", UPLOADING, TOKEN, str(pod.song)], detach=True)
    pod.wait(lambda: pod.container.exec_run(["ls", "/tmp/begun"]).exit_code == 0)
    pod.container.kill("SIGTERM")
    pod.wait(lambda: pod.ask("/readyz", token="")[0] == 503)
    assert pod.ask("/healthz", token="")[0] == 200
    pod.run("touch", "/tmp/go")
    assert pod.container.wait(timeout=60)["StatusCode"] == 0, pod.log()[-3000:]
    assert "HTTP/1.1 200 OK" in pod.log()
