"""Label tables are read from pickles of Python 2 and 3; whatever a pickle could do beyond that is refused."""

import os
import pickle
import subprocess
import sys
import time
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


NESTED = 300_000  # tuples within each other, whose hash ends the process: 200,000 are enough for a stack of 8 MB
CRAFTED = {
    "addresses": (pickle.dumps([Pointers()], 2), "an array of O8, which are no plain numbers"),
    "deeply nested key": (b"}(" + b")" + b"\x85" * NESTED + b"K\x01u.", "neither text nor a number"),
    "deeply nested key of one item": (b"})" + b"\x85" * NESTED + b"K\x01s.", "neither text nor a number"),
    "deeply nested key of a dict": (b"()" + b"\x85" * NESTED + b"K\x01d.", "neither text nor a number"),
    "deeply nested set": (b"\x80\x04\x8f(" + b")" + b"\x85" * NESTED + b"\x90.", "objects or sets"),
    "deeply nested list": (b"]" * 100_000 + b"a" * 99_999 + b".", "recursion"),
    "nested a little": (b"]" * 21 + b"a" * 20 + b".", "nested more than 20 deep"),
    "a list that holds itself": (b"\x80\x02]q\x00h\x00a.", "contains itself"),
    "a number of a megabyte": (b"\x80\x02}\x8b\x00\x00\x10\x00" + b"\x01" * (1 << 20) + b"Ns.", "of 1048576 bytes"),
    "an array of two gigabytes": (b"\x80\x05\x96" + (1 << 31).to_bytes(8, "little") + b"x.", "not read"),
    "a type of a megabyte": (
        b"cnumpy\ndtype\n(X\x00\x00\x10\x00" + b"f4,," * (1 << 18) + b"tR.",
        "other than plain numbers",
    ),
    "a name of a megabyte": (b"c" + b"x" * (1 << 20) + b"\ny\n.", "which no table"),
    "a string of a terabyte": (b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x.", "not read"),
    "an instance": (b"(iposix\nsystem\np0\n.", "objects or sets"),
    "an extension": (b"\x80\x02\x82\x01.", "objects or sets"),
    "a persistent id": (b"Pname\n.", "objects or sets"),
    "attributes of a function": (b"cnumpy\ndtype\n}S'x'\nK\x01sb.", "changes something other than an array"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_files_end_in_a_message(tmp_path: Path, case: str) -> None:
    content, message = CRAFTED[case]
    (tmp_path / "labels.pkl").write_bytes(content)
    with pytest.raises(TagscaleError) as caught:
        plain_pickle.read(tmp_path / "labels.pkl")
    assert message in str(caught.value)


TENFOLD = b"".join(b"(" + b"h%c" % level * 10 + b"tq%c" % (level + 1) for level in range(17))
MEGABYTE = b"X\x00\x00\x10\x00" + bytes(1 << 20)
BOMBS = {  # content, and the message, with bounds of a hundredth
    "ten times ten times ...": (b"\x80\x02]q\x00" + TENFOLD + b".", "more than 500,000 values"),
    "marks": (b"(" * 90_000, "over 20,000,000 bytes of memory"),
    "copies of a megabyte": (
        b"\x80\x02c_codecs\nencode\nq\x00" + MEGABYTE + b"q\x01X\x06\0\0\0latin1q\x02" + b"h\x00h\x01h\x02\x86R" * 30,
        "over 20,000,000 bytes of memory",
    ),
    "empty lists": (b"(" + b"]" * 10_001 + b"t.", "more than 10,000 lists"),
}


@pytest.mark.parametrize("case", BOMBS)
def test_small_files_do_not_become_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    for bound in ("LARGEST_MEMORY", "MOST_VALUES", "MOST_CONTAINERS"):
        monkeypatch.setattr(plain_pickle, bound, getattr(plain_pickle, bound) // 100)
    content, message = BOMBS[case]
    (tmp_path / "labels.pkl").write_bytes(content)
    begin = time.process_time()
    with pytest.raises(TagscaleError, match=message):
        plain_pickle.read(tmp_path / "labels.pkl")
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", [np.asarray, list])
def test_the_published_table_is_within_the_bounds(tmp_path: Path, protocol: int, kind: Callable[..., Any]) -> None:
    """A hundredth of it takes less than a hundredth of what is allowed."""
    values = np.random.default_rng(1).random((2419, 50)).tolist()
    content = {f"TRAB{row:014}": kind(labels) for row, labels in enumerate(values)}
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps(content, protocol))
    reader = plain_pickle._Reader((tmp_path / "labels.pkl").read_bytes())
    _, count, depth = plain_pickle._Plain().of(reader.load())
    assert reader.charged < plain_pickle.LARGEST_MEMORY / 100
    assert count < plain_pickle.MOST_VALUES / 100
    assert depth <= 2


def test_the_memo_is_not_sized_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "labels.pkl").write_bytes(b"\x80\x02]r\xff\xff\xff\x7f.")  # remembers it as number 2,147,483,647
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from pathlib import Path\nfrom tagscale.catalog.sources import plain_pickle\n"
        f"assert plain_pickle.read(Path({str(tmp_path / 'labels.pkl')!r})) == []"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


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
