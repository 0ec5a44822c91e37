"""`dvc repro` for real, in a folder of its own: it finishes, then has nothing to do, then does only what changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tagscale.params import laid_over, read_yaml

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


class Project:
    """A fresh project folder with this repository's dvc.yaml and code, and the settings of tests/tiny.yaml."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(ROOT / "dvc.yaml", folder)
        shutil.copytree(ROOT / "presets", folder / "presets")
        settings = laid_over(read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "tests" / "tiny.yaml"))
        self.write(laid_over(settings, {"train": {"sizes": ["all"], "max_epochs": 1}}))
        self.command("dvc", "init", "--no-scm", "--quiet")
        shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots", dirs_exist_ok=True)

    def write(self, settings: dict) -> None:
        (self.folder / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))

    def change(self, settings: dict) -> None:
        self.write(laid_over(read_yaml(self.folder / "params.yaml"), settings))

    def command(self, *words: str) -> str:
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": programs, "DVC_NO_ANALYTICS": "1", "COLUMNS": "120"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        done = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def repro(self) -> list[str]:
        """Names of the stages that `dvc repro` ran."""
        output = self.command("dvc", "repro")
        return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("project"))
    ran = project.repro()
    assert ran[0] == "synth"
    assert ran[-1] in {"compare", "register"}
    assert {"train@waveform-all-0", "evaluate@spectrogram-all-0", "evaluate_baseline@descriptors-all-0"} <= set(ran)
    return project


def test_the_study_leaves_what_it_promises(project: Project) -> None:
    for path in ("reports/report.html", "reports/metrics.json", "registration/registration.json", "mlflow.db"):
        assert (project.folder / path).stat().st_size > 0, path
    assert "waveform" in project.command("dvc", "metrics", "show")
    assert "index.html" in project.command("dvc", "plots", "show")
    assert "tiny-corpus" in project.command("tagscale", "results")


def test_a_second_run_does_nothing(project: Project) -> None:
    assert project.repro() == []


def test_only_what_depends_on_a_change_runs_again(project: Project) -> None:
    project.change({"evaluate": {"hop_seconds": 1.0}})
    assert set(project.repro()) == {
        "evaluate@waveform-all-0",
        "evaluate@spectrogram-all-0",
        "compare",
        "register",
    }
    project.change({"model": {"waveform": {"width": 0.25}}})
    assert set(project.repro()) == {"train@waveform-all-0", "evaluate@waveform-all-0", "compare", "register"}
