"""A strict Kubeflow Pipelines server on this machine, with state: the v2beta1 calls that tagscale uses."""

import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from flask import Flask, Response, jsonify, request
from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec
from werkzeug.serving import WSGIRequestHandler, make_server

from kfp_loopback.description import faults_of_answer, faults_of_request, operation, predicates

NOW = "2026-01-02T03:04:05Z"
LOGIN_PAGE = "<html><body>Log in with your e-mail address</body></html>"
PLUGIN_INPUT = {
    "experiment_name",
    "experiment_id",
    "disabled",
}  # 2.17.0: backend/src/apiserver/plugins/mlflow/config.go
TASKS = Path(__file__).parents[2] / "k8s" / "tasks"
ACCOUNTS = {  # of the pipelines' namespace, in the manifests
    body["metadata"]["name"]
    for file in TASKS.glob("*.yaml")
    for body in yaml.safe_load_all(file.read_text())
    if body["kind"] == "ServiceAccount"
}
Course = list[tuple[str, dict[str, str]]]


class Fault(Exception):
    """An answer that is an error, as the server words it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class KfpLoopback:
    """State and behaviour of the server.

    Attributes:
        faults: what the API's description lacks of requests and answers; a test must end with none.
        asked: (method, path, headers) of each request.
        script: what the next answers do instead, one after another: a status ("500"), `page` (HTML of a login),
            `redirect` (to a login), `drop` (the connection, before anything is done), `drop-after` (after it is done),
            `stall` (no answer while the server runs).
        token, cookie: requests need them where they are set.
        multi_user: every list and experiment needs a namespace; without it a namespace is refused.
        old: version of a server of the first generation, which lacks v2beta1.
        plugins: a server from 2.17 on, which takes what a run gives its plugins; older ones refuse the field.
        course: (state, {task: state}) for one request after another about a run; "task": "FAILED: reason".
    """

    def __init__(self) -> None:
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring: dict[str, dict[str, Any]] = {}
        self.faults: list[str] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.script: list[str] = []
        self.token = self.cookie = self.old = ""
        self.multi_user, self.plugins = False, True
        self.course: Course = [("SUCCEEDED", {})]
        self.courses: dict[str, Iterator[tuple[str, dict[str, str]]]] = {}
        self.ending = threading.Event()
        self.following = threading.Event()  # a client has requested a run
        self.address = ""
        self._ids = itertools.count(1)

    def identifier(self, kind: str) -> str:
        return f"{kind}-{next(self._ids):04}"

    def answer(self) -> Response:
        """The answer to the request at hand."""
        self.asked.append((request.method, request.path, dict(request.headers)))
        what = self.script.pop(0) if self.script else ""
        if what.isdigit():
            message = f"scripted error {what}"
            return jsonify({"error": message, "code": 2, "message": message}), int(what)
        if what == "page":
            return Response(LOGIN_PAGE, mimetype="text/html")
        if what == "redirect":
            return Response(status=302, headers={"Location": "/dex/auth?client_id=kubeflow&state=secret"})
        if what == "drop":
            return self._dropped()
        if what == "stall":
            self.ending.wait(60)
            return self._dropped()
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return jsonify({"error": "Request header error: there is no user identity header."}), 401
        if self.cookie and request.headers.get("Cookie") != self.cookie:
            return Response(status=302, headers={"Location": "/dex/auth?client_id=kubeflow&state=secret"})
        try:
            content = self._checked_answer()
        except Fault as fault:
            return jsonify({"error": str(fault), "code": 3, "message": str(fault), "details": []}), fault.status
        return self._dropped() if what == "drop-after" else jsonify(content)

    def _dropped(self) -> Response:
        request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return Response()

    def _checked_answer(self) -> Any:
        if self.old:
            if request.path == "/apis/v1beta1/healthz":
                return {"commit_sha": "0" * 40, "tag_name": self.old, "multi_user": False}
            raise Fault(404, "Not Found")
        described = operation(request.method, request.path)
        if described is None:
            if request.path != "/apis/v1beta1/healthz":
                self.faults.append(f"{request.method} {request.path}: no such call")
            raise Fault(404, "Not Found")
        call, inside = described
        query = request.args.to_dict()
        body = request.get_json(force=True) if request.data else None
        if wrong := faults_of_request(call, query, body, set(request.files)):
            self.faults += [f"{call['operationId']}: {fault}" for fault in wrong]
            raise Fault(400, "; ".join(wrong))
        function = getattr(self, call["operationId"].rpartition("_")[2], None)
        if function is None:
            self.faults.append(f"{call['operationId']}: not known to this server")
            raise Fault(501, "Not Implemented")
        content = function(query=query, body=body, **inside)
        self.faults += [f"answer of {call['operationId']}: {fault}" for fault in faults_of_answer(call, content)]
        return content

    def _check_namespace(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Fault(400, "Invalid resource references. Namespace is empty.")
        if namespace and not self.multi_user:
            raise Fault(400, "In single-user mode, the namespace must be empty.")

    def _page(self, records: dict[str, dict[str, Any]], query: dict[str, str], **equal: str) -> list[dict[str, Any]]:
        """The answer to a list request; it compares names without case, as MySQL does."""
        chosen = [one for one in records.values() if all(one.get(key) == value for key, value in equal.items())]
        for predicate in predicates(query):
            assert predicate["operation"] == "EQUALS", predicate
            wanted = predicate["string_value"].lower()
            chosen = [one for one in chosen if one[predicate["key"]].lower() == wanted]
        return chosen[: int(query.get("page_size", 10))]

    def _one(self, records: dict[str, dict[str, Any]], identifier: str) -> dict[str, Any]:
        if identifier not in records:
            raise Fault(404, f"{identifier} not found.")
        return records[identifier]

    # The calls, named by the last word of their operation's identifier.

    def GetHealthz(self, **_: Any) -> Any:
        return {"multi_user": True} if self.multi_user else {}

    def ListExperiments(self, query: dict[str, str], **_: Any) -> Any:
        self._check_namespace(query.get("namespace"))
        return {"experiments": self._page(self.experiments, query)}

    def CreateExperiment(self, body: dict[str, Any], **_: Any) -> Any:
        self._check_namespace(body.get("namespace"))
        made = body | {"experiment_id": self.identifier("experiment"), "created_at": NOW, "storage_state": "AVAILABLE"}
        return self.experiments.setdefault(made["experiment_id"], made)

    def ListPipelines(self, query: dict[str, str], **_: Any) -> Any:
        return {"pipelines": self._page(self.pipelines, query)}

    def CreatePipeline(self, body: dict[str, Any], **_: Any) -> Any:
        if any(body["display_name"] == one["display_name"] for one in self.pipelines.values()):
            raise Fault(409, "Already exist error: the name of the pipeline is taken.")
        made = body | {"pipeline_id": self.identifier("pipeline"), "created_at": NOW}
        return self.pipelines.setdefault(made["pipeline_id"], made)

    def ListPipelineVersions(self, query: dict[str, str], pipeline_id: str, **_: Any) -> Any:
        self._one(self.pipelines, pipeline_id)
        return {"pipeline_versions": self._page(self.versions, query, pipeline_id=pipeline_id)}

    def UploadPipelineVersion(self, query: dict[str, str], **_: Any) -> Any:
        pipeline = self._one(self.pipelines, query["pipelineid"])
        if self._page(self.versions, {}, pipeline_id=pipeline["pipeline_id"], display_name=query["name"]):
            raise Fault(409, "Already exist error: the name of the version is taken.")
        made = {
            "pipeline_version_id": self.identifier("version"),
            "pipeline_id": pipeline["pipeline_id"],
            "display_name": query["name"],
            "description": query.get("description", ""),
            "created_at": NOW,
            "pipeline_spec": _parsed(request.files["uploadfile"].read()),
        }
        return self.versions.setdefault(made["pipeline_version_id"], made)

    def CreateRun(self, body: dict[str, Any], **_: Any) -> Any:
        self._check_job(body)
        for plugin, given in body.get("plugins_input", {}).items():
            if not self.plugins:
                raise Fault(400, 'proto: (line 1:2): unknown field "plugins_input"')
            if plugin == "mlflow" and (unknown := set(given) - PLUGIN_INPUT):
                raise Fault(400, f"plugins_input.mlflow must follow its schema, and has {sorted(unknown)}")
        made = body | {"run_id": self.identifier("run"), "state": "PENDING", "created_at": NOW}
        return self.runs.setdefault(made["run_id"], made)

    def GetRun(self, run_id: str, **_: Any) -> Any:
        run = self._one(self.runs, run_id)
        if run["state"] in ("CANCELING", "CANCELED"):
            run["state"] = "CANCELED"
        else:
            steps = itertools.chain(self.course, itertools.repeat(self.course[-1]))
            state, tasks = next(self.courses.setdefault(run_id, steps))
            run |= {"state": state, "run_details": {"task_details": [_task(*task) for task in tasks.items()]}}
        self.following.set()
        return run

    def TerminateRun(self, run_id: str, **_: Any) -> Any:
        self._one(self.runs, run_id)["state"] = "CANCELING"
        return {}

    def ListRecurringRuns(self, query: dict[str, str], **_: Any) -> Any:
        return {"recurringRuns": self._page(self.recurring, query, experiment_id=query["experiment_id"])}

    def CreateRecurringRun(self, body: dict[str, Any], **_: Any) -> Any:
        self._check_job(body)
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise Fault(400, "The max concurrency of the recurring run must be between 1 and 10.")
        made = body | {"recurring_run_id": self.identifier("recurring"), "created_at": NOW, "status": "ENABLED"}
        made["max_concurrency"] = str(made["max_concurrency"])
        return self.recurring.setdefault(made["recurring_run_id"], made)

    def DeleteRecurringRun(self, recurring_run_id: str, **_: Any) -> Any:
        self._one(self.recurring, recurring_run_id)
        del self.recurring[recurring_run_id]
        return {}

    def _check_job(self, body: dict[str, Any]) -> None:
        """Check what runs and recurring runs need: an account, an experiment in use, a version and its arguments."""
        if body.get("service_account") not in ACCOUNTS:
            self.faults.append(f"no manifest makes the account {body.get('service_account')}: no pod would start")
        if self._one(self.experiments, body["experiment_id"])["storage_state"] == "ARCHIVED":
            raise Fault(400, "The experiment is archived.")
        reference = body["pipeline_version_reference"]
        version = self._one(self.versions, reference["pipeline_version_id"])
        if version["pipeline_id"] != reference["pipeline_id"] or not body.get("display_name"):
            raise Fault(400, "The version is of another pipeline, or the name is empty.")
        spec = version["pipeline_spec"]
        spec = spec.get("pipeline_spec", spec)
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        unknown = set(body.get("runtime_config", {}).get("parameters", {})) - set(known)
        if unknown:
            raise Fault(400, f"The pipeline has no parameters {sorted(unknown)}.")


def _parsed(content: bytes) -> dict[str, Any]:
    """An uploaded pipeline as the server returns it: parsed into protobuf, both parts in one object."""
    documents = list(yaml.load_all(content, Loader=yaml.CSafeLoader))
    try:
        pipeline = json_format.ParseDict(documents[0], PipelineSpec(), ignore_unknown_fields=False)
        platforms = [json_format.ParseDict(one, PlatformSpec(), ignore_unknown_fields=False) for one in documents[1:]]
    except json_format.ParseError as error:
        raise Fault(400, f"Invalid input error: {error}") from None
    if not platforms:
        return json_format.MessageToDict(pipeline)
    return {
        "pipeline_spec": json_format.MessageToDict(pipeline),
        "platform_spec": json_format.MessageToDict(platforms[0]),
    }


def _task(name: str, state: str) -> dict[str, Any]:
    state, _, error = state.partition(": ")
    task = {"task_id": f"task-{name}", "display_name": name, "create_time": NOW, "state": state}
    return task | ({"error": {"code": 2, "message": error}} if error else {})


class _Silent(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass

    def connection_dropped(self, *_: Any) -> None:
        pass


@contextmanager
def serving(certificate: tuple[str, str] | None = None) -> Iterator[KfpLoopback]:
    """A server in a thread, until the block ends. Fails where a request or an answer differs from the description.

    Args:
        certificate: files of a certificate for `localhost` and of its key, for https.
    """
    server = KfpLoopback()
    app = Flask(__name__)
    app.add_url_rule("/", defaults={"path": ""}, view_func=lambda path: server.answer())
    methods = ["GET", "POST", "DELETE", "PATCH", "PUT"]
    app.add_url_rule("/<path:path>", endpoint="any", view_func=lambda path: server.answer(), methods=methods)
    listening = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Silent, ssl_context=certificate)
    server.address = f"https://localhost:{listening.port}" if certificate else f"http://127.0.0.1:{listening.port}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ending.set()
        listening.shutdown()
        listening.server_close()
    assert not server.faults, server.faults
