"""Stage compare end to end on a study's files: what it writes, prints, logs and refuses."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from matplotlib.figure import Figure

from study.compare_fixtures import Files, make_partition, make_study
from study.listening_fixtures import make_catalog, write_predictions
from tagscale import tracking
from tagscale.evaluation.metrics import METRICS
from tagscale.params.load import Params, laid_over, parse, read_yaml
from tagscale.partition.divide import Partition
from tagscale.report import figures
from tagscale.report.appearance import colour_of
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json, write_json
from tagscale.stages import compare
from tagscale.study.grid import Study
from tagscale.study.verdict import Verdict

ROOT = Path(__file__).parents[2]


class Logged:
    """Stands for the study's MLflow run and keeps what was logged."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.artifacts: list[tuple[str, str | None]] = []
        self.asked: dict[str, Any] = {}

    def log_metrics(self, metrics: dict[str, float]) -> None:
        self.metrics |= metrics

    def log_artifacts(self, path: Path, folder: str | None = None) -> None:
        assert path.exists()
        self.artifacts.append((path.name, folder))


@contextmanager
def logging_to(run: Logged) -> Iterator[None]:
    """MLflow's study run replaced by `run`, on a terminal of 80 columns."""

    @contextmanager
    def comparison_run(
        experiment: str, study: tracking.StudyFacts, finding: str, tags: dict[str, Any]
    ) -> Iterator[Logged]:
        run.asked = {"experiment": experiment, "study": study, "finding": finding, "tags": tags}
        yield run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "comparison_run", comparison_run)
        patch.setenv("COLUMNS", "80")
        yield


def settings(**train: Any) -> Params:
    train = {"sizes": [100, 300, "all"], "ensembles": [], **train}  # those of the fixture's study
    return parse(laid_over(read_yaml(ROOT / "params.yaml"), {"dataset": {"name": "fixture"}, "train": train}))


class Compared(NamedTuple):
    files: Files
    reports: Path
    said: str
    logged: Logged


def compare_in(folder: Path, files: Files, params: Params | None = None, catalog: Path | None = None) -> Compared:
    reports, logged, said = folder / "reports", Logged(), StringIO()
    given = {"runs": files.runs, "results": files.results, "partition": files.partition}
    with logging_to(logged), redirect_stdout(said):
        compare.run(params or settings(), **given, reports=reports, catalog=catalog)
    return Compared(files, reports, said.getvalue(), logged)


def shown(files: Files, params: Params) -> str:
    said = StringIO()
    with logging_to(Logged()), redirect_stdout(said):
        compare.show(params, runs=files.runs, results=files.results, partition=files.partition)
    return said.getvalue()


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("study")
    return compare_in(folder, make_study(folder))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the report's pictures empty, for tests of the files beside it: drawing takes seconds."""
    monkeypatch.setattr(figures, "panel", lambda *details, **sizes: Figure(figsize=(1, 1)))


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_everything_that_is_promised_is_written(compared: Compared) -> None:
    written = contents(compared.reports)
    pngs = {f"figures/{name}.png" for name in ("training_size", "groups", "learning_curves")}
    plots = {f"plots/{name}.csv" for name in ("training_size", "per_tag", "learning_curves")}
    assert set(written) == {"report.html", "comparison.csv", "metrics.json", "scores.json"} | pngs | plots
    for path in pngs:
        assert written[path].startswith(b"\x89PNG")


def test_the_files_hold_the_studys_numbers(compared: Compared) -> None:
    truth = read_json(compared.files.results[1] / "metrics.json")["test"]
    assert compared.files.results[1].name == "waveform-300-0"
    numbers = read_json(compared.reports / "scores.json")
    assert numbers["waveform"]["300"] == {metric: round(value, 4) for metric, value in truth.items()}
    assert "seconds" not in (compared.reports / "scores.json").read_text()
    best = read_json(compared.reports / "metrics.json")["best"]
    assert best == {"model": "spectrogram", "pr_auc": numbers["spectrogram"]["all"]["pr_auc"]}
    table = pd.read_csv(compared.reports / "comparison.csv").set_index(["model", "size"])
    assert table.loc[("waveform", "300"), "test_pr_auc"] == pytest.approx(truth["pr_auc"], abs=1e-6)
    assert table.loc[("waveform", "300"), "train_tracks"] == 300


def test_the_plots_are_long_tables(compared: Compared) -> None:
    points = pd.read_csv(compared.reports / "plots" / "training_size.csv")
    ends = [f"{metric}_{end}" for metric in METRICS for end in ("low", "high")]
    assert points.columns.tolist() == ["model", "size", "seed", "train_tracks", *METRICS, *ends, "colour"]
    assert dict(zip(points["model"], points["colour"], strict=True))["waveform"] == colour_of("waveform")
    assert len(points) == 9
    assert len(pd.read_csv(compared.reports / "plots" / "learning_curves.csv")) == 2 * 3 * 12
    tags = pd.read_csv(compared.reports / "plots" / "per_tag.csv")
    assert len(tags) == 3 * 38, "the largest size, every model, every tag"


def test_the_terminal_shows_the_table_and_the_finding(compared: Compared) -> None:
    lines = [line.split() for line in compared.said.splitlines()]
    models = {"waveform", "spectrogram", "descriptors"}
    rows = [words for words in lines if words[:1] and words[0] in models and words[1].isdigit()]
    assert len(rows) == 9
    assert ["spectrogram", "802", "254k", "0.785", "0.470", "0.183", "2.8", "min"] in rows
    assert "The best front-end on validation (PR-AUC 0.490) is spectrogram. On test" in compared.said
    assert "…" not in compared.said, "nothing is cut off on 80 columns"
    assert shown(compared.files, settings()) == compared.said


def test_several_seeds_fit_on_80_columns(tmp_path: Path) -> None:
    said = shown(make_study(tmp_path, seeds=(0, 1, 2)), settings(seeds=[0, 1, 2]))
    assert "0.482 ±.012" in said
    assert "…" not in said


def test_the_comparison_is_in_the_run_of_the_study(compared: Compared) -> None:
    logged = compared.logged
    assert logged.asked["experiment"] == settings().tracking.experiment
    assert logged.asked["study"].dataset_hash == "d" * 12
    assert logged.asked["study"].metrics == ["pr_auc", "rmse"]
    assert logged.asked["study"].colours["waveform"] == "#0072B2"
    assert logged.asked["finding"].startswith("The best front-end on validation (PR-AUC 0.490) is spectrogram.")
    assert len(logged.metrics) <= 10
    assert logged.metrics["waveform.pr_auc"] == pytest.approx(0.4431, abs=1e-4)
    assert logged.artifacts == [("report.html", None), ("comparison.csv", None), ("figures", "figures")]


@pytest.mark.slow
def test_with_a_catalog_the_predictions_are_looked_at(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path, sizes={"all": 300}, kinds=("classification",), epochs=3)
    catalog = make_catalog(tmp_path / "catalog", Partition.load(files.partition))
    write_predictions(files, catalog)
    params = settings(sizes=["all"])
    done = compare_in(tmp_path, files, params, tmp_path / "catalog")
    tables = {name: pd.read_csv(done.reports / f"{name}.csv") for name in ("popularity", "exclusive", "listening")}
    assert tables["listening"]["model"].tolist() == ["waveform", "spectrogram", "descriptors"]
    assert len(tables["popularity"]) == 3 * 32, "a row a model and tag"
    assert tables["exclusive"].columns.tolist()[:4] == ["model", "set", "first", "second"]
    confusion = pd.read_csv(done.reports / "plots" / "confusion.csv")
    assert confusion.columns.tolist() == ["model", "set", "true", "chosen", "tracks"]
    assert set(confusion["true"]) == set(confusion["chosen"])
    for figure in ("popularity", "exclusive", "confusion"):
        assert (done.reports / "figures" / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    assert "Tags that exclude each other" in (done.reports / "report.html").read_text()
    assert ("listening.csv", None) in done.logged.artifacts
    before = contents(done.reports)
    (files.results[1] / "predictions.parquet").unlink()
    with pytest.raises(TagscaleError, match=r"spectrogram-all-0.predictions.parquet: no such file"):
        compare_in(tmp_path, files, params, tmp_path / "catalog")
    assert contents(done.reports) == before


def test_with_regression_tags_alone_the_tables_are_empty(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path, sizes={"all": 60}, kinds=("regression",), epochs=3)
    make_catalog(tmp_path / "catalog", Partition.load(files.partition))
    done = compare_in(tmp_path, files, settings(sizes=["all"]), tmp_path / "catalog")
    for name in ("popularity", "exclusive", "listening"):
        assert (done.reports / f"{name}.csv").read_text() == "model\n"
    assert not (done.reports / "figures" / "popularity.png").exists()


def test_intervals_rates_and_long_names_fit_on_80_columns(tmp_path: Path) -> None:
    models = ["waveform", "short_chunk", "samplecnn_multiscale"]
    files = make_study(tmp_path, models=models, sizes={"all": 802}, seeds=(0, 1), resamples=50)
    for folder in files.runs[:6]:
        history = pd.read_csv(folder / "history.csv")
        history.assign(patches_per_second=12_345.0).to_csv(folder / "history.csv", index=False)
    said = shown(files, settings(models=models, sizes=["all"], seeds=[0, 1]))
    assert "…" not in said
    assert "12,345" in said
    assert "95% intervals over test artists" in said
    rows = [line.split() for line in said.splitlines() if line.startswith((" samplecnn_", " multiscale"))]
    assert [row[0] for row in rows] == ["samplecnn_", "multiscale"]
    assert len([word for word in rows[1] if word.startswith("[.")]) == 3


@pytest.mark.slow
def test_again_gives_the_same_files(compared: Compared, tmp_path: Path) -> None:
    again = compare_in(tmp_path, compared.files)
    assert contents(again.reports) == contents(compared.reports)


@pytest.mark.slow
def test_no_baselines_no_regression_tags_and_a_single_size(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path, baselines=(), sizes={"all": 60}, kinds=("classification",))
    done = compare_in(tmp_path, files, settings(baselines=[], sizes=["all"]))
    numbers = read_json(done.reports / "scores.json")
    assert list(numbers) == ["waveform", "spectrogram"]
    assert numbers["waveform"]["all"]["rmse"] is None
    assert set(done.logged.metrics) == {f"{model}.pr_auc" for model in numbers}
    assert done.logged.asked["study"].metrics == ["pr_auc"]
    assert "No baseline is in the grid" in (done.reports / "report.html").read_text()


def test_another_partition_is_refused_and_nothing_is_written(compared: Compared, tmp_path: Path) -> None:
    other = make_partition(tmp_path / "other", 50, ["rock"])
    with pytest.raises(TagscaleError, match=f"is partition {other.hash}, but the runs were made on"):
        compare_in(tmp_path, compared.files._replace(partition=tmp_path / "other"))
    assert not (tmp_path / "reports").exists()


def test_an_incomplete_grid_leaves_the_old_report_alone(compared: Compared) -> None:
    before = contents(compared.reports)
    with pytest.raises(TagscaleError, match="waveform-500-0: no run"):
        compare_in(compared.reports.parent, compared.files, settings(sizes=[100, 300, 500, "all"]))
    assert contents(compared.reports) == before


def test_a_study_in_folds_is_tested_on_all_tracks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = make_study(tmp_path, sizes={"all": 802})
    partition = Partition.load(files.partition)
    partition.table["part"] = [f"fold-{number % 3 + 1}" for number in range(len(partition.table))]
    partition.save(files.partition)
    for folder, name in [*((run, "run.json") for run in files.runs), *((one, "metrics.json") for one in files.results)]:
        content = read_json(folder / name)
        content["identity"]["partition_hash"] = partition.hash
        write_json(folder / name, content)
    tested: list[tuple[int, ...]] = []
    conclude = compare.conclude

    def noted(study: Study, tracks: int, artists: int) -> Verdict:
        tested.append((tracks, artists))
        return conclude(study, tracks, artists)

    monkeypatch.setattr(compare, "conclude", noted)
    shown(files, settings(sizes=["all"]))
    assert tested == [(len(partition.table), partition.table["artist"].nunique())]
