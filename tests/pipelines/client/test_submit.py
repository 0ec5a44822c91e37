"""Submitting: what appears on the server, and how it is named."""

import json
import re
import subprocess

import pytest
import yaml
from pipelines.__main__ import app
from pipelines.graph import Graph
from typer.testing import CliRunner

from kfp_loopback.commands import ROOT, call, lists, only
from tagscale.params.load import load, parse
from tagscale.runtime.errors import TagscaleError


def test_makes_pipeline_version_experiment_and_run(server):
    output = call("submit", server)
    pipeline, version, experiment, run = map(only, (server.pipelines, server.versions, server.experiments, server.runs))
    assert pipeline["display_name"] == "tagscale-study"
    assert version["display_name"] == "0d40257"
    assert experiment["display_name"] == load(ROOT / "params.yaml").tracking.experiment
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert run["experiment_id"] == experiment["experiment_id"]
    assert run["service_account"] == "tagscale-pipeline"
    name = r"default-study 0d40257 waveform\+spectrogram\+descriptors x 3 sizes x 1 seed \d{4}-\d\d-\d\d \d\d:\d\d"
    assert re.fullmatch(name, run["display_name"])
    assert f"{server.address}/#/runs/details/{run['run_id']}" in output


def test_kubeflows_plugin_gets_the_experiment_of_the_trainings(server):
    call("submit", server)
    assert only(server.runs)["plugins_input"] == {"mlflow": {"experiment_name": "default-study"}}


def test_a_server_without_plugins_gets_the_run_without_them(server):
    server.plugins = False
    call("submit", server)
    assert "plugins_input" not in only(server.runs)


def test_another_fault_of_a_run_is_not_taken_for_that(server):
    server.script = [""] * 7 + ["400"]
    with pytest.raises(TagscaleError, match="scripted error 400"):
        call("submit", server)
    assert server.asked[-1][:2] == ("POST", "/apis/v2beta1/runs")
    assert not server.runs


def test_a_version_shows_its_settings(server):
    call("submit", server)
    graph = Graph.of(only(server.versions)["pipeline_spec"]["pipeline_spec"])
    assert parse(json.loads(graph.constant("begin", "params"))) == load(ROOT / "params.yaml")


@pytest.mark.parametrize("pipeline", ["data", "training", "study", "retrain"])
def test_every_pipeline(server, pipeline):
    call("submit", server, "--pipeline", pipeline)
    assert only(server.pipelines)["display_name"] == f"tagscale-{pipeline}"
    subjects = {"data": "default-corpus", "study": r"waveform\+spectrogram\+descriptors x 3 sizes x 1 seed"}
    one = "waveform x 1 size x 1 seed"
    assert re.fullmatch(
        rf"default-study 0d40257 {subjects.get(pipeline, one)} [\d: -]+", only(server.runs)["display_name"]
    )


def test_one_cell_of_the_grid(server):
    call("submit", server, "--pipeline", "training", "--model", "spectrogram", "--size", "200", "--seed", "4")
    graph = Graph.of(only(server.versions)["pipeline_spec"]["pipeline_spec"])
    train = parse(json.loads(graph.constant("begin", "params"))).train
    assert (train.models, train.sizes, train.seeds) == (["spectrogram"], [200], [4])


def test_a_catalogue_with_what_its_run_gets(server):
    options = ("--catalogue", "s3://songs/2026", "--model", "other", "--version", "4", "--embeddings", "--again")
    call("submit", server, "--pipeline", "tag", *options)
    run = only(server.runs)
    assert run["runtime_config"]["parameters"] == {
        "catalogue": "s3://songs/2026",
        "model": "other",
        "version": "4",
        "embeddings": True,
        "again": True,
    }
    assert re.fullmatch(r"default-study 0d40257 catalogue [\d: -]+", run["display_name"])


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (("--pipeline", "watch"), "--pipeline watch: give --rows, what was tagged"),
        (("--rows", "scores"), "--pipeline study: --rows is for the pipeline watch"),
        (("--pipeline", "tag"), "--pipeline tag: give --catalogue, what it shall tag"),
        (("--pipeline", "tag", "--catalogue", "a", "--size", "3"), "--model, --size and --seed are for training"),
        (("--catalogue", "a", "--embeddings"), "--pipeline study: --catalogue, --embeddings are for the pipeline tag"),
    ],
)
def test_options_of_another_pipeline(server, words, because):
    with pytest.raises(TagscaleError, match=because):
        call("submit", server, *words)


def test_a_study_has_its_grid_in_the_settings(server):
    with pytest.raises(TagscaleError, match="--pipeline study: --model, --size and --seed are for training"):
        call("submit", server, "--model", "waveform")


def test_existing_entries_are_used_again(server):
    call("submit", server)
    output = call("submit", server)
    assert lists(server) == {"pipelines": 1, "versions": 1, "experiments": 1, "runs": 2, "recurring": 0}
    assert output.count("there already") == 2


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


def test_the_version_shows_a_dirty_tree(server, tmp_path, monkeypatch):
    monkeypatch.delenv("TAGSCALE_GIT_COMMIT")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "file").write_text("committed")
    for command in (["init", "-q"], ["add", "src"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:7]
    call("submit", server)
    (tmp_path / "src" / "file").write_text("changed")
    call("submit", server)
    clean, dirty = (version["display_name"] for version in server.versions.values())
    assert clean == head
    assert re.fullmatch(rf"{head}-dirty-[0-9a-f]{{8}}", dirty)


@pytest.mark.parametrize("option", ["--again", "--no-cache"])
def test_what_is_kept_is_trained_again_by_the_same_version(server, option):
    call("submit", server)
    call("submit", server, option)
    assert [run["runtime_config"].get("parameters", {}) for run in server.runs.values()] == [{}, {"again": True}]
    assert len(server.versions) == 1


def test_a_package_that_cannot_train_again_what_is_kept(server, tmp_path):
    CliRunner().invoke(app, ["compile", "--output", ".", "--params", str(ROOT / "params.yaml")])
    file = tmp_path / "training.yaml"
    documents = list(yaml.safe_load_all(file.read_text()))
    del documents[0]["root"]["inputDefinitions"]
    file.write_text(yaml.safe_dump_all(documents))
    with pytest.raises(TagscaleError, match=r"tagscale-training: no parameter `again` \(it has none\); compile"):
        call("submit", server, "--package", "training.yaml", "--again")


def test_names_differ_in_case(server):
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


def test_an_experiment_that_must_exist(server):
    call("submit", server, "--experiment", "jazz-study")
    with pytest.raises(TagscaleError, match="no experiment 'jaz-study'; did you mean 'jazz-study'"):
        call("submit", server, "--experiment", "jaz-study", "--existing-experiment")
    assert lists(server) == {"pipelines": 1, "versions": 1, "experiments": 1, "runs": 1, "recurring": 0}


def test_an_archived_experiment(server):
    call("submit", server)
    only(server.experiments)["storage_state"] = "ARCHIVED"
    with pytest.raises(TagscaleError, match="'default-study' is archived: restore it"):
        call("submit", server)


def test_somebody_else_creates_the_pipeline_at_the_same_time(server, monkeypatch):
    call("submit", server)
    listed, answers = server.ListPipelines, iter([{"pipelines": []}])
    monkeypatch.setattr(server, "ListPipelines", lambda **given: next(answers, None) or listed(**given))
    call("submit", server)
    assert lists(server)["pipelines"] == 1
    assert lists(server)["runs"] == 2


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
            r"compiled by kfp-2\.9\.0, and kfp-2\.17\.0 is installed; compile",
        ),
        (("schemaVersion:", "schemaVersions:"), "not a pipeline of kfp-.*schemaVersions"),
        (("sdkVersion:", "sdk:"), "not a compiled pipeline"),
        ((None, "{}{"), "not a compiled pipeline"),
        (('"registry":', '"registries":'), "registr"),
    ],
)
def test_a_package_of_another_kind(server, tmp_path, change, message):
    CliRunner().invoke(app, ["compile", "--output", ".", "--params", str(ROOT / "params.yaml")])
    file = tmp_path / "training.yaml"
    before, after = change
    content = file.read_text()
    assert before is None or before in content
    file.write_text(after if before is None else content.replace(before, after))
    with pytest.raises(TagscaleError, match=message):
        call("submit", server, "--package", "training.yaml")
    assert server.asked == []


def test_a_package_says_which_pipeline_it_is(server):
    CliRunner().invoke(app, ["compile", "--output", ".", "--params", str(ROOT / "params.yaml")])
    call("submit", server, "--package", "tag.yaml", "--catalogue", "songs", "--model", "other")
    assert only(server.runs)["runtime_config"]["parameters"] == {"catalogue": "songs", "model": "other"}
    call("schedule", server, "--cron", "0 5 * * *", "--package", "watch.yaml", "--rows", "scores")
    assert only(server.recurring)["runtime_config"]["parameters"] == {"rows": "scores"}
    with pytest.raises(TagscaleError, match=r"tag\.yaml: found the pipeline tag, expected that of --pipeline, study"):
        call("submit", server, "--package", "tag.yaml", "--pipeline", "study")
    with pytest.raises(TagscaleError, match="--pipeline tag: give --catalogue"):
        call("submit", server, "--package", "tag.yaml")
    with pytest.raises(TagscaleError, match=r"training\.yaml: --model, --seed cannot change a compiled pipeline"):
        call("submit", server, "--package", "training.yaml", "--model", "spectrogram", "--seed", "0")


def test_a_missing_package(server):
    with pytest.raises(TagscaleError, match=r"nowhere\.yaml: cannot be read"):
        call("submit", server, "--package", "nowhere.yaml")


def test_an_unknown_pipeline(server):
    with pytest.raises(
        TagscaleError, match="no pipeline 'trainings'; there are: data, training, study, retrain, watch, tag"
    ):
        call("submit", server, "--pipeline", "trainings")


@pytest.mark.parametrize(
    ("tag", "because"),
    [("latest", "every push gives it to another image"), ("0d40257-dirty", "no commit says what is in it")],
)
@pytest.mark.parametrize("command", [["submit"], ["schedule", "--cron", "0 3 * * *"]], ids=["submit", "schedule"])
def test_an_image_that_may_be_another_one_tomorrow(server, tmp_path, command, tag, because):
    golden = (ROOT / "tests" / "pipelines" / "golden" / "training.yaml").read_text()

    def package(image: str) -> str:
        (tmp_path / "package.yaml").write_text(golden.replace("image: tagscale:latest", f"image: {image}"))
        return str(tmp_path / "package.yaml")

    refused = package(f"registry.example.org/tagscale:{tag}")
    with pytest.raises(TagscaleError, match=rf"tagscale:{tag}: a cluster needs .*, and {because}\. Commit, build with"):
        call(command[0], server, *command[1:], "--package", refused)
    assert not server.pipelines
    call(command[0], server, *command[1:], "--package", package(f"localhost:5000/tagscale:{tag}"))
