"""Shards on an object store, read in blocks through fsspec, with a bounded cache of blocks on the local disk.

The cache is our own because fsspec's `blockcache` and `filecache` delete nothing before it expires, and rewrite one
file of metadata from every process. Here a block is a file, and all processes of a machine share the folder.
"""

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from tagscale.runtime.errors import TagscaleError
from tagscale.runtime.lock import in_turn
from tagscale.runtime.reading import Output

BLOCK = 1 << 20  # bytes of one request: 32 s of audio. Smaller blocks cost more requests, larger ones more traffic
CACHE_GB = 20.0  # of disk, unless TAGSCALE_CACHE_GB or an argument says otherwise
KEPT = 0.9  # of the limit, after old blocks are deleted, so that not every new block searches for an old one

Piece = tuple[int, int, np.ndarray]  # shard, first byte in it, and the int16 array to fill from there on

_log = logging.getLogger(__name__)


class BlockCache:
    """Blocks in files of `folder`, at most `limit` bytes together; the least recently used are deleted first.

    Any number of processes may use one folder. Writers take turns; readers never wait, because a block appears whole,
    by a rename. In a folder that is full or read-only nothing is kept, and reading goes on without the cache.

    >>> import tempfile
    >>> cache = BlockCache(Path(tempfile.mkdtemp()), limit=100)
    >>> cache.put("ab", b"12345678")
    >>> part = np.empty(2, np.int16)
    >>> cache.read("ab", 8, 4, part), part.tobytes()
    (True, b'5678')
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = Path(folder), limit
        self._warned = False

    def read(self, key: str, size: int, begin: int, out: np.ndarray) -> bool:
        """Fill `out` from byte `begin` of a block that is `size` bytes long; False where the cache lacks it."""
        try:
            handle = os.open(self.folder / key, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            whole = os.fstat(handle).st_size == size and os.preadv(handle, [out.data], begin) == out.nbytes
            if whole:
                os.utime(handle)  # the time of use, by which old blocks are found
            return whole
        except OSError:
            return False
        finally:
            os.close(handle)

    def put(self, key: str, block: bytes) -> None:
        """Keep a block. Deletes the oldest ones first where there is no room for it."""
        if len(block) > self.limit:
            return
        try:
            with in_turn(self.folder / "ledger") as ledger:
                total = self._room(ledger, key, len(block))
                # Before the file, so that the ledger never says too little.
                os.pwrite(ledger, b"%020d" % (total + len(block)), 0)
                fresh = self.folder / f"{key}.new"
                try:
                    fresh.write_bytes(block)
                    os.replace(fresh, self.folder / key)
                finally:
                    fresh.unlink(missing_ok=True)
        except OSError as error:
            if not self._warned:
                _log.warning("%s: cannot keep blocks there (%s); reading continues without", self.folder, error)
            self._warned = True

    def _room(self, ledger: int, key: str, size: int) -> int:
        """Make room for `size` bytes more. Returns the bytes in the folder, by the ledger or by counting."""
        total_noted = os.pread(ledger, 20, 0)
        known = len(total_noted) == 20 and total_noted.isdigit() and not (self.folder / key).exists()
        if known and int(total_noted) + size <= self.limit:
            return int(total_noted)
        (self.folder / key).unlink(missing_ok=True)
        files = []
        for path in self.folder.iterdir():
            if path.suffix == ".new":
                path.unlink()  # left by a killed process: nobody else writes during our turn
            elif path.name != "ledger":
                state = path.stat()
                files.append((state.st_mtime_ns, path, state.st_size))
        total = sum(length for _, _, length in files)
        if total + size > self.limit:
            for _, path, length in sorted(files):
                if total <= KEPT * self.limit and total + size <= self.limit:
                    break
                path.unlink()
                total -= length
        return total


def default_cache(folder: Path | None = None, gigabytes: float | None = None) -> BlockCache:
    """The cache by arguments, else by TAGSCALE_CACHE (folder) and TAGSCALE_CACHE_GB, else 20 GB in ~/.cache/tagscale.

    Raises:
        TagscaleError: TAGSCALE_CACHE_GB is not a number, or below 0.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tagscale"
    folder = folder or Path(os.environ.get("TAGSCALE_CACHE") or home)
    given = os.environ.get("TAGSCALE_CACHE_GB") or CACHE_GB if gigabytes is None else gigabytes
    try:
        limit = int(float(given) * 1e9)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise TagscaleError(f"TAGSCALE_CACHE_GB: {given!r}; expected gigabytes of disk, 0 for no cache.")
    return BlockCache(folder / "blocks", limit)


class Bucket:
    """A folder behind an fsspec address: s3://bucket/prefix, memory://name and the like.

    Keys and endpoint come from where the protocol's own tools take them: for S3 AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, or ~/.aws. Errors become TagscaleErrors that name the object.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._opened: tuple[int, Any, str] | None = None

    def connection(self) -> tuple[Any, str]:
        """File system and path in it. Reopened after a fork, which connections do not survive."""
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = (os.getpid(), *fsspec.core.url_to_fs(self.address))
            except (ImportError, ValueError) as error:
                raise TagscaleError(f"{self.address}: {error}. For S3 install tagscale[s3].") from error
            except OSError as error:  # of protocols that connect at once, as ftp
                raise self.failure(error) from error
        return self._opened[1], self._opened[2]

    def content(self, name: str) -> bytes | None:
        """All bytes of a small object; None if it is missing."""
        files, root = self.connection()
        try:
            return files.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self.failure(error, name) from error

    def output(self, sealed: str, command: str) -> Output:
        """The folder as the output of a stage."""
        return Output(self.address, sealed, command, self.content)

    def size(self, name: str) -> int | None:
        """Length of an object in bytes; None if it is missing."""
        files, root = self.connection()
        try:
            return files.size(f"{root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self.failure(error, name) from error

    def ranges(self, wanted: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """The bytes `begin` to `end` of objects, requested at the same time where the protocol allows it."""
        files, root = self.connection()
        names, begins, ends = (list(column) for column in zip(*wanted, strict=True))
        try:
            blocks = files.cat_ranges([f"{root}/{name}" for name in names], begins, ends, on_error="return")
        except Exception as error:
            raise self.failure(error, names[0]) from error
        for (name, begin, end), block in zip(wanted, blocks, strict=True):
            if isinstance(block, BaseException):
                raise self.failure(block, f"{name}, bytes {begin} to {end}") from block
            if len(block) != end - begin:
                raise TagscaleError(
                    f"{self.address}/{name}: {len(block)} bytes came for bytes {begin} to {end}, expected "
                    f"{end - begin}. The object was changed or truncated; upload the store again."
                )
        return blocks

    def failure(self, error: BaseException, what: str = "") -> TagscaleError:
        """The error for one of a protocol's library, about the address or an object below it."""
        place = f"{self.address}/{what}" if what else self.address
        return TagscaleError(
            f"{place}: {type(error).__name__}: {error}. Check the address, the network, and keys and endpoint (for S3: "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)."
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


class RemoteShards:
    """The shards of a store in a bucket, read block by block through the cache.

    Args:
        shards: as in store.json. The SHA-256 of a shard names its blocks in the cache, so that a store that was
            replaced under its address never meets blocks of the old one
    """

    def __init__(
        self, bucket: Bucket, shards: Sequence[Mapping[str, Any]], bytes_of: list[int], cache: BlockCache
    ) -> None:
        self.bucket, self.cache = bucket, cache
        self._names = [shard["file"] for shard in shards]
        self._keys = [hashlib.sha256(f"{shard['sha256']} {BLOCK}".encode()).hexdigest()[:40] for shard in shards]
        self._bytes = bytes_of

    def fill(self, pieces: Iterable[Piece]) -> None:
        """Fill the pieces' arrays. Blocks missing in the cache are requested at once, each one once.

        Raises:
            TagscaleError: the object store does not answer, or sends something else.
        """
        missing: dict[tuple[int, int], list[tuple[int, np.ndarray]]] = {}
        for shard, first, out in pieces:
            for number, begin, part in _parts(first, out):
                begun, end = self._span(shard, number)
                if not self.cache.read(f"{self._keys[shard]}-{number}", end - begun, begin, part):
                    missing.setdefault((shard, number), []).append((begin, part))
        if not missing:
            return
        blocks = self.bucket.ranges([(self._names[shard], *self._span(shard, number)) for shard, number in missing])
        for ((shard, number), parts), block in zip(missing.items(), blocks, strict=True):
            for begin, part in parts:
                part.view(np.uint8)[:] = np.frombuffer(block, np.uint8, part.nbytes, begin)
            self.cache.put(f"{self._keys[shard]}-{number}", block)

    def _span(self, shard: int, number: int) -> tuple[int, int]:
        return number * BLOCK, min((number + 1) * BLOCK, self._bytes[shard])


def _parts(first: int, out: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Cut a piece at block borders: number of the block, first byte in it, and the part of `out` that it fills."""
    done = 0
    while done < out.nbytes:
        number, begin = divmod(first + done, BLOCK)
        count = min(BLOCK - begin, out.nbytes - done)
        yield number, begin, out[done // out.itemsize : (done + count) // out.itemsize]
        done += count
