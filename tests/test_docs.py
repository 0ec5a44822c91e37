"""Every command that README and docs tell people to type is one that exists, with options that it has."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from tagscale.evaluation.metrics import METRICS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MANIFESTS = [
    file for folder in ("servers/*", "tasks/*", "components/*/*") for file in (ROOT / "k8s").glob(f"{folder}.yaml")
]


def commands(page: Path) -> list[list[str]]:
    """The words of every command in the code blocks of a page, without comments, variables set in front, and pipes."""
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        if language not in ("", "sh", "bash", "console"):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|", line.removeprefix("$ ")):
                try:
                    words = shlex.split(part, comments=True)
                except ValueError:
                    continue  # output, or a picture made of signs
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    found.append(words)
    return found


ALL = [(page.name, words) for page in PAGES for words in commands(page)]


def of(program: str, *rest: str) -> list:
    start = [program, *rest]
    cases = [(page, words[len(start) :]) for page, words in ALL if words[: len(start)] == start]
    return [pytest.param(words, id=f"{page}: {' '.join([*start, *words])[:70]}") for page, words in cases]


def check(app: typer.Typer, words: list[str]) -> None:
    """A sub-command that exists, perhaps of a group, with options that it has."""
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        assert words, f"{command.name}: which command?"
        assert words[0] in command.commands, f"{words[0]}: no such command; there are {', '.join(command.commands)}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for option in (word.partition("=")[0] for word in words if word.startswith("-") and word != "-"):
        assert option in known | {"--help"}, f"{command.name} has no {option}"


@pytest.mark.parametrize("words", [case for case in of("tagscale") if case.values[0][:1] != ["pipelines"]])
def test_tagscale(words: list[str]) -> None:
    from tagscale.cli import app

    check(app, words)


@pytest.mark.parametrize("words", of("tagscale", "pipelines") + of("python", "-m", "pipelines"))
def test_pipelines(words: list[str]) -> None:
    from pipelines.__main__ import app

    check(app, words)


@pytest.mark.parametrize("words", of("tagscale", "pipelines", "cost"))
def test_what_needs_no_server_works(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from pipelines.__main__ import app

    monkeypatch.chdir(ROOT)
    told = CliRunner().invoke(app, ["cost", *words])
    assert told.exit_code == 0, f"{told.output}{told.exception}"


@pytest.mark.parametrize("words", of("make"))
def test_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


@pytest.mark.parametrize("words", of("python"))
def test_scripts(words: list[str]) -> None:
    if words[0] != "-m":
        assert (ROOT / words[0]).is_file()


def named() -> dict[tuple[str, str], str]:
    """Kind and name of everything in the manifests, and its namespace in a profile."""
    homes = {"servers": "tagscale-servers", "tasks": "tagscale"}
    return {
        (body["kind"].lower(), body["metadata"]["name"]): body["metadata"].get(
            "namespace", homes.get(file.parent.name, "")
        )
        for file in MANIFESTS
        for body in yaml.safe_load_all(file.read_text())
        if body and "metadata" in body
    }


@pytest.mark.parametrize("words", of("kubectl"))
def test_kubectl_names_what_the_manifests_make(words: list[str]) -> None:
    text = " ".join(words)
    commands = "\n".join(" ".join(words) for _, words in ALL)
    made_by_hand = re.findall(r"-n (\S+) create job --from=\S+ ([\w-]+)", commands)
    namespaces = named() | {("job", name): namespace for namespace, name in made_by_hand}
    for kind, name in re.findall(r"\b(deployment|service|cronjob|job|statefulset)/([\w-]+)", text):
        assert (kind, name) in namespaces, f"{kind}/{name} is not there"
        assert f"-n {namespaces[kind, name]} " in text, f"{kind}/{name} is in {namespaces[kind, name]}"
    for folder in re.findall(r"apply -k (\S+)", text):
        assert (ROOT / folder / "kustomization.yaml").is_file(), folder
    for label, value in re.findall(r"(app\.kubernetes\.io/name)=([\w-]+)", text):
        assert any(f"{label}: {value}" in file.read_text() for file in MANIFESTS), value


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(
    "verb",
    sorted(
        {
            next(w for w in c if w not in ("-n", "tagscale", "tagscale-servers", "kubeflow"))
            for p, [k, *c] in ALL
            if k == "kubectl"
        }
    ),
)
def test_kubectl_has_the_verb(verb: str) -> None:
    assert subprocess.run(["kubectl", verb, "--help"], capture_output=True).returncode == 0


def test_scripts_of_the_manifests() -> None:
    scripts = {words[0] for _, words in ALL if words[0].startswith("k8s/")}
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_metrics_are_defined_as_the_report_defines_them() -> None:
    page = (ROOT / "docs" / "experiments.md").read_text()
    rows = re.findall(r"^\| (.+) \| `(\w+)` \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(metric.label, metric.key, metric.definition) for metric in METRICS.values()]


@pytest.mark.slow
def test_the_python_of_the_readme(
    tiny_study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first Python block works as it stands, on a registry with a champion and a song beside it."""
    block = re.search(r"^```python\n(.*?)^```", PAGES[0].read_text(), re.MULTILINE | re.DOTALL)
    assert block
    song = next((tiny_study.folder / "data" / "corpus" / "audio").rglob("*.flac"))
    shutil.copy(song, tmp_path / "song.mp3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tiny_study.folder / 'mlflow.db'}")
    names: dict[str, Any] = {}
    exec(block[1], names)
    assert "version 1: {'" in capsys.readouterr().out
    assert set(names["scores"].index) == set(names["over_time"].columns) == set(names["tagger"].tags)
    assert names["embedding"].ndim == 1
