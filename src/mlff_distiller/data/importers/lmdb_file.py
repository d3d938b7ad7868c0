"""LMDB files, read without liblmdb: it maps the file and trusts it, so that a flipped bit can end the process.

The layout is that of LMDB 0.9 on 64-bit little-endian machines (data version 1; ``mdb.c`` of OpenLDAP): two meta pages,
then a B+ tree of pages. Every page number and offset is checked before it is followed.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, NamedTuple

from mlff_distiller.core.errors import DataError

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<QHHHH")  # page number, padding, flags, lower, upper
_META: Final = struct.Struct("<IIQQ48s48sQQ")  # magic, version, address, map size, two trees, last page, transaction
_TREE: Final = struct.Struct("<IHHQQQQQ")  # page size or padding, flags, depth, three page counts, entries, root
_NODE: Final = struct.Struct("<HHHH")  # low and high half of size or page, flags, size of the key
_NONE: Final = 0xFFFFFFFFFFFFFFFF
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 0x01, 0x02, 0x04, 0x08
_BIG, _SUBTREE = 0x01, 0x02 | 0x04  # a value on pages of its own; named databases and duplicates
_DEPTH: Final = 32


class Entry(NamedTuple):
    """A key and where its value lies.

    Attributes
    ----------
    key : bytes
        The key.
    offset, size : int
        Place of the value in the file, bytes.
    """

    key: bytes
    offset: int
    size: int


class LmdbFile:
    """A LMDB file: its entries in the order of keys, and their values.

    Parameters
    ----------
    stream : binary file
        Opened for reading.
    path : Path
        What error messages call it.

    Attributes
    ----------
    n_entries : int
        Number of entries by the newest meta page.

    Raises
    ------
    DataError
        If the file is no LMDB file, of another version or machine, or damaged.
    """

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path = stream, path
        self._n_bytes = stream.seek(0, 2)
        self._page_size, self.n_entries, self._root, self._depth = self._newest_meta()

    def entries(self) -> Iterator[Entry]:
        """Yield all entries; a tree that does not hold as many as the file claims is an error."""
        count = 0
        for entry in self._entries(self._root, self._depth) if self._root != _NONE else ():
            count += 1
            if count > self.n_entries:
                break
            yield entry
        if count != self.n_entries:
            raise self._damaged(f"it holds {'more' if count > self.n_entries else 'fewer'} entries than it says")

    def value(self, entry: Entry) -> bytes:
        """Return the value of an entry."""
        return self._bytes(entry.offset, entry.size)

    def _newest_meta(self) -> tuple[int, int, int, int]:
        first = self._meta(0)
        size = first[0]
        if size not in (1 << power for power in range(8, 17)):
            raise self._damaged(f"its page size is {size}")
        second = self._meta(size)
        chosen = max(first, second, key=lambda meta: meta[-1])
        return chosen[:4]

    def _meta(self, offset: int) -> tuple[int, int, int, int, int]:
        """Return page size, entries, root, depth and transaction of a meta page."""
        flags = _HEADER.unpack(self._bytes(offset, _HEADER.size))[2]
        meta = _META.unpack(self._bytes(offset + _HEADER.size, _META.size))
        magic, version, free, main, transaction = meta[0], meta[1], meta[4], meta[5], meta[7]
        if magic != _MAGIC or not flags & _META_PAGE:
            raise DataError(f"{self._path} is no LMDB file of a 64-bit little-endian machine; check its format")
        if version != _VERSION:
            raise DataError(
                f"{self._path} is of LMDB data version {version}, not {_VERSION}; write it again with LMDB 0.9 "
                "(mdb_dump, then mdb_load)"
            )
        page_size, (_, _, depth, _, _, _, entries, root) = _TREE.unpack(free)[0], _TREE.unpack(main)
        return page_size, entries, root, depth, transaction

    def _entries(self, number: int, depth: int) -> Iterator[Entry]:
        if not 0 < depth <= _DEPTH:
            raise self._damaged("its tree is deeper than it says")
        page = self._page(number)
        flags = _HEADER.unpack_from(page)[2] & (_BRANCH | _LEAF)
        if flags != (_LEAF if depth == 1 else _BRANCH):
            raise self._damaged(f"page {number} is of the wrong kind")
        for node in self._nodes(page, number):
            low, high, node_flags, key_size = _NODE.unpack_from(page, node)
            if depth > 1:
                yield from self._entries(low | high << 16 | node_flags << 32, depth - 1)
            else:
                yield self._entry(page, number, node, (low | high << 16, node_flags, key_size))

    def _entry(self, page: bytes, number: int, node: int, fields: tuple[int, int, int]) -> Entry:
        size, flags, key_size = fields
        begin = node + _NODE.size + key_size
        if flags & _SUBTREE:
            raise DataError(f"{self._path} holds named databases or duplicate keys, which are not read; copy it to one")
        if begin + (8 if flags & _BIG else size) > len(page):
            raise self._damaged(f"an entry of page {number} reaches beyond it")
        key = page[node + _NODE.size : begin]
        offset = number * self._page_size + begin
        if flags & _BIG:
            overflow = int.from_bytes(page[begin : begin + 8], "little")
            if not _HEADER.unpack_from(self._page(overflow))[2] & _OVERFLOW:
                raise self._damaged(f"page {overflow} is of the wrong kind")
            offset = overflow * self._page_size + _HEADER.size
        if offset + size > self._n_bytes:
            raise self._damaged("a value reaches beyond its end")
        return Entry(key, offset, size)

    def _nodes(self, page: bytes, number: int) -> tuple[int, ...]:
        lower = _HEADER.unpack_from(page)[3]
        if not _HEADER.size <= lower <= len(page) or lower % 2:
            raise self._damaged(f"page {number} has an impossible size")
        nodes: tuple[int, ...] = struct.unpack_from(f"<{(lower - _HEADER.size) // 2}H", page, _HEADER.size)
        if any(not lower <= node <= len(page) - _NODE.size for node in nodes):
            raise self._damaged(f"page {number} points outside itself")
        return nodes

    def _page(self, number: int) -> bytes:
        page = self._bytes(number * self._page_size, self._page_size)
        if int.from_bytes(page[:8], "little") != number:
            raise self._damaged(f"page {number} bears another number")
        return page

    def _bytes(self, offset: int, size: int) -> bytes:
        if offset < 0 or offset + size > self._n_bytes:
            raise self._damaged("it ends too early")
        self._stream.seek(offset)
        return self._stream.read(size)

    def _damaged(self, how: str) -> DataError:
        return DataError(f"{self._path} is damaged ({how}); restore it from a copy")


@contextmanager
def opened(path: Path) -> Iterator[LmdbFile]:
    """Open a LMDB file, or the ``data.mdb`` of a directory.

    Raises
    ------
    DataError
        If there is none, or it is damaged.

    Examples
    --------
    >>> with opened(Path("nowhere.lmdb")):
    ...     pass
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.DataError: nowhere.lmdb does not exist or holds no data.mdb; check the path
    """
    file = path / "data.mdb" if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"{path} does not exist or holds no data.mdb; check the path")
    with file.open("rb") as stream:
        yield LmdbFile(stream, path)
