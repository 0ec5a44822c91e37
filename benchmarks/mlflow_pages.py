"""MLflow's pages of a finished study, as a browser shows them: pictures to look at, and the README's.

    python benchmarks/mlflow_pages.py PROJECT --output FOLDER [--readme docs/images/mlflow.png]

PROJECT is a folder with mlflow.db, as `make run` leaves it. Each page is opened in headless Chromium, and must show
some texts; one that does not ends the script with an error. What to look for: one run per study in the list, its
trainings in one colour per model in the charts, scores on the page of models.
"""

import argparse
import base64
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from PIL import Image
from websocket import create_connection

from tagscale.tracking.views import TAG

PATIENCE_SECONDS = 120.0  # for a server or a page, on a machine that does other things, too
SETTLED_SECONDS = 4.0  # for charts that move
WIDTH, HEIGHT = 1500, 940
# MLflow opens the panel of its assistant on a first visit, and charts have buttons where no mouse is.
FIRST = """
    localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
    document.addEventListener('DOMContentLoaded', () => {
        const style = document.createElement('style');
        style.textContent = '.modebar-container { display: none }';
        document.head.append(style);
    });
"""


class Page:
    """A page of headless Chromium, through its DevTools protocol."""

    def __init__(self, address: str) -> None:
        self.connection, self.number = create_connection(address, timeout=PATIENCE_SECONDS), 0

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self.number += 1
        self.connection.send(json.dumps({"id": self.number, "method": method, "params": arguments}))
        while True:
            answer = json.loads(self.connection.recv())
            if answer.get("id") == self.number:
                return dict(answer["result"])

    def value(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def picture(self, address: str, expected: list[str]) -> Image.Image:
        """The page once it shows all of some texts. Raises TimeoutError."""
        self.call("Page.navigate", url="about:blank")  # an address that differs behind # alone loads nothing
        self.call("Page.navigate", url=address)
        end = time.monotonic() + PATIENCE_SECONDS
        while missing := [text for text in expected if text not in str(self.value("document.body.innerText"))]:
            if time.monotonic() > end:
                raise TimeoutError(f"{address} does not show {missing}")
            time.sleep(0.5)
        time.sleep(SETTLED_SECONDS)
        return Image.open(io.BytesIO(base64.b64decode(self.call("Page.captureScreenshot")["data"])))


@contextmanager
def browser() -> Iterator[Page]:
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("no Chromium here: install the package chromium")
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
        flags += [f"--user-data-dir={profile}", f"--window-size={WIDTH},{HEIGHT}", "--remote-allow-origins=*"]
        with process([program, *flags, "about:blank"]):
            port = waited(lambda: (Path(profile) / "DevToolsActivePort").read_text().split()[0])
            tabs = waited(lambda: json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json")))
            page = Page(next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page"))
            metrics = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
            page.call("Emulation.setDeviceMetricsOverride", **metrics)
            page.call("Page.enable")
            page.call("Page.addScriptToEvaluateOnNewDocument", source=FIRST)
            yield page


@contextmanager
def server(database: Path) -> Iterator[str]:
    """MLflow's server of a database, at a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{database}",
        "--workers",
        "1",
    ]
    with process([*command, "--host", "127.0.0.1", "--port", str(port)]):
        waited(lambda: urllib.request.urlopen(address).close())
        yield address


@contextmanager
def process(command: list[str]) -> Iterator[None]:
    """A program and all that it starts, in the background."""
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
    try:
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait()


def waited(attempt: Any) -> Any:
    """What a call gives once it raises no OSError."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return attempt()
        except (OSError, IndexError):
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def pages(database: Path) -> dict[str, tuple[str, list[str]]]:
    """Address and texts of each page, of the first study that has a view."""
    client = MlflowClient(f"sqlite:///{database}")
    viewed = (one for one in client.search_experiments() if any(tag.startswith(f"{TAG}tagscale-") for tag in one.tags))
    experiment = next(viewed)
    place, kind = f"experiments/{experiment.experiment_id}", "workflowType=machine_learning"
    view = next(tag.removeprefix(TAG) for tag in experiment.tags if tag.startswith(f"{TAG}tagscale-"))
    runs = client.search_runs([experiment.experiment_id], "params.model != ''", order_by=["metrics.test_pr_auc DESC"])
    (study,) = client.search_runs([experiment.experiment_id], "tags.`tagscale.study_key` != ''", max_results=1)
    best = str(runs[0].info.run_name)
    model = client.search_logged_models([experiment.experiment_id], f"source_run_id = '{runs[0].info.run_id}'")[0]
    return {
        "charts": (
            f"{place}/runs?viewStateShareKey={view}&compareRunsMode=CHART&{kind}",
            [best, "Parallel Coordinates"],
        ),
        "table": (f"{place}/runs?viewStateShareKey={view}&{kind}", [best, "test_pr_auc", "train_tracks"]),
        "list": (f"{place}/runs?{kind}", [str(study.info.run_name)]),
        "study": (f"runs/{study.info.run_id}", ["The trainings side by side"]),
        "run": (f"{place}/runs/{runs[0].info.run_id}", [best, "test_pr_auc"]),
        "models": (f"{place}/models?{kind}", [best, "Ready"]),
        "model": (f"{place}/models/{model.model_id}", [best, "test_pr_auc"]),
    }


def save(picture: Image.Image, file: Path) -> None:
    """Write a PNG of 256 colours, a third of the size."""
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--readme", type=Path, help="the picture of the charts for the README")
    arguments = parser.parse_args()
    database = arguments.project.absolute() / "mlflow.db"
    arguments.output.mkdir(parents=True, exist_ok=True)
    with server(database) as address, browser() as page:
        for name, (place, expected) in pages(database).items():
            picture = page.picture(f"{address}/#/{place}", expected)
            save(picture, arguments.output / f"{name}.png")
            print(f"{name}: {arguments.output / name}.png", flush=True)
            if name == "charts" and arguments.readme:
                save(picture, arguments.readme)


if __name__ == "__main__":
    main()
