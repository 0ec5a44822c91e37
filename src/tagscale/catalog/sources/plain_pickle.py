"""Reading untrusted pickles: plain containers, numbers, text and NumPy arrays of numbers, and nothing else.

A pickle is a program that may call any function of any module. This reader knows only the few functions that NumPy
writes for an array of numbers, and refuses every other one by name, before it is looked up. A restricted Unpickler
with NumPy's own functions (docs.python.org/3/library/pickle.html, "Restricting Globals") does not suffice: NumPy
takes the flags of a dtype from the file, so that bytes of the file become pointers. So stand-ins take their place here.

A pickle may also be small and ask for much: 48 bytes make a list that holds a list twice, which holds a list twice, and
so on; an index in a file makes Python's reader allocate as much memory as it says, and deeply nested keys end its
process. So files of strangers are read in a process of its own, with bounds on its memory and its time (`in_bounds`).
"""

import pickle
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.processes import Lost, answers

T = TypeVar("T")

LARGEST_BYTES = 300_000_000  # of a file; the published label tables take about 100 MB
MEMORY = 4 << 30  # bytes that reading may take: 241,889 tracks with 50 labels each take 0.6 GB as lists of floats
SECONDS = 600.0  # that reading may take; the published files take ten
SHOWN = 200  # characters of what a file holds in the message about it
NUMBERS = "biuf"  # kinds of dtype that hold plain numbers
NO_NUMBERS = "it holds an array of something other than plain numbers"
EXPECTED = (
    "Expected pickles of plain containers, text and arrays of numbers, as the split repositories publish them. Get "
    "them from there."
)


class _Array(np.ndarray):
    """An array whose state is checked before NumPy takes it."""

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, _Type) or not isinstance(content, (bytes, str)):
            raise pickle.UnpicklingError(NO_NUMBERS)
        raw = content.encode("latin-1") if isinstance(content, str) else content
        super().__setstate__((1, shape, kind.value, fortran, raw))


class _Type:
    """Stand-in for `numpy.dtype`: a kind of number and its byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        text = name.decode("ascii") if isinstance(name, bytes) else name
        if not isinstance(text, str) or len(text) > 8:
            raise pickle.UnpicklingError(NO_NUMBERS)
        value = np.dtype(text)
        if value.kind not in NUMBERS or value.shape or value.names:
            raise pickle.UnpicklingError(f"it holds an array of {text}, which are no plain numbers")
        self.value = value

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        self.value = self.value.newbyteorder("<" if order == "<" else ">" if order == ">" else "=")


def _new_array(*_: Any) -> _Array:
    """Stand-in for `_reconstruct`, by which most protocols begin an array."""
    return np.zeros(0).view(_Array)


def _from_bytes(raw: Any, kind: _Type, shape: Any, order: Any) -> np.ndarray:
    """Stand-in for `_frombuffer`, by which protocol 5 writes an array."""
    content = np.frombuffer(bytes(raw), kind.value) if len(raw) else np.zeros(0, kind.value)
    return content.reshape(shape, order=order).copy()


def _scalar(kind: _Type, content: Any = b"") -> Any:
    """Stand-in for NumPy's numbers that are no array."""
    raw = content.encode("latin-1") if isinstance(content, str) else content
    return np.frombuffer(raw, kind.value, count=1)[0].item()


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Stand-in for `_codecs.encode`, by which protocols 0 to 2 write byte strings."""
    if str(encoding) not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"it holds text in encoding {encoding!r}")
    return str(text).encode("latin-1")


def _no_bytes() -> bytes:
    """Stand-in for `bytes`, by which protocols 0 to 2 write an empty byte string."""
    return b""


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): "numpy.ndarray",  # is handed on to `_new_array`, and not called
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}
for core in ("numpy.core", "numpy._core"):
    STAND_INS[f"{core}.multiarray", "_reconstruct"] = _new_array
    STAND_INS[f"{core}.multiarray", "scalar"] = _scalar
    STAND_INS[f"{core}.numeric", "_frombuffer"] = _from_bytes


class _Reader(pickle.Unpickler):
    """Python's reader with the stand-ins in place of all functions."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {f'{module}.{name}'[:100]}, which no table of labels needs")
        return STAND_INS[module, name]


def read(path: Path) -> Any:
    """Read a pickle, inside `in_bounds`. What it holds may be nested, and hold itself; functions are stand-ins.

    Byte strings, as files of Python 2 hold them, become text (Latin-1).

    Raises:
        TagscaleError: the file asks for anything but plain containers, text, numbers and arrays of numbers, is
            damaged, or is larger than any table of labels.
    """
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise TagscaleError(f"{path}: {size:,} bytes, expected no more than {LARGEST_BYTES:,}. Get the file again.")
    try:
        with path.open("rb") as file:
            return _Reader(file, encoding="latin1").load()
    except Exception as error:  # whatever a damaged program raises
        why = str(error)[:SHOWN] or type(error).__name__
        raise TagscaleError(f"{path}: not read, and nothing of it was executed: {why}. {EXPECTED}") from None


def in_bounds(reader: Callable[[Path], T], path: Path) -> T:
    """`reader(path)`, an importable function that calls `read`, in a process with bounds on its memory and its time.

    Raises:
        Exception: what the reader raises.
        TagscaleError: it takes more memory or time, or ends its process.
    """
    prepare = partial(_bound_memory, MEMORY)
    ((_, content),) = answers(reader, [path], workers=1, prepare=prepare, seconds=lambda _: SECONDS)
    if isinstance(content, Lost):
        raise TagscaleError(
            f"{path}: not read, and nothing of it was executed: its pickles take more than {MEMORY >> 30} GB or "
            f"{SECONDS / 60:.0f} min, or end the process that reads them. {EXPECTED}"
        )
    return content


def _bound_memory(more: int) -> None:
    """Let this process take no more than `more` bytes beyond those it has, on a system that has such bounds."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
