"""Label tables are read from pickles of Python 2 and 3; whatever a pickle could do beyond that is refused."""

import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tagscale.catalog.sources import plain_pickle
from tagscale.runtime.errors import TagscaleError


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "content",
    [
        {"TRAAA": np.array([0, 1, 0.5])},
        {"TRAAA": np.arange(6, dtype="<i4").reshape(2, 3).T, "TRAAB": np.zeros((0, 50), np.float32)},
        {"TRAAA": np.array([1, 0], ">i2"), "n": 3, "text": "ünï", "none": None, "t": (1, [2.5, True])},
        ["TRAAA", "TRAAB"],
    ],
)
def test_what_is_plain_is_read(tmp_path: Path, protocol: int, content: Any) -> None:
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(content, protocol))
    found = plain_pickle.read(tmp_path / "labels.pkl")
    if isinstance(content, list):
        assert found == content
        return
    assert list(found) == list(content)
    for key, value in content.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[key], value)
            assert found[key].dtype.kind == value.dtype.kind
        else:
            assert found[key] == value


# {'TRAAA': numpy.array([0, 1], dtype=uint8)} as Python 2 writes it: byte strings, numpy.core, protocols 0 and 2
PYTHON_2 = {
    0: b"(dp0\nS'TRAAA'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\n"
    b"tp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'u1'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'|'\np13\nNNNI-1\nI-1\nI0\n"
    b"tp14\nbI00\nS'\\x00\\x01'\np15\ntp16\nbs.",
    2: b"\x80\x02}q\x00U\x05TRAAAq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04"
    b"U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02u1q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03U\x01|"
    b"q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x02\x00\x01q\x0ftq\x10bs.",
}


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_files_of_python_2(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "labels.cP").write_bytes(PYTHON_2[protocol])
    found = plain_pickle.read(tmp_path / "labels.cP")
    assert list(found) == ["TRAAA"]
    assert found["TRAAA"].tolist() == [0, 1]


class Calls:
    """Unpickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


HOSTILE = {
    "shell": (lambda mark: Calls(os.system, f"touch {mark}"), "it asks for posix.system"),
    "process": (lambda mark: Calls(subprocess.call, ["touch", str(mark)]), ".call"),
    "eval": (lambda mark: Calls(eval, f"open({str(mark)!r}, 'w')"), ".eval"),
    "hidden in a dict": (lambda mark: {"TRAAA": [Calls(os.system, f"touch {mark}")]}, "it asks for posix.system"),
    "array of objects": (lambda mark: np.array([Calls(os.system, f"touch {mark}")], object), "no plain numbers"),
    "another class of numpy": (lambda _: np.ma.masked_array([1], [0]), "it asks for numpy"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_is_executed(tmp_path: Path, case: str, protocol: int) -> None:
    make, message = HOSTILE[case]
    mark = tmp_path / "executed"
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(make(mark), protocol))
    with pytest.raises(TagscaleError) as caught:
        plain_pickle.read(tmp_path / "labels.pkl")
    assert "nothing of it was executed" in str(caught.value)
    assert message in str(caught.value)
    assert not mark.exists()


class Flagless:
    """The dtype of objects, without the flags that say so."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))


class Pointers:
    """An array of objects whose dtype claims to hold plain bytes: NumPy would take the bytes for addresses."""

    def __reduce__(self) -> tuple[Any, ...]:
        state = (1, (1,), Flagless(), False, b"A" * 8)
        return (np.arange(1).__reduce__()[0], (np.ndarray, (0,), b"b"), state)


CRAFTED = {
    "addresses": (pickle.dumps([Pointers()], 2), "an array of O8, which are no plain numbers"),
    "a type of a megabyte": (
        b"cnumpy\ndtype\n(X\x00\x00\x10\x00" + b"f4,," * (1 << 18) + b"tR.",
        "other than plain numbers",
    ),
    "a name of a megabyte": (b"c" + b"x" * (1 << 20) + b"\ny\n.", "which no table"),
    "a string of a terabyte": (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.", "not read"),
    "an instance": (b"(iposix\nsystem\np0\n.", "it asks for posix.system"),
    "an extension": (b"\x80\x02\x82\x01.", "unregistered extension"),
    "a persistent id": (b"Pname\n.", "persistent"),
    "state of a type": (b"cnumpy\ndtype\n}S'x'\nK\x01sb.", "missing 1 required"),
    "a call of text": (b"S'x'\n)R.", "not callable"),
    "an array that is called": (b"cnumpy\nndarray\n)R.", "not callable"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_files_end_in_a_message(tmp_path: Path, case: str) -> None:
    content, message = CRAFTED[case]
    (tmp_path / "labels.pkl").write_bytes(content)
    with pytest.raises(TagscaleError) as caught:
        plain_pickle.read(tmp_path / "labels.pkl")
    assert message in str(caught.value)


def names(path: Path) -> list[str]:
    """What a file holds, in a process of its own."""
    return [str(name) for name in plain_pickle.read(path)]


def test_what_is_read_in_a_process_of_its_own_comes_back(tmp_path: Path) -> None:
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps({"TRAAA": np.arange(2), "TRAAB": 3}))
    assert plain_pickle.in_bounds(names, tmp_path / "labels.pkl") == ["TRAAA", "TRAAB"]
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(Calls(os.getpid)))
    with pytest.raises(TagscaleError, match=r"it asks for posix\.getpid"):
        plain_pickle.in_bounds(names, tmp_path / "labels.pkl")


NESTED = 300_000  # tuples within each other, whose hash ends the process: 200,000 are enough for a stack of 8 MB
BOMBS = {
    "deeply nested key": b"}(" + b")" + b"\x85" * NESTED + b"K\x01u.",
    "deeply nested set": b"\x80\x04\x8f(" + b")" + b"\x85" * NESTED + b"\x90.",
    "a memo sized by the file": b"\x80\x02]r\xff\xff\xff\x7f.",
    "marks": b"(" * 40_000_000,
    "doubled text": b"\x80\x02X\x00\x00\x10\x00" + b"x" * (1 << 20) + b"q\x00" + b"c_codecs\nencode\nq\x01"
    b"X\x06\0\0\0latin1q\x02" + b"h\x01h\x00h\x02\x86R" * 300,
}  # fmt: skip


@pytest.mark.parametrize("case", BOMBS)
def test_small_files_do_not_become_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    monkeypatch.setattr(plain_pickle, "MEMORY", 200 << 20)
    (tmp_path / "labels.pkl").write_bytes(BOMBS[case])
    with pytest.raises(TagscaleError, match=r"labels\.pkl: not read, and nothing of it was executed: ") as caught:
        plain_pickle.in_bounds(names, tmp_path / "labels.pkl")
    assert plain_pickle.EXPECTED in str(caught.value)


def test_reading_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "SECONDS", 0.2)
    tenfold = b"".join(b"(" + b"h%c" % level * 10 + b"tq%c" % (level + 1) for level in range(17))
    (tmp_path / "labels.pkl").write_bytes(b"\x80\x02)q\x00" + tenfold + b"}h\x11K\x01s.")  # hashes 10 ** 17 tuples
    with pytest.raises(TagscaleError, match="or end the process that reads them"):
        plain_pickle.in_bounds(names, tmp_path / "labels.pkl")


def test_a_cut_file_at_every_byte(tmp_path: Path) -> None:
    whole = pickle.dumps({"TRAAA": np.arange(5), "TRAAB": "x"}, 2)
    for length in range(len(whole)):
        (tmp_path / "labels.pkl").write_bytes(whole[:length])
        with pytest.raises(TagscaleError, match=r"labels\.pkl: not read"):
            plain_pickle.read(tmp_path / "labels.pkl")


def test_a_huge_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_pickle, "LARGEST_BYTES", 10)
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(list(range(100))))
    with pytest.raises(TagscaleError, match="no more than 10"):
        plain_pickle.read(tmp_path / "labels.pkl")
