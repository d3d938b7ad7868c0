"""Store: a finished data set, a directory of immutable shards with a manifest."""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.provenance import digest, file_digest
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.hdf5 import read_columns
from mlff_distiller.data.schema import FORMAT, MANIFEST, SHARDS, VERSION, Manifest, ShardEntry

T = TypeVar("T")


class Store:
    """A finished, read-only data set; open it with :meth:`open`, make one with a ``StoreWriter``.

    Structures are numbered 0 to S - 1 in the order of their ids.

    Parameters
    ----------
    path : Path
        The directory.
    manifest : Manifest
        What it says of itself.

    Examples
    --------
    >>> import tempfile
    >>> from mlff_distiller.data.writer import StoreWriter
    >>> writer = StoreWriter(Path(tempfile.mkdtemp(), "data"), identity={"kind": "xtb"})
    >>> writer.append([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])], [Labels(energy=-26.6)])
    >>> store = writer.seal()
    >>> len(store), store.n_atoms, store.properties, store.labels(0).energy
    (1, 2, {'energy'}, -26.6)
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._first = np.cumsum([0, *(shard.n_structures for shard in manifest.shards)])
        self._cached: tuple[int, Columns] | None = None

    @classmethod
    def open(cls, path: Path) -> "Store":
        """Open a finished store.

        Raises
        ------
        DataError
            If there is no store, it is unfinished, empty, of another format or of a newer version, or a shard is
            missing or has another size than the manifest says.
        """
        if not path.is_dir():
            raise DataError(f"{path} does not exist or is no directory; check the path of the data set")
        manifest = read_manifest(path)
        if manifest.n_structures == 0:
            raise DataError(f"{path} holds no structures; label at least one, or check what the labeling refused")
        problems = [problem for shard in manifest.shards if (problem := _wrong_size(path, shard))]
        if problems:
            raise DataError(problems[0])
        return cls(path, manifest)

    def __len__(self) -> int:
        return self.manifest.n_structures

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
        """What the writer wished to say."""
        return self.manifest.header

    @property
    def properties(self) -> set[str]:
        """Properties that at least one structure has."""
        return set(self.manifest.properties)

    @property
    def digest(self) -> str:
        """SHA-256 over the checksums of all shards: the same data, the same digest, whenever written."""
        return digest([shard.sha256 for shard in self.manifest.shards])

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """Ids of all structures (S,), ascending."""
        return np.concatenate([columns.arrays["ids"] for columns in self._all_columns()])

    def structure(self, i: int) -> Structure:
        """Return structure ``i``."""
        shard, row = self._locate(i)
        return self._columns(shard).structure(row)

    def labels(self, i: int) -> Labels:
        """Return the labels of structure ``i``; what is absent stays absent."""
        shard, row = self._locate(i)
        return self._columns(shard).labels(row)

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
        return [problem for shard in self.manifest.shards if (problem := _damage(self.path, shard))]

    def _read(self, indices: Sequence[int] | NDArray[np.int64] | None, read: Any) -> list[Any]:
        wanted = np.arange(len(self)) if indices is None else np.asarray(indices, dtype=np.int64)
        located = [self._locate(int(i)) for i in wanted]
        found: list[Any] = [None] * len(located)
        for place in sorted(range(len(located)), key=lambda place: located[place]):  # each shard is read once
            shard, row = located[place]
            found[place] = read(self._columns(shard), row)
        return found

    def _locate(self, i: int) -> tuple[int, int]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"structure {i} of a store of {len(self)}")
        i %= len(self)
        shard = int(np.searchsorted(self._first, i, side="right")) - 1
        return shard, i - int(self._first[shard])

    def _columns(self, shard: int) -> Columns:
        if self._cached is None or self._cached[0] != shard:
            self._cached = shard, read_columns(self.path / self.manifest.shards[shard].file)
        return self._cached[1]

    def _all_columns(self) -> Iterable[Columns]:
        return (self._columns(shard) for shard in range(len(self.manifest.shards)))


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of a store's directory.

    Raises
    ------
    DataError
        If there is none, or it is damaged, of another format or of a newer version.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise DataError(f"{path} has no {MANIFEST}: labeling did not finish; run again to continue it")
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        name, version = value["format"], int(value["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({type(error).__name__}: {error}); restore it from a copy") from error
    if name != FORMAT:
        raise DataError(f"{file} is of format '{name}', not '{FORMAT}'; check the path of the data set")
    if version > VERSION:
        raise DataError(
            f"{path} is of format version {version}, written by a newer release; install a release of mlff-distiller "
            f"that reads version {version} (this one reads up to {VERSION})"
        )
    try:
        manifest = Manifest.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{file} is damaged ({where}: {first['msg']}); restore it from a copy") from error
    if manifest.n_structures != sum(shard.n_structures for shard in manifest.shards):
        raise DataError(f"{file} is damaged (its shards do not add up to n_structures); restore it from a copy")
    return manifest


def check_identity(path: Path, found: dict[str, str] | None, asked: dict[str, str] | None) -> None:
    """Refuse to mix the labels of two potentials.

    Raises
    ------
    DataError
        If the identities differ.
    """
    if found != asked:
        raise DataError(
            f"{path} holds labels of {_name(found)}, not of {_name(asked)}; "
            "choose another directory, or delete this one"
        )


def _name(identity: dict[str, str] | None) -> str:
    return " ".join(identity.values()) if identity else "no potential"


def _wrong_size(path: Path, shard: ShardEntry) -> str:
    file = path / shard.file
    if not file.is_file():
        return f"{file} is missing; restore it from a copy, or delete {path} and run again"
    size = file.stat().st_size
    if size != shard.n_bytes:
        return f"{file} has {size} bytes, not {shard.n_bytes}; restore it from a copy, or delete {path} and run again"
    return ""


def _damage(path: Path, shard: ShardEntry) -> str:
    problem = _wrong_size(path, shard)
    if not problem and file_digest(path / shard.file) != shard.sha256:
        problem = (
            f"{path / shard.file} does not match its checksum, so at least one byte has changed; "
            f"restore it from a copy, or delete {path} and run again"
        )
    return problem


def shard_file(number: int) -> str:
    """Return the path of a shard below the store's directory.

    Examples
    --------
    >>> shard_file(3)
    'shards/000003.h5'
    """
    return f"{SHARDS}/{number:06d}.h5"
