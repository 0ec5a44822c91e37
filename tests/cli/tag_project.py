"""A project with a champion and a few songs, for the tests of `tagscale tag`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from registry.tiny import LIMITS, empty_store, song, tiny_tagger
from tagscale import tracking
from tagscale.cli import main
from tagscale.registry.package import register
from tagscale.registry.versions import Registry
from tagscale.runtime.identity import RunIdentity

ROOT = Path(__file__).parents[2]
TAGS = ("rock", "Señal 音楽", "energy")
IDENTITY = RunIdentity("spectrogram", "all", 0, "tiny", "dddddddddddd", "pppppppppppp", "ssssssssssss")
TAGSCALE = [sys.executable, "-c", "import sys; from tagscale.cli import main; main(sys.argv[1:])"]


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose champion has a tag in another script, and songs, one of them with a name that is no UTF-8."""
    folder = empty_store(request.config, tmp_path_factory.mktemp("project"))
    shutil.copy(ROOT / "params.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        registry, tagger = Registry.open_or_create("tagscale-tagger", "for tests"), tiny_tagger(tags=TAGS)
        tagger.limits = LIMITS
        with tracking.find_run("study", IDENTITY) as run:
            number = register(registry, run, tagger, IDENTITY.name, {}, "a description")
        registry.set_alias("champion", number)
    music = folder / "music"
    music.mkdir()
    for name in ("Björk - 楽.wav", "good.wav"):
        soundfile.write(music / name, song(1, seconds=4), 16_000)
    soundfile.write(music / "short.wav", song(1, seconds=1), 16_000)
    soundfile.write(music / "silent.wav", np.zeros(64_000), 16_000)
    (music / "words.wav").write_text("words")
    (folder / "other").mkdir()
    shutil.copy(music / "good.wav", folder / "other" / os.fsdecode(b"caf\xe9.wav"))
    return folder


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(folder)
    return folder


def tag(*words: str) -> int:
    """Exit status of `tagscale tag` with these words."""
    with pytest.raises(SystemExit) as ended:
        main(["tag", *words])
    return int(ended.value.code or 0)


def process(project: Path, *words: str, **environment: str) -> subprocess.Popen[bytes]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_TRACKING", "LC_"))}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*TAGSCALE, *words], cwd=project, env=known | environment, **pipes)
