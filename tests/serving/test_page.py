"""The page at `/`: its routes, and the page itself in a real browser, with real clicks and keys."""

import asyncio
import csv
import hashlib
import io
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import uvicorn
from fastapi import FastAPI

from registry.tiny import song, tiny_tagger
from servers.processes import free_port
from serving.chromium import CHROMIUM, Page, browser
from serving.served import LIMITS, MODEL, TAGS, Client
from stores import write_store
from tagscale.catalog import corrections
from tagscale.catalog.corrections import corrected
from tagscale.catalog.tables import Catalog, catalog_of
from tagscale.cli import main
from tagscale.evaluation.decisions import Decisions, Sigmoid, TagDecision
from tagscale.runtime.processes import Crew
from tagscale.serving.dataset import Dataset
from tagscale.serving.neighbours import Neighbours, index
from tagscale.serving.server.app import Http, Settings
from tagscale.serving.server.held import Held
from tagscale.serving.server.lineup import BESIDE, LEAD, Slot, State
from tagscale.store.read import Store

TOKEN = "a token that nobody guesses"
TRACKS, SECONDS = 8, 4.0
TITLE = "<b>Song</b> & 'quote'"
SONGS = [song(number, SECONDS) for number in range(TRACKS)]


@dataclass
class Site(Client):
    """A server in this process: its own routes and guard, and models that a thread asks."""

    folder: Path = Path()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def corrections(self) -> Path:
        return self.folder / "corrections.csv"

    def rows(self) -> list[dict[str, str]]:
        with open(self.corrections, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def write_data(folder: Path) -> None:
    """Catalog and store of TRACKS songs; every second is rock, none says anything of the second tag."""
    ids = [f"t{number}" for number in range(TRACKS)]
    tracks = pd.DataFrame({"track_id": ids, "path": [f"{one}.wav" for one in ids], "artist": "=A & B", "title": TITLE})
    labels = pd.DataFrame(
        {TAGS[0]: np.arange(TRACKS) % 2.0, TAGS[1]: np.nan, TAGS[2]: np.linspace(0, 1, TRACKS)}, dtype=np.float32
    )
    kinds = ["classification", "classification", "regression"]
    tags = pd.DataFrame({"group": ["genre", "genre", "mood"], "kind": kinds}, index=list(TAGS))
    catalog_of("tiny", tracks, labels, tags, None).save(folder / "catalog")
    sounds = [{"audio_sha256": hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()} for samples in SONGS]
    write_store(folder / "store", zip(ids, SONGS, sounds, strict=True))


def wav(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(free_port(), TOKEN, tmp_path_factory.mktemp("site"))
    write_data(made.data)
    held = {}
    for number, (name, role) in enumerate([("champion", LEAD), ("challenger", BESIDE)]):
        tagger = tiny_tagger(tags=TAGS, seed=number)
        one = TagDecision(calibration=Sigmoid(slope=1.0, offset=0.0), threshold=0.1, tracks=10, positives=5)
        tagger.decisions = Decisions(tags=dict.fromkeys(TAGS[:2], one))
        tagger.save(made.folder / name)
        held[name] = Held(Slot(name, role, MODEL, str(number + 1), str(made.folder / name)))
    state = State(made.folder)
    state.set_loaded("models", [one.about() for one in held.values()])

    async def score(request: dict[str, Any]) -> dict[str, Any]:
        return (await asyncio.to_thread(held[request["slot"]].answer, [request]))[0]

    known = {"data": made.data, "corrections": made.corrections}
    settings = Settings("127.0.0.1", made.port, [], LIMITS, 16, 0, [TOKEN], **known)
    http, app = Http(settings, state, score, score), FastAPI()
    http.install(app)
    config = uvicorn.Config(http.guard(app), port=made.port, lifespan="off", log_level="error")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            time.sleep(0.02)
        yield made
    finally:
        running.should_exit = True
        thread.join(20)
        http.work.stop()


def test_the_page_is_open_and_runs_no_script_but_its_own(site: Site) -> None:
    answer = Client(site.port).ask("/")
    assert answer.status == 200
    assert "<title>Tags of a song</title>" in answer.content
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'sha256-" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    for path in ("/dataset", "/dataset/tracks", "/dataset/track?track_id=t1", "/dataset/audio?track_id=t1"):
        assert Client(site.port).ask(path).status == 401, path
    for path in ("/corrections", "/dataset/similar"):
        assert Client(site.port).ask(path, {}).status == 401, path


def test_tracks_are_found_with_their_sound_and_truth(site: Site) -> None:
    catalog = Catalog.load(site.data / "catalog")
    facts = {"name": "tiny", "hash": catalog.hash, "tracks": TRACKS, "corrections": True}
    assert site.ask("/dataset").content == facts
    found = site.ask("/dataset/tracks?search=quote%20T3.WAV").content
    assert found == {"tracks": [{"track_id": "t3", "artist": "=A & B", "title": TITLE}], "more": 0}
    assert site.ask("/dataset/tracks?limit=3").content["more"] == TRACKS - 3
    track = site.ask("/dataset/track?track_id=t3").content
    assert track["truth"] == {TAGS[0]: 1.0, TAGS[1]: None, TAGS[2]: pytest.approx(3 / 7)}
    assert site.ask(f"/dataset/track?audio_sha256={track['audio_sha256']}").content == track
    for query in ("track_id=t9", "audio_sha256=" + 64 * "0", "audio_sha256=nan", ""):
        answer = site.ask(f"/dataset/track?{query}")
        assert (answer.status, "no track" in answer.content["error"].lower()) == (404, True), query
    for path in ("/dataset/tracks?serach=x", "/dataset/track?track_id=t3&limit=3"):
        answer = site.ask(path)
        assert (answer.status, "which means nothing here" in answer.content["error"]) == (400, True), path
    size, parts = Dataset(site.data).wav("t3") or (0, iter(()))
    assert b"".join(parts) == wav(SONGS[3])
    assert site.ask("/dataset/audio?track_id=t3", method="HEAD").headers["content-length"] == str(size)
    assert size == len(wav(SONGS[3]))
    result = site.form({"a.wav": wav(SONGS[3])}).content["results"][0]
    assert result["facts"]["audio_sha256"] == track["audio_sha256"]


def test_two_models_hear_one_upload_decoded_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, ask = [], Crew.ask
    monkeypatch.setattr(Crew, "ask", lambda crew, *task: (decoded.append(task), ask(crew, *task))[1])
    query = "taggram=true&spectrogram=true"
    both = site.form({"a.wav": wav(SONGS[3])}, f"?model=champion&beside=challenger&{query}").content
    assert len(decoded) == 1
    second = both.pop("beside")
    for name, part in [("champion", both), ("challenger", second)]:
        alone = site.form({"a.wav": wav(SONGS[3])}, f"?model={name}&{query}").content
        if part is second:
            del alone["results"][0]["spectrogram"]  # the same for all models
        assert part == alone
    assert both["sha256"] != second["sha256"]
    unknown = site.form({"a.wav": wav(SONGS[3])}, "?beside=harp")
    assert (unknown.status, "'harp'" in unknown.content["error"]) == (404, True)
    silent = site.form({"a.wav": wav(0 * SONGS[3])}, "?beside=challenger")
    assert silent.status == 422
    assert silent.content["beside"]["results"] == silent.content["results"]


def test_similar_tracks_are_those_of_the_model_that_heard_them(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = site.form({"a.wav": wav(SONGS[3])}, "?embedding=true").content
    asked = {"sha256": heard["sha256"], "embedding": heard["results"][0]["embedding"]}
    missing = site.ask("/dataset/similar", asked)
    assert missing.status == 404
    assert "not computed yet: `tagscale index` computes them" in missing.content["error"]
    scorer, store = (
        Held(Slot("", LEAD, MODEL, "1", str(site.folder / "champion"))).tagger.scorer,
        Store.open(site.data / "store"),
    )
    work = index(site.data, store, heard["sha256"], scorer.embed)
    assert next(work) == "t0"
    assert "not computed" in site.ask("/dataset/similar", asked).content["error"]
    with pytest.raises(SystemExit) as ended:
        main(["index", str(site.folder / "champion"), "--data", str(site.data)])
    assert not ended.value.code
    assert f"{TRACKS} tracks, embedded by champion (folder)" in capsys.readouterr().out
    assert list(index(site.data, store, heard["sha256"], lambda samples: 1 / 0)) == store.track_ids, "nothing is left"
    (part,) = site.data.glob("embeddings/*/part-*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:-100])
    assert "Delete it, and run `tagscale index` again" in site.ask("/dataset/similar", asked).content["error"]
    part.write_bytes(whole)
    tracks = site.ask("/dataset/similar", asked).content["tracks"]
    assert (tracks[0]["track_id"], tracks[0]["similarity"]) == ("t3", pytest.approx(1))
    assert [one["similarity"] for one in tracks] == sorted((one["similarity"] for one in tracks), reverse=True)
    vectors = np.stack([scorer.embed(samples) for samples in SONGS])
    cosines = vectors @ vectors[3] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[3])
    assert {one["track_id"]: one["similarity"] for one in tracks} == {
        f"t{number}": pytest.approx(cosine, abs=1e-5) for number, cosine in enumerate(cosines.tolist())
    }
    others = site.ask("/dataset/similar", asked | {"without": "t3"}).content["tracks"]
    assert others == tracks[1:]
    nothing = [float("inf")] * len(asked["embedding"])
    for wrong, because in [([1.0], "1 numbers, expected"), (nothing, "not finite"), ([1e300], "1 numbers")]:
        answer = site.ask("/dataset/similar", asked | {"embedding": wrong})
        assert (answer.status, because in answer.content["error"]) == (422, True)
    monkeypatch.setattr(Neighbours, "load", lambda *_: 1 / 0)
    longer = asked | {"sha256": f"{heard['sha256'][:16]:0<64}"}
    assert site.ask("/dataset/similar", longer).content["tracks"] == tracks, "an index is read once"


def test_a_correction_is_a_row_and_what_is_none_leaves_no_trace(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.corrections.read_bytes() if site.corrections.exists() else b""
    sent = {"who": "Ada", "track_id": "t1", "corrections": [{"tag": TAGS[0], "value": 0}]}
    wrong: list[tuple[dict[str, Any], int, str]] = [
        ({"track_id": "t9"}, 422, "has no track 't9'"),
        ({"corrections": [{"tag": "harp", "value": 1}]}, 422, "has no tag 'harp'"),
        ({"corrections": [{"tag": TAGS[0], "value": 2}]}, 400, "corrections.0.value: "),
        ({"corrections": []}, 400, "corrections"),
        ({"track": "t1"}, 400, "track: "),
        ({"track_id": ""}, 422, "expected one that names the recording"),
        ({"who": "\n"}, 422, "found no name"),
        ({"who": "a" * 20_000}, 400, "who: "),
        ({"audio_sha256": "../x"}, 400, "audio_sha256"),
    ]
    for change, status, message in wrong:
        answer = site.ask("/corrections", sent | change)
        assert answer.status == status, change
        assert message in answer.content["error"]
        assert len(answer.content["error"]) < 200, "and not all that was sent"
    foreign = site.ask("/corrections", '{"who": "a page of others"}', "text/plain")
    assert foreign.status == 400, "what a browser sends to other sites unasked is not taken"
    assert (site.corrections.read_bytes() if site.corrections.exists() else b"") == before
    with monkeypatch.context() as patch:
        patch.setattr(corrections, "MOST_BYTES", 0)
        full = site.ask("/corrections", sent)
    assert (full.status, "no more than 0 are kept" in full.content["error"]) == (503, True), "which is not the client's"
    assert site.ask("/corrections", sent).status == 201
    sound = hashlib.sha256(SONGS[1].tobytes()).hexdigest()
    assert site.ask("/corrections", sent | {"track_id": "", "audio_sha256": sound, "file": "mine.wav"}).status == 201
    for row in site.rows()[-2:]:
        assert (row["track_id"], row["file"], row["audio_sha256"], row["value"]) == ("t1", "t1.wav", sound, "0")


@pytest.fixture(scope="module")
def page(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        opened.resize(1200, 900)
        opened.go(f"http://127.0.0.1:{site.port}/")
        opened.wait("!locked.hidden")
        opened.click("#token")
        opened.write(TOKEN)
        opened.press("Enter")
        opened.wait("state.models.length === 2 && !!document.querySelector('#found button')")
        yield opened


def tagged(page: Page, name: str) -> None:
    """Wait until a song is shown with its tags."""
    page.wait(f"!view.hidden && document.querySelector('#name').textContent.startsWith({name!r})")
    page.wait("audio.duration > 0")


@pytest.mark.slow
def test_a_song_is_heard_played_and_corrected(site: Site, page: Page, tmp_path: Path) -> None:
    file = tmp_path / "<img src=x onerror=alert(1)>\u202egnp.wav"
    file.write_bytes(wav(SONGS[1]))
    page.choose_file("#file", file)
    tagged(page, "<img")
    sent = "performance.getEntriesByType('resource').filter(({name}) => name.includes('/tag?')).length"
    assert page.value(f"[beside.value, {sent}]") == ["challenger", 1], "both models hear one upload"
    assert page.value("document.querySelector('#name img')") is None
    assert "track t1 of tiny, which knows its tags" in page.value("facts.textContent")
    assert page.value("[...document.querySelectorAll('#tags caption')].map(one => one.textContent)") == [
        "genre",
        "other",
    ]
    said = page.value("document.querySelector('#status').textContent")
    assert said.startswith(f"\u2068{file.name}\u2069 is tagged: "), "its name turns no word behind it round"
    blue = "[...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    blue = f"(canvas => {blue}.filter((value, i, all) => i % 4 === 2 && value > all[i - 2] + 40).length)"
    assert page.value(f"{blue}(taggram)") > 500
    assert page.value(f"{blue}(logmel)") > 500

    left = page.value("gutter() / course.clientWidth")
    page.click("#course", x=left + (1 - left) / 2)
    assert page.value("audio.currentTime") == pytest.approx(SECONDS / 2, abs=0.05)
    page.press(" ")
    page.wait("!audio.paused && audio.currentTime > 2.2")
    page.press(" ")
    page.wait("audio.paused")
    page.press("End")
    assert page.value("course.ariaValueNow") == "4.0"
    head, end = (f"{one}.getBoundingClientRect().right" for one in ("course.querySelector('.head')", "course"))
    assert page.value(f"Math.abs({head} - {end})") < 3

    page.value("model.focus()")
    page.press("ArrowDown")
    page.wait("document.querySelector('#tags thead').textContent.includes('challenger')")
    page.click("th.tag button")
    assert page.wait("detail.textContent").startswith(
        page.value("document.querySelector('tr.chosen button').textContent")
    )

    page.click("[aria-label='rock is wrong']")  # as the dataset says that it is rock
    page.write("=Ada")
    page.press("Enter")
    page.wait("!document.querySelector('#correct').open")
    assert "Recorded: rock of \u2068<img" in page.value("document.querySelector('#status').textContent")
    row = site.rows()[-1]
    assert (row["who"], row["track_id"], row["tag"], row["value"]) == ("'=Ada", "t1", "rock", "0")
    labels = corrected(Catalog.load(site.data / "catalog"), site.corrections)[0].labels
    assert labels.loc["t1", "rock"] == 0
    assert page.value("document.activeElement.ariaLabel") == "rock is wrong", "the focus is where it was"
    assert page.value("document.activeElement.textContent") == "sent"
    page.value("showTags()")
    assert page.value("document.querySelector(\"[aria-label='rock is wrong']\").textContent") == "sent", "it stays so"
    assert [error for error in page.errors if "status of 40" not in error] == [], "of scripts, or of the policy"


@pytest.mark.slow
def test_a_track_of_the_dataset_and_the_link_to_it(site: Site, page: Page) -> None:
    page.click("#search")
    page.write("t5")
    page.wait("document.querySelectorAll('#found li').length === 1")
    page.click("#found button")
    tagged(page, TITLE)
    assert page.value("document.querySelector('#name b')") is None
    page.click("th.tag button")
    chosen = page.value("state.tag")
    page.click("#course", x=0.6)
    page.click("#share")
    page.wait("!document.querySelector('#link').hidden")
    link = page.value("document.querySelector('#link').value")
    time_ = page.value("audio.currentTime")
    page.go(link)
    tagged(page, TITLE)
    assert page.value("[state.song.track, state.tag]") == ["t5", chosen]
    assert page.wait("audio.currentTime") == pytest.approx(time_, abs=0.1)
    page.resize(400, 800)
    assert page.value("document.documentElement.scrollWidth") == 400
    words = "[...document.querySelectorAll('#tags thead th')].filter(one => one.getClientRects()[0].height > 30)"
    assert page.value(f"{words}.map(one => one.textContent)") == [], "no name of a model is broken into two lines"
    page.resize(1200, 900)


@pytest.mark.slow
def test_a_second_model_that_fails_or_is_late_hides_nothing(site: Site, page: Page, tmp_path: Path) -> None:
    page.go(f"http://127.0.0.1:{site.port}/")
    page.wait("state.models.length === 2 && !!document.querySelector('#found button')")
    odd = "content => new Response(JSON.stringify({...content, beside: {results: [{error: 'It is odd.'}]}}))"
    full = """new Response('{"error": "It is full."}', {status: 429})"""
    late = f"new Promise(done => setTimeout(() => done({full}), 1000))"
    page.value(
        f"real = fetch; fetch = (path, ...all) => path.includes('beside=challenger') ? "
        f"real(path, ...all).then(answer => answer.json()).then({odd}) : "
        f"path.includes('model=challenger') ? {late} : real(path, ...all)"
    )
    errors = len(page.errors)
    (tmp_path / "song.wav").write_bytes(wav(SONGS[4]))
    page.choose_file("#file", tmp_path / "song.wav")
    tagged(page, "song.wav")
    assert page.wait("problem.textContent") == "challenger: not tagged: It is odd."
    page.value("beside.onchange()")  # which asks the second one again, alone
    assert page.wait("!problem.textContent.includes('odd') && problem.textContent") == "challenger: It is full."
    assert "is tagged" in page.value("document.querySelector('#status').textContent")
    heads = "[...document.querySelector('#tags thead').querySelectorAll('th')].map(one => one.textContent)"
    assert page.value(heads)[:2] == ["Tag", "champion"]
    assert page.errors[errors:] == []


@pytest.mark.slow
def test_the_track_that_was_chosen_last_is_shown(site: Site, page: Page) -> None:
    page.go(f"http://127.0.0.1:{site.port}/")
    page.wait("state.models.length === 2 && !!document.querySelector('#found button')")
    late = "new Promise(done => setTimeout(done, 1000)).then(() => real(path, ...all))"
    page.value(f"real = fetch; fetch = (path, ...all) => path.endsWith('track_id=t6') ? {late} : real(path, ...all)")
    page.value("(async () => { const slow = openTrack('t6'); await openTrack('t7'); await slow; })()")
    assert page.value("[state.song.track, view.hidden]") == ["t7", False]


@pytest.mark.slow
def test_what_cannot_be_tagged_is_said_and_a_recording_can(page: Page, tmp_path: Path) -> None:
    for name, content, reason in [
        ("silence.wav", wav(np.zeros(32_000, np.int16)), "silen"),
        ("broken.mp3", b"words", "not audio in a known format"),
        ("large.wav", wav(np.zeros(1 << 20, np.int16)), "The body has more than 1048576 bytes|does not answer"),
    ]:
        (tmp_path / name).write_bytes(content)
        page.choose_file("#file", tmp_path / name)
        said = page.wait(f"problem.textContent.startsWith('\u2068{name}\u2069: ') && problem.textContent")
        assert any(one in said for one in reason.split("|"))
        assert page.value("view.hidden && !problem.hidden")
    (tmp_path / "short.wav").write_bytes(wav(SONGS[1][:16_000]))
    page.choose_file("#file", tmp_path / "short.wav")
    tagged(page, "short.wav")
    assert "33% of the window of 1.5 s is padding" in page.value("warnings.textContent")
    page.go(page.value("fragment() && location.href"))
    assert "This link is of a file, \u2068short.wav\u2069," in page.wait(
        "state.linked && document.querySelector('#status').textContent"
    )
    (tmp_path / "other.wav").write_bytes(wav(SONGS[2]))
    page.choose_file("#file", tmp_path / "other.wav")
    tagged(page, "other.wav")
    assert "another recording than the one that the link is of" in page.value(
        "document.querySelector('#status').textContent"
    )
    page.click("#record")
    page.wait("parseInt(document.querySelector('#record').textContent.split(':')[1]) >= 2")
    page.click("#record")
    tagged(page, "recording of ")
    assert page.value("[problem.hidden, state.song.truth]") == [True, None]


@pytest.mark.slow
def test_keys_reach_everything_and_readers_have_names(site: Site, page: Page) -> None:
    page.go(f"http://127.0.0.1:{site.port}/#track=t5")
    tagged(page, TITLE)
    assert page.nameless() == []
    reached = []
    for _ in range(40):
        page.press("Tab")
        reached.append(
            page.value("(e => e.id || e.closest('table, ul, ol')?.tagName || e.tagName)(document.activeElement)")
        )
    wanted = ["file", "record", "model", "beside", "search", "audio", "course", "share", "all"]
    assert [one for one in dict.fromkeys(reached) if one in wanted] == wanted
    assert {"UL", "TABLE"} <= set(reached)
