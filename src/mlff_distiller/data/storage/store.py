"""Store: a finished data set, a directory of immutable shards with a manifest."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mlff_distiller.atoms.labels import Labels, Widths
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.provenance import digest, file_digest
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.schema import FORMAT, MANIFEST, SHARDS, UNSEALED, VERSION, Manifest, ShardEntry, units_of
from mlff_distiller.data.storage.hdf5 import REPAIR, read_index
from mlff_distiller.data.storage.shards import Shards

T = TypeVar("T")

DAMAGED = "damaged"
_BLOCK = 10_000


class Store:
    """A finished, read-only data set; open it with :meth:`open`, make one with a ``StoreWriter``.

    Structures are numbered 0 to S - 1 in the order of their ids. Shards are mapped into memory: a structure costs the
    reading of its own bytes, and memory does not grow with the store.

    Parameters
    ----------
    path : Path
        The directory.
    manifest : Manifest
        What it says of itself.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.data.storage.writer import StoreWriter
    >>> writer = StoreWriter(Path(tempfile.mkdtemp(), "data"), identity={"kind": "xtb"})
    >>> writer.append([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])], [Labels(energy=-26.6)])
    >>> store = writer.seal()
    >>> len(store), store.n_atoms, store.properties, store.labels(0).energy
    (1, 2, {'energy'}, -26.6)
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._shards = Shards(path, manifest.shards)

    @classmethod
    def open(cls, path: Path, *, partial: bool = False) -> "Store":
        """Open a finished store.

        Parameters
        ----------
        path : Path
            The directory.
        partial : bool
            Open an unfinished store too: what its writers have sealed so far, in no particular order.

        Raises
        ------
        DataError
            If there is no store, it is unfinished, empty, of another format or of a newer version, or a shard is
            missing or has another size than the manifest says.
        """
        manifest = known_manifest(path, partial=partial)
        if manifest.n_structures == 0:
            raise DataError(f"{path} holds no structures; label at least one, or check what the labeling refused")
        problems = [problem for shard in manifest.shards if (problem := wrong_size(path, shard))]
        if problems:
            raise DataError(problems[0])
        return cls(path, manifest)

    def __len__(self) -> int:
        return self.manifest.n_structures

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to other processes as a path; each maps the files itself."""
        return type(self), (self.path, self.manifest)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in all structures."""
        return self.manifest.n_atoms

    @property
    def identity(self) -> dict[str, str] | None:
        """The potential that made the labels."""
        return self.manifest.identity

    @property
    def header(self) -> dict[str, Any]:
        """What the store was made from."""
        return self.manifest.header

    @property
    def properties(self) -> set[str]:
        """Properties that at least one structure has."""
        return set(self.manifest.properties)

    @cached_property
    def widths(self) -> Widths:
        """K, the number of directions in which Hessians are known, and D, the number of features, if any."""
        return self._shards.widths

    @property
    def digest(self) -> str:
        """SHA-256 over the checksums of all shards: the same data, the same digest, whenever written."""
        return digest([shard.sha256 for shard in self.manifest.shards])

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all structures (S,), ascending."""
        return np.concatenate([read_index(file)[0] for file in self._shards.files])

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Numbers of atoms of all structures (S,)."""
        return np.concatenate([read_index(file)[1] for file in self._shards.files])

    def take(self, rows: Sequence[int] | NDArray[np.int64], *, only: Collection[str] | None = None) -> Columns:
        """Return a copy of the given structures as columns, in the given order; of some arrays only, if said."""
        return self._shards.take(np.asarray(rows, dtype=np.int64), only=only)

    def scan(self, *, block_atoms: int = 200_000) -> Iterator[Columns]:
        """Yield all structures in order, in blocks of about ``block_atoms`` atoms."""
        for shard in range(len(self.manifest.shards)):
            yield from self._shards.blocks(shard, block_atoms)

    def structure(self, i: int) -> Structure:
        """Return structure ``i``."""
        return self.take([i]).structure(0)

    def labels(self, i: int) -> Labels:
        """Return the labels of structure ``i``; what is absent stays absent."""
        return self.take([i]).labels(0)

    def structures(self, indices: Sequence[int] | NDArray[np.int64] | None = None) -> list[Structure]:
        """Return many structures, in the order of the indices; all of them unless said."""
        return self._read(indices, Columns.structure)

    def all_labels(self, indices: Sequence[int] | NDArray[np.int64] | None = None) -> list[Labels]:
        """Return the labels of many structures, in the order of the indices; all of them unless said."""
        return self._read(indices, Columns.labels)

    def infos(self, indices: Sequence[int] | NDArray[np.int64] | None = None) -> list[dict[str, Any]]:
        """Return the free information of many structures, in the order of the indices; all of them unless said."""
        return self._read(indices, Columns.info)

    def verify(self) -> list[str]:
        """Read every byte and return what is wrong, one sentence for each problem; an empty list is good."""
        return [problem for shard in self.manifest.shards if (problem := damage(self.path, shard))]

    def _read(self, indices: Sequence[int] | NDArray[np.int64] | None, read: Callable[[Columns, int], T]) -> list[T]:
        rows = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        blocks = (self.take(rows[first : first + _BLOCK]) for first in range(0, len(rows), _BLOCK))
        return [read(block, row) for block in blocks for row in range(len(block))]


def known_manifest(path: Path, *, partial: bool) -> Manifest:
    """Return the manifest of a finished store, or if ``partial`` one of what an unfinished store has sealed so far.

    Raises
    ------
    DataError
        If there is no store, nothing is sealed yet, or what it says of itself cannot be read.
    """
    if not path.is_dir():
        raise DataError(f"{path} does not exist or is no directory; check the path of the data set")
    if not partial or (path / MANIFEST).exists() or not (path / UNSEALED).exists():
        return read_manifest(path)
    unsealed = read_unsealed(path)
    entries = sealed_entries(path)
    if not entries:
        raise DataError(f"{path} was begun, but no shard of it is finished yet; continue it with what writes it")
    return Manifest.of(entries, identity=unsealed["identity"], header=unsealed["header"], provenance={})


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a store's directory.

    Raises
    ------
    DataError
        If there is none, or it is damaged, of another format or of a newer version.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise DataError(f"{path} has no {MANIFEST}: it was not finished; run again what writes it, to continue it")
    value = _read_versioned(file)
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{file} is damaged ({where}: {first['msg']}); {REPAIR}") from error
    for name in ("n_structures", "n_atoms"):
        if getattr(manifest, name) != sum(getattr(shard, name) for shard in manifest.shards):
            raise DataError(f"{file} is damaged (its shards do not add up to {name}); {REPAIR}")
    if manifest.units != units_of(manifest.properties):
        raise DataError(f"{file} names other units than those of the format; {REPAIR}")
    return manifest


def read_unsealed(path: Path) -> dict[str, Any]:
    """Return what an unfinished store says of itself: identity, header, shard_atoms, compressed.

    Raises
    ------
    DataError
        If it is damaged, of another format or of a newer version.
    """
    file = path / UNSEALED
    value = _read_versioned(file)
    if not {"identity", "header", "shard_atoms", "compressed"} <= value.keys():
        raise DataError(f"{file} is damaged; {REPAIR}")
    return value


def sealed_entries(path: Path, writer: str = "*") -> list[ShardEntry]:
    """Return what the writers of an unfinished store (or one of them) have sealed."""
    entries = []
    for file in sorted((path / SHARDS).glob(f"{writer}-*.json")):
        try:
            entry = ShardEntry.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            continue  # written atomically, so not by us; its structures count as not stored
        if not wrong_size(path, entry):
            entries.append(entry)
    return entries


def unpaired(path: Path) -> list[Path]:
    """Return shards of an unfinished store that do not count, for want of a whole entry or of bytes."""
    known = {entry.file for entry in sealed_entries(path)}
    files = sorted((path / SHARDS).glob("[0-9]*-*.h5"))
    return [file for file in files if file.relative_to(path).as_posix() not in known]


def check_same(
    path: Path,
    found: tuple[dict[str, str] | None, dict[str, Any]],
    asked: tuple[dict[str, str] | None, dict[str, Any] | None],
) -> None:
    """Refuse to mix the labels of two potentials, or what was made from different things.

    Parameters
    ----------
    path : Path
        The store's directory.
    found, asked : tuple
        Identity and header of the store and of who wants to write; a header that is None says nothing.

    Raises
    ------
    DataError
        If they differ; the message names what differs.
    """
    if found[0] != asked[0]:
        raise DataError(
            f"{path} holds labels of {_name(found[0])}, not of {_name(asked[0])}; "
            "choose another directory, or delete this one"
        )
    if asked[1] is not None:
        known = found[1]
        changed = sorted({k for k in {*known, *asked[1]} if k not in known or known[k] != asked[1].get(k)})
        if changed:
            raise DataError(
                f"{path} was begun with another {' and '.join(changed)}; choose another directory, or delete this one"
            )


def _name(identity: dict[str, str] | None) -> str:
    return " ".join(identity.values()) if identity else "no potential"


def wrong_size(path: Path, shard: ShardEntry) -> str:
    """Return what is wrong with a shard at a glance: missing, or of another size; nothing if neither."""
    file = path / shard.file
    if not file.is_file():
        return f"{file} is missing; {REPAIR}"
    size = file.stat().st_size
    if size != shard.n_bytes:
        return f"{file} has {size} bytes, not {shard.n_bytes}; {REPAIR}"
    return ""


def damage(path: Path, shard: ShardEntry) -> str:
    """Return what is wrong with a shard, every byte read; nothing if it is whole."""
    problem = wrong_size(path, shard)
    if not problem and file_digest(path / shard.file) != shard.sha256:
        problem = f"{path / shard.file} does not match its checksum, so at least one byte has changed; {REPAIR}"
    return problem


def shard_file(number: int) -> str:
    """Return the path of a shard below the store's directory.

    Examples
    --------
    >>> shard_file(3)
    'shards/000003.h5'
    """
    return f"{SHARDS}/{number:06d}.h5"


def _read_versioned(file: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        name, version = value["format"], int(value["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({type(error).__name__}: {error}); {REPAIR}") from error
    if name != FORMAT:
        raise DataError(f"{file} is of format '{name}', not '{FORMAT}'; check the path of the data set")
    if version > VERSION:
        raise DataError(
            f"{file.parent} is of format version {version}, written by a newer release; install a release of "
            f"mlff-distiller that reads version {version} (this one reads up to {VERSION})"
        )
    return value


def entry_of(path: Path, file: Path, columns: Columns) -> ShardEntry:
    """Return what the manifest of a store says of a shard that holds these columns."""
    return ShardEntry(
        file=file.relative_to(path).as_posix(),
        n_structures=len(columns),
        n_atoms=columns.n_atoms,
        n_bytes=file.stat().st_size,
        sha256=file_digest(file),
        properties=columns.properties,
    )


def set_aside(path: Path, names: list[str]) -> None:
    """Move files of a store to ``damaged/``; nothing is deleted."""
    for name in names:
        target = path / DAMAGED / Path(name).name
        target.parent.mkdir(exist_ok=True)
        while target.exists():
            target = target.with_name(target.name + "+")
        if (path / name).exists():
            (path / name).rename(target)
