"""tags.yaml: which column is a tag of which kind, and what is wrong with a file that does not say so."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tagscale.catalog.sources.columns import TagColumn, declared, inferred
from tagscale.runtime.errors import TagscaleError

COLUMNS = ["genre", "mtt_guitar", "mtt_piano", "emo_joy", "year"]
GOOD: dict[str, Any] = {
    "genre": {"kind": "category", "group": "genre"},
    "mtt_piano": {"kind": "regression"},
    "mtt_*": {"kind": "classification", "exclusive": "instrument"},
    "emo_?oy": {"kind": "regression", "group": "mood"},
    "year": {"kind": "ignore"},
}


def declare(folder: Path, content: Any, columns: list[str] = COLUMNS) -> list[TagColumn]:
    path = folder / "tags.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return declared(path, Path("tracks.csv"), columns)


def test_the_first_matching_entry_wins(tmp_path: Path) -> None:
    assert declare(tmp_path, {"columns": GOOD}) == [
        TagColumn("genre", "category", "genre"),
        TagColumn("mtt_guitar", "classification", "tags", "instrument"),
        TagColumn("mtt_piano", "regression", "tags"),
        TagColumn("emo_joy", "regression", "mood"),
    ]


BAD: dict[str, tuple[Any, str]] = {
    "kind": ({"columns": GOOD | {"year": {"kind": "regresion"}}},
             "columns.year.kind: Input should be 'classification', 'regression', 'category' or 'ignore', found 'regre"),
    "no kind": ({"columns": GOOD | {"year": {"group": "x"}}}, "columns.year.kind: missing; add it."),
    "key": ({"columns": GOOD | {"year": {"kid": "ignore"}}}, "columns.year.kid: unknown key; did you mean `kind`?"),
    "no mapping": ({"columns": GOOD | {"year": "ignore"}}, "columns.year: expected a block of kind, group, exclusive, "
                   "found 'ignore'."),
    "number": ({"columns": GOOD | {"year": {"kind": 1}}}, "'category' or 'ignore', found 1."),
    "no group": ({"columns": GOOD | {"year": {"kind": "ignore", "group": " "}}}, "columns.year.group: "),
    "unmatched": ({"columns": {"mtt_*": {"kind": "ignore"}}}, "no entry for column `genre`, `emo_joy`, `year`"),
    "matches none": ({"columns": GOOD | {"genres": {"kind": "category"}}}, "(did you mean `genre`?)"),
    "other top": ({"tags": GOOD}, "tags: unknown key; known here: columns"),
    "list": ("- genre", "expected blocks of `key: value`, found list"),
    "not YAML": ("columns: {", "not valid YAML"),
    "code": ("columns: !!python/object/apply:os.system ['exit 1']", "not valid YAML"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_mistakes(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    with pytest.raises(TagscaleError) as caught:
        declare(tmp_path, content)
    assert message in str(caught.value)
    assert str(tmp_path / "tags.yaml") in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TagscaleError, match=r"tags\.yaml: no such file.*`tags: null`"):
        declared(tmp_path / "tags.yaml", Path("tracks.csv"), COLUMNS)


def test_ignored_patterns_may_match_nothing(tmp_path: Path) -> None:
    assert declare(tmp_path, {"columns": GOOD | {"note*": {"kind": "ignore"}}})


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["0", "1", ""], "classification"),
        (["0.0", "1.0"], "classification"),
        (["0", "0.5"], "regression"),
        (["0", "2"], None),
        (["0", "yes"], None),
        (["nan", "1"], None),
        (["", ""], None),
        (["jazz", "rock"] * 4, None),  # four tracks a word: notes, perhaps
        (["jazz", "2"] * 5, None),
        (["jazz"] * 10, None),
    ],
)
def test_inference(cells: list[str], kind: str | None) -> None:
    found = inferred(Path("tracks.csv"), pd.DataFrame({"c": cells}), ["c"])
    assert found == ([TagColumn("c", kind, kind)] if kind else [])


def test_words_that_come_back_are_a_category() -> None:
    cells = pd.DataFrame({"genre": ["jazz", "hip  hop", "", "hip hop", "jazz"] * 4})
    assert inferred(Path("tracks.csv"), cells, ["genre"]) == [TagColumn("genre", "category", "genre")]


@pytest.mark.parametrize(
    ("words", "because"),
    [
        (["jazz, calm", "jazz", "calm"], "lists, as `jazz, calm`: give each of their words a column of 0 and 1"),
        (["60", "180.5", "90"], "numbers from 60 to 180.5: a tag needs them scaled to 0 to 1; if its 3 different"),
        (["1", "2", "rock"], "if its 3 different values are classes, tags.yaml can say `kind: category`"),
    ],
    ids=["lists", "numbers", "codes"],
)
def test_what_could_be_classes_but_is_no_tag_says_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], because: str
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    assert inferred(Path("tracks.csv"), pd.DataFrame({"c": words * 5}), ["c"]) == []
    assert because in capsys.readouterr().out
