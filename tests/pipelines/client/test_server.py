"""Servers that refuse, redirect, stall or vanish; credentials, certificates and namespaces."""

import base64
import json

import pytest
from werkzeug.serving import make_ssl_devcert

from kfp_loopback.commands import call, lists, only
from kfp_loopback.server import serving
from pipelines.client import transport
from tagscale.runtime.errors import TagscaleError


def jwt(claims: dict) -> str:
    parts = ({"alg": "none"}, claims, {})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


def test_an_expired_token(server, tmp_path):
    server.token = "good"
    (tmp_path / "token").write_text(jwt({"exp": 1_600_000_000}))
    renew = r"does not know the user \(401\)\. Renew the token \(.*token\), which expired on 2020-09-13 at 12:26 UTC\."
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


def test_missing_credentials(server):
    server.cookie = "authservice_session=abc"
    with pytest.raises(TagscaleError, match=r"redirects to /dex/auth: a login page\? No token or cookie was sent"):
        call("submit", server)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (["401"], r"does not know the user \(401\)\. No token or cookie was sent"),
        (["403"], r"refuses \(403\): scripted error 403\. .*their owner lacks this right in namespace"),
        (["page"], r"answers with a page \(text/html.*a proxy's login page, or an address that is no API.*/pipeline"),
        (["redirect"], "redirects to /dex/auth: a login page"),
        (["500"], "answers with status 500: scripted error 500"),
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


def test_a_silent_server_times_out(server, monkeypatch):
    monkeypatch.setattr(transport, "TIMEOUT", (5, 0.2))
    server.script = ["stall"]
    with pytest.raises(TagscaleError, match=r"does not answer \(.*[Tt]imed out"):
        call("submit", server)


def test_a_certificate_of_a_private_authority(tmp_path):
    certificate = make_ssl_devcert(str(tmp_path / "own"), host="localhost")
    with serving(certificate) as secure:
        with pytest.raises(TagscaleError, match=r"no secure connection \(.*certificate verify failed.*--ca-file FILE"):
            call("submit", secure)
        call("submit", secure, "--ca-file", certificate[0])
    assert len(secure.runs) == 1


def test_an_unknown_host_name(server):
    server.address = "http://nowhere.invalid"
    with pytest.raises(
        TagscaleError, match=r"http://nowhere.invalid does not answer \(Failed to resolve .*\)\. Is it the right"
    ):
        call("submit", server)


def test_a_connection_lost_while_the_run_is_created(server):
    call("submit", server)
    server.script = [""] * 4 + ["drop-after"]
    with pytest.raises(TagscaleError, match="may or may not have done what was asked: check before"):
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


def test_a_namespace_on_a_server_for_one_user(server):
    with pytest.raises(TagscaleError, match=r"--namespace ann: .* serves one user; leave it out"):
        call("submit", server, "--namespace", "ann")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("kubeflow.example", "--host kubeflow.example: expected http://HOST"),
        ("ftp://kubeflow.example", "expected http://HOST"),
        ("https://ann:secret@kubeflow.example", "an address without user and password"),
        ("https://kubeflow.example/_/pipeline/#/runs", "found a page's"),
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
