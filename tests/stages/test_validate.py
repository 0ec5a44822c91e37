"""The validate stage: files that say what is wrong, written even when the stage then stops."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile

from seals import reseal
from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.files import read_json
from tagscale.stages import catalog, preprocess, validate
from user_folder import TAGS, rows, settings, tone, write_audio, write_table

PARAMS: dict[str, Any] = {"min_seconds": 0.5, "seconds_tolerance": 0.2, "min_positives": 2, "max_quarantined": 0.5}


def prepare(folder: Path) -> None:
    """Twelve tracks, of which five cannot be used, and a tag that only a bad one carries."""
    table = [row | {"rare": "0"} for row in rows()]
    table[1]["rare"] = table[4]["rare"] = "1"
    table[3]["seconds"] = "30"
    write_table(folder / "music", table, {"columns": TAGS["columns"] | {"rare": {"kind": "classification"}}})
    write_audio(folder / "music", table)
    audio = folder / "music" / "audio"
    (audio / "song01.wav").unlink()
    (audio / "song05.wav").write_bytes((audio / "song06.wav").read_bytes())
    soundfile.write(audio / "song07.wav", 1e-6 * tone(1, 8000), 8000, subtype="FLOAT")
    soundfile.write(audio / "song08.wav", tone(0.4, 8000), 8000)
    catalog.run(settings(), root=folder / "music", catalog=folder / "catalog")
    folders = {"root": folder / "music", "catalog": folder / "catalog", "store": folder / "store"}
    preprocess.run(settings(), workers=1, **folders)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder)
    return folder


def run(folder: Path, output: Path, **changes: Any) -> dict[str, Any]:
    params = settings(validation=PARAMS | changes)
    validate.run(params, catalog=folder / "catalog", store=folder / "store", validation=output)
    found: dict[str, Any] = read_json(output / "validation.json")
    return found


REASONS = {
    "song01": "no such file",
    "song03": "1.00 s long, but annotated as 30.00 s",
    "song06": "same audio as song05, with other labels",
    "song07": "silent: -120.0 dBFS, below -60",
    "song08": "0.40 s long, shorter than 0.5 s; 0.40 s long, but annotated as 1.00 s",
}


def test_findings(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(prepared, tmp_path / "validation")
    quarantine = pd.read_csv(tmp_path / "validation" / "quarantine.csv")
    assert dict(zip(quarantine["track_id"], quarantine["reason"], strict=True)) == REASONS
    assert found["passed"] is True
    assert (found["tracks"], found["quarantined"]) == (12, 5)
    assert found["tags"] == ["rock", "energy"]
    assert found["dropped_tags"] == [{"tag": "rare", "reason": "1 positive tracks, fewer than 2"}]
    assert found["catalog"] == read_json(prepared / "catalog" / "dataset.json")["hash"]
    assert found["store"] == read_json(prepared / "store" / "store.json")["hash"]
    printed = capsys.readouterr().out
    assert "7 of 12 tracks usable, 2 tags to learn" in printed
    assert "1 tags dropped: rare (1 positive tracks, fewer than 2)" in printed
    assert "quarantined: audio/song01.wav: no such file" in printed
    page = (tmp_path / "validation" / "validation.html").read_text()
    assert all(track in page for track in REASONS)


def test_same_findings_every_time(prepared: Path, tmp_path: Path) -> None:
    run(prepared, tmp_path / "one")
    run(prepared, tmp_path / "two")
    for file in ("quarantine.csv", "validation.json", "validation.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_too_many_bad_files_stop_after_the_report_is_written(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(TagscaleError) as caught:
        run(prepared, tmp_path / "validation", max_quarantined=0.4)
    message = str(caught.value)
    assert "5 of 12 tracks (41.7%) are quarantined, more than validation.max_quarantined (40.0%)" in message
    assert "audio/song01.wav: no such file" in message
    assert str(tmp_path / "validation" / "validation.html") in message
    assert read_json(tmp_path / "validation" / "validation.json")["passed"] is False
    assert len(pd.read_csv(tmp_path / "validation" / "quarantine.csv")) == 5
    assert "Stopped." in (tmp_path / "validation" / "validation.html").read_text()


def test_no_tag_to_learn_stops(prepared: Path, tmp_path: Path) -> None:
    labels = pd.read_parquet(prepared / "catalog" / "labels.parquet")
    spoiled = tmp_path / "catalog"
    spoiled.mkdir()
    for file in ("tracks.parquet", "tags.csv", "dataset.json"):
        (spoiled / file).write_bytes((prepared / "catalog" / file).read_bytes())
    labels.assign(rock=0.0, energy=0.5, rare=0.0).astype({"rock": "f4", "energy": "f4", "rare": "f4"}).to_parquet(
        spoiled / "labels.parquet", index=False
    )
    reseal(spoiled, "dataset.json")
    with pytest.raises(TagscaleError, match="no tag can be learnt"):
        validate.run(
            settings(validation=PARAMS), catalog=spoiled, store=prepared / "store", validation=tmp_path / "validation"
        )


def test_a_store_of_another_catalog_stops(prepared: Path, tmp_path: Path) -> None:
    write_table(tmp_path / "music", [*rows(), rows(13)[12]])
    catalog.run(settings(), root=tmp_path / "music", catalog=tmp_path / "catalog")
    with pytest.raises(TagscaleError, match=r"every track was decoded or rejected.*first: song12"):
        validate.run(
            settings(validation=PARAMS),
            catalog=tmp_path / "catalog",
            store=prepared / "store",
            validation=tmp_path / "validation",
        )


def test_data_of_another_version_stops_and_says_what_to_do(prepared: Path, tmp_path: Path) -> None:
    found = run(prepared, tmp_path / "validation")["data_hash"]
    for version, passes in ((f"songs@{found}", True), ("songs@0123456789ab", False)):
        params = settings(validation=PARAMS, dataset={"version": version})
        folders = {"catalog": prepared / "catalog", "store": prepared / "store", "validation": tmp_path / "again"}
        if passes:
            validate.run(params, **folders)
        else:
            with pytest.raises(TagscaleError, match=r"dataset\.version is songs@0123456789ab") as caught:
                validate.run(params, **folders)
            for part in (found, "git checkout data-songs", "dvc pull", "tagscale publish NAME", "null"):
                assert part in str(caught.value)
        written = read_json(tmp_path / "again" / "validation.json")
        assert written["passed"] is True  # it is sound data all the same, and may be published
        assert (written["other_version"] is None) is passes


def test_data_docs_are_written_where_asked(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    validate.run(
        settings(validation=PARAMS),
        catalog=prepared / "catalog",
        store=prepared / "store",
        validation=tmp_path / "validation",
        docs=tmp_path / "docs",
    )
    index = (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    assert "expectations/usable.html" in index
    assert str(tmp_path) not in index
    assert "Data Docs: " in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["docs", "validation"]


def test_low_sample_rates_are_mentioned(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(prepared, tmp_path / "validation")
    assert any(mention.startswith("sampled below 16,000 Hz") for mention in found["mentions"])
    assert "data version: unpublished, hash " + found["data_hash"] in capsys.readouterr().out
