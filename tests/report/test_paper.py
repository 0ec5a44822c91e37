"""The report in a real browser, on a phone and on paper; and what its user hears where there is no browser."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from study.compare_fixtures import make_study
from tagscale.cli import main
from tagscale.partition.divide import Partition
from tagscale.report import figures
from tagscale.report.page import render
from tagscale.report.paper import BROWSERS, print_page
from tagscale.runtime.errors import TagscaleError
from tagscale.study.grid import read_study
from tagscale.study.verdict import conclude

CHROMIUM = next((path for name in BROWSERS if (path := shutil.which(name))), None)
# In a frame of 400 pixels: how wide the page is, its first table's models after a click, what is folded at print.
PROBE = """onload = () => {
  const page = document.getElementById("page").contentWindow, told = {width: page.document.body.scrollWidth};
  const head = [...page.document.querySelectorAll("th[aria-sort]")].find(th => th.textContent === "PR-AUC");
  const table = head.closest("table"), names = () => [...table.tBodies[2].rows].map(row => row.cells[0].innerText);
  told.orders = [names()];
  for (let turn = 0; turn < 2; turn++) { head.querySelector("button").click(); told.orders.push(names()); }
  told.sorted = head.getAttribute("aria-sort");
  const folded = () => page.document.querySelectorAll("details:not([open])").length;
  told.folded = [folded()];
  for (const event of ["beforeprint", "afterprint"]) {
    page.dispatchEvent(new Event(event));
    told.folded.push(folded());
  }
  document.title = JSON.stringify(told);
}"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The report of a small study, without its pictures."""
    monkeypatch.setattr(figures, "panel", lambda *details, **sizes: Figure(figsize=(1, 1)))
    files = make_study(tmp_path / "study", resamples=20, epochs=2)
    models = ["waveform", "spectrogram", "descriptors"]
    study = read_study(files.runs, files.results, models=models, sizes=["100", "300", "all"], seeds=[0])
    content = render(study, conclude(study, 101, 17), dataset="x", partition=Partition.load(files.partition), times=[])
    (tmp_path / "report.html").write_text(content)
    return tmp_path / "report.html"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_sorts_folds_and_prints_it_and_a_phone_is_wide_enough(page: Path) -> None:
    frame = f'<iframe id="page" style="width:400px;height:800px" srcdoc="{html.escape(page.read_text())}"></iframe>'
    (page.parent / "probe.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{frame}<script>{PROBE}</script>")
    words = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent / 'profile'}"]
    address = (page.parent / "probe.html").as_uri()
    done = subprocess.run([*words, "--dump-dom", address], capture_output=True, text=True, timeout=120)
    told: dict[str, Any] = json.loads(html.unescape(re.findall("<title>(.*?)</title>", done.stdout)[0]))
    assert told["width"] <= 400, "nothing of the page lies beside the screen"
    ranks = ["spectrogram", "waveform", "descriptors"]
    assert told["orders"] == [["waveform", "spectrogram", "descriptors"], ranks, ranks[::-1]]
    assert told["sorted"] == "ascending"
    before, printed, after = told["folded"]
    assert (before > 0, printed, after) == (True, 0, before)
    print_page(page, page.with_suffix(".pdf"))
    assert page.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")


def browser(folder: Path, script: str) -> None:
    folder.mkdir()
    (folder / "chromium").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "chromium").chmod(0o755)


def test_what_prints_and_what_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "reports" / "report.html"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TagscaleError, match=r"report\.html: no such file\. `tagscale compare`"):
        print_page(page, page.with_suffix(".pdf"))
    page.parent.mkdir()
    page.write_text("<p>A page.</p>")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TagscaleError, match=r"found none of chromium, .*Install the package `chromium`"):
        print_page(page, page.with_suffix(".pdf"))
    browser(tmp_path / "broken", "echo no display >&2; exit 3")
    monkeypatch.setenv("PATH", f"{tmp_path / 'broken'}:/bin:/usr/bin")
    with pytest.raises(TagscaleError, match=r"did not print .*report\.html \(status 3\)\. It says: no display"):
        print_page(page, page.with_suffix(".pdf"))
    assert [file.name for file in page.parent.iterdir()] == ["report.html"], "nothing is left behind"
    writes = 'for word; do case "$word" in --print-to-pdf=*) echo %PDF-1.4 > "${word#--print-to-pdf=}";; esac; done'
    browser(tmp_path / "whole", writes)
    monkeypatch.setenv("PATH", f"{tmp_path / 'whole'}:/bin:/usr/bin")
    with pytest.raises(SystemExit) as ended:
        main(["report", "--pdf"])
    assert not ended.value.code
    assert "reports/report.pdf is reports/report.html on paper" in capsys.readouterr().out
    assert page.with_suffix(".pdf").read_text() == "%PDF-1.4\n"
