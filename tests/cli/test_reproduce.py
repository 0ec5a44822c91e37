"""`tagscale reproduce` on sounds: interrupted, resumed, shown; and the user's own study stays as it was."""

import hashlib
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import soundfile
import yaml
from mlflow import MlflowClient

from killed import run_command, start
from registry.tiny import empty_store
from sounds import write_study
from stages.conftest import SETTINGS
from tagscale.cli import main, reproduce
from tagscale.models import paper
from tagscale.models.paper import Row, rows_of
from tagscale.params.load import laid_over, load, read_yaml
from tagscale.stages.reproduce import Inputs, Reproduction, chosen, settings_of
from tagscale.training import loop
from user_folder import rows, tone, write_table

ROOT = Path(__file__).parents[2]
SHORT = {
    "dataset": {"name": "sounds"},
    "train": {"max_steps": 8, "min_steps": 0, "validate_every": 4, "patches_per_track": 1},
}
MADE = {  # a preset of three rows; after rounding, two of them are one network
    "dataset": {"name": "magnatagatune", "source": "mtt", "root": "data/mtt", "tags": None, "split": "original"},
    "model": {
        "waveform-x2": {"layers": 7, "width": 0.125},
        "waveform-x4": {"layers": 7, "width": 0.126},
        "spectrogram-half": {"width": 0.0625},
        "backend": {"filters": 8, "units": 16, "dropout": 0.5},
    },
    "train": {"models": ["waveform-x2", "waveform-x4", "spectrogram-half"], "baselines": []},
}
NAMED = {"wide": ("waveform-x2", 89.0), "wider": ("waveform-x4", 89.5), "mel": ("spectrogram-half", 90.0)}
PUBLISHED = paper.ROWS
ROWS = tuple(
    Row(2, "MTT", name, model, 50, None, "7M", None, roc_auc, roc_auc - 50) for name, (model, roc_auc) in NAMED.items()
)
ROWS += tuple(row for row in PUBLISHED if row.table == 1 and row.model != "spectrogram" and row.train_size != 100_000)


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", *words])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    write_study(folder)
    return folder


@pytest.fixture
def project(request: pytest.FixtureRequest, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with settings, presets, data and a study of the user's own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    empty_store(request.config, tmp_path)
    settings = laid_over(laid_over(read_yaml(ROOT / "params.yaml"), SETTINGS), SHORT)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    (tmp_path / "runs" / "waveform-x2-all-0").mkdir(parents=True)
    (tmp_path / "runs" / "waveform-x2-all-0" / "run.json").write_text("{}")
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "table-2.yaml").write_text(yaml.safe_dump(MADE))
    (tmp_path / "presets" / "table-1.yaml").write_text(
        yaml.safe_dump({"model": {"waveform": MADE["model"]["waveform-x2"]}, "train": {}})
    )
    (tmp_path / "data").symlink_to(data)
    monkeypatch.setattr(paper, "ROWS", ROWS)
    return tmp_path


def own_files(project: Path) -> dict[str, str]:
    """Contents of the user's files."""
    folders = [project / "runs", (project / "data").resolve()]
    files = [project / "params.yaml", project / "dvc.lock", *(file for folder in folders for file in folder.rglob("*"))]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def state_of(page: Path) -> dict[str, str]:
    """State of every row of the page."""
    lines = [line.strip("| ").split(" | ") for line in page.read_text().splitlines() if line.startswith("| ")]
    return {cells[0]: cells[-1] for cells in lines if len(cells) == 12 and cells[0] in NAMED}


@pytest.mark.slow
def test_it_stops_in_time_and_goes_on_where_it_stopped(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The time is over in the third step of the second training: it resumes there, and the first is not run again."""
    own, steps, ends = own_files(project), [], []
    step_loss, timer = loop.step_loss, reproduce.threading.Timer

    def noted(state: Any, *arguments: Any) -> Any:
        steps.append(state.step)
        if len(steps) == 11:
            ends[0]()
        return step_loss(state, *arguments)

    def late(seconds: float, end: Any) -> Any:
        assert seconds == 1800
        ends.append(end)
        return timer(1e6, end)

    monkeypatch.setattr(loop, "step_loss", noted)
    monkeypatch.setattr(reproduce.threading, "Timer", late)
    assert run("table-2", "--here", "--hours", "0.5") == 0
    said = capsys.readouterr().out
    assert "Stopped after 0.5 hours; the same command resumes." in said
    folder = project / "reproduce" / "table-2-sounds"
    twin = ", the same network as waveform-x2 at this width"
    assert state_of(folder / "page.md") == {"wide": "run", "wider": f"run{twin}", "mel": "begun, resumes"}
    assert steps == [*range(8), 0, 1, 2]

    first = folder / "runs" / "waveform-x2-all-0" / "run.json"
    written = first.stat().st_mtime_ns
    assert run("table-2", "--here") == 0
    assert steps[11:] == [3, 4, 5, 6, 7], "resumed within the training"
    assert first.stat().st_mtime_ns == written
    page = folder / "page.md"
    assert state_of(page) == {"wide": "run", "wider": f"run{twin}", "mel": "run"}
    text = page.read_text()
    assert "**This is not the paper's data: another corpus.**" in text
    assert "3 of 3 rows are there, with all their seeds.\n" in text
    assert "fewer are there" in text, "two models are no order"
    assert own_files(project) == own
    client = MlflowClient()
    (experiment,) = (one for one in client.search_experiments() if one.name == folder.name)
    (study,) = client.search_runs([experiment.experiment_id], "tags.`tagscale.finding` LIKE 'Table 2%'")
    assert [one.path for one in client.list_artifacts(study.info.run_id)] == ["page.md"]
    assert study.info.status == "FINISHED"

    again = page.stat().st_mtime_ns
    assert run("table-2", "--here") == 0
    assert len(steps) == 16, "nothing is left to run"
    assert page.stat().st_mtime_ns > again
    monkeypatch.undo()


@pytest.mark.slow
def test_killed_after_the_first_row_it_does_not_run_that_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "ROWS", PUBLISHED)
    shutil.copy(ROOT / "presets" / "table-3.yaml", project / "presets")
    words = ("table-3", "--here", "--width", "0.001", "--rows", "64 CNN")
    process = start(run_command, project, "reproduce", *words)
    folder = project / "reproduce" / "table-3-sounds-width-0.001"
    first, second = (
        [folder / kind / f"spectrogram-64f-{units}u-all-0" for kind in ("runs", "results")] for units in (500, 200)
    )
    begin = time.monotonic()
    while not (first[1].exists() and second[0].with_name(f"{second[0].name}.unfinished").exists()):
        assert time.monotonic() - begin < 240
        assert process.is_alive(), f"ended by itself: {process.exitcode}"
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not second[1].exists()
    written = (first[0] / "run.json").stat().st_mtime_ns
    assert run(*words) == 0
    assert (first[0] / "run.json").stat().st_mtime_ns == written
    lines = [line for line in (folder / "page.md").read_text().splitlines() if line.startswith("| ")]
    states = [line.split(" | ")[-1].strip(" |") for line in lines]
    assert states.count("run") == 2
    others = [state for state in states if state.startswith(("not run", "run, the same network as"))]
    assert len(others) == 15, "some are one network at this width"


@pytest.mark.slow
def test_the_papers_data_are_made_beside_those_of_the_project_and_figure_3_is_drawn(project: Path) -> None:
    own, tracks = own_files(project), [row | {"seconds": "2.0"} for row in rows(24, 12)]
    write_table(project / "songs", tracks)
    (project / "songs" / "audio").mkdir()
    for number, row in enumerate(tracks):
        soundfile.write(project / "songs" / row["path"], tone(2.0, 8000, 200 + 20 * number), 8000)
    preset = read_yaml(project / "presets" / "table-1.yaml")
    preset |= {"dataset": {"name": "songs", "source": "folder", "root": "songs", "tags": "tags.yaml"}}
    preset |= {"validation": {"min_seconds": 1.0, "min_positives": 1}}
    preset |= {"partition": {"train": 0.5, "valid": 0.25, "test": 0.25}}
    (project / "presets" / "table-1.yaml").write_text(yaml.safe_dump(preset))
    assert run("figure-3") == 0
    assert {path.name for path in (project / "reproduce" / "data" / "songs").iterdir()} >= {"store", "descriptors"}
    page = project / "reproduce" / "table-1" / "page.md"
    assert {path.name for path in (page.parent / "runs").iterdir()} == {
        "descriptors-all-0",
        "waveform-all-0",
        "waveform-6-0",
    }
    text = page.read_text()
    assert "**This is not the paper's data: 2 tags, not 139.**" in text
    assert "3 of 3 rows are there, with all their seeds.\n" in text
    assert re.search(r"\| Waveform, 500,000 songs \| 91.16 \| 56.42 \| 0.1504 \|.*\| run on 6 tracks \|", text)
    assert "![Scores over the number of training tracks](training_size.png)" in text
    assert (page.parent / "training_size.png").stat().st_size > 10_000

    settings = read_yaml(project / "params.yaml")
    (project / "params.yaml").write_text(yaml.safe_dump(laid_over(settings, {"train": {"learning_rate": 0.01}})))
    assert run("figure-3", "--page-only") == 0
    text = page.read_text()
    assert text.count("to be run again: other data or settings") == 2, "the baseline has no learning rate"
    assert "training_size.png" not in text
    (project / "params.yaml").write_text(yaml.safe_dump(settings))
    assert own_files(project) == own


def test_the_page_alone_says_what_is_missing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table-2", "--here", "--page-only") == 0
    page = project / "reproduce" / "table-2-sounds" / "page.md"
    assert "0 of 3 rows are there, with all their seeds. `tagscale reproduce table-2 --here` makes" in page.read_text()
    assert set(state_of(page).values()) == {"not run", "not run, the same network as waveform-x2 at this width"}
    assert not (page.parent / "runs").exists()
    assert str(page.relative_to(project)) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["table-5"], "table-5: no table of the paper; there are table-1, table-2"),
        (["table-2", "--rows", "crnn"], "--rows crnn: no row of table 2 has this in its name"),
        (["table-2", "--page-only"], "reproduce/data/magnatagatune/partition: not there, so no row can be"),
        (["table-2"], "data/mtt: no such folder, where magnatagatune should be"),
    ],
)
def test_what_cannot_be_run_is_named(project: Path, words: list[str], said: str, capsys: Any) -> None:
    assert run(*words) == 1
    assert said in capsys.readouterr().err


def test_data_of_another_dataset_are_not_taken_for_those_of_the_settings(project: Path, capsys: Any) -> None:
    settings = laid_over(read_yaml(project / "params.yaml"), {"dataset": {"name": "songs"}})
    (project / "params.yaml").write_text(yaml.safe_dump(settings))
    assert run("table-2", "--here", "--page-only") == 1
    assert "data/catalog: holds sounds, and dataset.name of the settings is songs" in capsys.readouterr().err


def test_rows_are_chosen_by_text_or_pattern() -> None:
    assert {row.model for row in chosen(2, "64 CNN")} == {"waveform-64f-500u", "waveform-64f-200u"}
    assert {row.model for row in chosen(3, "TIMBRE")} == {"timbre_cnn", "timbre_cnn-published"}
    assert {row.model for row in chosen(2, "waveform-x?")} == {"waveform-x4", "waveform-x2", "waveform-x1"}
    assert chosen(4, None) == rows_of(4)


@pytest.mark.parametrize("table", [1, 2, 3, 4])
def test_at_full_width_the_capacities_are_those_of_the_preset(table: int) -> None:
    """Of which tests/models/test_paper.py counts every parameter."""
    project, preset = read_yaml(ROOT / "params.yaml"), ROOT / "presets" / f"table-{table}.yaml"
    settings = settings_of(table, project, read_yaml(preset))
    expected = load(ROOT / "params.yaml", preset)
    assert settings.model == expected.model
    assert settings.dataset == expected.dataset
    assert set(settings.train.everyone) == set(expected.train.everyone)
    assert settings.train.max_steps == expected.train.max_steps


def test_a_tenth_of_the_parameters_is_about_that(data: Path) -> None:
    project, preset = read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "presets" / "table-2.yaml")
    settings = settings_of(2, project, preset, width=0.1, here=True)
    assert settings.dataset.name == project["dataset"]["name"]
    assert settings.train.learning_rate == project["train"]["learning_rate"], "the project's recipe"
    assert settings.model.backend.dropout == project["model"]["backend"]["dropout"]
    inputs = Inputs(data / "catalog", data / "partition", str(data / "store"), data / "descriptors")
    networks = Reproduction(2, settings, inputs, data / "none", 0.1).networks
    for row in rows_of(2):
        if row.exact and row.exact > 2_000_000:  # the tags' output weighs little in these
            assert networks[row.model][0] == pytest.approx(0.1 * row.exact, rel=0.05), row.model


def test_a_model_too_narrow_for_one_filter_is_widened() -> None:
    project, preset = read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "presets" / "table-3.yaml")
    settings = settings_of(3, project, preset, width=0.001, here=True)
    narrow = getattr(settings.model, "spectrogram-eighth")
    assert 0.125 * 0.001**0.5 < narrow.width < 0.125
    assert settings.model.backend.filters == 16  # 512 times the root of .001


def test_other_data_get_the_same_shares_of_their_training_part(data: Path) -> None:
    project, preset = read_yaml(ROOT / "params.yaml"), read_yaml(ROOT / "presets" / "table-1.yaml")
    inputs = Inputs(data / "catalog", data / "partition", str(data / "store"), data / "descriptors")
    here = Reproduction(1, settings_of(1, project, preset, here=True), inputs, data / "none")
    assert [here.size_of(row) for row in rows_of(1)] == ["all", "all", "all", 24, 24, 5, 5]
    theirs = Reproduction(1, settings_of(1, project, preset), inputs, data / "none")
    assert theirs.apart == "3 tags, not 139"
    theirs.__dict__["apart"] = ""
    assert [theirs.size_of(row) for row in rows_of(1)] == ["all", "all", "all", *[500_000] * 2, *[100_000] * 2]
