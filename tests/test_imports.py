"""Imports point downwards, from the pipelines to runtime, in the order that docs/architecture.md draws."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sources import imported, loaded

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tagscale"

# From below to above. A folder imports from those below it, never from its neighbours on the same line.
# models/spec.py describes the models for everybody, the reader of params.yaml included, and needs runtime alone: it is
# a unit of its own, far below the networks that it describes.
ORDER = [
    "runtime",
    "models.spec",
    "params",
    "tracking synth fetch decoding catalog",
    "store",
    "audio partition descriptors",
    "validation models",
    "training evaluation",
    "study",
    "report registry",
    "serving",
    "stages",
    "cluster",
    "components k8s",
    "pipelines",
    "cli",
]
LEVELS = {folder: level for level, folders in enumerate(ORDER) for folder in folders.split()}

# Packages that only these places may import; nobody else.
ONLY_IN = {
    "kfp": ("components/", "pipelines/"),
    "dvc": (),
    "kubeflow": ("src/tagscale/cluster/",),
    "great_expectations": ("src/tagscale/validation/expectations.py",),
    "torchaudio": ("src/tagscale/audio/",),
    "mlflow": (
        "src/tagscale/tracking/",
        "src/tagscale/registry/",
        "src/tagscale/serving/",
        "k8s/servers/",
    ),  # the last run in pods of its server
}

# What opens, finds or moves files. Models and evaluation see tensors and arrays alone.
FILES = {"pathlib", "os", "io", "shutil", "tempfile", "glob", "fsspec", "tagscale.runtime.files"}

# Packages that take a quarter of a second or more to load, and which of them a stage loads when it starts. Others are
# loaded where they are used: torch, where a network is scored or registered. `import scipy` alone is light.
HEAVY = {
    *("great_expectations", "lightning_fabric", "matplotlib", "mlflow", "optuna", "scipy.fft", "scipy.ndimage"),
    *("scipy.optimize", "scipy.signal", "scipy.sparse", "scipy.special", "scipy.stats", "sklearn", "torch", "xgboost"),
}
LOADS = {
    "cli": set(),
    "cli.stages": set(),
    "serving.tagger": set(),
    "registry.published": {"torch"},
    "stages.preflight": set(),
    "stages.synth": {"scipy.fft", "scipy.signal"},
    "stages.catalog": set(),
    "stages.preprocess": set(),
    "stages.validate": {"great_expectations"},
    "stages.partition": set(),
    "stages.describe": {"scipy.fft", "scipy.ndimage"},
    "stages.encode": {"torch"},
    "stages.train": {"mlflow", "torch"},
    "stages.train_baseline": {"mlflow", "scipy.fft", "scipy.ndimage"},
    "stages.train_probe": {"mlflow", "torch"},
    "stages.evaluate": {"mlflow", "scipy.special"},
    "stages.ensemble": {"mlflow", "scipy.special"},
    "stages.compare": {"matplotlib"},
    "stages.register": {"mlflow", "scipy.fft", "scipy.ndimage", "scipy.special"},
}
LIGHT = [module for module, heavy in LOADS.items() if not heavy]

# A machine without these can still train.
BEYOND_TRAINING = (
    *("mlflow", "kfp", "dvc", "great_expectations", "matplotlib", "soundfile", "soxr", "symusic", "pretty_midi"),
)


def modules() -> list[Path]:
    return sorted(
        path
        for folder in (SOURCE, ROOT / "components", ROOT / "pipelines", ROOT / "k8s")
        for path in folder.rglob("*.py")
        if path != SOURCE / "__init__.py"  # names the Python API, which is above all; it imports nothing of it
    )


def folder_of(dotted: str) -> str:
    """The folder that a dotted name lies in: "store" of tagscale.store.read, "pipelines" of pipelines.run."""
    top, _, rest = dotted.partition(".")
    if f"{rest}.".startswith("models.spec."):
        return "models.spec"
    return rest.partition(".")[0] if top == "tagscale" else top


def dotted_name(path: Path) -> str:
    inside = path.relative_to(ROOT / "src" if path.is_relative_to(SOURCE) else ROOT)
    return ".".join(inside.with_suffix("").parts)


def test_the_root_holds_folders_alone() -> None:
    assert {path.name for path in SOURCE.iterdir() if path.is_file()} == {"__init__.py", "py.typed"}
    assert {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"} <= set(LEVELS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    own = folder_of(dotted_name(path))
    for name in imported(path):
        theirs = folder_of(name)
        if theirs != own and theirs in LEVELS and name.split(".")[0] in ("tagscale", theirs):
            assert LEVELS[theirs] < LEVELS[own], f"{path.relative_to(ROOT)} imports {name}, which is not below it"


def test_the_root_loads_nothing_but_the_standard_library() -> None:
    assert {name.partition(".")[0] for name in loaded("tagscale")} <= {"tagscale", *sys.stdlib_module_names}
    assert not [name for name in loaded("tagscale") if name.startswith("tagscale.")]


def test_commands_begin_without_pandas() -> None:
    """Which takes longer to load than all else that `tagscale --help` needs."""
    assert not {"pandas", "pyarrow"} & loaded("tagscale.cli")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_dependencies_stay_where_they_belong(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    for name in imported(path):
        places = ONLY_IN.get(name.split(".")[0])
        if places is not None:
            assert relative.startswith(places), f"{relative} imports {name}; only {places or 'nobody'} may"


def calls(path: Path) -> set[str]:
    """Names of the plain functions that a module calls, `open` among them."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.func.id for node in tree if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


@pytest.mark.parametrize("folder", ["models", "evaluation"])
def test_opens_no_file(folder: str) -> None:
    for path in sorted((SOURCE / folder).rglob("*.py")):
        found = {name for name in imported(path) if any(name == file or name.startswith(f"{file}.") for file in FILES)}
        assert not found, f"{path.relative_to(ROOT)} imports {found}"
        assert "open" not in calls(path), path


def test_the_table_of_heavy_packages_has_every_stage() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    own = {dep for stage in stages.values() for dep in stage["deps"] if dep.startswith("src/tagscale/stages/")}
    assert {f"stages.{Path(dep).stem}" for dep in own} - {"stages.cell", "stages.results"} <= set(LOADS)


@pytest.mark.parametrize("module", LOADS)
def test_a_stage_loads_no_heavy_package_that_it_does_not_need(module: str) -> None:
    names = loaded(f"tagscale.{module}")
    assert {heavy for heavy in HEAVY if any(f"{name}.".startswith(f"{heavy}.") for name in names)} == LOADS[module]


def test_what_light_stages_load_is_light_in_turn() -> None:
    program = f"import sys, {', '.join(f'tagscale.{module}' for module in LIGHT)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.slow
def test_training_runs_where_only_its_own_packages_are_installed() -> None:
    needed = [
        *(dotted_name(path) for name in ("models", "training", "audio") for path in (SOURCE / name).rglob("[!_]*.py")),
        "tagscale.store.read",
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
