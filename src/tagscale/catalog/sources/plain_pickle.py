"""Reading untrusted pickles: plain containers, numbers, text and NumPy arrays of numbers, and nothing else.

A pickle is a program that may call any function of any module. This reader knows only the few functions that NumPy
writes for an array of numbers, and refuses every other one by name, before it is looked up. A restricted Unpickler
with NumPy's own functions (docs.python.org/3/library/pickle.html, "Restricting Globals") does not suffice: NumPy
takes the flags of a dtype from the file, so that bytes of the file become pointers; Python's reader in C crashes on
deeply nested keys, and allocates as much memory as an index in the file asks for. So stand-ins take the place of
NumPy's functions here, and the reader is Python's own in Python.

A pickle may also be small and ask for much: 48 bytes make a list that holds a list twice, which holds a list twice, and
so on. So every operation is charged with the memory that it may take, and the values are counted before they are used.
"""

import codecs
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tagscale.runtime.errors import TagscaleError

LARGEST_BYTES = 300_000_000  # of a file; the published label tables take about 100 MB
# Bounds for 241,889 tracks with 50 labels each, whichever way they are written: as arrays they are charged 0.7 GB, as
# lists of floats in the oldest protocol 1.3 GB, and have 12 million values.
LARGEST_MEMORY = 2_000_000_000  # bytes that the operations are charged
MOST_VALUES, MOST_CONTAINERS = 50_000_000, 1_000_000
DEEPEST = 20  # containers in containers
WIDEST = 9  # bytes of an integer: 64 bits and a sign
SHOWN = 200  # characters of what a file holds in the message about it
NUMBERS = "biuf"  # kinds of dtype that hold plain numbers
REFERENCE, VALUE, MEMO, CONTAINER = 40, 60, 100, 250  # bytes that an operation may take, by what it makes
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
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(text, str) or len(text) > 8:
            raise pickle.UnpicklingError("it holds an array of something other than plain numbers")
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


CHARGES = [VALUE] * 256  # by operation
for operations, charge in (
    (
        (pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.APPEND, pickle.APPENDS, pickle.NONE, pickle.DUP),
        REFERENCE,
    ),
    ((pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE), MEMO),
    ((pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_TUPLE, pickle.LIST, pickle.DICT), CONTAINER),
    ((pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.REDUCE), CONTAINER),
):
    for operation in operations:
        CHARGES[operation[0]] = charge


class _Charged(dict[int, Any]):
    """The operations of a reader; looking one up charges it."""

    def __init__(self, operations: dict[int, Any], charge: Callable[[int], None]) -> None:
        super().__init__(operations)
        self.charge = charge

    def __getitem__(self, operation: int) -> Any:
        self.charge(CHARGES[operation])
        return super().__getitem__(operation)


_Base: Any = pickle._Unpickler


class _Reader(_Base):
    """Python's reader in Python, with the stand-ins in place of all functions, and a bound on what it makes."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Base.dispatch)

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.charged = 0
        self.dispatch = _Charged(type(self).dispatch, self.charge)  # type: ignore[misc]

    def charge(self, size: int) -> None:
        self.charged += size
        if self.charged > LARGEST_MEMORY:
            raise pickle.UnpicklingError(f"its values would take over {LARGEST_MEMORY:,} bytes of memory")

    def charge_copies(self, content: Any) -> None:
        """Charge what a stand-in copies of its arguments: a file may hand the same bytes to it any number of times."""
        items = content if isinstance(content, tuple) else ()
        self.charge(sum(len(item) for item in items if isinstance(item, (str, bytes, bytearray))))

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'[:100]}, which no table of labels needs")
        return STAND_INS[module, name]

    def build(self) -> None:
        if not isinstance(self.stack[-2], (_Array, _Type)):
            raise pickle.UnpicklingError("it changes something other than an array")
        self.charge_copies(self.stack[-1])
        _Base.load_build(self)

    def reduce(self) -> None:
        self.charge_copies(self.stack[-1])
        _Base.load_reduce(self)

    def byte_array(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))  # the base class makes one of the length that the file states

    def integer(self) -> None:
        self.append_integer(self.read(1)[0])

    def long_integer(self) -> None:
        self.append_integer(*struct.unpack("<i", self.read(4)))

    def append_integer(self, size: int) -> None:
        if not 0 <= size <= WIDEST:  # Python hashes an integer anew, digit by digit, for every key
            raise pickle.UnpicklingError(f"it holds a number of {size} bytes")
        self.append(pickle.decode_long(self.read(size)))

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

    dispatch |= {pickle.BUILD[0]: build, pickle.REDUCE[0]: reduce, pickle.BYTEARRAY8[0]: byte_array}
    dispatch |= {pickle.LONG1[0]: integer, pickle.LONG4[0]: long_integer}
    dispatch |= {pickle.SETITEM[0]: set_item, pickle.SETITEMS[0]: set_items}
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
        TagscaleError: the file asks for anything else, is damaged, or is larger than any table of labels: in bytes, in
            memory, in values (each counts as often as it is referred to) or in depth.
    """
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise TagscaleError(f"{path}: {size:,} bytes, expected no more than {LARGEST_BYTES:,}. Get the file again.")
    try:
        return _Plain().of(_Reader(path.read_bytes()).load())[0]
    except DAMAGE as error:
        why = str(error)[:SHOWN] or type(error).__name__
        raise TagscaleError(
            f"{path}: not read, and nothing of it was executed: {why}. Expected a pickle of "
            "plain containers, text and arrays of numbers, as the split repositories publish it. Get it from there."
        ) from None


class _Plain:
    """Replaces the stand-ins by their arrays: each container once, however often it is referred to."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, int, int] | None] = {}  # by id; None: its content is being replaced

    def of(self, value: Any) -> tuple[Any, int, int]:
        """The plain value, how many values it holds (each as often as it is referred to), and how deep it is."""
        if isinstance(value, (dict, list, tuple)):
            if id(value) not in self._known:
                if len(self._known) == MOST_CONTAINERS:
                    raise pickle.UnpicklingError(f"it holds more than {MOST_CONTAINERS:,} lists, tuples and dicts")
                self._known[id(value)] = None
                self._known[id(value)] = self._of_container(value)
            if (known := self._known[id(value)]) is None:
                raise pickle.UnpicklingError("it holds a container that contains itself")
            return known
        if isinstance(value, _Array):
            value = value.value
        elif isinstance(value, (bytes, bytearray)):
            value = value.decode("latin-1")
        elif isinstance(value, _Type) or callable(value):
            raise pickle.UnpicklingError("it holds a function or type in place of a label")
        return value, 1, 0

    def _of_container(self, value: Any) -> tuple[Any, int, int]:
        items = [self.of(item) for item in (value.values() if isinstance(value, dict) else value)]
        count, depth = 1 + sum(item[1] for item in items), 1 + max((item[2] for item in items), default=0)
        if count > MOST_VALUES:
            raise pickle.UnpicklingError(f"it holds more than {MOST_VALUES:,} values, most of them again and again")
        if depth > DEEPEST:
            raise pickle.UnpicklingError(f"it is nested more than {DEEPEST} deep")
        if isinstance(value, dict):
            return {self.of(key)[0]: item[0] for key, item in zip(value, items, strict=True)}, count, depth
        return type(value)(item[0] for item in items), count, depth
