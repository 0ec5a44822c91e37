"""What each process of a training reads of the store: noted by the processes themselves, whoever starts them."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from registry.tiny import empty_store
from sounds import write_study
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.stages import train
from tagscale.store.read import Store

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "model": {"waveform": {"width": 0.125}, "backend": {"filters": 8, "units": 16, "dropout": 0.0}},
    "train": {
        "patch_seconds": 1.5,
        "batch": 8,
        "max_steps": "2 epochs",
        "patches_per_track": 1,
        "optimizer": "sgd",
        "precision": "32-true",
        "schedule": "cosine",
    },
    "kubernetes": {"tasks": {"train": {"cpu": 1, "gpus": 0}}},
    "tracking": {"experiment": "nodes"},
}

# Python runs a module of this name when it starts. Only processes of a training have a rank.
SITE = """
import json, os
if "RANK" in os.environ and "READS" in os.environ:
    from tagscale.store.read import Store
    whole = Store.read_into
    def read_into(self, tracks, starts, excerpts):
        with open(os.path.join(os.environ["READS"], os.environ["RANK"]), "a") as file:
            for track, start in zip(tracks, starts):
                file.write(json.dumps([track, int(start)]) + chr(10))
        return whole(self, tracks, starts, excerpts)
    Store.read_into = read_into
"""


def params_on(nodes: int) -> Params:
    return parse(laid_over(read_yaml(ROOT / "params.yaml"), laid_over(SETTINGS, {"train": {"nodes": nodes}})))


def volume(folder: Path, config: pytest.Config) -> Path:
    """A study, an MLflow store, and a module that notes what is read; anybody may write."""
    write_study(folder)
    empty_store(config, folder)
    for name in ("site", "reads"):
        (folder / name).mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Of the processes, which see the volume there."""
    return {
        "PYTHONPATH": str(folder / "site"),
        "READS": str(folder / "reads"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
    }


def one_process(folder: Path, run: Path) -> list[list[Any]]:
    """Train the same in this process; the patches that it reads."""
    read: list[list[Any]] = []
    whole = Store.read_into

    def read_into(self: Store, tracks: Any, starts: Any, excerpts: Any) -> None:
        read.extend([track, int(start)] for track, start in zip(tracks, starts, strict=True))
        whole(self, tracks, starts, excerpts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "read_into", read_into)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        train.run(
            params_on(1), model="waveform", size=24, seed=0, catalog=folder / "catalog", inputs=folder / "store",
            partition=folder / "partition", run=run,
        )  # fmt: skip
    return read


def check_shares(folder: Path, whole: list[list[Any]]) -> None:
    """Two processes have read, half of the patches each, and together what one reads."""
    shares = [[json.loads(line) for line in (folder / "reads" / rank).read_text().splitlines()] for rank in "01"]
    assert sorted(path.name for path in (folder / "reads").iterdir()) == ["0", "1"]
    assert [2 * len(share) for share in shares] == [len(whole)] * 2
    assert Counter(map(tuple, shares[0] + shares[1])) == Counter(map(tuple, whole))


def check_alike(found: Path, expected: Path) -> None:
    """The same run: who it is, and its weights to 1e-3 of a tensor's largest value, or to 1e-4."""
    identities = [json.loads((run / "run.json").read_text())["identity"] for run in (found, expected)]
    assert identities[0] == identities[1]
    weights, those = (load_file(run / "weights.safetensors") for run in (found, expected))
    for name, tensor in those.items():
        scale = max(float(np.abs(tensor).max()), 0.1)
        np.testing.assert_allclose(weights[name], tensor, rtol=0, atol=1e-3 * scale, err_msg=name)


def clear(folder: Path) -> None:
    """Forget what was read."""
    shutil.rmtree(folder / "reads")
    (folder / "reads").mkdir()
    (folder / "reads").chmod(0o777)
