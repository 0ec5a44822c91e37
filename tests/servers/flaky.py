"""An MLflow server within the test's own process, which goes away on demand: MLflow's own application and store."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import BaseWSGIServer, make_server

from registry.tiny import empty_store


class FlakyMlflow:
    """MLflow at `address`; every request goes through `mode`.

    Attributes:
        mode: what happens to requests:
            well; 503 or any other status; reset, the connection ends without an answer; lost, it ends when the request
            has been carried out; hang, no answer for `hang_seconds`
        asked: method and path of every request that was carried out
        script: modes of the next requests, one each; then `mode`
    """

    def __init__(self, folder: Path) -> None:
        from mlflow.server import app

        self.app, self.folder = app, folder
        self.mode, self.script, self.asked = "well", list[str](), list[str]()
        self.hang_seconds = 3.0
        self.fails: Callable[[str], bool] = lambda path: True
        self.server: BaseWSGIServer | None = None
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, at the port that it had before."""
        self.server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        assert self.server
        self.server.shutdown()
        self.server.server_close()
        self.server = None

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path = environ["PATH_INFO"]
        mode = self.script.pop(0) if self.script else self.mode if self.fails(path) else "well"
        if mode == "hang":
            time.sleep(self.hang_seconds)
        if mode.isdigit():
            start_response(f"{mode} Status", [("Content-Type", "text/plain"), ("Retry-After", "100")])
            return [b"not now"]
        if mode in ("reset", "hang"):
            return self._hang_up(environ)
        self.asked.append(f"{environ['REQUEST_METHOD']} {path}")
        answer = self.app(environ, start_response)
        if mode == "lost":
            b"".join(answer)
            return self._hang_up(environ)
        return answer

    def _hang_up(self, environ: dict[str, Any]) -> Any:
        with suppress(OSError):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionError


@contextmanager
def flaky_mlflow(config: pytest.Config, folder: Path) -> Iterator[FlakyMlflow]:
    """A server that keeps everything in `folder`."""
    from mlflow.server import handlers
    from mlflow.tracking._model_registry import utils as registry
    from mlflow.tracking._tracking_service import utils as tracking

    empty_store(config, folder)
    settings = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        for store in ("_tracking_store", "_model_registry_store", "_artifact_repo"):
            patch.setattr(handlers, store, None)
        # the server would set those of its clients, and of all tests after this one
        patch.setattr(tracking, "set_tracking_uri", lambda *_: None)
        patch.setattr(registry, "set_registry_uri", lambda *_: None)
        server = FlakyMlflow(folder)
        server.start()
        try:
            yield server
        finally:
            if server.server:
                server.stop()
