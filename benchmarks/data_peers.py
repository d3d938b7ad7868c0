"""What benchmarks/data.py compares the store with: four usual ways to keep labeled structures on disk.

Each peer writes blocks of columns, opens what it wrote, and reads rows: as plain arrays in its own quickest way, and as
columns, so that one loader makes batches from all of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import ase
import ase.db
import h5py
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator

from mlff_distiller.data.columns import Columns
from mlff_distiller.data.loading.batch import READ
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter


class Peer(ABC):
    """A way to keep structures."""

    name: ClassVar[str]
    properties = ("energy", "forces")

    def __init__(self, path: Path, n_structures: int, n_atoms: int) -> None:
        self.path, self.n, self.n_atoms = path, n_structures, n_atoms

    def __len__(self) -> int:
        return self.n

    @property
    def sizes(self) -> np.ndarray:
        return np.full(self.n, self.n_atoms)

    @abstractmethod
    def write(self, blocks: Iterable[Columns]) -> None:
        """Write all blocks."""

    @abstractmethod
    def open(self) -> None:
        """Open what was written."""

    @abstractmethod
    def read(self, rows: np.ndarray) -> Any:
        """Return numbers, positions, energies and forces as arrays."""

    def take(self, rows: np.ndarray, *, only: Any = None) -> Columns:
        """Return the same as columns."""
        numbers, positions, energy, forces = self.read(rows)
        n = len(rows)
        return Columns(
            {
                "offsets": np.arange(n + 1) * self.n_atoms,
                "info_offsets": np.arange(n + 1) * 2,
                "info": np.frombuffer(b"{}" * n, dtype=np.uint8),
                "ids": rows,
                "numbers": np.asarray(numbers, dtype=np.uint8).reshape(-1),
                "positions": np.asarray(positions).reshape(-1, 3),
                "cells": np.zeros((n, 3, 3)),
                "pbc": np.zeros((n, 3), dtype=np.uint8),
                "charge": np.zeros(n, dtype=np.int32),
                "spin": np.ones(n, dtype=np.int32),
                "mask": np.full(n, 3, dtype=np.uint32),
                "energy": np.asarray(energy, dtype=np.float64),
                "forces": np.asarray(forces).reshape(-1, 3),
            }
        )


class MlffdStore(Peer):
    name = "mlffd store"

    def write(self, blocks: Iterable[Columns]) -> None:
        with StoreWriter(self.path) as writer:
            for block in blocks:
                writer.append_columns(block)
            writer.seal()

    def open(self) -> None:
        self.store = Store.open(self.path)
        self.source = self.store

    @property
    def sizes(self) -> np.ndarray:
        return self.store.sizes

    def read(self, rows: np.ndarray) -> Any:
        return self.store.take(rows, only=READ)

    def take(self, rows: np.ndarray, *, only: Any = None) -> Columns:
        return self.store.take(rows, only=only)


class NpyMemmap(Peer):
    """Flat arrays with offsets, one npy file for each, mapped into memory: the floor for data of any sizes."""

    name = "npy memmap"

    def write(self, blocks: Iterable[Columns]) -> None:
        self.path.mkdir()
        shapes = {
            "numbers": ("u1", (self.n * self.n_atoms,)),
            "positions": ("f8", (self.n * self.n_atoms, 3)),
            "forces": ("f8", (self.n * self.n_atoms, 3)),
            "energy": ("f8", (self.n,)),
        }
        for name, (dtype, shape) in shapes.items():
            np.lib.format.open_memmap(self.path / f"{name}.npy", mode="w+", dtype=dtype, shape=shape).flush()
        np.save(self.path / "offsets.npy", np.arange(self.n + 1) * self.n_atoms)
        first = 0
        for block in blocks:
            for name in shapes:
                array = np.load(self.path / f"{name}.npy", mmap_mode="r+")
                scale = 1 if name == "energy" else self.n_atoms
                array[first * scale : (first + len(block)) * scale] = block.arrays[name]
                array.flush()
            first += len(block)

    def open(self) -> None:
        names = ("numbers", "positions", "forces", "energy", "offsets")
        arrays = {name: np.load(self.path / f"{name}.npy", mmap_mode="r") for name in names}
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}  # sheds memmap's slow indexing
        self._keep = arrays

    def read(self, rows: np.ndarray) -> Any:
        a = self.arrays
        first = a["offsets"][rows]
        sizes = a["offsets"][rows + 1] - first
        ends = np.cumsum(sizes)
        atoms = np.repeat(first - ends + sizes, sizes) + np.arange(ends[-1])
        return (
            a["numbers"][atoms],
            a["positions"].take(atoms, axis=0),
            a["energy"][rows],
            a["forces"].take(atoms, axis=0),
        )


class NpyMemmapEqual(NpyMemmap):
    """The same, knowing that all structures have as many atoms: rows are blocks of equal size, nothing is ragged."""

    name = "npy memmap, equal sizes"

    def open(self) -> None:
        super().open()
        for name in ("numbers", "positions", "forces"):
            array = self.arrays[name]
            self.arrays[name] = array.reshape(self.n, self.n_atoms, *array.shape[1:])

    def read(self, rows: np.ndarray) -> Any:
        return tuple(self.arrays[name].take(rows, axis=0) for name in ("numbers", "positions", "energy", "forces"))


class GroupPerStructure(Peer):
    """HDF5 with one group for each structure, as many published data sets have it."""

    name = "HDF5, group each"

    def write(self, blocks: Iterable[Columns]) -> None:
        number = 0
        with h5py.File(self.path, "w") as file:
            for block in blocks:
                for row in range(len(block)):
                    group = file.create_group(str(number))
                    atoms = slice(*block.arrays["offsets"][row : row + 2])
                    for name in ("numbers", "positions", "forces"):
                        group[name] = block.arrays[name][atoms]
                    group["energy"] = block.arrays["energy"][row]
                    number += 1

    def open(self) -> None:
        self.file = h5py.File(self.path, "r")

    def read(self, rows: np.ndarray) -> Any:
        groups = [self.file[str(row)] for row in rows.tolist()]
        return tuple([group[name][()] for group in groups] for name in ("numbers", "positions", "energy", "forces"))


class AseDatabase(Peer):
    """ASE's database, SQLite."""

    name = "ASE sqlite db"

    def write(self, blocks: Iterable[Columns]) -> None:
        for block in blocks:
            with ase.db.connect(self.path) as database:
                for row in range(len(block)):
                    atoms = slice(*block.arrays["offsets"][row : row + 2])
                    frame = ase.Atoms(
                        numbers=block.arrays["numbers"][atoms], positions=block.arrays["positions"][atoms]
                    )
                    labels = {"energy": float(block.arrays["energy"][row]), "forces": block.arrays["forces"][atoms]}
                    frame.calc = SinglePointCalculator(frame, **labels)
                    database.write(frame)

    def open(self) -> None:
        self.database = ase.db.connect(self.path)

    def read(self, rows: np.ndarray) -> Any:
        found = [self.database.get(int(row) + 1) for row in rows]
        return tuple([getattr(row, name) for row in found] for name in ("numbers", "positions", "energy", "forces"))


class Aselmdb(AseDatabase):
    """The LMDB database of ase-db-backends, as OMat24 and OMol25 are published."""

    name = "aselmdb"


PEERS = {peer.name: peer for peer in (MlffdStore, NpyMemmap, NpyMemmapEqual, GroupPerStructure, AseDatabase, Aselmdb)}
ENDINGS = {"HDF5, group each": ".h5", "ASE sqlite db": ".db", "aselmdb": ".aselmdb"}
LARGE = ("mlffd store", "npy memmap", "npy memmap, equal sizes")
