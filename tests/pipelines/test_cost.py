"""The cost of a study: patches counted by hand, and their GPU hours."""

from pathlib import Path

import pytest
from pipelines.__main__ import app
from pipelines.cost import costs
from typer.testing import CliRunner

from tagscale.params.load import Params, laid_over, load, parse
from tagscale.runtime.errors import TagscaleError

ROOT = Path(__file__).parents[2]


def settings() -> Params:
    grid = {
        "models": ["waveform"],
        "sizes": [100, "all"],
        "seeds": [0, 1, 2],
        "patches_per_track": 4,
        "max_steps": "5 epochs",
    }
    return parse(laid_over(load(ROOT / "params.yaml").model_dump(), {"train": grid}))


def test_patches_are_tracks_times_patches_times_epochs_times_seeds() -> None:
    hundred, everything = costs(settings(), tracks=1000)
    assert hundred.patches == 100 * 4 * 5 * 3
    assert everything.patches == 800 * 4 * 5 * 3  # partition.train is 0.8
    assert hundred.runs == 3
    assert everything.gpu_hours(10) == pytest.approx(48_000 / 10 / 3600)


def test_a_budget_in_steps_is_the_same_for_every_size() -> None:
    grid = {"max_steps": 250, "batch": 16}
    stated = parse(laid_over(settings().model_dump(), {"train": grid}))
    assert [cost.patches for cost in costs(stated, tracks=1000)] == [250 * 16 * 3] * 2


def test_a_model_with_a_budget_of_its_own() -> None:
    grid = {"models": ["finetune"], "sizes": [100], "max_steps": 250, "batch": 16}
    own = {"finetune": {"max_steps": 40}}
    (cost,) = costs(parse(laid_over(settings().model_dump(), {"train": grid, "model": own})), tracks=1000)
    assert cost.patches == 40 * 16 * 3


def test_the_size_all_needs_the_number_of_tracks() -> None:
    with pytest.raises(TagscaleError, match="--tracks"):
        costs(settings(), tracks=None)


def test_the_table_ends_with_the_sum() -> None:
    given = ["cost", "--patches-per-second", "2000", "--tracks", "1000", "--params", str(ROOT / "params.yaml")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    last = result.output.splitlines()[-1].split()
    assert last == ["all", "6", "134,400", "0.02"]  # 2 models x 3 sizes x 700 steps of 32 patches
