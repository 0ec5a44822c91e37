"""Pickled annotations read without executing anything: plain containers, text, numbers and numpy arrays, nothing else.

The labels of the Million Song Dataset circulate as pickles, and a pickle is a program: the standard reader calls what
the file names. Here the file's bytes go through a small stack machine of our own that knows no call. Of the names a
file may mention, only those that numpy writes for an array have a meaning, and that meaning is written below; every
other one ends the reading. The standard library's `pickle` is not used.
"""

import codecs
import math
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tagscale.errors import TagscaleError

MAX_BYTES = 1 << 30  # the largest published file, MSD's labels, has about a tenth of this
MAX_STEPS = 30_000_000  # about twice as many as that file has; bounds memory, as one byte can ask for a container
MAX_DIMENSIONS = 8
MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
MEANINGS = (
    {f"{module}._reconstruct": "array" for module in MULTIARRAY}
    | {f"{module}.scalar": "scalar" for module in MULTIARRAY}
    | {"numpy.ndarray": "ndarray", "numpy.dtype": "dtype", "_codecs.encode": "bytes"}
)
DTYPE = re.compile(r"[?]|b1|[iu][1248]|f[248]|[SU][1-9]\d{0,3}")
SCALARS = (str, bytes, int, float, bool, type(None))


def read(path: Path) -> Any:
    """The content of a pickle of protocol 0 to 4, as Python 2 or 3 wrote it: dicts, lists, tuples, sets, text, numbers.

    Text of Python 2, which is bytes, becomes str as Latin-1. Arrays hold numbers, booleans or text, never objects.

    Raises:
        TagscaleError: no such file, larger than MAX_BYTES, damaged, or it holds anything else: any other name (the
            message says which), objects, arrays of objects, keys that are containers. Nothing of it has run.
    """
    path = Path(path)
    if not path.is_file():
        raise TagscaleError(f"{path}: no such file.")
    if path.stat().st_size > MAX_BYTES:
        raise TagscaleError(f"{path}: {path.stat().st_size:,} bytes, expected at most {MAX_BYTES:,}. Is it this file?")
    return Machine(path, path.read_bytes()).run()


@dataclass(frozen=True)
class Name:
    """A name that the file mentions and that has a meaning here: a value of MEANINGS."""

    meaning: str


@dataclass
class Kind:
    """A dtype while it is read: its byte order comes after it."""

    dtype: np.dtype[Any]


class Machine:
    """The stack machine of the pickle format, reduced to data."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.position = path, data, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Step through the file to its end; the one value left is its content."""
        try:
            for _ in range(MAX_STEPS):
                code = self.data[self.position]
                self.position += 1
                if code == STOP:
                    (content,) = self.stack
                    return content
                step = STEPS.get(code)
                if step is None:
                    self.refuse(f"step {bytes([code])!r}, which makes an object")
                step(self)
        except (IndexError, KeyError, TypeError, ValueError, struct.error, OverflowError) as error:
            raise TagscaleError(
                f"{self.path}: not a whole pickle of protocol 0 to 4 (byte {self.position:,}: {error}). Nothing of it "
                "was run. Fetch the file again."
            ) from None
        raise TagscaleError(f"{self.path}: more than {MAX_STEPS:,} steps. Is it another file? Nothing of it was run.")

    def refuse(self, what: str) -> NoReturn:
        raise TagscaleError(
            f"{self.path}: refused at byte {self.position:,}: {what}. Expected plain lists, dicts, text, numbers and "
            "numpy arrays of numbers. Nothing of it was run; do not open this file with `pickle`."
        )

    def take(self, count: int) -> bytes:
        start, self.position = self.position, self.position + count
        if count < 0 or self.position > len(self.data):
            raise ValueError("the file ends too early")
        return self.data[start : self.position]

    def number(self, form: struct.Struct) -> Any:
        return form.unpack(self.take(form.size))[0]

    def line(self) -> bytes:
        end = self.data.index(b"\n", self.position)
        start, self.position = self.position, end + 1
        return self.data[start:end]

    def marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def insert(self, target: Any, pairs: list[Any]) -> None:
        """Keys and values in turn into the dict `target`."""
        if type(target) is not dict or len(pairs) % 2:
            raise ValueError("items for what is no dict")
        for key in pairs[::2]:
            self.check_key(key)
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def check_key(self, key: Any) -> None:
        """Hashing a tuple of tuples, thousands deep, would overflow the interpreter's stack."""
        if not isinstance(key, SCALARS) and not isinstance(key, np.generic):
            self.refuse(f"a key or member of a set that is a {type(key).__name__}")

    def extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("items for what is no list")
        self.stack[-1].extend(values)

    def mention(self, name: str) -> None:
        """Push what a name means; it is never looked up in Python."""
        if name not in MEANINGS:
            self.refuse(f"it mentions `{name[:100]}`, which a file of labels has no need of")
        self.stack.append(Name(MEANINGS[name]))

    def call(self) -> None:
        """What stands where other readers call a function: one of the four makings that numpy's own files need."""
        given, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, Name) or type(given) is not tuple:
            self.refuse("a call of what is no name")
        if name.meaning == "array" and given[0] == Name("ndarray"):
            self.stack.append(np.empty(0))
        elif name.meaning == "dtype":
            self.stack.append(Kind(self.dtype(given[0])))
        elif name.meaning == "scalar" and isinstance(given[0], Kind):
            self.stack.append(self.array((), given[0].dtype, given[1], False)[()])
        elif name.meaning == "bytes" and isinstance(given[0], str):
            self.stack.append(given[0].encode("latin-1"))
        else:
            self.refuse(f"a call of {name.meaning}")

    def dtype(self, code: Any) -> np.dtype[Any]:
        code = code.decode("latin-1") if isinstance(code, bytes) else code
        if not isinstance(code, str) or not DTYPE.fullmatch(code):
            self.refuse(f"an array of type {str(code)[:20]!r}")
        return np.dtype(code)

    def complete(self) -> None:
        """Give an array its content, or a dtype its byte order."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, np.ndarray) and type(state) is tuple and len(state) == 5:
            _, shape, kind, fortran, data = state
            if not isinstance(kind, Kind):
                self.refuse("an array without type")
            made = self.array(shape, kind.dtype, data, bool(fortran))
            order = bool(fortran) and made.ndim > 1
            target.__setstate__((1, made.shape, made.dtype, order, made.tobytes("F" if order else "C")))
        elif isinstance(target, Kind) and type(state) is tuple and state[1] in ("<", ">", "=", "|"):
            if any(state[2:5]):
                self.refuse("an array of records")
            target.dtype = target.dtype.newbyteorder(state[1])
        else:
            self.refuse("the state of an object")

    def array(self, shape: Any, dtype: np.dtype[Any], data: Any, fortran: bool) -> np.ndarray:
        """An array from its bytes, after every check; for numpy's own constructor only what is sound is left."""
        data = data.encode("latin-1") if isinstance(data, str) else data
        if type(data) is not bytes:
            self.refuse("an array of objects")
        sizes = type(shape) is tuple and all(type(size) is int and size >= 0 for size in shape)
        if not sizes or len(shape) > MAX_DIMENSIONS or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {str(shape)[:50]} and type {dtype} in {len(data):,} bytes")
        if dtype == bool and data.strip(b"\0\1"):
            raise ValueError("a boolean that is neither true nor false")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


Step = Callable[[Machine], Any]
STOP = ord(".")
BYTE, SHORT, SIGNED, UNSIGNED, LONG = (struct.Struct(form) for form in ("<B", "<H", "<i", "<I", "<Q"))
DOUBLE = struct.Struct(">d")


def _push(make: Callable[[Machine], Any]) -> Step:
    return lambda machine: machine.stack.append(make(machine))


def _sized(length: struct.Struct, encoding: str | None) -> Step:
    if encoding is None:
        return _push(lambda machine: machine.take(machine.number(length)))
    return _push(lambda machine: machine.take(machine.number(length)).decode(encoding, "surrogatepass"))


def _integer(machine: Machine) -> int | bool:
    line = machine.line()
    return line == b"01" if line in (b"00", b"01") else int(line.rstrip(b"L"))


def _quoted(machine: Machine) -> str:
    """Text as Python 2 prints it, in quotes and with escapes."""
    line = machine.line()
    if len(line) < 2 or line[:1] not in b"'\"" or line[-1:] != line[:1]:
        raise ValueError("text without quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


def _remember(key: Callable[[Machine], int]) -> Step:
    def step(machine: Machine) -> None:
        machine.memo[key(machine)] = machine.stack[-1]

    return step


def _tuple(count: int) -> Step:
    def step(machine: Machine) -> None:
        if len(machine.stack) < count:
            raise ValueError("too few values for a tuple")
        machine.stack[-count:] = [tuple(machine.stack[-count:])]

    return step


def _dict(machine: Machine) -> None:
    pairs = machine.marked()
    machine.stack.append({})
    machine.insert(machine.stack[-1], pairs)


def _item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.insert(machine.stack[-1], [key, value])


def _items(machine: Machine) -> None:
    pairs = machine.marked()
    machine.insert(machine.stack[-1], pairs)


def _set(members: list[Any], machine: Machine) -> set[Any]:
    for member in members:
        machine.check_key(member)
    return set(members)


def _members(machine: Machine) -> None:
    found = _set(machine.marked(), machine)
    if type(machine.stack[-1]) is not set:
        raise ValueError("members for what is no set")
    machine.stack[-1].update(found)


def _global(machine: Machine) -> None:
    module, name = machine.line(), machine.line()
    machine.mention(f"{module.decode('latin-1')}.{name.decode('latin-1')}")


def _stack_global(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.mention(f"{module}.{name}")


def _protocol(machine: Machine) -> None:
    if (protocol := machine.number(BYTE)) > 4:
        machine.refuse(f"protocol {protocol}")


# Every step of the format that makes data; the ones that make objects, and that is their only use, are not here.
STEPS: dict[int, Step] = {
    ord("("): lambda machine: machine.marks.append(len(machine.stack)),
    ord("0"): lambda machine: machine.stack.pop(),
    ord("1"): lambda machine: machine.marked(),
    ord("2"): lambda machine: machine.stack.append(machine.stack[-1]),
    ord("N"): _push(lambda machine: None),
    0x88: _push(lambda machine: True),
    0x89: _push(lambda machine: False),
    ord("I"): _push(_integer),
    ord("L"): _push(_integer),
    ord("F"): _push(lambda machine: float(machine.line())),
    ord("S"): _push(_quoted),
    ord("V"): _push(lambda machine: machine.line().decode("raw-unicode-escape")),
    ord("J"): _push(lambda machine: machine.number(SIGNED)),
    ord("K"): _push(lambda machine: machine.number(BYTE)),
    ord("M"): _push(lambda machine: machine.number(SHORT)),
    ord("G"): _push(lambda machine: machine.number(DOUBLE)),
    0x8A: _push(lambda machine: int.from_bytes(machine.take(machine.number(BYTE)), "little", signed=True)),
    0x8B: _push(lambda machine: int.from_bytes(machine.take(machine.number(SIGNED)), "little", signed=True)),
    ord("T"): _sized(SIGNED, "latin-1"),
    ord("U"): _sized(BYTE, "latin-1"),
    ord("X"): _sized(UNSIGNED, "utf-8"),
    0x8C: _sized(BYTE, "utf-8"),
    0x8D: _sized(LONG, "utf-8"),
    ord("B"): _sized(UNSIGNED, None),
    ord("C"): _sized(BYTE, None),
    0x8E: _sized(LONG, None),
    ord("]"): _push(lambda machine: []),
    ord("}"): _push(lambda machine: {}),
    ord(")"): _push(lambda machine: ()),
    0x8F: _push(lambda machine: set()),
    ord("l"): _push(lambda machine: machine.marked()),
    ord("t"): _push(lambda machine: tuple(machine.marked())),
    0x91: _push(lambda machine: frozenset(_set(machine.marked(), machine))),
    ord("d"): _dict,
    ord("s"): _item,
    ord("u"): _items,
    0x90: _members,
    ord("a"): lambda machine: machine.extend([machine.stack.pop()]),
    ord("e"): lambda machine: machine.extend(machine.marked()),
    0x85: _tuple(1),
    0x86: _tuple(2),
    0x87: _tuple(3),
    ord("p"): _remember(lambda machine: int(machine.line())),
    ord("q"): _remember(lambda machine: machine.number(BYTE)),
    ord("r"): _remember(lambda machine: machine.number(UNSIGNED)),
    0x94: _remember(lambda machine: len(machine.memo)),
    ord("g"): _push(lambda machine: machine.memo[int(machine.line())]),
    ord("h"): _push(lambda machine: machine.memo[machine.number(BYTE)]),
    ord("j"): _push(lambda machine: machine.memo[machine.number(UNSIGNED)]),
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): Machine.call,
    ord("b"): Machine.complete,
    0x80: _protocol,
    0x95: lambda machine: machine.take(8),
}
