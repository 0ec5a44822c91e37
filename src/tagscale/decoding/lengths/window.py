"""The bytes of a file at any place, with one block of them in memory."""

import os
import re
from io import FileIO

BLOCK = 1 << 20


class Window:
    """Random access to a file's bytes. (Not by mmap: a file that shrinks meanwhile would crash the process.)"""

    def __init__(self, file: FileIO) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self._file = file.fileno()  # read by place, since decoders move on in it
        self._begin, self._block = 0, b""

    def at(self, start: int, count: int) -> bytes:
        """`count` bytes from `start` on, or fewer at the end of the file."""
        offset = start - self._begin
        whole = offset + count <= len(self._block) or self._begin + len(self._block) >= self.size
        if not 0 <= offset <= len(self._block) or not whole:
            self._begin, self._block, offset = start, os.pread(self._file, max(count, BLOCK), start), 0
        return self._block[offset : offset + count]

    def find(self, pattern: re.Pattern[bytes], start: int, end: int, longest: int) -> int:
        """Place of the first match of at most `longest` bytes that begins in [start, end); -1 where there is none."""
        while start < end:
            self.at(start, longest)
            offset = start - self._begin
            match = pattern.search(self._block, offset, offset + end - start + longest)
            if match:
                place = self._begin + match.start()
                return place if place < end else -1
            if self._begin + len(self._block) >= min(self.size, end + longest) or len(self._block) < longest:
                return -1  # the latter where the file has shrunk
            start = self._begin + len(self._block) - longest + 1
        return -1
