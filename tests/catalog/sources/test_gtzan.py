"""GTZAN's lists become a catalog of ten exclusive genres, with the split that the lists are."""

import os
from pathlib import Path

import pytest

from tagscale.catalog.sources import gtzan
from tagscale.catalog.tables import Catalog
from tagscale.runtime.errors import TagscaleError
from user_folder import ROOT, settings

SHARED = Path(os.environ.get("TAGSCALE_SHARED_DATA", ROOT / ".." / "shared" / "data"))
LISTS = {
    "train": ["blues/blues.00001.wav", "jazz/jazz.00054.wav"],
    "valid": ["rock/rock.00007.wav"],
    "test": ["metal/metal.00099.wav", "blues/blues.00002.wav"],
}


def write(root: Path, **changes: list[str]) -> Path:
    root.mkdir(exist_ok=True)
    for part, lines in (LISTS | changes).items():
        (root / f"{part}_filtered.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def read(root: Path, split: str | None = None) -> Catalog:
    return gtzan.read(root, settings(dataset={"name": "gtzan", "source": "gtzan", "split": split}).dataset)


def test_lists_are_the_split(tmp_path: Path) -> None:
    catalog = read(write(tmp_path))
    by_id = catalog.tracks.set_index("track_id")
    assert by_id["split"].to_dict() == {
        "blues.00001": "train",
        "blues.00002": "test",
        "jazz.00054": "train",
        "metal.00099": "test",
        "rock.00007": "valid",
    }
    assert by_id.loc["rock.00007", "path"] == "genres/rock/rock.00007.wav"
    assert by_id["fault"].ne("").to_dict()["jazz.00054"]
    assert by_id["fault"].ne("").sum() == 1
    assert (catalog.labels.sum(axis=1) == 1).all()
    assert catalog.labels.loc["metal.00099", "metal"] == 1
    assert set(catalog.tags["exclusive"]) == {"genre"}
    assert catalog.split == gtzan.SPLITS["filtered"]


def test_tagscale_divides_when_asked(tmp_path: Path) -> None:
    catalog = read(write(tmp_path), split="stratified")
    assert catalog.split is None
    assert catalog.tracks["split"].isna().all()


@pytest.mark.parametrize("path", ["genres/rock/rock.00007.au", "rock/rock.00007.wav"])
def test_audio_is_taken_where_it_lies(tmp_path: Path, path: str) -> None:
    write(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert read(tmp_path).tracks.set_index("track_id").loc["rock.00007", "path"] == path


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "test_filtered.txt: no rows"),
        (["rock/rock.00001.wav", "polka/polka.00001.wav"], "line 2 `polka/polka.00001.wav`; expected GENRE/"),
        (["rock/jazz.00001.wav"], "line that names no GTZAN file: line 1"),
        (["../rock/rock.00001.wav"], "path outside the dataset's folder: line 1"),
        (["/rock/rock.00001.wav"], "path outside the dataset's folder: line 1"),
        (["rock/rock.00001.wav", "rock/rock.00001.wav"], "path used more than once"),
        (["rock/rock.00007.wav"], "file listed more than once"),
    ],
)
def test_bad_lists(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(TagscaleError) as caught:
        read(write(tmp_path, test=lines))
    assert message in str(caught.value)


def test_a_missing_list(tmp_path: Path) -> None:
    (write(tmp_path) / "valid_filtered.txt").unlink()
    with pytest.raises(TagscaleError, match=r"valid_filtered\.txt: no such file.*The split is three lists"):
        read(tmp_path)


def test_the_real_lists() -> None:
    root = SHARED / "gtzan"
    if not root.is_dir():
        pytest.skip(f"real lists not there: {root} (set TAGSCALE_SHARED_DATA)")
    catalog = read(root)
    assert catalog.tracks["split"].value_counts().to_dict() == {"train": 443, "test": 290, "valid": 197}
    assert catalog.labels.sum().between(80, 100).all()
