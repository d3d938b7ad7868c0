"""StoreWriter: labels are appended, each append durable, and sealed into a store at the end.

An unfinished store holds ``unsealed.json`` (whose labels they are) and one small HDF5 file for each append in
``parts/``. Sealing writes the shards, then the manifest, and only then removes the parts; so a kill at any moment
leaves either a store that can be continued or a finished one.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import PROPERTIES, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.files import write_json
from mlff_distiller.core.provenance import file_digest, stamp
from mlff_distiller.data.columns import Columns, concatenate, pack
from mlff_distiller.data.hdf5 import read_columns, read_index, write_columns
from mlff_distiller.data.lock import DirectoryLock
from mlff_distiller.data.schema import FORMAT, MANIFEST, SHARDS, VERSION, Manifest, ShardEntry
from mlff_distiller.data.store import Store, check_identity, read_manifest, shard_file

JOURNAL = "unsealed.json"
PARTS = "parts"

Integers = NDArray[np.int64]


class StoreWriter:
    """Open a new store, or continue one that was not sealed.

    Parameters
    ----------
    path : Path
        The store's directory.
    identity : dict, optional
        The potential that makes the labels (``potential.identity.to_json()``).
    header : dict, optional
        What the manifest shall say besides, JSON-able; the first writer of a store decides.

    Attributes
    ----------
    done_ids : set of int
        Ids that are safely stored.

    Raises
    ------
    DataError
        If the directory holds something else, labels of another potential, a store of a newer version, or is being
        written by another process.

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
        self, path: Path, *, identity: dict[str, str] | None = None, header: dict[str, Any] | None = None
    ) -> None:
        self.path = path
        self.done_ids: set[int] = set()
        self._next_part = 0
        self._lock = DirectoryLock(path / PARTS)
        if (path / MANIFEST).exists():
            self._reopen_sealed(identity)
        else:
            self._open_unsealed(identity, header or {})

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
            If an id is there already, counts or shapes do not match, or the store is sealed.
        DistillerError
            If the file cannot be written.
        """
        if self.is_sealed:
            raise DataError(f"{self.path} is sealed and takes no more structures; write to a new directory")
        known = self.done_ids.intersection(ids)
        if known:
            raise DataError(f"{self.path} already holds structure {min(known)}; every id is stored once")
        if len(set(ids)) < len(ids):
            raise DataError("an id is given to two structures of one append; every id is stored once")
        columns = pack(ids, structures, labels)
        if len(columns):
            write_columns(self.path / PARTS / f"{self._next_part:06d}.h5", columns)
            self._next_part += 1
            self.done_ids.update(int(i) for i in ids)

    def seal(self, *, shard_atoms: int = 1_000_000) -> Store:
        """Merge what was appended into shards, in the order of ids, and return the finished store.

        Sealing a sealed store does nothing. The shards do not depend on how and in which order was appended.

        Parameters
        ----------
        shard_atoms : int
            A shard holds at most this many atoms (one structure more where a single one is larger); about 60 bytes
            of memory and disk each.

        Raises
        ------
        DataError
            If nothing was appended.
        """
        if not self.is_sealed:
            if not self.done_ids:
                raise DataError(f"{self.path} holds no structures yet, so there is nothing to seal; label some first")
            shutil.rmtree(self.path / SHARDS, ignore_errors=True)  # of a sealing that was cut short
            entries = [
                self._write_shard(number, columns) for number, columns in enumerate(_merged(self._parts(), shard_atoms))
            ]
            self._write_manifest(entries)
        self._clean_sealed()
        return Store.open(self.path)

    @property
    def is_sealed(self) -> bool:
        """Whether the store is finished."""
        return (self.path / MANIFEST).exists()

    def close(self) -> None:
        """Let another process continue; a crash does the same."""
        self._lock.release()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reopen_sealed(self, identity: dict[str, str] | None) -> None:
        manifest = read_manifest(self.path)
        check_identity(self.path, manifest.identity, identity)
        self.done_ids = set(Store(self.path, manifest).ids.tolist())

    def _open_unsealed(self, identity: dict[str, str] | None, header: dict[str, Any]) -> None:
        _refuse_foreign(self.path)
        self._lock.acquire()
        if not (self.path / JOURNAL).exists():
            write_json(
                self.path / JOURNAL, {"format": FORMAT, "version": VERSION, "identity": identity, "header": header}
            )
        check_identity(self.path, self._journal()["identity"], identity)
        _remove_torn(self.path)
        for part in self._parts():
            ids = read_index(part)[0].tolist()
            if not self.done_ids.isdisjoint(ids):
                raise DataError(f"{part} holds structures that are also in another part; delete one of the two files")
            self.done_ids.update(ids)
            self._next_part = int(part.stem) + 1

    def _journal(self) -> dict[str, Any]:
        file = self.path / JOURNAL
        try:
            value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            version = int(value["version"])
            value["identity"], value["header"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file} is damaged ({error}); delete {self.path} and label again") from error
        if version > VERSION:
            raise DataError(
                f"{self.path} was begun by a newer release (format version {version}); install that release to continue"
            )
        return value

    def _parts(self) -> list[Path]:
        return sorted((self.path / PARTS).glob("[0-9]*.h5"))

    def _write_shard(self, number: int, columns: Columns) -> ShardEntry:
        name = shard_file(number)
        file = self.path / name
        write_columns(file, columns)
        return ShardEntry(
            file=name,
            n_structures=len(columns),
            n_atoms=columns.n_atoms,
            n_bytes=file.stat().st_size,
            sha256=file_digest(file),
            properties=columns.properties,
        )

    def _write_manifest(self, entries: list[ShardEntry]) -> None:
        journal = self._journal()
        found = {name for entry in entries for name in entry.properties}
        manifest = Manifest(
            identity=journal["identity"],
            header=journal["header"],
            provenance=stamp(),
            n_structures=sum(entry.n_structures for entry in entries),
            n_atoms=sum(entry.n_atoms for entry in entries),
            properties=[name for name in PROPERTIES if name in found],
            shards=entries,
        )
        write_json(self.path / MANIFEST, manifest.model_dump(mode="json"))

    def _clean_sealed(self) -> None:
        """Remove what a finished store no longer needs; repeated after a crash."""
        self._lock.release()
        (self.path / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
        _remove_torn(self.path)


def _merged(parts: list[Path], shard_atoms: int) -> Iterator[Columns]:
    """Yield the content of each shard; no more than one shard and one part are held at a time."""
    index = [read_index(part) for part in parts]
    ids = np.concatenate([i for i, _ in index])
    sizes = np.concatenate([n for _, n in index])
    part_of = np.repeat(np.arange(len(parts)), [len(i) for i, _ in index])
    row_of = np.concatenate([np.arange(len(i)) for i, _ in index])
    order = np.argsort(ids)
    for chosen in _cut(order, sizes, shard_atoms):
        loaded = [
            read_columns(parts[part]).take(row_of[chosen[part_of[chosen] == part]])
            for part in np.unique(part_of[chosen])
        ]
        shard = concatenate(loaded)
        yield shard.take(np.argsort(shard.arrays["ids"]))


def _cut(order: Integers, sizes: Integers, shard_atoms: int) -> list[Integers]:
    """Cut an order of structures into runs of at most ``shard_atoms`` atoms, at least one structure each."""
    bounds, atoms = [0], 0
    for place, size in enumerate(sizes[order].tolist()):
        if atoms and atoms + size > shard_atoms:
            bounds.append(place)
            atoms = 0
        atoms += size
    return np.split(order, bounds[1:])


def _refuse_foreign(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file; give a directory for the data set")
    if not path.exists() or (path / JOURNAL).exists():
        return
    foreign = sorted(p.name for p in path.iterdir() if p.name != PARTS and not p.name.startswith("."))
    if foreign:
        raise DataError(f"{path} holds other files ({', '.join(foreign[:3])}); give an empty or new directory")


def _remove_torn(path: Path) -> None:
    for folder in (path, path / PARTS, path / SHARDS):
        for torn in folder.glob(".*.tmp"):
            torn.unlink(missing_ok=True)
