"""The report: complete, self-contained, safe against names from the data."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from evaluation.compare_fixtures import SIZES, Files, make_study
from tagscale.data.partition import Partition
from tagscale.evaluation import figures
from tagscale.evaluation.report import StageTime, duration, read_times, render
from tagscale.evaluation.study import Study, read_study
from tagscale.evaluation.verdict import verdict


def study_of(files: Files, **grid: Any) -> Study:
    given = {"models": ["waveform", "spectrogram"], "baselines": ["descriptors"], "sizes": [*SIZES], "seeds": [0]}
    return read_study(files.runs, files.results, **(given | grid))


def page_of(files: Files, study: Study, **changes: Any) -> str:
    given: dict[str, Any] = {"dataset": "fixture", "partition": Partition.load(files.partition), "times": []}
    return render(study, verdict(study, 101, 17), **(given | changes))


def words_of(page: str) -> str:
    """The page's text without its marks, in single spaces."""
    visible = re.sub(r"<style>.*?</style>", " ", page, flags=re.DOTALL)
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

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(page: str) -> None:
    structure = Structure()
    structure.feed(page)
    assert structure.open == []
    assert structure.loaded
    assert all(address.startswith("data:image/svg+xml;base64,") for address in structure.loaded)
    assert "script" not in structure.tags
    assert "link" not in structure.tags
    assert not re.search(r"https?://|@import|url\(", page)
    assert len(structure.alts) == structure.tags.count("img")
    assert all(structure.alts)


def test_the_verdict_comes_first(page: str) -> None:
    words = words_of(page)
    finding = "Spectrogram beats the descriptors baseline on macro PR-AUC at 802 training tracks: 0.470 against 0.399."
    assert finding in words
    assert words.index(finding) < words.index("Results")


def test_every_cell_of_the_grid_has_its_row(page: str) -> None:
    rows = re.findall(r"<tr>.*?</tr>", page.split("<h2>Results</h2>")[1].split("</table>")[0], re.DOTALL)[2:]
    assert len(rows) == 9
    cells = [words_of(cell) for cell in re.findall(r"<td.*?</td>", rows[-2], re.DOTALL)]
    assert cells == ["spectrogram", "802", "0.785", "0.470", "0.183", "0.795", "0.490", "0.178", "254,000", "2.8 min"]
    assert [row.count('class="best top"') for row in rows] == [0] * 7 + [3, 0]
    assert [row.count('class="best') for row in rows] == [0, 0, 3, 0, 3, 0, 0, 3, 0]


def test_deviations_are_shown_for_several_seeds(tmp_path: Path, undrawn: None) -> None:
    files = make_study(tmp_path, seeds=(0, 1, 2))
    page = page_of(files, study_of(files, seeds=[0, 1, 2]))
    assert "0.482 ± 0.012" in words_of(page)
    assert "0, 1, 2" in words_of(page)


def test_how_it_was_measured(page: str) -> None:
    words = words_of(page)
    for part in ("Training 802 tracks by 134 artists", "Validation 99 tracks by 18 artists", "Test 101 tracks by 17"):
        assert part in words
    assert "No artist is in two parts" in words
    assert "odd test no positive track in this part" in words
    assert "dddddddddddd" in words
    assert "Each line rests on 3 runs at 3 sizes" in words


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
    assert "<script>" not in page
    assert "<b>mine" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


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
    assert "1 size(s) are too few for a fitted line" in words_of(page)


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


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0, 59.94, 60, 3599, 7200)] == [
        "0.0 s",
        "59.9 s",
        "1.0 min",
        "60.0 min",
        "2.0 h",
    ]
