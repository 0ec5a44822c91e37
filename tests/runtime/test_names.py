"""Names have one form, and those that may be one name in two spellings are found."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagscale.runtime.names import near_equal, normalised


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("nai\u0308ve", "na\u00efve"),
        ("Bj\u00f6rk\u00a0 Guðmundsdóttir\u200b", "Björk Guðmundsdóttir"),
        ("e\u200b\u0301", "\u00e9"),
        ("\ufeff rock \t\n", "rock"),
        ("\u3000東京\u2003事変\u2060", "東京 事変"),
        ("a\x00b\x1b[31m", "a b [31m"),
        ("soft\u00adhyphen", "softhyphen"),
        ("007", "007"),
        ("\u200b", ""),
    ],
)
def test_a_name_has_one_form(written: str, form: str) -> None:
    assert normalised(written) == form


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
def test_the_form_is_final_and_the_same_for_all_spellings(name: str) -> None:
    form = normalised(name)
    assert normalised(form) == form == form.strip()
    for spelling in (unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name), f" {name}\u00a0\u200b"):
        assert normalised(spelling) == form
    assert not any(unicodedata.category(character) == "Cc" for character in form)


def test_near_equal_names() -> None:
    names = [
        "Rock",
        "The Beatles",
        "hip-hop",
        "jazz",
        "rock",
        "the  beatles",
        "hiphop",
        "hip hop",
        "Beyonce",
        "Beyoncé",
    ]
    assert near_equal(names) == [
        ["Rock", "rock"],
        ["The Beatles", "the  beatles"],
        ["hip-hop", "hiphop", "hip hop"],
        ["Beyonce", "Beyoncé"],
    ]
    assert (
        near_equal(["4/4", "44", "C", "C#", "3.5", "35", "!!!", "!", "...", "-", "", "が", "か", "rock", "rock"]) == []
    )
