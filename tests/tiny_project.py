"""The same tiny study by DVC and as a Kubeflow pipeline, for the tests that compare orchestrators."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

from tagscale.params.load import laid_over, read_yaml

ROOT = Path(__file__).parents[1]
OWN = Path(sys.executable).parent  # programs of this environment
NAMES = ["waveform-all-0", "spectrogram-all-0", "descriptors-all-0"]


def tiny_settings() -> dict:
    """The settings of tests/tiny.yaml, made smaller still."""
    settings = laid_over(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "tests" / "tiny.yaml"))
    return laid_over(settings, {"train": {"sizes": ["all"], "max_steps": "1 epoch"}})


def run(
    folder: Path, *words: str, environment: Mapping[str, str] | None = None, programs: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with this environment's programs; MLflow's store is in the folder, or as `environment` says.

    Args:
        programs: those of `warm.serving`, which begin at once
    """
    more = environment or {}
    given = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    given["PATH"] = os.pathsep.join([*([str(programs)] if programs else []), str(OWN), os.environ["PATH"]])
    given |= {"PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1", "COLUMNS": "120"}
    return subprocess.run(words, cwd=folder, env=given | more, capture_output=True, text=True, timeout=1200)


def pipelines_run(
    folder: Path,
    settings: dict,
    runner: str = "subprocess",
    pipeline: str = "study",
    environment: Mapping[str, str] | None = None,
    programs: Path | None = None,
    options: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    python = str(programs / "python3") if programs else sys.executable
    words = (python, "-m", "pipelines", "run", "--runner", runner, "--pipeline", pipeline, *options)
    return run(folder, *words, environment=environment, programs=programs)


def headline_of(folder: Path) -> dict:
    """The few numbers of a study, without the hours, which no two runs share."""
    headline = json.loads((folder / "reports" / "metrics.json").read_text())
    assert headline.pop("hours") > 0
    return headline


class Project:
    """A fresh project folder with this repository's dvc.yaml and code, and the settings of tests/tiny.yaml.

    Attributes:
        programs: those of its commands, see `run`
    """

    programs: Path | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(ROOT / "dvc.yaml", folder)
        shutil.copytree(ROOT / "presets", folder / "presets")
        self.write(tiny_settings())
        self.command("dvc", "init", "--no-scm", "--quiet")
        shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots", dirs_exist_ok=True)

    def write(self, settings: dict) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))

    def change(self, settings: dict) -> None:
        self.write(laid_over(read_yaml(self.folder / "params.yaml"), settings))

    def command(self, *words: str) -> str:
        done = run(self.folder, *words, programs=self.programs)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def changed(self) -> set[str]:
        """Names of the stages whose own settings, code or inputs differ from those of their last run."""
        return set(json.loads(self.command("dvc", "status", "--json")))

    def repro(self) -> list[str]:
        """Names of the stages that `dvc repro` ran."""
        output = self.command("dvc", "repro")
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def pipeline_state(folder: Path) -> list[str]:
    """How MLflow says that pipelines in this folder ended."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        return [value for (value,) in store.execute("SELECT value FROM tags WHERE key = 'tagscale.state'")]
