"""Imports point one way: params <- data, audio, models <- training, evaluation <- registry <- stages <- cli."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tagscale"

# A module may import from its own layer and from lower ones.
LAYERS = {
    "__init__": 0, "blocks": 0, "cluster": 0, "errors": 0, "files": 0, "identity": 0, "machine": 0, "params": 0,
    "provenance": 0, "stage_names": 0, "volume": 0,
    "data": 1, "audio": 1, "models": 1,
    "training": 2, "evaluation": 2,
    "tracking": 2,
    "registry": 3, "serving": 3,
    "stages": 4,
    "trainjob": 5, "trainjob_api": 5, "trainjob_logs": 5, "trainjob_watch": 5,
    "cli": 5,
    "components": 6, "k8s": 6,
    "pipelines": 7,
}  # fmt: skip

# Packages that only these places may import; nobody else.
ONLY_IN = {
    "kfp": ("components/", "pipelines/"),
    "dvc": (),
    "kubeflow": ("src/tagscale/trainjob",),
    "great_expectations": ("src/tagscale/data/expectations.py",),
    "torchaudio": ("src/tagscale/audio/",),
    "mlflow": (
        "src/tagscale/tracking/",
        "src/tagscale/registry/",
        "k8s/base/mlflow_user.py",
    ),  # the last runs in its server
}

# A machine without these can still train. (matplotlib is not among them: torchmetrics takes it where it is installed.)
BEYOND_TRAINING = ("mlflow", "kfp", "dvc", "great_expectations", "soundfile", "soxr", "symusic", "pretty_midi")


def modules() -> list[Path]:
    return sorted(
        path
        for folder in (SOURCE, ROOT / "components", ROOT / "pipelines", ROOT / "k8s")
        for path in folder.rglob("*.py")
    )


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a module imports, at its top or inside its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(dotted: str) -> int | None:
    parts = dotted.split(".")
    if parts[0] == "tagscale":
        return LAYERS.get(parts[1]) if len(parts) > 1 else None
    return LAYERS.get(parts[0])


def dotted_name(path: Path) -> str:
    inside = path.relative_to(ROOT / "src" if path.is_relative_to(SOURCE) else ROOT)
    return ".".join(inside.with_suffix("").parts)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    own = layer_of(dotted_name(path))
    assert own is not None, f"{path.relative_to(ROOT)} has no layer: give it one in LAYERS"
    for name in imported(path):
        theirs = layer_of(name)
        if theirs is not None:
            assert theirs <= own, f"{path.relative_to(ROOT)} imports {name}, which stands above it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_stay_where_they_belong(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    for name in imported(path):
        places = ONLY_IN.get(name.split(".")[0])
        if places is not None:
            assert relative.startswith(places), f"{relative} imports {name}; only {places or 'nobody'} may"


def test_models_know_nothing_of_files() -> None:
    for path in (SOURCE / "models").glob("*.py"):
        assert not {name.split(".")[0] for name in imported(path)} & {"pathlib", "os", "io", "shutil"}, path


def test_training_runs_where_only_its_own_packages_are_installed() -> None:
    needed = [
        *(dotted_name(path) for folder in ("models", "training") for path in (SOURCE / folder).glob("[!_]*.py")),
        *(f"tagscale.audio.{module}" for module in ("store", "patches", "logmel")),
        "tagscale.evaluation.metrics",
    ]
    program = f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BEYOND_TRAINING!r}:
            raise ImportError(f"not installed on this machine: {{name}}")
sys.meta_path.insert(0, Refuse())
import importlib
for name in {needed!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
