"""The registered model is self-contained, holds nothing that is executed on loading its data, and scores as ours."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pandas as pd
import pytest
import soundfile

from audio_files import SUFFIXES, write
from registry.tiny import song, tiny_tagger
from tagscale import tracking
from tagscale.evaluation.decisions import Decisions, Sigmoid, TagDecision
from tagscale.registry import package
from tagscale.registry.package import NEEDED, example_wav, load_version, register
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.versions import Registry
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.identity import RunIdentity
from tagscale.runtime.owner import this_process

IDENTITY = RunIdentity("spectrogram", "all", 0, "tiny", "dddddddddddd", "pppppppppppp", "ssssssssssss")

# Loads the champion as a serving machine would: through MLflow alone, where tagscale's own extras are not installed.
CLEAN_PROCESS = """
import json, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"lightning_fabric", "kfp", "dvc", "great_expectations", "symusic", "typer", "rich"}:
            raise ImportError(f"not installed on this machine: {name}")
sys.meta_path.insert(0, Refuse())
sys.path[:] = [path for path in sys.path if not path.endswith("/src")]  # the checkout
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")]
import mlflow.pyfunc, pandas as pd
loaded = mlflow.pyfunc.load_model("models:/tagger@champion")
songs = pd.DataFrame({"audio": [open(path, "rb").read() for path in sys.argv[1:]]})
scores = loaded.predict(songs)
decided = loaded.predict(songs, params={"output": "decisions"})
import tagscale
types = [str(type) for type in scores.dtypes]
values = {"scores": scores.to_dict("list"), "decided": decided.to_dict("list")}
print(json.dumps({"code": tagscale.__file__, "types": types} | values))
"""


def decisions_of(tagger: AudioTagger) -> Decisions:
    """The first tag is always decided, the second never; the third is a regression tag."""
    curve = Sigmoid(slope=2, offset=-1)
    thresholds = zip(tagger.tags[:2], (0.0, None), strict=True)
    return Decisions(
        tags={tag: TagDecision(calibration=curve, threshold=at, positives=3, tracks=9) for tag, at in thresholds}
    )


@pytest.fixture
def champion(store: Path) -> AudioTagger:
    """A tagger that is version 1 and champion of the model `tagger`."""
    tagger = tiny_tagger()
    tagger.decisions = decisions_of(tagger)
    registry = Registry.open_or_create("tagger", "for tests")
    with tracking.find_run("study", IDENTITY) as run:
        number = register(registry, run, tagger, IDENTITY.name, {"tagscale.test.pr_auc": 0.5}, "a description")
    registry.set_alias("champion", number)
    return tagger


def artifacts() -> Path:
    (folder,) = Path("mlartifacts/models").glob("*/artifacts")
    return folder


@pytest.mark.slow
def test_champion_tags_files_in_a_clean_process_with_the_code_it_was_packaged_with(
    champion: AudioTagger, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for number in (1, 2):
        soundfile.write(elsewhere / f"{number}.wav", song(number, seconds=4), 16_000)
    write(elsewhere / "3.m4a", [song(3, seconds=4) / 32768], 16_000)
    (elsewhere / "bad.wav").write_bytes(b"no audio")
    names = ["1.wav", "bad.wav", "2.wav", "3.m4a"]
    done = subprocess.run(
        [sys.executable, "-c", CLEAN_PROCESS, *names],
        cwd=elsewhere,
        env={"MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert Path(found["code"]) == (artifacts() / "code" / "tagscale" / "__init__.py").resolve()
    ours = [champion.tag(elsewhere / name).scores for name in ("1.wav", "2.wav", "3.m4a")]
    assert ours[0] != ours[1] != ours[2]
    for tag, (first, bad, second, third) in found["scores"].items():
        assert (first, second, third) == pytest.approx(tuple(scores[tag] for scores in ours), abs=1e-6)
        assert bad != bad, "not a number: no score"
    assert set(found["types"]) == {"float64"}
    first, second, third = champion.tags
    assert [found["decided"][first][row] for row in (0, 2, 3)] == [1.0, 1.0, 1.0]
    assert [found["decided"][second][row] for row in (0, 2, 3)] == [0.0, 0.0, 0.0]
    assert found["decided"][third][0] == found["scores"][third][0], "a regression tag keeps its score"
    assert "row 1: not tagged: not audio in a known format" in done.stderr


def test_artifact_holds_no_pickle_no_caches_and_pinned_requirements(champion: AudioTagger) -> None:
    files = [path for path in artifacts().rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {
        ".py",
        ".typed",
        ".html",
        ".json",
        ".md",
        ".yaml",
        ".txt",
        ".safetensors",
        "",
    }
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".pt", ".bin", ".pyc"}]
    assert not [path for path in files if path.read_bytes()[:2] in (b"\x80\x04", b"\x80\x05")], "pickle's first bytes"
    data = {path.relative_to(artifacts()).as_posix() for path in files if "code" not in path.parts}
    assert {"MLmodel", "data/tagger/weights.safetensors", "data/tagger/model.json", "input_example.json"} <= data
    requirements = (artifacts() / "requirements.txt").read_text().split()
    assert [line.split("==")[0] for line in requirements] == [*NEEDED, "torch", "torchaudio", "safetensors"]
    assert all("==" in line and "+" not in line for line in requirements)


def test_signature_and_input_example_are_for_audio_and_tags(champion: AudioTagger) -> None:
    import mlflow.models

    model = mlflow.models.Model.load(artifacts())
    assert [(column.name, column.type.name) for column in model.signature.inputs] == [("audio", "binary")]
    assert [(column.name, column.type.name) for column in model.signature.outputs] == [
        (tag, "double") for tag in champion.tags
    ]
    assert model.flavors["python_function"]["config"] == {"paths": False}, "so whoever loads it may say otherwise"
    example = model.load_input_example(str(artifacts()))
    assert champion.predict(example).notna().all(axis=None)
    assert example["audio"][0] == example_wav(champion.scorer.seconds)


def test_probabilities_and_decisions_are_asked_for_by_a_parameter(champion: AudioTagger) -> None:
    import mlflow.models

    (asked,) = mlflow.models.Model.load(artifacts()).signature.params.params
    assert (asked.name, asked.default) == ("output", "scores")
    tagger, _ = load_version("tagger")
    assert tagger.decisions == champion.decisions
    wav = pd.DataFrame({"audio": [example_wav(tagger.scorer.seconds)]})
    scores, probabilities, decided = (
        tagger.predict(wav, {"output": output}).iloc[0] for output in ("scores", "probabilities", "decisions")
    )
    first, second, third = tagger.tags
    expected = Sigmoid(slope=2, offset=-1)(scores[[first, second]].to_numpy())
    assert probabilities[[first, second]].tolist() == pytest.approx(expected.tolist())
    assert decided[[first, second]].tolist() == [1.0, 0.0]
    assert scores[third] == probabilities[third] == decided[third]
    with pytest.raises(TagscaleError, match="output: found 'logits', expected one of scores"):
        tagger.predict(wav, {"output": "logits"})


def test_a_version_without_decisions_still_tags(tmp_path: Path) -> None:
    tiny_tagger().save(tmp_path / "tagger")
    assert not (tmp_path / "tagger" / "decisions.json").exists()
    tagger = AudioTagger.load(tmp_path / "tagger")
    wav = pd.DataFrame({"audio": [example_wav(tagger.scorer.seconds)]})
    assert tagger.predict(wav).notna().all(axis=None)
    with pytest.raises(TagscaleError, match="has no decisions, so no probabilities: register the run again"):
        tagger.predict(wav, {"output": "probabilities"})


def test_damaged_decisions_are_named(tmp_path: Path) -> None:
    tagger = tiny_tagger()
    tagger.decisions = decisions_of(tagger)
    tagger.save(tmp_path / "tagger")
    (tmp_path / "tagger" / "decisions.json").write_text('{"tags": {"rock": {"threshold": 2}}}')
    with pytest.raises(TagscaleError, match=r"(?s)decisions\.json: damaged .*register the run again"):
        AudioTagger.load(tmp_path / "tagger")


def test_input_keeps_its_index_and_may_be_empty(champion: AudioTagger) -> None:
    wav = example_wav(champion.scorer.seconds)
    assert list(champion.predict(pd.DataFrame({"audio": [wav, wav]}, index=[7, 9])).index) == [7, 9]
    assert champion.predict(pd.DataFrame({"audio": []})).shape == (0, 3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_taken_as_bytes(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"song{suffix}", [song(1) / 32768], 48_000)
    tagger = tiny_tagger()
    scores = tagger.predict(pd.DataFrame({"audio": [path.read_bytes()]}))
    assert scores.iloc[0].to_dict() == pytest.approx(tagger.tag(path).scores)


def test_a_format_whose_library_is_not_installed_is_required_all_the_same(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = package.installed

    def lacking(name: str) -> str:
        if name == "av":
            raise PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(package, "installed", lacking)
    package.package(tiny_tagger(), store / "model")
    requirements = (store / "model" / "requirements.txt").read_text().split()
    assert [line for line in requirements if "==" not in line] == ["av"]


def test_loading_by_tagscale_reads_weights_and_json_only(champion: AudioTagger, tmp_path: Path) -> None:
    """Whatever somebody puts into the artifact's code or into files beside the weights is not executed."""
    trap = f"open({str(tmp_path / 'executed')!r}, 'w')\n"
    for file in (artifacts() / "code").rglob("*.py"):
        file.write_text(trap)
    (artifacts() / "data" / "tagger" / "sitecustomize.py").write_text(trap)
    tagger, version = load_version("tagger", "champion")
    assert not (tmp_path / "executed").exists()
    assert (version.number, version.test_metrics) == ("1", {"pr_auc": 0.5})
    assert (tagger.tags, tagger.kinds, tagger.groups) == (champion.tags, champion.kinds, champion.groups)
    assert tagger.scorer.facts() == champion.scorer.facts()
    (tmp_path / "song.wav").write_bytes(example_wav(tagger.scorer.seconds))
    assert tagger.tag(tmp_path / "song.wav").scores == champion.tag(tmp_path / "song.wav").scores


@pytest.mark.parametrize(
    ("file", "expected"),
    [("weights.safetensors", r"weights\.safetensors: no such file"), ("listening.json", r"listening\.json")],
)
def test_artifact_with_a_missing_file_names_it(champion: AudioTagger, file: str, expected: str) -> None:
    (artifacts() / "data" / "tagger" / file).unlink()
    with pytest.raises(TagscaleError, match=expected):
        load_version("tagger", 1)


def test_moved_artifacts_name_version_and_place(champion: AudioTagger, store: Path) -> None:
    (store / "mlartifacts").rename(store / "moved")
    with pytest.raises(TagscaleError, match=r"Version 1 of 'tagger': its files cannot be read at .*mlartifacts"):
        load_version("tagger")


def test_failed_upload_leaves_no_version(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry.open_or_create("tagger", "for tests")
    monkeypatch.setattr(type(registry.client), "log_model_artifacts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), tracking.find_run("study", IDENTITY) as run:
        register(registry, run, tiny_tagger(), IDENTITY.name, {}, "")
    assert registry.versions() == {}


def test_a_model_that_a_killed_process_left_pending_is_failed(store: Path) -> None:
    gone = json.dumps(json.loads(this_process()) | {"begun": "1"})
    registry = Registry.open_or_create("tagger", "about")
    with tracking.find_run("study", IDENTITY) as run:
        client = run.client
        left = client.create_logged_model(run.experiment_id, "left", run.run_id, tags={tracking.PROCESS: gone})
        other = client.create_logged_model(run.experiment_id, "other", run.run_id)
        register(registry, run, tiny_tagger(), "run", {}, "about")
    assert client.get_logged_model(left.model_id).status == "FAILED"
    assert client.get_logged_model(other.model_id).status == "PENDING", "nobody knows who works on it"


def test_the_model_of_the_training_becomes_the_first_version_and_stays_as_it_is(store: Path) -> None:
    with tracking.start_run("study", IDENTITY, {}, store / "run", store / "unfinished") as run:
        (store / "run").mkdir()
        (store / "run" / "weights").write_text("w")
        run.log_model(IDENTITY.name)
    client = run.client
    (trained,) = client.search_logged_models([run.experiment_id])
    models = []
    for name in ("tagger", "another"):
        registry = Registry.open_or_create(name, "about")
        number = register(registry, run, tiny_tagger(), IDENTITY.name, {}, "about")
        models.append(client.get_model_version(name, number).source.removeprefix("models:/"))
    assert models[0] == trained.model_id != models[1], "a version's package is not written over by another one"
    folder = store / "mlartifacts" / "models" / trained.model_id / "artifacts"
    assert {"checkpoint", "MLmodel", "data"} <= {path.name for path in folder.iterdir()}
    outputs = [output.model_id for output in client.get_run(run.run_id).outputs.model_outputs]
    assert sorted(outputs) == sorted(models)
    assert load_version("tagger", 1)[0].tags == tiny_tagger().tags
