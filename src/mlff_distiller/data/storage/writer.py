"""StoreWriter: labels are appended, each append durable, and sealed into a store at the end.

An unfinished store holds

- ``unsealed.json``: whose labels they are and how shards are cut,
- ``journals/00.journal``: what writer 00 appended since its last shard (each writer process has a number of its own),
- ``shards/00-000000.h5`` and its ``.json``: what writer 00 sealed; without the ``.json`` it was not finished.

Sealing the store puts the shards in the order of ids, writes the manifest, and only then removes the rest; so a kill
at any moment leaves either a store that can be continued or a finished one.
"""

import os
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.lock import FileLock
from mlff_distiller.core.provenance import file_digest, stamp
from mlff_distiller.data.columns import Columns, concatenate, pack
from mlff_distiller.data.schema import (
    FORMAT,
    JOURNALS,
    MANIFEST,
    SHARD_ATOMS,
    SHARDS,
    UNSEALED,
    VERSION,
    Manifest,
    ShardEntry,
)
from mlff_distiller.data.storage.hdf5 import read_index, write_columns
from mlff_distiller.data.storage.ids import IdSet
from mlff_distiller.data.storage.journal import Journal
from mlff_distiller.data.storage.sealing import arrange, cut
from mlff_distiller.data.storage.store import (
    Store,
    check_same,
    read_manifest,
    read_unsealed,
    sealed_entries,
    shard_file,
)

_WAIT_S = 10.0


class StoreWriter:
    """Open a new store, or continue one that was not sealed.

    Several processes may write to one store at once, each with a writer of its own; one of them seals it when the
    others have closed theirs. Which ids are whose is theirs to agree on.

    Parameters
    ----------
    path : Path
        The store's directory.
    identity : dict, optional
        The potential that makes the labels (``potential.identity.to_json()``).
    header : dict, optional
        What the store is made from, JSON-able, for the manifest. A writer that continues a store must say the same,
        or nothing.
    shard_atoms : int
        A shard holds at most this many atoms (one structure more where a single one is larger). The first writer of
        a store decides.
    compressed : bool
        Compress the shards: for archives, about half the size, read far more slowly. The first writer decides.

    Attributes
    ----------
    done_ids : IdSet
        Ids that are safely stored, as far as this writer has seen.

    Raises
    ------
    DataError
        If the directory holds something else, labels of another potential or made from something else, a store of a
        newer version, or is being sealed by another process.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "data")
    >>> StoreWriter(path).append([4, 2], [Structure([1], [[0, 0, 0]]), Structure([2], [[0, 0, 0]])])
    >>> writer = StoreWriter(path)  # after a crash, say
    >>> sorted(writer.done_ids)
    [2, 4]
    >>> [s.formula for s in writer.seal().structures()]
    ['He', 'H']
    """

    def __init__(
        self,
        path: Path,
        *,
        identity: dict[str, str] | None = None,
        header: dict[str, Any] | None = None,
        shard_atoms: int = SHARD_ATOMS,
        compressed: bool = False,
    ) -> None:
        self.path = path
        self.done_ids = IdSet()
        self._lock: FileLock | None = None
        self._pending_atoms = 0
        if (path / MANIFEST).exists():
            self._reopen_sealed(identity, header)
        else:
            _refuse_foreign(path)
            asked = {"identity": identity, "header": header, "shard_atoms": shard_atoms, "compressed": compressed}
            with _Gate(path):
                self._open_unsealed(asked)

    def append(
        self, ids: Sequence[int], structures: Sequence[Structure], labels: Sequence[Labels] | None = None
    ) -> None:
        """Store structures; when this returns they survive a crash, all of them or none.

        Parameters
        ----------
        ids : sequence of int
            One for each structure, none used before.
        structures : sequence of Structure
            What was labeled.
        labels : sequence of Labels, optional
            Their labels; what is absent is stored as absent.

        Raises
        ------
        DataError
            If an id is there already, counts or shapes do not match, the store is sealed, or the disk is full.
        """
        self.append_columns(pack(ids, structures, labels))

    def append_columns(self, columns: Columns) -> None:
        """Store structures that are columns already; see :meth:`append`."""
        if self.is_sealed or self._lock is None:
            raise DataError(f"{self.path} is sealed and takes no more structures; write to a new directory")
        ids = columns.arrays["ids"]
        known = self.done_ids.common(ids)
        if len(known):
            raise DataError(f"{self.path} already holds structure {known.min()}; every id is stored once")
        if len(np.unique(ids)) < len(ids):
            raise DataError("an id is given to two structures of one append; every id is stored once")
        if not len(columns):
            return
        self._journal.append(columns)
        self.done_ids.add(ids)
        self._pending_atoms += columns.n_atoms
        if self._pending_atoms > self._settings["shard_atoms"]:
            self._pending_atoms = self._seal_journal(self._slot, keep_last=True)

    def seal(self) -> Store:
        """Put everything into shards in the order of ids, and return the finished store.

        Sealing a sealed store does nothing. The shards do not depend on how and in which order was appended.

        Raises
        ------
        DataError
            If nothing was appended, another process is still writing, or two writers stored one id differently.
        """
        if not self.is_sealed:
            with _Gate(self.path):
                others = self._lock_others()
                self._seal()
                for lock in others:
                    lock.release()
        self.close()
        self._clean_sealed()
        return Store.open(self.path)

    @property
    def is_sealed(self) -> bool:
        """Whether the store is finished."""
        return (self.path / MANIFEST).exists()

    def close(self) -> None:
        """Write no more; another process may then seal or continue. A crash does the same."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reopen_sealed(self, identity: dict[str, str] | None, header: dict[str, Any] | None) -> None:
        manifest = read_manifest(self.path)
        check_same(self.path, (manifest.identity, manifest.header), (identity, header))
        self.done_ids = IdSet(Store(self.path, manifest).ids.tolist())

    def _open_unsealed(self, asked: dict[str, Any]) -> None:
        if not (self.path / UNSEALED).exists():
            fresh = {"format": FORMAT, "version": VERSION, **asked, "header": asked["header"] or {}}
            write_json(self.path / UNSEALED, fresh)
        self._settings = read_unsealed(self.path)
        check_same(
            self.path, (self._settings["identity"], self._settings["header"]), (asked["identity"], asked["header"])
        )
        self._slot, self._lock = self._free_slot()
        self._journal = Journal(self._journal_file(self._slot))
        self._remove_torn()
        for slot in self._slots():  # journals first: what is being sealed meanwhile is then seen twice, not never
            for record in Journal(self._journal_file(slot)).read():
                self.done_ids.add(record.arrays["ids"])
        for entry in sealed_entries(self.path):
            self.done_ids.add(read_index(self.path / entry.file)[0])
        self._pending_atoms = self._pending(self._slot).n_atoms

    def _free_slot(self) -> tuple[str, FileLock]:
        for number in range(10_000):
            lock = FileLock(self.path / JOURNALS / f"{number:02d}.lock")
            try:
                if lock.acquire():
                    return f"{number:02d}", lock
            except OSError as error:
                raise _unwritable(self.path, error) from error
        raise DataError(f"{self.path} has 10,000 writers; close some of them")

    def _lock_others(self) -> list[FileLock]:
        locks = [FileLock(self.path / JOURNALS / f"{slot}.lock") for slot in self._slots() if slot != self._slot]
        if not all(lock.acquire() for lock in locks):
            raise DataError(f"another process is writing to {self.path}; wait for it to end, or end it")
        return locks

    def _seal(self) -> None:
        for slot in self._slots():
            self._seal_journal(slot, keep_last=False)
        sealed = sealed_entries(self.path)
        if not sealed:
            raise DataError(f"{self.path} holds no structures yet, so there is nothing to seal; label some first")
        _remove_numbered(self.path)  # of a sealing that was cut short
        entries = []
        for number, piece in enumerate(arrange(self.path, sealed, self._settings["shard_atoms"])):
            file = shard_file(number)
            if isinstance(piece, ShardEntry):
                _give_name(self.path / piece.file, self.path / file)
                entries.append(piece.model_copy(update={"file": file}))
            else:
                entries.append(self._write_shard(file, piece))
        self._write_manifest(entries)

    def _seal_journal(self, slot: str, *, keep_last: bool) -> int:
        """Move what a journal holds to shards, all but the last unless full; return the atoms that stay."""
        columns = self._pending(slot)
        pieces = cut(columns.sizes, self._settings["shard_atoms"])
        kept = pieces.pop() if keep_last and pieces else (0, 0)
        for first, last in pieces:
            file = self._next_file(slot)
            entry = self._write_shard(file, columns.block(first, last))
            write_json((self.path / file).with_suffix(".json"), entry.model_dump(mode="json"))
        rest = columns.block(*kept)
        journal = self._journal if slot == self._slot else Journal(self._journal_file(slot))
        journal.replace(rest if len(rest) else None)
        return rest.n_atoms

    def _pending(self, slot: str) -> Columns:
        """Return what a journal holds and no shard of its writer does yet, in the order of ids."""
        records = [pack([], [], []), *Journal(self._journal_file(slot)).read()]
        columns = concatenate(records).in_order_of_ids()
        files = [entry.file for entry in sealed_entries(self.path, slot)]
        sealed = [read_index(self.path / file)[0] for file in files]
        is_new = ~np.isin(columns.arrays["ids"], np.concatenate([np.empty(0, dtype=np.int64), *sealed]))
        return columns if is_new.all() else columns.take(np.flatnonzero(is_new))

    def _write_shard(self, name: str, columns: Columns) -> ShardEntry:
        file = self.path / name
        write_columns(file, columns, identity=self._settings["identity"], compressed=self._settings["compressed"])
        return ShardEntry(
            file=name,
            n_structures=len(columns),
            n_atoms=columns.n_atoms,
            n_bytes=file.stat().st_size,
            sha256=file_digest(file),
            properties=columns.properties,
        )

    def _write_manifest(self, entries: list[ShardEntry]) -> None:
        manifest = Manifest.of(
            entries, identity=self._settings["identity"], header=self._settings["header"], provenance=stamp()
        )
        write_json(self.path / MANIFEST, manifest.model_dump(mode="json"))

    def _clean_sealed(self) -> None:
        """Remove what a finished store no longer needs; repeated after a crash."""
        (self.path / UNSEALED).unlink(missing_ok=True)
        shutil.rmtree(self.path / JOURNALS, ignore_errors=True)
        listed = {Path(entry.file).name for entry in read_manifest(self.path).shards}
        _remove(file for file in (self.path / SHARDS).iterdir() if file.name not in listed)
        _remove(self.path.glob(".*.tmp"))

    def _remove_torn(self) -> None:
        """Remove what a crash of an earlier writer of this number left half done."""
        shards = self.path / SHARDS
        _remove([*shards.glob(f".{self._slot}-*.tmp"), *(self.path / JOURNALS).glob(f".{self._slot}.*.tmp")])
        _remove(file for file in shards.glob(f"{self._slot}-*.h5") if not file.with_suffix(".json").exists())

    def _next_file(self, slot: str) -> str:
        numbers = [int(Path(entry.file).stem.partition("-")[2]) for entry in sealed_entries(self.path, slot)]
        return f"{SHARDS}/{slot}-{max(numbers, default=-1) + 1:06d}.h5"

    def _slots(self) -> list[str]:
        return sorted(file.stem for file in (self.path / JOURNALS).glob("[0-9]*.lock"))

    def _journal_file(self, slot: str) -> Path:
        return self.path / JOURNALS / f"{slot}.journal"


class _Gate:
    """Held for the moment of opening and while sealing, so that no writer begins while a store is sealed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path / JOURNALS / ".gate")

    def __enter__(self) -> None:
        began = time.monotonic()
        try:
            while not self._lock.acquire():
                if time.monotonic() - began > _WAIT_S:
                    raise DataError(f"another process is sealing {self._path}; wait for it to end")
                time.sleep(0.01)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot write in {path} ({error.strerror}); check permissions and space")


def _give_name(file: Path, name: Path) -> None:
    """Let a shard have a second name; the first is removed when the manifest is written."""
    try:
        os.link(file, name)
    except OSError:  # a file system without links
        shutil.copyfile(file, name)


def _remove_numbered(path: Path) -> None:
    _remove((path / SHARDS).glob("[0-9][0-9][0-9][0-9][0-9][0-9].h5"))


def _remove(files: Iterable[Path]) -> None:
    for file in list(files):
        with suppress(OSError):
            file.unlink()


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; give a directory for the data set")
    if not path.exists() or (path / UNSEALED).exists():
        return
    foreign = sorted(p.name for p in path.iterdir() if p.name != JOURNALS and not p.name.startswith("."))
    if foreign:
        raise DataError(f"{path} holds other files ({', '.join(foreign[:3])}); give an empty or new directory")
