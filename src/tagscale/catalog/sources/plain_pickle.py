"""Reading untrusted pickles: plain containers, numbers, text and NumPy arrays of numbers, and nothing else.

A pickle is a program that may call any function of any module. This reader knows only the few functions that NumPy
writes for an array of numbers, and refuses every other one by name, before it is looked up. A restricted Unpickler
with NumPy's own functions (docs.python.org/3/library/pickle.html, "Restricting Globals") does not suffice: NumPy
takes the flags of a dtype from the file, so that bytes of the file become pointers; Python's reader in C crashes on
deeply nested keys, and allocates as much memory as an index in the file asks for. So stand-ins take the place of
NumPy's functions here, and the reader is Python's own in Python.
"""

import codecs
import io
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tagscale.runtime.errors import TagscaleError

LARGEST_BYTES = 300_000_000  # of a file; the published label tables take about 100 MB
NUMBERS = "biuf"  # kinds of dtype that hold plain numbers
DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, RecursionError, MemoryError,
    OverflowError, ImportError, struct.error,
)  # fmt: skip


class _Array:
    """Stand-in for `numpy.ndarray` while its state is read: shape, dtype and bytes, each of them checked."""

    def __init__(self) -> None:
        self.value: np.ndarray = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(content, (bytes, str)):
            raise pickle.UnpicklingError("it holds an array of something other than plain numbers")
        raw = content.encode("latin-1") if isinstance(content, str) else content
        self.value = _from_bytes(raw, kind, shape, "F" if fortran else "C").value


class _Type:
    """Stand-in for `numpy.dtype`: a kind of number and its byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else str(name)
        value = np.dtype(text)
        if value.kind not in NUMBERS or value.shape or value.names:
            raise pickle.UnpicklingError(f"it holds an array of {text}, which are no plain numbers")
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.value = self.value.newbyteorder("<" if order == "<" else ">" if order == ">" else "=")


def _from_bytes(raw: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """Stand-in for `_frombuffer`, by which protocol 5 writes an array."""
    if not isinstance(kind, _Type) or order not in ("C", "F"):
        raise pickle.UnpicklingError("it holds an array of something other than plain numbers")
    content = np.frombuffer(bytes(raw), kind.value) if len(raw) else np.zeros(0, kind.value)
    array = _Array()
    array.value = content.reshape(shape, order=order).copy()
    return array


def _new_array(*_: Any) -> _Array:
    """Stand-in for `_reconstruct`, by which the other protocols begin an array."""
    return _Array()


def _scalar(kind: Any, content: Any = b"") -> Any:
    """Stand-in for NumPy's numbers that are no array."""
    if not isinstance(kind, _Type):
        raise pickle.UnpicklingError("it holds a number of an unknown kind")
    raw = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(raw, kind.value, count=1)[0].item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Stand-in for `_codecs.encode`, by which protocols 0 to 2 write byte strings."""
    if str(encoding) not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it holds text in encoding {encoding!r}")
    return codecs.encode(str(text), "latin-1")


def _no_bytes() -> bytes:
    """Stand-in for `bytes`, by which protocols 0 to 2 write an empty byte string."""
    return b""


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}
for core in ("numpy.core", "numpy._core"):
    STAND_INS[f"{core}.multiarray", "_reconstruct"] = _new_array
    STAND_INS[f"{core}.multiarray", "scalar"] = _scalar
    STAND_INS[f"{core}.numeric", "_frombuffer"] = _from_bytes


_Base: Any = pickle._Unpickler


class _Reader(_Base):
    """Python's reader in Python, with the stand-ins in place of all functions."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Base.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no table of labels needs")
        return STAND_INS[module, name]

    def build(self) -> None:
        if not isinstance(self.stack[-2], (_Array, _Type)):
            raise pickle.UnpicklingError("it changes something other than an array")
        _Base.load_build(self)

    def set_item(self) -> None:
        self.check_keys(self.stack[-2:])
        _Base.load_setitem(self)

    def set_items(self) -> None:
        self.check_keys(self.stack)  # the items since the last mark
        _Base.load_setitems(self)

    def make_dict(self) -> None:
        self.check_keys(self.stack)
        _Base.load_dict(self)

    def check_keys(self, items: list[Any]) -> None:
        if not all(
            isinstance(key, (str, bytes, int, float)) for key in items[::2]
        ):  # hashing a deeply nested key crashes
            raise pickle.UnpicklingError("a key of a dict is neither text nor a number")

    def refuse(self) -> None:
        raise pickle.UnpicklingError("it holds objects or sets, which no table of labels needs")

    dispatch |= {pickle.BUILD[0]: build, pickle.SETITEM[0]: set_item, pickle.SETITEMS[0]: set_items}
    dispatch |= {pickle.DICT[0]: make_dict} | dict.fromkeys(
        (
            operation[0]
            for operation in (
                pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4,
                pickle.PERSID, pickle.BINPERSID, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET,
                pickle.NEXT_BUFFER, pickle.READONLY_BUFFER,
            )
        ),
        refuse,
    )  # fmt: skip


def read(path: Path) -> Any:
    """Read a pickle as plain dicts, lists, tuples, text, numbers and NumPy arrays of numbers.

    Byte strings, as files of Python 2 hold them, become text (Latin-1).

    Raises:
        TagscaleError: the file asks for anything else, is damaged, or is larger than any table of labels.
    """
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise TagscaleError(f"{path}: {size:,} bytes, expected no more than {LARGEST_BYTES:,}. Get the file again.")
    try:
        return _plain(_Reader(io.BytesIO(path.read_bytes()), encoding="latin1").load())
    except DAMAGE as error:
        raise TagscaleError(
            f"{path}: not read, and nothing of it was executed: {error or type(error).__name__}. Expected a pickle of "
            "plain containers, text and arrays of numbers, as the split repositories publish it. Get it from there."
        ) from None


def _plain(value: Any) -> Any:
    """Replace the stand-ins by their arrays."""
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, _Type) or callable(value):
        raise pickle.UnpicklingError("it holds a function or type in place of a label")
    return value
