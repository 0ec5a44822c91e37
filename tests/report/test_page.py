"""The report: complete, self-contained, safe against names from the data."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from study.compare_fixtures import SIZES, Files, make_study
from study.listening_fixtures import make_catalog, write_predictions
from tagscale.partition.divide import Partition
from tagscale.report import figures
from tagscale.report.page import StageTime, read_times, render
from tagscale.report.words import duration, rate_words
from tagscale.study.grid import Study, read_study
from tagscale.study.paper_rows import beside_study
from tagscale.study.qualitative import qualitative
from tagscale.study.verdict import conclude


def study_of(files: Files, **grid: Any) -> Study:
    given: dict[str, Any] = {
        "models": ["waveform", "spectrogram"],
        "baselines": ["descriptors"],
        "sizes": [*SIZES],
        "seeds": [0],
    }
    given |= grid
    return read_study(files.runs, files.results, models=given.pop("models") + given.pop("baselines"), **given)


def page_of(files: Files, study: Study, **changes: Any) -> str:
    given: dict[str, Any] = {"dataset": "fixture", "partition": Partition.load(files.partition), "times": []}
    return render(study, conclude(study, 101, 17), **(given | changes))


def words_of(page: str) -> str:
    """The page's text without its marks, in single spaces."""
    visible = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", visible)).split())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def page(files: Files) -> str:
    times = [StageTime("synth", 1, 171.0), StageTime("train", 9, 342.0)]
    return page_of(files, study_of(files), times=times)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the pictures empty, for tests of words alone: drawing takes seconds."""
    monkeypatch.setattr(figures, "panel", lambda *details, **sizes: Figure(figsize=(1, 1)))


class Structure(HTMLParser):
    """Notes what a browser would load, and whether every element is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.alts: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "srcset", "data", "poster"}:
                self.loaded.append(value or "")
            if name == "alt":
                self.alts.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    assert structure.loaded
    inner = {address.removeprefix("#") for address in structure.loaded if address.startswith("#")}
    assert all(address.startswith(("data:image/svg+xml;base64,", "#")) for address in structure.loaded)
    assert structure.tags.count("script") == 1
    assert "link" not in structure.tags
    assert not re.search(r"https?://|@import|url\(", page)
    assert len(structure.alts) == structure.tags.count("img")
    assert all(structure.alts)
    assert inner == {name for name in structure.ids if name.startswith("means-")}, "each number has its definition"


def test_the_trainings_in_mlflow_are_linked(files: Files, undrawn: None) -> None:
    page = page_of(files, study_of(files), mlflow="https://mlflow.example.org/#/experiments/1/runs?a=b&c=d")
    structure = Structure()
    structure.feed(page)
    linked = [address for address in structure.loaded if not address.startswith(("data:", "#"))]
    assert linked == ["https://mlflow.example.org/#/experiments/1/runs?a=b&c=d"]


def test_the_verdict_comes_first(page: str) -> None:
    words = words_of(page)
    finding = "and is ahead of the descriptors baseline (0.399) by 0.070."
    assert finding in words
    assert words.index(finding) < words.index("Results")


def test_every_cell_of_the_grid_has_its_row(page: str) -> None:
    rows = re.findall(r"<tr>.*?</tr>", page.split("<h2>Results</h2>")[1].split("</table>")[0], re.DOTALL)[2:]
    assert len(rows) == 9
    cells = [words_of(cell) for cell in re.findall(r"<td.*?</td>", rows[-2], re.DOTALL)]
    test, valid = ["0.785", "0.470", "0.470", "0.183"], ["0.795", "0.490", "0.178"]
    assert cells == ["spectrogram", "802", *test, *valid, "254,000", "2.8 min"]
    assert [row.count('class="best top"') for row in rows] == [0] * 7 + [4, 0]
    assert [row.count('class="best') for row in rows] == [0, 0, 4, 0, 4, 0, 0, 4, 0]


def test_scores_that_print_alike_are_shaded_alike(tmp_path: Path, undrawn: None) -> None:
    scores = {"waveform": 0.4, "spectrogram": 0.40002, "descriptors": 0.3}
    files = make_study(tmp_path, sizes={"all": 802}, pr_auc=lambda model, tracks, seed: scores[model])
    page = page_of(files, study_of(files, sizes=["all"]))
    rows = page.split("<h2>Results</h2>")[1].split("</table>")[0].split("<tr>")[3:]
    assert [row.count('class="best top"') for row in rows] == [4, 4, 0]


@pytest.mark.slow
def test_a_dataset_of_the_paper_has_its_rows_beside_ours(files: Files, page: str, undrawn: None) -> None:
    study = study_of(files)
    beside = words_of(page_of(files, study, paper=beside_study(study, "mtt", "original", 50)))
    assert "Beside the paper" in beside
    assert "64 CNN filters - 500 units (nearest in size) 90.03 36.98" in beside, "table 3 beside the spectrogram"
    assert "254,000 / 277k" in beside
    assert "tagscale reproduce table-3" in beside
    other = words_of(page_of(files, study, paper=beside_study(study, "mtt", "clean", 50)))
    assert "The paper's scores are of other data: another split (clean). So the differences stay blank." in other
    assert "Beside the paper" not in words_of(page)


def test_deviations_are_shown_for_several_seeds(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path, seeds=(0, 1, 2))
    page = page_of(files, study_of(files, seeds=[0, 1, 2]))
    assert "0.482 ± 0.012" in words_of(page)
    assert 'title="95% t-interval over seeds: [0.45, 0.51]">± 0.012' in page
    assert "0, 1, 2" in words_of(page)


def test_how_it_was_measured(page: str) -> None:
    words = words_of(page)
    for part in ("Training 802 tracks by 134 artists", "Validation 99 tracks by 18 artists", "Test 101 tracks by 17"):
        assert part in words
    assert "No artist is in two parts" in words
    assert "odd test no positive track in this part" in words
    assert "dddddddddddd" in words
    assert "The scores have no intervals (set" in words


def test_the_tracks_of_every_fold_are_counted(files: Files, undrawn: None) -> None:
    partition = Partition.load(files.partition)
    partition.table["part"] = ["fold-1"] * 500 + ["fold-2"] * 300 + ["fold-3"] * (len(partition.table) - 800)
    words = words_of(page_of(files, study_of(files), partition=partition))
    for part in ("Fold 1 500 tracks by", "Fold 2 300 tracks by", "Fold 3 202 tracks by"):
        assert part in words


def test_artists_in_two_parts_are_told(files: Files, undrawn: None) -> None:
    partition = Partition.load(files.partition)
    partition.table.loc[0, "artist"] = partition.table["artist"].iloc[-1]
    assert "Some artists are in more than one part" in page_of(files, study_of(files), partition=partition)


def test_times_are_bars_compared_with_the_longest(page: str) -> None:
    words = words_of(page)
    assert "8.6 min together" in words
    assert "synth 2.9 min" in words
    assert "train × 9 5.7 min" in words
    assert re.findall(r'class="bar" style="width: ([\d.]+)%"', page) == ["50.0", "100.0"]


@pytest.mark.slow
def test_without_times_the_page_is_the_same_less_the_bars(page: str, files: Files) -> None:
    without = page_of(files, study_of(files))
    assert "Where the time went" not in without
    assert without == re.sub(r"<section>\n  <h2>Where the time went</h2>.*?</section>\n", "", page, flags=re.DOTALL)


def test_names_from_the_data_cannot_become_markup(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path)
    for folder in files.results:
        table = folder / "per_tag.csv"
        table.write_text(table.read_text().replace("distorted guitar", "<script>alert(1)</script>"))
    page = page_of(files, study_of(files), dataset="<b>mine</b>")
    assert "<script>alert" not in page
    assert "<b>mine" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_study_of_values_alone_says_nothing_of_ranks(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path, kinds=("regression",), sizes={"all": 802})
    text = words_of(page_of(files, study_of(files, sizes=["all"])))
    assert "ROC-AUC" not in text
    assert "black tick" not in text
    assert "There is no line: a fitted law takes 3 sizes, and this study has 1." in text


def test_tags_that_no_model_could_learn_are_named_by_their_training_size(page: str) -> None:
    words = words_of(page)
    assert "Tags that could not be scored, or not be learned" in words
    assert "Tag Training tracks Reason triangle 100 not annotated in the training tracks" in words


def test_notes_are_loud(files: Files, undrawn: None) -> None:
    study = study_of(files)
    study.notes.append("The waveform runs were trained with different settings")
    page = page_of(files, study)
    assert page.index('class="warning" role="alert"') < page.index('class="verdict"')


def test_null_scores_are_dashes(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path, baselines=(), sizes={"all": 50}, kinds=("classification",))
    page = page_of(files, study_of(files, baselines=[], sizes=["all"]))
    assert "<td>–</td>".replace("<td>", '<td class="">') in page
    assert "nan" not in words_of(page).lower()
    assert "a fitted law takes 3 sizes, and this study has 1" in words_of(page)


def test_times_are_read_in_the_order_of_the_data_and_only_of_this_study(tmp_path: Path) -> None:
    notes = {"train@waveform-100-0": 10, "train@waveform-999-0": 500, "catalog": 2, "compare": 40, "synth": 7.5}
    for number, (stage, seconds) in enumerate(notes.items()):
        content = {"stage": stage, "seconds": seconds, "finished": "2026-01-01T00:00:00+00:00"}
        (tmp_path / f"{number}.json").write_text(json.dumps(content))
    (tmp_path / "broken.json").write_text("{")
    assert read_times(tmp_path, ["waveform-100-0"]) == [
        StageTime("synth", 1, 7.5),
        StageTime("catalog", 1, 2.0),
        StageTime("train", 1, 10.0),
    ]
    assert read_times(tmp_path / "absent", []) == []
    assert read_times(None, []) == []


def dozen_of(folder: Path, resamples: int = 50) -> tuple[Files, Study]:
    published = ["samplecnn", "dieleman", "vgg", "timbre_cnn", "crnn", "multiscale", "samplecnn_multiscale"]
    models = ["waveform", "spectrogram", "short_chunk", "transformer", *published]
    score = {model: 0.4 - 0.01 * place for place, model in enumerate([*models, "descriptors"])}
    sizes = {"300": 300, "all": 802}
    files = make_study(
        folder, models=models, sizes=sizes, resamples=resamples, pr_auc=lambda model, tracks, seed: score[model]
    )
    return files, study_of(files, models=models, sizes=[*sizes])


@pytest.mark.slow
def test_a_dozen_models_have_readable_names_and_their_looks(tmp_path: Path, undrawn: None) -> None:
    files, study = dozen_of(tmp_path)
    page = page_of(files, study)
    words = words_of(page)
    for name in ("SampleCNN", "Dieleman & Schrauwen", "VGG", "Timbre CNN", "CRNN", "multi-level & multi-scale"):
        assert name in words
    assert "samplecnn" not in words
    assert '<span class="model dieleman">Dieleman &amp; Schrauwen</span>' in page
    looks = re.findall(r"\.(\w+) { --of: (#\w+); }", page)
    assert len({name for name, _ in looks}) == len({colour for _, colour in looks}) == 12
    assert page.count("clip-path: polygon(") == 11, "and a circle"
    chosen = (
        "Shown: the two best front-ends, the best published baseline and the best baseline on descriptors; the other 8"
    )
    assert words.count(chosen) == 2, "groups, and single tags"
    assert page.index("Smaller training sizes") > page.index("<h2>Results</h2>")
    assert "Published baselines" in page
    structure = Structure()
    structure.feed(page)
    assert structure.open == []


def test_figures_without_room_for_the_ensemble_say_so(tmp_path: Path, undrawn: None) -> None:
    models = ["waveform", "spectrogram", "probe", "ensemble"]
    files = make_study(tmp_path, models=models, sizes={"all": 802})
    words = words_of(page_of(files, study_of(files, models=models, sizes=["all"])))
    kinds = "the two best front-ends, the best pretrained encoder and the best baseline on descriptors"
    assert f"Shown: {kinds}; the other one is in the tables." in words


def test_intervals_stand_below_the_scores_they_belong_to(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path, resamples=50)
    study = study_of(files)
    page = page_of(files, study)
    rows = re.findall(r"<tr>.*?</tr>", page.split("<h2>Results</h2>")[1].split("</table>")[0], re.DOTALL)[2:]
    cells = [words_of(cell) for cell in re.findall(r"<td.*?</td>", rows[-2], re.DOTALL)]
    assert re.fullmatch(r"0.785 \[0\.7\d, 0\.8\d\]", cells[2])
    assert [("[" in cell) for cell in cells] == [False] * 2 + [True] * 4 + [False] * 5
    assert "In brackets: 95% intervals over the artists of the test part." in words_of(page)
    assert "Artists were drawn anew 50 times" in words_of(page)


def test_patches_a_second_are_the_mean_of_the_epochs(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path)
    for folder in files.runs:
        if (folder / "history.csv").exists():
            history = pd.read_csv(folder / "history.csv")
            history["patches_per_second"] = 1000.0 + history.index
            history.to_csv(folder / "history.csv", index=False)
    page = page_of(files, study_of(files))
    rows = re.findall(r"<tr>.*?</tr>", page.split("<h2>Results</h2>")[1].split("</table>")[0], re.DOTALL)[2:]
    last = [words_of(re.findall(r"<td.*?</td>", row, re.DOTALL)[-1]) for row in rows]
    assert last == ["1,006", "1,006", "–"] * 3
    assert [rate_words(rate) for rate in (12345.6, 9.87)] == ["12,346", "9.9"]


@pytest.mark.slow
def test_what_was_heard_has_its_two_sections(tmp_path: Path, undrawn: None) -> None:
    models = ["waveform", "timbre_cnn"]
    files = make_study(tmp_path, models=models, sizes={"all": 300})
    study = study_of(files, models=models, sizes=["all"])
    partition = Partition.load(files.partition)
    catalog = make_catalog(tmp_path / "catalog", partition)
    write_predictions(files, catalog)
    page = page_of(files, study, heard=qualitative(study, partition, catalog, files.results))
    words = words_of(page)
    assert "Of all true tags of the test tracks, " in words
    assert "Two tags that exclude each other are predicted together by waveform on " in words
    heard = page.split("<h2>Popular tags</h2>")[1]
    assert heard.count('<td><span class="model timbre_cnn">Timbre CNN</span></td>') == 2, "a row in both tables"
    assert re.search(r"<td>\w+ \+ \w+</td><td class=\"left\">(genre|meter|harmony)</td>", heard)
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    bare = make_catalog(tmp_path / "bare", partition, exclusive=())
    page = page_of(files, study, heard=qualitative(study, partition, bare, files.results))
    assert "The catalog names no set of mutually exclusive tags" in words_of(page)
    assert "Popular tags" not in page_of(files, study)


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0, 59.94, 60, 3599, 7200)] == [
        "0.0 s",
        "59.9 s",
        "1.0 min",
        "60.0 min",
        "2.0 h",
    ]
