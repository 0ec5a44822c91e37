"""Submitting, following, scheduling and cancelling, against a server that refuses what KFP's API does not have."""

import base64
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipelines.__main__ import app
from pipelines.graph import Graph
from typer.testing import CliRunner
from werkzeug.serving import make_ssl_devcert

from kfp_loopback.server import KfpLoopback, serving
from pipelines import follow as following
from pipelines import package
from pipelines import server as sending
from tagscale.params.load import Params, load, parse
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]
COMMIT = "0d40257" + "0" * 33
VARIABLES = ("TAGSCALE_KFP_TOKEN", "TAGSCALE_KFP_COOKIE", "KF_PIPELINES_ENDPOINT", "KF_PIPELINES_SA_TOKEN_PATH")


TEXTS: dict[tuple[str, str], str] = {}
COMPILE = package.compiled_text


def compiled_once(name: str, settings: Params) -> str:
    """What the compiler writes, without compiling the same settings for every test."""
    key = (name, settings.model_dump_json())
    if key not in TEXTS:
        TEXTS[key] = COMPILE(name, settings)
    return TEXTS[key]


@pytest.fixture
def server() -> Iterator[KfpLoopback]:
    with serving() as loopback:
        yield loopback


@pytest.fixture(autouse=True)
def outside_of_git(tmp_path, monkeypatch):
    """A folder that is no repository, and a commit that is told: the version's name is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # kfp reads ~/.config/kfp
    monkeypatch.setenv("TAGSCALE_GIT_COMMIT", COMMIT)
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(package, "compiled_text", compiled_once)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def call(command: str, server: KfpLoopback, *arguments: str, status: int = 0) -> str:
    """What a command prints."""
    given = () if command in ("wait", "cancel") else ("--params", str(ROOT / "params.yaml"))
    done = CliRunner().invoke(app, [command, "--host", server.address, *given, *arguments])
    if isinstance(done.exception, TagscaleError):
        raise done.exception  # main() prints it
    assert done.exit_code == status, done.output
    return done.output


def only(found: dict[str, dict]) -> dict:
    (one,) = found.values()
    return one


def lists(server: KfpLoopback) -> dict[str, int]:
    return {name: len(getattr(server, name)) for name in ("pipelines", "versions", "experiments", "runs", "recurring")}


def test_makes_pipeline_version_experiment_and_run(server):
    told = call("submit", server)
    pipeline, version, experiment, run = map(only, (server.pipelines, server.versions, server.experiments, server.runs))
    assert pipeline["display_name"] == "tagscale-study"
    assert version["display_name"] == "0d40257"
    assert experiment["display_name"] == load(ROOT / "params.yaml").tracking.experiment
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert run["experiment_id"] == experiment["experiment_id"]
    assert run["service_account"] == "tagscale-pipeline"
    name = r"default-study 0d40257 waveform\+spectrogram\+descriptors x 3 sizes x 1 seed \d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.fullmatch(name, run["display_name"])
    assert f"{server.address}/#/runs/details/{run['run_id']}" in told


def test_a_version_shows_its_settings(server):
    call("submit", server)
    graph = Graph.of(only(server.versions)["pipeline_spec"]["pipeline_spec"])
    assert parse(json.loads(graph.constant("begin", "params"))) == load(ROOT / "params.yaml")


@pytest.mark.parametrize("pipeline", ["data", "training", "study", "retrain"])
def test_every_pipeline(server, pipeline):
    call("submit", server, "--pipeline", pipeline)
    assert only(server.pipelines)["display_name"] == f"tagscale-{pipeline}"
    told = {"data": "default-corpus", "study": r"waveform\+spectrogram\+descriptors x 3 sizes x 1 seed"}
    one = "waveform x 1 size x 1 seed"
    assert re.fullmatch(rf"default-study 0d40257 {told.get(pipeline, one)} [\d: -]+", only(server.runs)["display_name"])


def test_one_cell_of_the_grid(server):
    call("submit", server, "--pipeline", "training", "--model", "spectrogram", "--size", "200", "--seed", "4")
    graph = Graph.of(only(server.versions)["pipeline_spec"]["pipeline_spec"])
    train = parse(json.loads(graph.constant("begin", "params"))).train
    assert (train.models, train.sizes, train.seeds) == (["spectrogram"], [200], [4])


def test_a_study_has_its_grid_in_the_settings(server):
    with pytest.raises(TagscaleError, match="--pipeline study: --model, --size and --seed are for training"):
        call("submit", server, "--model", "waveform")


def test_what_is_there_is_used(server):
    call("submit", server)
    told = call("submit", server)
    assert lists(server) == {"pipelines": 1, "versions": 1, "experiments": 1, "runs": 2, "recurring": 0}
    assert told.count("there already") == 2


def test_a_new_commit_is_a_new_version(server, monkeypatch):
    call("submit", server)
    monkeypatch.setenv("TAGSCALE_GIT_COMMIT", "f" * 40)
    call("submit", server)
    assert [version["display_name"] for version in server.versions.values()] == ["0d40257", "fffffff"]
    assert len(server.pipelines) == 1


def test_other_settings_at_the_same_commit_are_another_version(server, tmp_path):
    (tmp_path / "preset.yaml").write_text("train: {sizes: [5], seeds: [0, 1]}")
    call("submit", server)
    for _ in range(2):
        call("submit", server, "--preset", str(tmp_path / "preset.yaml"))
    first, second = server.versions.values()
    assert re.fullmatch(r"0d40257-[0-9a-f]{8}", second["display_name"])
    runs = [run["pipeline_version_reference"]["pipeline_version_id"] for run in server.runs.values()]
    assert runs == [first["pipeline_version_id"], second["pipeline_version_id"], second["pipeline_version_id"]]


def test_a_dirty_tree_is_told_in_the_version(server, tmp_path, monkeypatch):
    monkeypatch.delenv("TAGSCALE_GIT_COMMIT")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    (tmp_path / "file").write_text("committed")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:7]
    call("submit", server)
    (tmp_path / "file").write_text("changed")
    call("submit", server)
    clean, dirty = (version["display_name"] for version in server.versions.values())
    assert clean == head
    assert re.fullmatch(rf"{head}-dirty-[0-9a-f]{{8}}", dirty)


def caching(version: dict) -> list[dict]:
    """The caching options of every task, in loops too."""
    spec = version["pipeline_spec"].get("pipeline_spec", version["pipeline_spec"])
    dags = [spec["root"]["dag"], *(one["dag"] for one in spec["components"].values() if "dag" in one)]
    return [task["cachingOptions"] for dag in dags for task in dag["tasks"].values() if "cachingOptions" in task]


def test_without_caching_no_task_is_cached(server):
    call("submit", server)
    call("submit", server, "--no-cache")
    cached, uncached = server.versions.values()
    assert {"enableCache": True} in caching(cached)
    assert len(caching(uncached)) == len(caching(cached))
    assert all(options == {} for options in caching(uncached))
    assert uncached["display_name"] == "0d40257-no-cache"


def test_names_are_compared_with_case(server):
    server.experiments["other"] = {
        "experiment_id": "other",
        "display_name": "DEFAULT-STUDY",
        "storage_state": "AVAILABLE",
    }
    call("submit", server)
    assert len(server.experiments) == 2


def test_an_experiment_of_another_name(server):
    call("submit", server, "--experiment", "mine")
    assert only(server.experiments)["display_name"] == "mine"


def test_an_experiment_that_must_be_there(server):
    call("submit", server, "--experiment", "jazz-study")
    with pytest.raises(TagscaleError, match="no experiment 'jaz-study'; did you mean 'jazz-study'"):
        call("submit", server, "--experiment", "jaz-study", "--existing-experiment")
    assert lists(server) == {"pipelines": 1, "versions": 1, "experiments": 1, "runs": 1, "recurring": 0}


def test_an_archived_experiment(server):
    call("submit", server)
    only(server.experiments)["storage_state"] = "ARCHIVED"
    with pytest.raises(TagscaleError, match="'default-study' is archived: restore it"):
        call("submit", server)


def test_somebody_else_makes_the_pipeline_at_the_same_time(server, monkeypatch):
    call("submit", server)
    listed, answers = server.ListPipelines, iter([{"pipelines": []}])
    monkeypatch.setattr(server, "ListPipelines", lambda **given: next(answers, None) or listed(**given))
    call("submit", server)
    assert lists(server)["pipelines"] == 1
    assert lists(server)["runs"] == 2


def test_follows_a_run_to_its_end(server):
    server.course = [
        ("PENDING", {}),
        ("RUNNING", {"catalog-driver": "SUCCEEDED", "catalog": "RUNNING"}),
        ("RUNNING", {"catalog-driver": "SUCCEEDED", "catalog": "RUNNING"}),
        ("SUCCEEDED", {"catalog-driver": "SUCCEEDED", "catalog": "SUCCEEDED"}),
    ]
    told = call("submit", server, "--wait")
    changes = re.findall(r"^\d\d:\d\d:\d\d  (\S+) +(.*)$", told, re.MULTILINE)
    assert changes == [
        ("run", "PENDING"),
        ("catalog", "RUNNING"),
        ("run", "RUNNING"),
        ("catalog", "SUCCEEDED"),
        ("run", "SUCCEEDED"),
    ]
    assert "ended        SUCCEEDED" in told


@pytest.mark.parametrize("state", ["FAILED", "CANCELED"])
def test_a_run_that_does_not_succeed_is_an_exit_status(server, state):
    server.course = [("RUNNING", {"train": "RUNNING"}), (state, {"train": f"{state}: no GPU on any node"})]
    told = call("submit", server, "--wait", status=1)
    assert f"{state}: no GPU on any node" in told
    assert f"ended        {state}" in told


def test_waits_for_a_server_that_is_away_for_a_while(server):
    call("submit", server)
    server.script = ["", "500", "drop", "502"]
    told = call("wait", server, only(server.runs)["run_id"])
    assert told.count("Waiting for it.") == 1
    assert "answers again" in told
    assert "ended        SUCCEEDED" in told


def test_a_server_that_stays_away(server, monkeypatch):
    monkeypatch.setattr(following, "PATIENCE", 0.0)
    call("submit", server)
    server.script = ["", *["drop"] * 9]
    with pytest.raises(TagscaleError, match=r"does not answer.*(?s:.)*python -m pipelines wait --host http") as error:
        call("wait", server, only(server.runs)["run_id"])
    assert only(server.runs)["run_id"] in str(error.value)


def test_a_login_that_expires_while_waiting_is_no_state(server):
    call("submit", server)
    server.script = ["", "page"]
    with pytest.raises(TagscaleError, match=r"answers with a page \(text/html"):
        call("wait", server, only(server.runs)["run_id"])


def test_the_time_to_wait_is_over(server):
    server.course = [("RUNNING", {})]
    with pytest.raises(TagscaleError, match=r"is RUNNING after 0.001 minutes, and goes on(?s:.)*pipelines wait"):
        call("submit", server, "--wait", "--timeout", "0.001")


def test_a_token_that_is_renewed_while_waiting(server, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("first\n")
    server.token, server.course = "first", [("RUNNING", {}), ("SUCCEEDED", {})]
    call("submit", server, "--token", str(token))
    asked = server.GetRun

    def renewed(**given) -> dict:
        """The answer to the first question; after it another token is good."""
        token.write_text("second\n")
        server.token = "second"
        return asked(**given)

    monkeypatch.setattr(server, "GetRun", renewed)
    told = call("wait", server, "--token", str(token), only(server.runs)["run_id"])
    assert "ended        SUCCEEDED" in told
    sent = [headers["Authorization"] for _, path, headers in server.asked if "/runs/" in path]
    assert sent == ["Bearer first", "Bearer second"]


def process(*arguments: str) -> subprocess.Popen[str]:
    """A command as in a terminal: it hears Ctrl-C, which what a shell runs in the background does not."""
    command = [sys.executable, "-m", "pipelines", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, text=True, preexec_fn=_hear_ctrl_c, **pipes)


def _hear_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_the_run_going_and_says_how_to_cancel_it(server):
    server.course = [("RUNNING", {"train": "RUNNING"})]
    waiting = process("submit", "--host", server.address, "--wait")
    assert server.following.wait(120)
    waiting.send_signal(signal.SIGINT)
    told, complaints = waiting.communicate(timeout=60)
    run = only(server.runs)
    assert waiting.returncode == 130
    assert f"python -m pipelines cancel --host {server.address} {run['run_id']}" in told
    assert "Traceback" not in told + complaints
    assert run["state"] == "RUNNING"


def test_errors_are_one_message_without_a_traceback():
    done = process("submit", "--host", "http://127.0.0.1:9")
    told, complaints = done.communicate(timeout=120)
    assert (done.returncode, told) == (1, "")
    assert re.fullmatch(
        r"error http://127.0.0.1:9 does not answer \(Failed to establish .*refused\)\. Is it the right .*\n", complaints
    )


def test_cancels_a_run(server):
    server.course = [("RUNNING", {})]
    call("submit", server)
    run = only(server.runs)
    told = call("cancel", server, run["run_id"])
    assert run["state"] == "CANCELING"
    assert run["display_name"] in told
    assert "ended        CANCELED" in call("wait", server, run["run_id"], status=1)


def test_cancels_nothing_that_has_ended(server):
    call("submit", server)
    with pytest.raises(TagscaleError, match="has ended already: SUCCEEDED"):
        call("cancel", server, only(server.runs)["run_id"])


@pytest.mark.parametrize("command", ["wait", "cancel"])
def test_an_unknown_run(server, command):
    with pytest.raises(TagscaleError, match="no run 1234; expected the identifier"):
        call(command, server, "1234")


def jwt(claims: dict) -> str:
    parts = ({"alg": "none"}, claims, {})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def test_an_expired_token(server, tmp_path):
    server.token = "good"
    (tmp_path / "token").write_text(jwt({"exp": 1_600_000_000}))
    renew = r"does not know who asks \(401\)\. Renew the token \(.*token\), which expired on 2020-09-13 at 12:26 UTC\."
    with pytest.raises(TagscaleError, match=renew) as error:
        call("submit", server, "--token", str(tmp_path / "token"))
    assert jwt({"exp": 1_600_000_000}) not in str(error.value)


def test_a_token_from_the_environment(server, monkeypatch):
    server.token = "good"
    monkeypatch.setenv("TAGSCALE_KFP_TOKEN", "good")
    call("submit", server)
    assert {headers["Authorization"] for _, _, headers in server.asked} == {"Bearer good"}


@pytest.mark.parametrize(
    ("content", "sent"),
    [("MTYx==", "authservice_session=MTYx=="), ("oauth2_proxy_kubeflow=abc=", "oauth2_proxy_kubeflow=abc=")],
)
def test_a_cookie(server, tmp_path, content, sent):
    server.cookie = sent
    (tmp_path / "cookie").write_text(content + "\n")
    call("submit", server, "--cookie", str(tmp_path / "cookie"))
    assert len(server.runs) == 1


def test_no_credentials_where_some_are_needed(server):
    server.cookie = "authservice_session=abc"
    with pytest.raises(TagscaleError, match=r"redirects to /dex/auth: a login page\? No token or cookie was sent"):
        call("submit", server)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (["401"], r"does not know who asks \(401\)\. No token or cookie was sent"),
        (["403"], r"refuses \(403\): told to say 403\. .*their owner may not do this in namespace"),
        (["page"], r"answers with a page \(text/html.*a proxy's login page, or an address that is no API.*/pipeline"),
        (["redirect"], "redirects to /dex/auth: a login page"),
        (["500"], "answers with status 500: told to say 500"),
        (["drop"], r"does not answer \(.*\)\. Is it the right address"),
        (["", "403"], r"refuses \(403\)"),
        (["404", "404"], "has no Kubeflow Pipelines API"),
    ],
)
def test_a_server_that_refuses(server, script, message):
    server.script = script
    with pytest.raises(TagscaleError, match=message):
        call("submit", server)
    assert lists(server)["runs"] == 0


def test_a_silent_server_is_not_waited_for_forever(server, monkeypatch):
    monkeypatch.setattr(sending, "TIMEOUT", (5, 0.2))
    server.script = ["stall"]
    with pytest.raises(TagscaleError, match=r"does not answer \(.*[Tt]imed out"):
        call("submit", server)


def test_a_certificate_of_an_authority_of_our_own(tmp_path):
    certificate = make_ssl_devcert(str(tmp_path / "own"), host="localhost")
    with serving(certificate) as secure:
        with pytest.raises(TagscaleError, match=r"no secure connection \(.*certificate verify failed.*--ca-file FILE"):
            call("submit", secure)
        call("submit", secure, "--ca-file", certificate[0])
    assert len(secure.runs) == 1


def test_a_host_that_has_no_address(server):
    server.address = "http://nowhere.invalid"
    with pytest.raises(
        TagscaleError, match=r"http://nowhere.invalid does not answer \(Failed to resolve .*\)\. Is it the right"
    ):
        call("submit", server)


def test_a_connection_lost_while_the_run_is_made(server):
    call("submit", server)
    server.script = [""] * 4 + ["drop-after"]
    with pytest.raises(TagscaleError, match="Whether the server did what was asked is not known: look before"):
        call("submit", server)
    assert lists(server)["runs"] == 2  # sent once, and not again


def test_a_server_of_the_first_generation(server):
    server.old = "1.8.5"
    with pytest.raises(TagscaleError, match=r"is Kubeflow Pipelines 1\.8\.5, which has no v2 API; expected 2\.0"):
        call("submit", server)


def test_several_users(server):
    server.multi_user = True
    with pytest.raises(TagscaleError, match="serves several users: give --namespace"):
        call("submit", server)
    call("submit", server, "--namespace", "ann")
    assert only(server.experiments)["namespace"] == only(server.pipelines)["namespace"] == "ann"


def test_the_namespace_of_kubeflow_itself(server):
    server.multi_user = True
    call("submit", server, "--namespace", "kubeflow")
    assert only(server.experiments)["namespace"] == "kubeflow"


def test_a_namespace_where_there_is_one_user(server):
    with pytest.raises(TagscaleError, match=r"--namespace ann: .* serves one user; leave it out"):
        call("submit", server, "--namespace", "ann")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("kubeflow.example", "--host kubeflow.example: expected http://HOST"),
        ("ftp://kubeflow.example", "expected http://HOST"),
        ("https://ann:secret@kubeflow.example", "an address without user and password"),
        ("https://kubeflow.example/_/pipeline/#/runs", "and that is a page's"),
    ],
)
def test_a_host_that_is_no_address(server, host, message):
    server.address = host
    with pytest.raises(TagscaleError, match=message) as error:
        call("submit", server)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("\n", "the file is empty"), ("two words", "one line without spaces")],
)
@pytest.mark.parametrize("option", ["--token", "--cookie"])
def test_a_file_without_a_secret(server, tmp_path, option, content, message):
    if content is not None:
        (tmp_path / "secret").write_text(content)
    with pytest.raises(TagscaleError, match=rf"{option} .*secret: .*{message}"):
        call("submit", server, option, str(tmp_path / "secret"))
    assert server.asked == []


def test_submits_a_compiled_file(server, tmp_path):
    CliRunner().invoke(app, ["compile", "--output", "compiled", "--params", str(ROOT / "params.yaml")])
    for _ in range(2):
        call("submit", server, "--package", "compiled/training.yaml")
    assert re.fullmatch(r"package-[0-9a-f]{8}", only(server.versions)["display_name"])
    assert len(server.runs) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("sdkVersion: kfp-2.17.0", "sdkVersion: kfp-2.9.0"),
            r"compiled by kfp-2\.9\.0, and here is kfp-2\.17\.0; compile",
        ),
        (("schemaVersion:", "schemaVersions:"), "not a pipeline of tagscale .*schemaVersions"),
        (("sdkVersion:", "sdk:"), "not a compiled pipeline"),
        ((None, "{}{"), "not a compiled pipeline"),
        (('"registry":', '"registries":'), "registr"),
    ],
)
def test_a_package_that_is_not_ours(server, tmp_path, change, message):
    CliRunner().invoke(app, ["compile", "--output", ".", "--params", str(ROOT / "params.yaml")])
    file = tmp_path / "training.yaml"
    before, after = change
    content = file.read_text()
    assert before is None or before in content
    file.write_text(after if before is None else content.replace(before, after))
    with pytest.raises(TagscaleError, match=message):
        call("submit", server, "--package", "training.yaml")
    assert server.asked == []


def test_a_package_that_is_not_there(server):
    with pytest.raises(TagscaleError, match=r"nowhere\.yaml: cannot be read"):
        call("submit", server, "--package", "nowhere.yaml")


def test_an_unknown_pipeline(server):
    with pytest.raises(TagscaleError, match="no pipeline 'trainings'; there are: data, training, study, retrain"):
        call("submit", server, "--pipeline", "trainings")


def test_schedules(server):
    call("schedule", server, "--cron", "0 3 * * *", "--max-concurrency", "2")
    made = only(server.recurring)
    assert made["display_name"] == "tagscale-retrain default-study"
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == ("2", True, "ENABLE")
    assert made["pipeline_version_reference"]["pipeline_version_id"] == only(server.versions)["pipeline_version_id"]
    assert made["service_account"] == "tagscale-pipeline"


def test_a_schedule_of_the_same_name_is_replaced(server):
    for name, cron in (("nightly", "0 3 * * *"), ("weekly", "@weekly"), ("nightly", "30 4 * * MON")):
        call("schedule", server, "--cron", cron, "--name", name)
    crons = {one["display_name"]: one["trigger"]["cron_schedule"]["cron"] for one in server.recurring.values()}
    assert len(server.recurring) == 2
    assert crons == {"weekly": "@weekly", "nightly": "0 30 4 * * MON"}


def test_a_schedule_that_cannot_be_made_leaves_the_one_before(server):
    call("schedule", server, "--cron", "0 3 * * *")
    server.script = [""] * 5 + ["500"]
    with pytest.raises(TagscaleError, match="status 500"):
        call("schedule", server, "--cron", "0 4 * * *")
    assert only(server.recurring)["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"


def test_catching_up(server):
    call("schedule", server, "--cron", "0 3 * * *", "--catch-up")
    assert only(server.recurring)["no_catchup"] is False


def test_removes_a_schedule(server):
    call("schedule", server, "--cron", "0 3 * * *", "--name", "nightly")
    with pytest.raises(TagscaleError, match=r"no recurring run 'nightli' in experiment .*did you mean 'nightly'"):
        call("schedule", server, "--remove", "--name", "nightli")
    call("schedule", server, "--remove", "--name", "nightly")
    assert server.recurring == {}
    with pytest.raises(TagscaleError, match="there are none"):
        call("schedule", server, "--remove", "--name", "nightly")


@pytest.mark.parametrize("arguments", [(), ("--cron", "0 3 * * *", "--remove")])
def test_neither_when_nor_remove(server, arguments):
    with pytest.raises(TagscaleError, match="expected either --cron"):
        call("schedule", server, *arguments)


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("0 3 * *", "4 fields; expected five"),
        ("60 3 * * *", "the minute is '60'; expected numbers from 0 to 59"),
        ("0 3 * * 7", "the day of the week is '7'; expected numbers from 0 to 6, or SUN to SAT"),
        ("0 3 * FOO *", "the month is 'FOO'; expected numbers from 1 to 12, or JAN to DEC"),
        ("0 5-3 * * *", "the hour is '5-3'"),
        ("*/0 3 * * *", "the minute is '*/0'"),
        ("* 0 3 * * *", "the second is '*'"),
        ("@often", "1 fields"),
    ],
)
def test_a_time_that_is_none(server, cron, message):
    with pytest.raises(TagscaleError, match=re.escape(message)):
        call("schedule", server, "--cron", cron)
    assert server.asked == []
