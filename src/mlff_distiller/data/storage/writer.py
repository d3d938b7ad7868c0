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
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from mlff_distiller.atoms.labels import Labels, Widths
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.cutting import cut
from mlff_distiller.core.errors import DataError, DistillerError
from mlff_distiller.core.files import flush, write_bytes, write_json
from mlff_distiller.core.lock import FileLock
from mlff_distiller.core.provenance import stamp
from mlff_distiller.data.columns import Columns, common_widths, concatenate, pack
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
from mlff_distiller.data.storage.gate import Gate, unwritable
from mlff_distiller.data.storage.hdf5 import map_columns, read_index, write_columns
from mlff_distiller.data.storage.ids import IdSet
from mlff_distiller.data.storage.journal import Journal
from mlff_distiller.data.storage.sealing import arrange, sealed_widths
from mlff_distiller.data.storage.store import (
    Store,
    check_same,
    entry_of,
    read_manifest,
    read_unsealed,
    sealed_entries,
    set_aside,
    shard_file,
    unpaired,
)


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
        self.path = path = path.absolute()
        self.done_ids = IdSet()
        self._lock: FileLock | None = None
        self._pending_atoms = 0
        self._widths: Widths = {}
        asked = {"identity": identity, "header": header, "shard_atoms": shard_atoms, "compressed": compressed}
        if not self.is_sealed:
            _refuse_foreign(path)
            with Gate(path):
                if not self.is_sealed:  # another process may have sealed it while this one waited
                    self._open_unsealed(asked)
                    return
        self._reopen_sealed(identity, header)

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
            If an id is there already, counts or shapes or numbers of directions do not match, the store is sealed, or
            the disk is full.
        """
        self.append_columns(pack(ids, structures, labels))

    def append_columns(self, columns: Columns) -> None:
        """Store structures that are columns already; see :meth:`append`."""
        if self.is_sealed:
            raise DataError(f"{self.path} is sealed and takes no more structures; write to a new directory")
        if self._lock is None or not self._lock.is_held:
            raise DataError(f"this writer of {self.path} was closed, or belongs to another process; open a new one")
        ids = columns.arrays["ids"]
        known = self.done_ids.common(ids)
        if len(known):
            raise DataError(f"{self.path} already holds structure {known.min()}; every id is stored once")
        if len(ids) and ids.max() == np.iinfo(np.int64).max:
            raise DataError(f"the id {ids.max()} is one too large; number structures from 0")
        if len(np.unique(ids)) < len(ids):
            raise DataError("an id is given to two structures of one append; every id is stored once")
        if not len(columns):
            return
        self._widths = common_widths({str(self.path): self._widths, "what is appended": columns.widths})
        self._journal.append(columns)
        self.done_ids.add(ids)
        self._pending_atoms += columns.n_atoms
        if self._pending_atoms > self._settings["shard_atoms"]:
            with suppress(DistillerError):  # they are safe in the journal; a full disk is said by the next append
                self._pending_atoms = self._seal_journal(self._slot, self._columns_of(self._journal), keep_last=True)

    def seal(self) -> Store:
        """Put everything into shards in the order of ids, and return the finished store.

        Sealing a sealed store does nothing. The shards do not depend on how and in which order was appended.

        Raises
        ------
        DataError
            If nothing was appended, another process is still writing, or two writers stored one id differently.
        """
        was_closed = self._lock is None
        try:
            if not self.is_sealed:
                with Gate(self.path), ExitStack() as others:
                    if not self.is_sealed:
                        self._lock_all(others)
                        self._seal()
        finally:
            if was_closed or self.is_sealed:
                self.close()
        if (self.path / JOURNALS).exists():  # also what a sealing that was killed left behind
            with Gate(self.path):
                self._clean_sealed()
        return Store.open(self.path)

    @property
    def is_sealed(self) -> bool:
        """Whether the store is finished."""
        return (self.path / MANIFEST).exists()

    def close(self) -> None:
        """Write no more; another process may then seal or continue. A crash does the same."""
        if self._lock is not None:
            self._journal.close()
            self._lock.release()
            self._lock = None

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reopen_sealed(self, identity: dict[str, str] | None, header: dict[str, Any] | None) -> None:
        manifest = read_manifest(self.path)
        check_same(self.path, (manifest.identity, manifest.header), (identity, header))
        for entry in manifest.shards:
            self.done_ids.add(read_index(self.path / entry.file)[0])

    def _open_unsealed(self, asked: dict[str, Any]) -> None:
        if not (self.path / UNSEALED).exists():
            fresh = {"format": FORMAT, "version": VERSION, **asked, "header": asked["header"] or {}}
            write_json(self.path / UNSEALED, fresh)
        self._settings = read_unsealed(self.path)
        check_same(
            self.path, (self._settings["identity"], self._settings["header"]), (asked["identity"], asked["header"])
        )
        self._take_slot()
        for slot in self._slots():  # journals first: what is being sealed meanwhile is then seen twice, not never
            for record in Journal(self._journal_file(slot)).read():
                self.done_ids.add(record.arrays["ids"])
                self._widths = {**record.widths, **self._widths}
        entries = sealed_entries(self.path)
        self._widths = {**sealed_widths(self.path, entries), **self._widths}
        for entry in entries:
            self.done_ids.add(read_index(self.path / entry.file)[0])

    def _take_slot(self) -> None:
        """Take the first number that no living writer has, and go on where its last one stopped."""
        self._slot, self._lock = self._free_slot()
        self._journal = Journal(self._journal_file(self._slot))
        _remove([*(self.path / SHARDS).glob(f".{self._slot}-*.tmp"), *self._journals.glob(f".{self._slot}.*.tmp")])
        self._adopt(self._slot)
        pending = self._pending(self._slot)
        if len(pending) < sum(len(record) for record in self._journal.read()):
            self._journal.replace(pending if len(pending) else None)
        self._pending_atoms = pending.n_atoms

    def _adopt(self, slot: str) -> None:
        """Settle shards without an entry: half a step of a crash is undone, of a lost entry is written again."""
        journaled = np.concatenate(
            [np.empty(0, dtype=np.int64), *(r.arrays["ids"] for r in Journal(self._journal_file(slot)).read())]
        )
        for file in unpaired(self.path):
            if not file.name.startswith(f"{slot}-"):
                continue
            try:
                columns, _ = map_columns(file)
            except DataError:
                set_aside(self.path, [file.relative_to(self.path).as_posix()])
                continue
            if np.isin(columns.arrays["ids"], journaled).all():
                file.unlink()
            else:
                entry = entry_of(self.path, file, columns)
                write_json(file.with_suffix(".json"), entry.model_dump(mode="json"))

    def _free_slot(self) -> tuple[str, FileLock]:
        for number in range(10_000):
            lock = FileLock(self._journals / f"{number:02d}.lock")
            try:
                if lock.acquire():
                    return f"{number:02d}", lock
            except OSError as error:
                raise unwritable(self.path, error) from error
        raise DataError(f"{self.path} has 10,000 writers; close some of them")

    def _lock_all(self, held: ExitStack) -> None:
        """Take every number there is, for the time of sealing; a closed writer takes one of its own again."""
        if self._lock is None or not self._lock.is_held:
            self._settings = read_unsealed(self.path)
            self._take_slot()
        for slot in self._slots():
            if slot == self._slot:
                continue
            lock = FileLock(self._journals / f"{slot}.lock")
            if not lock.acquire():
                raise DataError(f"another process is writing to {self.path}; wait for it to end, or end it")
            held.callback(lock.release)
            self._adopt(slot)

    def _seal(self) -> None:
        for slot in self._slots():
            self._seal_journal(slot, self._pending(slot), keep_last=False)
        sealed = sealed_entries(self.path)
        if not sealed:
            raise DataError(f"{self.path} holds no structures yet, so there is nothing to seal; label some first")
        sealed_widths(self.path, sealed)  # writers at work at once do not see what the others append
        _remove_numbered(self.path)  # of a sealing that was cut short
        entries = []
        for number, piece in enumerate(arrange(self.path, sealed, self._settings["shard_atoms"])):
            file = shard_file(number)
            if isinstance(piece, ShardEntry):
                _give_name(self.path / piece.file, self.path / file)
                entries.append(piece.model_copy(update={"file": file}))
            else:
                entries.append(self._write_shard(file, piece))
        flush(self.path / SHARDS)  # the names must last before the manifest counts on them
        self._write_manifest(entries)
        self._clean_sealed()

    def _seal_journal(self, slot: str, columns: Columns, *, keep_last: bool) -> int:
        """Move what a journal holds to shards, all but the last unless full; return the atoms that stay."""
        pieces = cut(columns.sizes, self._settings["shard_atoms"])
        kept = pieces.pop() if keep_last and pieces else (0, 0)
        number = self._next_number(slot)
        for first, last in pieces:
            file = f"{SHARDS}/{slot}-{number:06d}.h5"
            entry = self._write_shard(file, columns.block(first, last))
            write_json((self.path / file).with_suffix(".json"), entry.model_dump(mode="json"))
            number += 1
        rest = columns.block(*kept)
        journal = self._journal if slot == self._slot else Journal(self._journal_file(slot))
        journal.replace(rest if len(rest) else None)
        return rest.n_atoms

    def _columns_of(self, journal: Journal) -> Columns:
        return concatenate([pack([], [], []), *journal.read()]).in_order_of_ids()

    def _pending(self, slot: str) -> Columns:
        """Return what a journal holds and no shard of its writer does yet, in the order of ids."""
        columns = self._columns_of(Journal(self._journal_file(slot)))
        files = [entry.file for entry in sealed_entries(self.path, slot)]
        sealed = [read_index(self.path / file)[0] for file in files]
        is_new = ~np.isin(columns.arrays["ids"], np.concatenate([np.empty(0, dtype=np.int64), *sealed]))
        return columns if is_new.all() else columns.take(np.flatnonzero(is_new))

    def _write_shard(self, name: str, columns: Columns) -> ShardEntry:
        file = self.path / name
        write_columns(file, columns, identity=self._settings["identity"], compressed=self._settings["compressed"])
        return entry_of(self.path, file, columns)

    def _write_manifest(self, entries: list[ShardEntry]) -> None:
        manifest = Manifest.of(
            entries, identity=self._settings["identity"], header=self._settings["header"], provenance=stamp()
        )
        write_json(self.path / MANIFEST, manifest.model_dump(mode="json"))

    def _clean_sealed(self) -> None:
        """Remove what a finished store no longer needs; repeated after a crash."""
        (self.path / UNSEALED).unlink(missing_ok=True)
        _remove((self.path / SHARDS).glob("[0-9]*-*"))
        _remove([*self.path.glob(".*.tmp"), *(self.path / SHARDS).glob(".*.tmp")])
        shutil.rmtree(self._journals, ignore_errors=True)

    def _next_number(self, slot: str) -> int:
        files = [*(self.path / SHARDS).glob(f"{slot}-*.h5"), *(self.path / SHARDS).glob(f"{slot}-*.json")]
        return max((int(file.stem.partition("-")[2]) for file in files), default=-1) + 1

    @property
    def _journals(self) -> Path:
        return self.path / JOURNALS

    def _slots(self) -> list[str]:
        return sorted(file.stem for file in self._journals.glob("[0-9]*.lock"))

    def _journal_file(self, slot: str) -> Path:
        return self._journals / f"{slot}.journal"


def _give_name(file: Path, name: Path) -> None:
    """Let a shard have a second name; the first is removed when the manifest is written."""
    try:
        os.link(file, name)
    except OSError:  # a file system without links
        write_bytes(name, file.read_bytes())


def _remove_numbered(path: Path) -> None:
    _remove((path / SHARDS).glob("[0-9][0-9][0-9][0-9][0-9][0-9].h5"))


def _remove(files: Iterable[Path]) -> None:
    for file in list(files):
        with suppress(OSError):
            file.unlink()


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; give a directory for the data set")
    if not path.exists():
        return
    foreign = sorted(p.name for p in path.iterdir() if p.name != JOURNALS and not p.name.startswith("."))
    # Looked for after the files were listed: another process may begin or seal the store at this moment.
    if foreign and not (path / UNSEALED).exists() and not (path / MANIFEST).exists():
        raise DataError(f"{path} holds other files ({', '.join(foreign[:3])}); give an empty or new directory")
