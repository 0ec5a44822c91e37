"""The Python API: one name loads a tagger, which hears files, bytes and arrays."""

import io
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

import tagscale
from registry.tiny import KINDS, LIMITS, empty_store, make_study, song, tiny_tagger
from tagscale import tracking
from tagscale.evaluation.decisions import Decisions, Sigmoid, TagDecision
from tagscale.registry.local_version import local_version
from tagscale.registry.package import load_version, register
from tagscale.registry.tagger import AudioTagger
from tagscale.registry.versions import Registry
from tagscale.runtime.identity import RunIdentity
from tagscale.runtime.machine import SLEEPING
from tagscale.runtime.mlflow_env import TAGGER
from tagscale.serving.tagger import Tagger

RATE = 44_100


@pytest.fixture
def tagger() -> Tagger:
    decision = TagDecision(calibration=Sigmoid(slope=1, offset=0), threshold=0.0, positives=3, tracks=9)
    return Tagger("tiny", "3", AudioTagger(**vars(tiny_tagger()) | {"decisions": Decisions(tags={"rock": decision})}))


@pytest.fixture
def stereo() -> np.ndarray:
    """(2, n) int16 at 44.1 kHz."""
    return np.stack([song(1, seconds=8), song(2, seconds=8)])


@pytest.fixture
def file(tmp_path: Path, stereo: np.ndarray) -> Path:
    soundfile.write(tmp_path / "song.wav", stereo.T, RATE, subtype="PCM_16")
    return tmp_path / "song.wav"


def test_a_file_its_bytes_and_its_samples_are_one_recording(tagger: Tagger, file: Path, stereo: np.ndarray) -> None:
    expected = tagger.tag(file)
    assert expected.name == str(file)
    assert (expected.facts["format"], expected.facts["channels"], expected.facts["source_rate"]) == ("WAV", 2, RATE)
    loud = stereo.astype(np.int32) << 16
    for audio in (str(file), file.read_bytes(), stereo, loud, stereo / 32768, stereo.astype(np.float32) / 32768):
        tags = tagger.tag(audio, None if isinstance(audio, str | bytes) else RATE)
        assert tags.scores == expected.scores
        assert {**tags.facts, "format": ""} == {**expected.facts, "format": ""}
    mono = tagger.tag(stereo[0], RATE)
    assert (mono.name, mono.facts["channels"], mono.facts["format"]) == ("samples", 1, "samples")
    assert tagger.tag(np.stack([stereo[0], -stereo[0]]), RATE).scores == mono.scores, "one channel is heard alone"


@pytest.mark.parametrize(
    ("audio", "rate", "reason"),
    [
        (np.ones(9), None, "samples without a rate"),
        (np.full(RATE, np.nan), RATE, "values that are no numbers"),
        (np.full(RATE, 2000.0), RATE, "values beyond full scale"),
        (np.zeros((RATE, 2)), RATE, r"44100 channels: expected \(channels, n\)"),
        (
            np.zeros((2, 2, 2)),
            RATE,
            r"shape \(2, 2, 2\) of float64; expected floats in \[-1, 1\] or int16, as \(n,\) or \(channels, n\)",
        ),
        (np.array(["a"]), RATE, "ndarray in place of a path, bytes or samples"),
        (["a.wav", "b.wav"], None, "list in place of a path, bytes or samples"),
        ([b"RIFF", Path("b.wav")], RATE, "list in place of a path, bytes or samples"),
        (np.zeros(0), RATE, "no samples"),
        (np.zeros(RATE), RATE, "silent: -120.0 dBFS"),
        (song(1).astype(np.int64), RATE, "int64, whose full scale nobody knows; expected floats"),
        (song(1), 12, "sample rate of 12 Hz"),
        (song(1), "16000", "sample rate '16000': expected a number of Hz"),
        (np.zeros(0), 0, "sample rate of 0 Hz: expected 4,000 to 768,000"),
        (b"words", None, "bytes: not audio in a known format: it looks like text"),
        (b"", None, r"bytes: empty file \(0 bytes\)"),
        ("nowhere.wav", None, "nowhere.wav: no such file"),
    ],
)
def test_what_cannot_be_tagged_is_an_error_that_says_why(
    tagger: Tagger, audio: str | bytes | np.ndarray, rate: Any, reason: str
) -> None:
    for ask in (tagger.tag, tagger.taggram, tagger.embed):
        with pytest.raises(tagscale.AudioError, match=reason) as caught:
            ask(audio, rate)
        assert "/tmp" not in str(caught.value)


def test_many_come_in_order_and_a_bad_one_ends_nothing(tagger: Tagger, file: Path) -> None:
    sound = io.BytesIO()
    soundfile.write(sound, song(5), 16_000, format="FLAC")
    audios = [str(file), b"words", file.parent / "nowhere.wav", sound.getvalue(), song(7), np.zeros(16_000)]
    audios.append(float("nan"))  # as a column of paths has it where one is missing
    results = list(tagger.tag_all(audios, sample_rate=16_000))
    assert [tags.name for tags in results] == [
        *(str(file), "bytes", str(file.parent / "nowhere.wav"), "bytes", "samples", "samples", "samples")
    ]
    good = [0, 3, 4]
    assert [number for number, tags in enumerate(results) if tags.scores] == good
    for number in good:
        alone = tagger.tag(audios[number], 16_000)
        assert results[number].scores == pytest.approx(alone.scores, abs=1e-6)
        assert results[number].facts == alone.facts
    reasons = [str(tags.error) for tags in results if tags.error]
    assert [reason.partition(" ")[0] for reason in reasons] == ["not", "no", "silent:", "float"]
    assert list(tagger.tag_all([])) == []


def test_what_is_no_recording_ends_nothing(tagger: Tagger, file: Path) -> None:
    """Not even what cannot be handed to another process, as an open file."""
    with open(file, "rb") as opened:
        odd: list[Any] = [opened, [[0.1, 0.2], [0.3]], np.zeros(9, np.uint8), memoryview(file.read_bytes())]
        *wrong, good = tagger.tag_all(odd, 16_000)
    reasons = [str(tags.error) for tags in wrong]
    assert reasons[0] == "BufferedReader in place of a path, bytes or samples"
    assert reasons[1].startswith("no samples can be made of it (setting an array element")
    assert reasons[2] == "shape (9,) of uint8; expected floats in [-1, 1] or int16, as (n,) or (channels, n)"
    assert (good.error, good.name) == (None, "bytes")
    lone: list[Any] = [str(file), file.read_bytes(), bytearray(file.read_bytes()), song(1), song(1) / 32768]
    for one in lone:
        with pytest.raises(TypeError, match=rf"tag_all takes many .* as \[audio\]; found {type(one).__name__}"):
            next(tagger.tag_all(one))
    assert [tags.name for tags in tagger.tag_all(np.array([str(file)]))] == [str(file)]
    two = tagger.tag_all(np.stack([song(1), song(2)]), 16_000)
    assert [tags.error for tags in two] == [None, None]


def test_many_are_decoded_where_no_process_may_begin(
    tagger: Tagger, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # as in those of a Pool
    good, bad = tagger.tag_all([str(file), "nowhere.wav"])
    assert (good.scores, good.name) == (tagger.tag(file).scores, str(file))
    assert (bad.error, bad.name) == ("no such file", "nowhere.wav")


def test_a_tagger_is_a_name_in_a_notebook_and_a_key_of_a_cache(tagger: Tagger) -> None:
    assert repr(tagger) == "Tagger(model='tiny', version='3')"
    assert {tagger: 1}[tagger] == 1


def test_results_as_frames(tagger: Tagger, file: Path) -> None:
    tags = tagger.tag(file)
    frame = tags.to_frame()
    assert list(frame.index) == list(tags.scores)
    assert list(frame.columns) == ["group", "kind", "score", "probability", "threshold", "decided"]
    rock, jazz, energy = (frame.loc[tag] for tag in KINDS)
    assert (rock["group"], rock["kind"], rock["threshold"], rock["decided"]) == ("genre", "classification", 0, True)
    assert rock["probability"] == pytest.approx(rock["score"], abs=1e-4)
    assert (energy["group"], energy["kind"]) == ("", "regression")
    assert pd.isna(jazz["probability"])
    assert jazz["decided"] is None
    assert list(tags.top(9)) == [tag for tag in tags.scores if tag != "energy"]
    assert tagscale.Tags("bad.wav", error="no such file").to_frame().empty

    taggram = tagger.taggram(file)
    assert taggram.scores.shape == (len(taggram.times), len(KINDS))
    assert (list(taggram.to_frame().columns), list(taggram.to_frame().index)) == (list(KINDS), taggram.times.tolist())
    np.testing.assert_allclose(taggram.scores.mean(axis=0), [tags.scores[tag] for tag in KINDS], atol=1e-6)
    finer = tagger.taggram(file, hop_seconds=0.25)
    assert np.allclose(np.diff(finer.times)[:-1], 0.25)
    assert finer.times[-1] + finer.window_seconds / 2 == pytest.approx(tags.facts["source_seconds"], abs=1e-3)
    for hop in (0, 1e-9, float("nan"), float("inf")):
        with pytest.raises(
            tagscale.TagscaleError, match=f"hop_seconds: found {hop:g}, expected 6.25e-05 s, one sample"
        ):
            tagger.taggram(file, hop_seconds=hop)


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of two models without settings beside it: tagscale-tagger of two versions, and other."""
    folder = empty_store(request.config, tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        for name, seed in (("tagscale-tagger", 0), ("tagscale-tagger", 1), ("other", 2)):
            registry, tagger = Registry.open_or_create(name, "for tests"), tiny_tagger(seed=seed)
            tagger.limits = LIMITS
            identity = RunIdentity("spectrogram", "all", seed, "tiny", "dddddddddddd", "pppppppppppp", "ssssssssssss")
            with tracking.find_run("study", identity) as run:
                number = register(registry, run, tagger, identity.name, {}, "a description")
            registry.set_alias("champion" if number == "1" else "challenger", number)
    return folder


NAMES = {
    "champion": ("tagscale-tagger", "1"),
    "challenger": ("tagscale-tagger", "2"),
    "2": ("tagscale-tagger", "2"),
    "other": ("other", "1"),
    "other/1": ("other", "1"),
    "other@champion": ("other", "1"),
    "models:/tagscale-tagger/2": ("tagscale-tagger", "2"),
    "models:/tagscale-tagger@challenger": ("tagscale-tagger", "2"),
}


def test_one_name_loads_a_version(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MLflow says the same as the look into its database that goes before it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(project)
    digests = {}
    for name, (model, number) in NAMES.items():
        loaded = tagscale.load(name)
        assert (loaded.model, loaded.version) == (model, number), name
        which = name.rpartition("@")[2] if "@" in name else number
        found = local_version(model, which)
        assert found is not None
        assert found[0] == number
        assert AudioTagger.load(found[1]).sha256 == loaded.sha256
        digests[model, number] = loaded.sha256, found[1]
    assert len({sha256 for sha256, _ in digests.values()}) == 3
    (sha256, inside), packaged = digests["other", "1"], digests["other", "1"][1].parents[1]
    for folder in (packaged, inside, str(packaged)):
        loaded = tagscale.load(folder)
        assert (loaded.version, loaded.sha256) == ("folder", sha256)
    (tmp_path / "params.yaml").write_text("registry: {name: other}\nunknown: 1\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    assert (tagscale.load().model, tagscale.load().sha256) == ("other", sha256)


def test_where_mlflow_has_to_be_asked(project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(project)
    assert local_version("other", "7") is None
    assert local_version("nobody", "champion") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/copy.db")
    assert local_version("other", "1") is None
    (tmp_path / "copy.db").write_bytes((project / "mlflow.db").read_bytes())
    assert local_version("other", "1") is None, "the files are in another project, see tracking.local"
    (tmp_path / "copy.db").write_text("no database")
    assert local_version("other", "1") is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert local_version("other", "1") is None


@pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("7", "Model 'tagscale-tagger' has no version '7'; there: 1, 2"),
        ("other@challenger", "Model 'other' has no version 'challenger'; there: 1"),
        ("nobody", r"No model 'nobody' in the registry at .* \(there: other, tagscale-tagger\)"),
        (Path("mlartifacts"), r"mlartifacts: no tagger there. Expected a packaged model \(with data/tagger/listening"),
        (Path("nowhere"), "nowhere: no tagger there"),
        ("./nowhere", "'./nowhere': no such folder, and no name of a version"),
        ("models/of/mine", "'models/of/mine': no such folder"),
        ("", "'': no such folder"),
    ],
)
def test_a_wrong_name_says_what_there_is(
    project: Path, monkeypatch: pytest.MonkeyPatch, which: str | Path, reason: str
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(project)
    with pytest.raises(tagscale.TagscaleError, match=reason):
        tagscale.load(which)


def test_a_runs_folder_scores_as_its_project_evaluates(tmp_path: Path, file: Path) -> None:
    study = make_study(tmp_path / "study")
    run = study.root / "runs" / "spectrogram-all-0"
    with pytest.raises(tagscale.TagscaleError, match=r"no params\.yaml in a folder above it"):
        tagscale.load(run)
    block = study.params.evaluate.model_dump(mode="json")
    (study.root / "params.yaml").write_text(yaml.safe_dump({"evaluate": block, "of_another_version": 1}))
    loaded = tagscale.load(run)
    assert (loaded.model, loaded.version, loaded.groups) == ("spectrogram-all-0", "folder", {})
    assert loaded.tag(file).scores == pytest.approx(tiny_tagger().tag(file).scores)


PROCESS = """
import os, sys, tagscale
assert not {"numpy", "pydantic"} & set(sys.modules), "import tagscale is instant"
tagger = tagscale.load(sys.argv[1])
print(*tagger.tag(sys.argv[2]).scores)
print(*sorted({"mlflow", "pandas", "sklearn", "torch._dynamo", "xgboost"} & set(sys.modules)))
assert not {"OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"} & set(os.environ)
"""


FORKED = """
import os, sys, tagscale
tagger = tagscale.load(sys.argv[1])
print(tagger.tag(sys.argv[2]).scores, flush=True)
if os.fork() == 0:
    print(tagger.tag(sys.argv[2]).scores, flush=True)
    os._exit(0)
os.wait()
"""


@pytest.mark.slow
def test_a_process_that_is_forked_after_the_tagger_was_loaded_hears_the_same(project: Path, file: Path) -> None:
    """PyTorch by itself would wait for ever for threads that the fork left behind."""
    command = ["timeout", "60", sys.executable, "-c", FORKED, "champion", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    here, forked = done.stdout.splitlines()
    assert here == forked


@pytest.mark.slow
def test_a_process_imports_what_its_model_needs_and_no_more(project: Path, file: Path) -> None:
    """Among them nothing that takes as long as the first song: MLflow, scikit-learn, torch's compiler.

    PyTorch's threads do not spin while they wait, and the environment is left alone.
    """
    environment = {name: value for name, value in os.environ.items() if name not in SLEEPING}
    command = [sys.executable, "-c", PROCESS, "champion", str(file)]
    environment["OMP_DISPLAY_ENV"] = "verbose"  # GNU's OpenMP tells its settings
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "GOMP_SPINCOUNT" in done.stderr:
        assert set(re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)) == {"0"}
    tags, heavy = done.stdout.splitlines()
    assert set(tags.split()) == set(KINDS)
    assert heavy == "pandas"


def test_what_is_loaded_is_what_the_registry_has(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(project)
    tagger, version = load_version("other", "champion")
    loaded = tagscale.load("other")
    assert (loaded.audio.limits, loaded.groups, loaded.kinds) == (tagger.limits, tagger.groups, KINDS)
    assert tagger.sha256 == loaded.sha256 == tagger.digest()
    assert next(project.glob(f"**/{TAGGER}")).is_dir()
    assert version.number == loaded.version
