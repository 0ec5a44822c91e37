"""Shards on an object store, read in blocks through fsspec, with a bounded cache of blocks on the local disk.

The cache is our own because fsspec's `blockcache` and `filecache` never delete what they hold before it expires and
rewrite one file of metadata from every process. Here a block is a file; all processes of a machine share the folder.
"""

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from tagscale.runtime.errors import TagscaleError

BLOCK = 1 << 20  # bytes of one request: 32 s of audio. Smaller ones cost more requests, larger ones more traffic
CACHE_GB = 20.0  # of disk, unless TAGSCALE_CACHE_GB or an argument says otherwise
KEPT = 0.9  # of the bound, after old blocks were deleted: so that not every new block has to look for an old one

Piece = tuple[int, int, np.ndarray]  # shard, first byte in it, and the int16 array to fill from there on

_log = logging.getLogger(__name__)


class BlockCache:
    """Files of at most `limit` bytes together in `folder`; the ones that were not used for longest go first.

    Any number of processes may use one folder. Writers take turns (flock), readers never wait: a block appears by
    rename, whole. A folder that cannot be written to, or a full disk, only means that nothing is kept.

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
        """Fill `out` from byte `begin` of a block that is `size` bytes long; False where the cache has none such."""
        try:
            handle = os.open(self.folder / key, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            whole = os.fstat(handle).st_size == size and os.preadv(handle, [out.data], begin) == out.nbytes
            if whole:
                os.utime(handle)  # the time of use, by which old ones are found
            return whole
        except OSError:
            return False
        finally:
            os.close(handle)

    def put(self, key: str, block: bytes) -> None:
        """Keep a block, and delete the oldest ones before where there is no room for it."""
        if len(block) > self.limit:
            return
        try:
            with self._turn() as ledger:
                total = self._room(ledger, key, len(block))
                os.pwrite(ledger, b"%020d" % (total + len(block)), 0)  # before the file: never less than there is
                fresh = self.folder / f"{key}.new"
                try:
                    fresh.write_bytes(block)
                    os.replace(fresh, self.folder / key)
                finally:
                    fresh.unlink(missing_ok=True)
        except OSError as error:
            if not self._warned:
                _log.warning("%s: cannot keep blocks there (%s); reading goes on without", self.folder, error)
            self._warned = True

    def _room(self, ledger: int, key: str, size: int) -> int:
        """Bytes in the folder, as noted in the ledger, when there is room for `size` more."""
        noted = os.pread(ledger, 20, 0)
        known = len(noted) == 20 and noted.isdigit() and not (self.folder / key).exists()
        if known and int(noted) + size <= self.limit:
            return int(noted)
        (self.folder / key).unlink(missing_ok=True)
        files = []
        for path in self.folder.iterdir():
            if path.suffix == ".new":
                path.unlink()  # of a process that was killed: whoever writes now has the turn
            elif path.name != "ledger":
                found = path.stat()
                files.append((found.st_mtime_ns, path, found.st_size))
        total = sum(length for _, _, length in files)
        if total + size > self.limit:
            for _, path, length in sorted(files):
                if total <= KEPT * self.limit and total + size <= self.limit:
                    break
                path.unlink()
                total -= length
        return total

    @contextmanager
    def _turn(self) -> Iterator[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        ledger = os.open(self.folder / "ledger", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(ledger, fcntl.LOCK_EX)
            yield ledger
        finally:
            os.close(ledger)  # gives the lock back


def default_cache(folder: Path | None = None, gigabytes: float | None = None) -> BlockCache:
    """The cache by arguments, else by TAGSCALE_CACHE (folder) and TAGSCALE_CACHE_GB, else 20 GB in ~/.cache/tagscale.

    Raises:
        TagscaleError: TAGSCALE_CACHE_GB is no number, or below 0.
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

    Keys and endpoint come from where the protocol's own tools look: for S3 AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL, or ~/.aws. Errors become TagscaleErrors that name the object.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._opened: tuple[int, Any, str] | None = None

    def connection(self) -> tuple[Any, str]:
        """File system and path in it, opened anew after a fork: connections do not survive one."""
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = (os.getpid(), *fsspec.core.url_to_fs(self.address))
            except (ImportError, ValueError) as error:
                raise TagscaleError(f"{self.address}: {error}. For S3 install tagscale[s3].") from error
        return self._opened[1], self._opened[2]

    def content(self, name: str) -> bytes | None:
        """All bytes of a small object; None where there is no such object."""
        files, root = self.connection()
        try:
            return files.cat_file(f"{root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(name, error) from error

    def size(self, name: str) -> int | None:
        """Length of an object in bytes; None where there is no such object."""
        files, root = self.connection()
        try:
            return files.size(f"{root}/{name}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failure(name, error) from error

    def ranges(self, wanted: Sequence[tuple[str, int, int]]) -> list[bytes]:
        """The bytes `begin` to `end` of objects, requested at the same time where the protocol can."""
        files, root = self.connection()
        names, begins, ends = (list(column) for column in zip(*wanted, strict=True))
        try:
            found = files.cat_ranges([f"{root}/{name}" for name in names], begins, ends, on_error="return")
        except Exception as error:
            raise self._failure(names[0], error) from error
        for (name, begin, end), block in zip(wanted, found, strict=True):
            if isinstance(block, BaseException):
                raise self._failure(f"{name}, bytes {begin} to {end}", block) from block
            if len(block) != end - begin:
                raise TagscaleError(
                    f"{self.address}/{name}: {len(block)} bytes came for bytes {begin} to {end}, expected "
                    f"{end - begin}. The object was changed or cut; upload the store again."
                )
        return found

    def _failure(self, what: str, error: BaseException) -> TagscaleError:
        return TagscaleError(
            f"{self.address}/{what}: {type(error).__name__}: {error}. Check the address, the network, and keys and "
            "endpoint (for S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL)."
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


class RemoteShards:
    """The shards of a store in a bucket, read block by block through the cache.

    Args:
        shards: as in store.json; the SHA-256 of a shard names its blocks in the cache, so that a store that was
            written anew under its old address never meets blocks of the old one
    """

    def __init__(self, bucket: Bucket, shards: list[dict[str, Any]], bytes_of: list[int], cache: BlockCache) -> None:
        self.bucket, self.cache = bucket, cache
        self._names = [shard["file"] for shard in shards]
        self._keys = [hashlib.sha256(f"{shard['sha256']} {BLOCK}".encode()).hexdigest()[:40] for shard in shards]
        self._bytes = bytes_of

    def fill(self, pieces: Iterable[Piece]) -> None:
        """Fill the pieces' arrays; what the cache lacks is fetched all at once, every block once.

        Raises:
            TagscaleError: the object store does not answer, or with something else than asked.
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
    """Cut a piece at block borders: number of the block, first byte in it, the part of `out` that it fills."""
    done = 0
    while done < out.nbytes:
        number, begin = divmod(first + done, BLOCK)
        count = min(BLOCK - begin, out.nbytes - done)
        yield number, begin, out[done // out.itemsize : (done + count) // out.itemsize]
        done += count
