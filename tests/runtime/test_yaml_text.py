"""YAML that people write: each key once and as it is written, within bounds."""

from pathlib import Path

import pytest
import yaml

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.yaml_text import parse_documents, parse_yaml

ROOT = Path(__file__).parents[2]
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)
WRONG = {
    "doubled key": (
        "train:\n  batch: 1\n  size: 2\n  batch: 3\n",
        "line 4: `train.batch` stands here again; line 2 has",
    ),
    "doubled block": ("a: {b: 1}\nc: 2\na: {d: 1}\n", "line 3: `a` stands here again; line 1 has it already. Keep one"),
    "doubled under two spellings": ("1: a\n'1': b\n", "line 2: `1` stands here again"),
    "expansion": (BOMB, "more than 1,000,000 values, with every alias written out"),
    "depth": ("a: " + "[" * 100_000, "line 1: more than 64 blocks within each other"),
    "alias of itself": ("a: &a\n  b: *a\n", "the alias in `a.b` contains itself"),
    "long number": ("a: 0x" + "f" * 200_000, "`a` is a number of 200,002 digits"),
    "list as key": ("? [a]\n: 1\n", "line 1: a key that is a list or a block"),
    "two documents": ("a: 1\n---\nb: 2\n", "2 documents, divided by `---`; expected one"),
    "code": ("a: !!python/object/apply:os.system ['x']", "not valid YAML"),
    "date": ("a: 2026-13-45", "not valid YAML: month must be in 1..12"),
    "NUL": ("a: \0", "not valid YAML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused_is_named_with_its_line(case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(TagscaleError) as caught:
        parse_yaml(text, "file.yaml")
    assert str(caught.value).startswith("file.yaml")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_key_is_a_name_as_it_is_written() -> None:
    content = parse_yaml("007: 1\nyes: 2\n1.50: 3\nnull: 4\n~: 5\n2026-01-01: 6\nTrue: 7\n1e5: 8\n", "f")
    assert list(content) == ["007", "yes", "1.50", "null", "~", "2026-01-01", "True", "1e5"]


def test_values_aliases_and_merges_are_read_as_yaml_has_them() -> None:
    text = "base: &b {x: 1, y: 2.5}\nother:\n  <<: *b\n  y: [yes, null, 007]\n"
    assert parse_yaml(text, "f") == {"base": {"x": 1, "y": 2.5}, "other": {"x": 1, "y": [True, None, 7]}}
    assert parse_yaml("", "f") is None


@pytest.mark.parametrize("file", ["params.yaml", "dvc.yaml", "tests/pipelines/golden/study.yaml"])
def test_the_repository_reads_as_with_pyyaml(file: str) -> None:
    text = (ROOT / file).read_text()
    assert parse_documents(text, file) == list(yaml.safe_load_all(text))
