"""The two sides of the speed benchmarks compute the same. How fast they are is no matter of a test."""

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, files, requires
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from torch import Tensor, nn

from tagscale.models.spec import NETWORKS
from tagscale.training.encoders import pretrained_folder

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))  # last: benchmarks have names that tests have too
straightforward: Any = import_module("straightforward")
turns: Any = import_module("turns")
gpu: Any = import_module("gpu")


FROM_SCRATCH = [name for name, entry in NETWORKS.items() if not entry.on_encoder]


@pytest.mark.parametrize("model", [name for name in FROM_SCRATCH if not name.endswith("multiscale")])
def test_both_sides_give_the_same_logits_for_the_same_weights(model: str) -> None:
    built = turns.architecture(model, 3.0, full=False)
    ours: nn.Module = turns.prepared(built).eval()
    network, transform = straightforward.reference(ours)
    waves: Tensor = turns.waves_of(2, built.patch_samples)
    inputs = torch.stack([transform(wave) for wave in waves]) if transform else waves
    with torch.inference_mode():
        torch.testing.assert_close(network.eval()(inputs), ours(waves), atol=1e-3, rtol=1e-3)


def test_a_way_that_fails_is_named() -> None:
    def run(way: Any, turn: Any) -> None:
        turn({"number": 1})
        if way.ours:
            raise ValueError("the reason")

    with pytest.raises(RuntimeError, match=r"(?s)fast failed:.*the reason"):
        turns.compare([turns.Way("slow", ours=False), turns.Way("fast", ours=True)], run)


def test_ratios_are_taken_within_a_round() -> None:
    assert turns.ratio([2.0, 20.0, 3.0], [1.0, 10.0, 3.0]) == 2.0


# --- benchmarks/tagging.py ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_ways_of_tagging_give_the_same_scores(tmp_path: Path) -> None:
    if not (pretrained_folder() / "msd_musicnn").is_dir():
        pytest.skip("needs the encoder msd-musicnn: `tagscale fetch-encoders`")
    words = [str(ROOT / "benchmarks" / "tagging.py"), "--songs", os.environ.get("TAGGING_SONGS", "1"), "--rounds", "1"]
    more = ["--librosa", packages] if (packages := os.environ.get("TAGGING_LIBROSA")) else []
    done = subprocess.run([sys.executable, *words, *more], cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr
    rows = [row.strip("|").split("|") for row in done.stdout.splitlines() if row.startswith("| ")][1:]
    assert [row[0].strip() for row in rows][:2] == ["tagscale", "plain"]
    print(done.stderr, done.stdout)
    assert float(rows[1][-1]) < 0.05, "of another resampler"


# --- benchmarks/batches.py ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_batches_are_measured_with_memory_kept_and_returned(tmp_path: Path) -> None:
    page = tmp_path / "batches.md"
    words = [str(ROOT / "benchmarks" / "batches.py"), "--quick", "--models", "waveform", "--out", str(page)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = [row.strip("| ").split(" | ") for row in page.read_text().splitlines() if row.startswith("| waveform")]
    assert len(rows) == 2, "kept, and returned"
    assert all(row[1] == "3 s" and row[6] == "1.00" and float(row[2]) > 0 for row in rows)


# --- benchmarks/gpu.py -------------------------------------------------------------------------------------------

NEEDED = {
    *("torch", "torchaudio", "lightning-fabric", "numpy", "pandas", "pyarrow", "scikit-learn", "safetensors"),
    *("pydantic", "pyyaml"),
}


def place(folder: Path) -> Any:
    return gpu.Place(device="cpu", quick=True, folder=folder, threads=1)


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda place: os.kill(os.getpid(), signal.SIGKILL), "its process ended with exit status -9"),
        (lambda place: time.sleep(60), "ended after 1 s"),
        (lambda place: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
    ids=["crash", "hang", "error"],
)
def test_a_part_that_ends_badly_is_named_and_the_next_one_runs(tmp_path: Path, run: Any, text: str) -> None:
    parts = [gpu.Part("first", 1, run), gpu.Part("second", 30, lambda place: ["a line"])]
    outcomes = {part.name: gpu.outcome(part, place(tmp_path), part.limit) for part in parts}
    assert outcomes["first"].failed
    assert not outcomes["second"].failed
    page = gpu.page(outcomes, "facts", 1)
    assert f"| first | failed: {text}" in page
    assert "## Second\n\na line\n" in page


def test_a_part_for_which_too_little_time_was_left_has_not_failed(tmp_path: Path) -> None:
    result = gpu.outcome(gpu.Part("part", 60, lambda place: time.sleep(60)), place(tmp_path), 0.2)
    assert (result.failed, result.text) == (False, "left out: not through in the 0 s that were left")


def test_what_a_part_starts_ends_with_it(tmp_path: Path) -> None:
    def run(place: Any) -> list[str]:
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        return [str(child)]

    child = int(gpu.outcome(gpu.Part("part", 30, run), place(tmp_path), 30).lines[0])
    deadline = time.monotonic() + 60
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(child)


def alive(process: int) -> bool:
    """Whether a process runs; one that has ended and for which nobody waited does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_disagreement_fails(tmp_path: Path) -> None:
    result = gpu.outcome(gpu.Part("part", 30, lambda place: [f"| {gpu.DISAGREES} |"]), place(tmp_path), 30)
    assert result.failed
    assert gpu.DISAGREES in result.text


def test_without_time_every_part_is_left_out_and_named(tmp_path: Path) -> None:
    out = tmp_path / "page.md"
    assert gpu.main(["--quick", "--device", "cpu", "--budget", "0", "--out", str(out)]) == 0
    rows = [line for line in out.read_text().splitlines() if line.startswith("| ") and "| part |" not in line]
    assert len(rows) == len(gpu.PARTS)
    assert all("left out" in row for row in rows)


@pytest.mark.slow
def test_gpu_benchmark_runs_on_a_cpu_with_nothing_installed_but_what_it_names(tmp_path: Path) -> None:
    site, out = tmp_path / "site", tmp_path / "page.md"
    site.mkdir()
    for name in requirements(NEEDED):
        for top in {Path(str(file)).parts[0] for file in files(name) or ()} - {"..", "__pycache__"}:
            link, target = site / top, Path(str(distribution(name).locate_file(top)))
            if not link.is_symlink():
                link.symlink_to(target)
    assert not {"rich", "mlflow", "typer", "tagscale"} & {path.name for path in site.iterdir()}
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", "-m", "benchmarks.gpu", "--quick", "--device", "cpu", "--threads", "1"]
    run = subprocess.run(
        [*command, "--out", str(out)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    page = out.read_text()
    assert page == run.stdout
    for part in gpu.PARTS:
        missing = f"| {part.name} | left out: {'needs a GPU' if part.gpu_only else 'long, for --quick'} |" in page
        assert missing == (part.gpu_only or part.long), page
        assert missing or f"\n## {part.name[0].upper()}{part.name[1:]}\n" in page
    assert "failed" not in page


def requirements(names: set[str]) -> set[str]:
    """The packages, and all that they need, as they are installed here."""
    todo, known = set(names), set()
    while todo:
        name = todo.pop()
        if name in known:
            continue
        try:
            needs = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:  # for another system
            continue
        known.add(name)
        todo |= {need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})}
    return known
