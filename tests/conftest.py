"""One tiny study for all tests that need finished stages: real audio, real training, a real SQLite store."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recorder import Recorder

ROOT = Path(__file__).parents[1]

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")


@dataclass
class Study:
    folder: Path  # working directory with data/, runs/, results/, reports/, registration/ and mlflow.db
    keys_read: dict[str, set[str]] = field(default_factory=dict)  # DVC stage -> settings that it read


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Every stage through the command line's own functions, on the settings of tests/tiny.yaml."""
    from tagscale.cli import stages
    from tagscale.params.load import load

    study = Study(tmp_path_factory.mktemp("study"))
    params = load(ROOT / "params.yaml", ROOT / "tests" / "tiny.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(study.folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)

        def run(stage: str, command: Any, **options: Any) -> None:
            seen = study.keys_read.setdefault(stage, set())
            patch.setattr(stages, "read", lambda _: Recorder(params, "", seen))
            command(**options)

        for name in ("synth", "catalog", "preprocess", "validate", "partition", "describe"):
            run(name, getattr(stages, name))
        for suffix, models in (("", params.train.models), ("_baseline", params.train.baselines)):
            for model in models:
                for size in params.train.sizes:
                    for step in ("train", "evaluate"):
                        stage = f"{step}{suffix}" if suffix or step == "evaluate" else f"train@{model}"
                        run(stage, getattr(stages, step), model=model, size=str(size))
        run("compare", stages.compare)
        run("register", stages.register)
    return study
