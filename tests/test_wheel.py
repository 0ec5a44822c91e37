"""tagscale from its wheel, in an environment and a folder without this repository.

The environment has the packages of the one that runs the tests, but not tagscale from here.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from encoders import write_encoder
from tagscale.cli.init import CODE
from tagscale.cli.settings import rewrite

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
BUILT_FROM = ("src", "components", "pipelines", "presets", "pretrained", ".dvc")
MADE = ("__pycache__", "*.egg-info", "tmp", "cache", "config.local")  # in these folders, and no part of a wheel
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"


@dataclass
class Installed:
    wheel: Path
    environment: Path  # its bin is what a user's PATH begins with
    folder: Path  # an empty one

    @property
    def package(self) -> Path:
        return next(self.environment.glob("lib/python*/site-packages/tagscale"))

    def run(self, *words: str, folder: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
        path = os.pathsep.join([str(self.environment / "bin"), kept["PATH"]])
        given = kept | {"PATH": path, "COLUMNS": "120"} | variables
        program = self.environment / "bin" / words[0]
        return subprocess.run(
            [program, *words[1:]], cwd=folder or self.folder, env=given, capture_output=True, text=True, timeout=600
        )

    def said(self, *words: str, folder: Path | None = None, **variables: str) -> str:
        done = self.run(*words, folder=folder, **variables)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    for name in BUILT_FROM:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns(*MADE))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, source)
    subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    shutil.rmtree(source)
    venv.create(environment, symlinks=True)
    site = next(environment.glob("lib/python*/site-packages"))
    (site / "packages.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # without what is editable there
    pip = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)], check=True)
    (folder / "empty").mkdir()
    return Installed(wheel, environment, folder / "empty")


@pytest.fixture(scope="module")
def study(installed: Installed) -> Path:
    """A study of very little, whose first stage ran once."""
    installed.said("tagscale", "init", "study")
    folder = installed.folder / "study"
    rewrite(folder / "params.yaml", {"synth": {"tracks": 6, "artists": 6, "seconds": 3}})
    installed.said("python", "-m", "dvc", "repro", "synth", folder=folder)
    return folder


def test_the_wheel_holds_the_package_and_the_files_of_a_study(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"tagscale"}, "no `components` for everyone"
    code = {str(file.relative_to(ROOT / "src")) for file in (ROOT / "src" / "tagscale").rglob("*") if file.is_file()}
    assert {name for name in code if "__pycache__" not in name} <= set(names)
    project = {name.removeprefix("tagscale/project/") for name in names if name.startswith("tagscale/project/")}
    assert {"params.yaml", "dvc.yaml", ".gitignore", ".dvc/config", "presets/own.yaml"} <= project
    for folder in ("components", "pipelines"):
        assert {str(file.relative_to(ROOT)) for file in (ROOT / folder).rglob("*.py")} <= project


def test_it_runs_without_the_repository(installed: Installed) -> None:
    place = installed.said("python", "-c", "import tagscale; print(tagscale.__file__)")
    assert Path(place.strip()).parent == installed.package
    assert "init" in installed.said("tagscale", "--help")
    for name in ("components", "pipelines"):
        assert not (installed.package.parent / name).exists()


def test_dvc_runs_the_stages_whose_code_differs(installed: Installed, study: Path) -> None:
    assert len(list((study / "data" / "corpus" / "audio").rglob("*.flac"))) == 6
    code, digest = study / CODE, "synth.sha256"
    before = {file.name: file.read_bytes() for file in code.glob("*.sha256")}
    for file, changed in {"catalog/tables.py": False, "synth/tags.py": True}.items():
        module = installed.package / file
        module.write_text(f"{module.read_text()}\n# Of another version.\n")
        installed.said("tagscale", "lock-code", folder=study)
        assert ((code / digest).read_bytes() != before[digest]) == changed, file
    assert (code / "catalog.sha256").read_bytes() != before["catalog.sha256"]
    status = json.loads(installed.said("python", "-m", "dvc", "status", "--json", "synth", folder=study))
    assert status == {"synth": [{"changed deps": {f"{CODE}/{digest}": "modified"}}]}, "nor does it depend on catalog"


def test_the_pipelines_are_compiled_without_the_repository(installed: Installed, study: Path) -> None:
    assert "task_preprocess --> " in installed.said("tagscale", "pipelines", "draw", "--pipeline", "data", folder=study)


def test_a_published_encoder_tags_a_song(installed: Installed, tmp_path: Path) -> None:
    write_encoder(tmp_path / "tagscale" / "pretrained", "msd_musicnn")
    soundfile.write(installed.folder / "song.wav", np.random.default_rng(0).normal(0, 0.1, 64_000), 16_000)
    words = ("tag", "song.wav", "--model", "msd-musicnn", "--top", "50")
    assert "chillout" in installed.said("tagscale", *words, XDG_DATA_HOME=str(tmp_path))
