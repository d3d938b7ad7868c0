"""The data format: what a store holds, under which names and types. Version 1.

A store is a directory with ``manifest.json`` and immutable HDF5 shards. A shard holds flat arrays: atom arrays of
all structures behind each other, cut by ``offsets``; every data set is little-endian and, unless the store is an
archive, contiguous and uncompressed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from mlff_distiller.atoms.labels import HESSIAN, PROPERTIES, SPREADS, Widths, lengths

FORMAT: Final = "mlffd-data"
"""Name of the format, in the manifest and in every shard."""

VERSION: Final = 1
"""Version of the format; readers refuse newer ones."""

MANIFEST: Final = "manifest.json"
"""Name of the file that makes a directory a finished store."""

UNSEALED: Final = "unsealed.json"
"""Name of the file that makes a directory an unfinished store."""

JOURNALS: Final = "journals"
"""Name of the directory of what writers have appended, but not sealed yet."""

SHARDS: Final = "shards"
"""Name of the directory of the shards."""

UNITS: Final = {
    "positions": "Angstrom",
    "cells": "Angstrom",
    "charge": "e",
    "energy": "eV",
    "forces": "eV/Angstrom",
    "stress": "eV/Angstrom^3, tension positive",
    "atomic_energies": "eV",
    "energy_std": "eV",
    "force_std": "eV/Angstrom",
    "hessian_products": "eV/Angstrom^2",
}
"""Units of everything that has one."""

_NAMED_WHERE_PRESENT: Final = frozenset({*SPREADS, *HESSIAN})  # older stores know nothing of them


def units_of(properties: Iterable[str]) -> dict[str, str]:
    """Return the units that a manifest names; those of a committee's spread and of Hessians only where there are some.

    Examples
    --------
    >>> "force_std" in units_of(["energy"]), "force_std" in units_of(["energy", "force_std"])
    (False, True)
    """
    found = set(properties)
    return {name: unit for name, unit in UNITS.items() if name not in _NAMED_WHERE_PRESENT or name in found}


SHARD_ATOMS: Final = 1_000_000
"""A shard holds at most this many atoms unless its writer says otherwise; about 60 bytes each."""

Axis = Literal["structure", "atom", "offset", "byte"]


@dataclass(frozen=True)
class Column:
    """One data set of a shard.

    Parameters
    ----------
    name : str
        Name of the data set.
    dtype : str
        numpy type, byte order included.
    axis : str
        What the first axis runs over: S structures, A atoms, S + 1 offsets or the bytes of a text.
    shape : tuple of int or str
        The other axes; "K": the number of directions in which Hessians are known, "D": the number of features of
        embeddings, each the same in a whole store.

    Examples
    --------
    >>> next(c for c in COLUMNS if c.name == "forces")
    Column(name='forces', dtype='<f8', axis='atom', shape=(3,))
    """

    name: str
    dtype: str
    axis: Axis
    shape: tuple[int | Literal["K", "D"], ...] = ()

    def inner(self, widths: Widths) -> tuple[int, ...]:
        """Return the lengths of the other axes."""
        return lengths(self.shape, widths)


COLUMNS: Final = (
    Column("offsets", "<i8", "offset"),
    Column("ids", "<i8", "structure"),
    Column("numbers", "|u1", "atom"),
    Column("positions", "<f8", "atom", (3,)),
    Column("cells", "<f8", "structure", (3, 3)),
    Column("pbc", "|u1", "structure", (3,)),
    Column("charge", "<i4", "structure"),
    Column("spin", "<i4", "structure"),
    Column("mask", "<u4", "structure"),
    Column("info_offsets", "<i8", "offset"),
    Column("info", "|u1", "byte"),
    Column("energy", "<f8", "structure"),
    Column("forces", "<f8", "atom", (3,)),
    Column("stress", "<f8", "structure", (3, 3)),
    Column("atomic_energies", "<f8", "atom"),
    Column("energy_std", "<f8", "structure"),
    Column("force_std", "<f8", "atom"),
    Column("hessian_directions", "<f8", "atom", ("K", 3)),
    Column("hessian_products", "<f8", "atom", ("K", 3)),
    Column("embeddings", "<f4", "atom", ("D",)),
)
"""All data sets. Those of properties that no structure of the shard has are left out."""

BITS: Final = {name: 1 << position for position, name in enumerate(PROPERTIES)}
"""Bit of each property in ``mask``; where a bit is not set the values are NaN and mean nothing."""

REFERENCE: Final = 1 << 31
"""Bit of ``mask``: the labels are of a reference method, beside those of the teacher that is distilled."""


def present(mask: int) -> tuple[str, ...]:
    """Return the properties whose bits are set.

    Examples
    --------
    >>> present(3)
    ('energy', 'forces')
    """
    return tuple(name for name, bit in BITS.items() if mask & bit)


class _Record(BaseModel):
    """Base of what the manifest holds; unknown keys are kept out of the way, not refused."""

    model_config = ConfigDict(frozen=True, strict=True)


class ShardEntry(_Record):
    """What the manifest says of one shard.

    Attributes
    ----------
    file : str
        Path below the store's directory.
    n_structures, n_atoms, n_bytes : int
        Counts, and the size of the file.
    sha256 : str
        Checksum of the file.
    properties : list of str
        Properties that at least one structure has.
    """

    file: str = Field(pattern=r"^shards/[\w-]+\.h5$")
    n_structures: int = Field(ge=1)
    n_atoms: int = Field(ge=1)
    n_bytes: int = Field(ge=1)
    sha256: str
    properties: list[str]


class Manifest(_Record):
    """The manifest of a store.

    Attributes
    ----------
    format, version : str, int
        :data:`FORMAT` and :data:`VERSION`.
    units : dict
        Those of :data:`UNITS` that belong to what is there.
    identity : dict or None
        The potential that made the labels.
    header : dict
        What the writer wished to say, for instance the recipe's digest.
    provenance : dict
        Versions, machine and time.
    n_structures, n_atoms : int
        Sums over the shards.
    properties : list of str
        Properties that at least one structure has, in the order of their bits.
    shards : list of ShardEntry
        In the order of ids.
    repairs : list of dict
        What ``mlffd data repair`` took away, and when.
    """

    format: str = FORMAT
    version: int = VERSION
    units: dict[str, str]
    identity: dict[str, str] | None = None
    header: dict[str, Any] = Field(default_factory=dict)
    provenance: dict[str, Any] = Field(default_factory=dict)
    n_structures: int
    n_atoms: int
    properties: list[str]
    shards: list[ShardEntry]
    repairs: list[dict[str, Any]] = Field(default_factory=list)

    @classmethod
    def of(
        cls,
        shards: list[ShardEntry],
        *,
        identity: dict[str, str] | None,
        header: dict[str, Any],
        provenance: dict[str, Any],
    ) -> "Manifest":
        """Return the manifest of these shards, with their sums."""
        found = {name for entry in shards for name in entry.properties}
        return cls(
            units=units_of(found),
            identity=identity,
            header=header,
            provenance=provenance,
            n_structures=sum(entry.n_structures for entry in shards),
            n_atoms=sum(entry.n_atoms for entry in shards),
            properties=[name for name in PROPERTIES if name in found],
            shards=shards,
        )
