"""Statistics of labeled structures, gathered in one pass: what a student starts from, and what a report tells."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.labels import PROPERTIES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.blocks import blocks, has, owners
from mlff_distiller.data.columns import Columns
from mlff_distiller.data.source import Source

if TYPE_CHECKING:
    from mlff_distiller.atoms.batch_neighbors import BatchEdges

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_N_ELEMENTS = len(SYMBOLS)
_BLOCK_ATOMS = 100_000


@dataclass(frozen=True, order=True)
class System:
    """What structures can have in common.

    Attributes
    ----------
    counts : tuple of (int, int)
        Atomic number and number of atoms of each element.
    charge, spin : int
        Total charge, e, and multiplicity.
    """

    counts: tuple[tuple[int, int], ...]
    charge: int
    spin: int

    @property
    def formula(self) -> str:
        """Hill formula."""
        numbers = [z for z, n in self.counts for _ in range(n)]
        return Structure(numbers, np.zeros((len(numbers), 3))).formula


@dataclass
class Energies:
    """Energies of the structures of one system.

    Attributes
    ----------
    n_structures, n_energies : int
        All structures, and those whose energy is a finite number.
    per_atom_sum : float
        Sum of these energies per atom, eV.
    """

    n_structures: int = 0
    n_energies: int = 0
    per_atom_sum: float = 0.0


@dataclass
class Statistics:
    """Statistics of a source; make them with :meth:`of`.

    Memory grows with the number of different systems (composition, charge, spin), not with that of structures.

    Attributes
    ----------
    n_structures, n_atoms, n_periodic : int
        Counts.
    systems : dict of System to Energies
        What is in the data.
    properties : Counter of str
        Structures that have each label.
    energy_range : (float, float)
        Lowest and highest energy per atom, eV.
    force_square_sum, n_force_components, force_max : float, int, float
        Of all force components, (eV/Angstrom)^2, and the longest force on an atom, eV/Angstrom.
    not_finite : int or None
        First structure whose energy is not a finite number.
    n_not_finite : Counter of str
        Structures with an energy, or any force, that is not a finite number; ranges and means leave these out.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.data.columns import pack
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])
    >>> h2o = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> found = Statistics.of(pack([0, 1], [h2, h2o], [Labels(energy=-26.0), Labels(energy=-138.0)]))
    >>> {number: round(energy, 6) for number, energy in found.reference_energies().items()}
    {1: -13.0, 8: -112.0}
    """

    n_structures: int = 0
    n_atoms: int = 0
    n_periodic: int = 0
    systems: dict[System, Energies] = field(default_factory=dict)
    properties: Counter[str] = field(default_factory=Counter)
    energy_range: tuple[float, float] = (np.inf, -np.inf)
    force_square_sum: float = 0.0
    n_force_components: int = 0
    force_max: float = 0.0
    not_finite: int | None = None
    n_not_finite: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, source: Source) -> "Statistics":
        """Return the statistics of a store, of columns or of a data set, read once in blocks."""
        statistics = cls()
        for _, block in blocks(source, max_atoms=_BLOCK_ATOMS):
            statistics._add(block)
        return statistics

    @property
    def force_rms(self) -> float | None:
        """Root mean square of all force components, eV/Angstrom; None without forces."""
        return float(np.sqrt(self.force_square_sum / self.n_force_components)) if self.n_force_components else None

    def reference_energies(self) -> dict[int, float]:
        """Fit one energy (eV) for each element, so that their sum over a structure is close to its energy.

        Least squares of the error per atom over all structures. Often the compositions do not determine every element
        (one molecule only, say); then, of all best fits, the one nearest to "the same energy for every atom" is taken:
        the mean energy per atom plus the correction of minimum norm. One molecule of N atoms thus gives energy / N to
        each of its elements.

        Structures of one composition share a row of the problem, weighted by their number: the same fit exactly.

        Raises
        ------
        DataError
            If there are no energies, or one is not finite.
        """
        if self.not_finite is not None:
            raise DataError(f"the energy of structure {self.not_finite} is not finite; remove it")
        known = {system: e for system, e in self.systems.items() if e.n_energies}
        if not known:
            raise DataError("no structure has an energy, and reference energies need at least one; label energies too")
        elements = sorted({z for system in known for z, _ in system.counts})
        fractions = np.array([_fractions(system, elements) for system in known])
        weights = np.array([e.n_energies for e in known.values()], dtype=np.float64)
        sums = np.array([e.per_atom_sum for e in known.values()])
        mean = sums.sum() / weights.sum()
        rows, target = np.sqrt(weights)[:, None] * fractions, (sums - weights * mean) / np.sqrt(weights)
        correction = np.linalg.lstsq(rows, target, rcond=1e-10)[0]
        return {z: float(mean + c) for z, c in zip(elements, correction, strict=True)}

    def summary(self) -> dict[str, Any]:
        """Return plain data for reports and ``mlffd info``.

        ``energy_per_atom_eV`` (minimum, mean, maximum), ``force_rms_eV_per_A`` and ``force_max_eV_per_A`` (longest
        force on an atom) are those of finite numbers, None where there is none; ``not_finite`` counts the structures
        with an energy or a force that is not one. Counts of elements are atoms, counts of formulas structures.
        """
        elements: Counter[int] = Counter()
        formulas: Counter[str] = Counter()
        for system, energies in self.systems.items():
            elements.update({z: n * energies.n_structures for z, n in system.counts})
            formulas[system.formula] += energies.n_structures
        return {
            "n_structures": self.n_structures,
            "n_atoms": self.n_atoms,
            "n_periodic": self.n_periodic,
            "elements": {SYMBOLS[z]: n for z, n in sorted(elements.items())},
            "formulas": dict(sorted(formulas.items())),
            "properties": {name: self.properties[name] for name in PROPERTIES if self.properties[name]},
            "not_finite": dict(self.n_not_finite),
            "energy_per_atom_eV": self._energies(),
            "force_rms_eV_per_A": self.force_rms,
            "force_max_eV_per_A": self.force_max if self.n_force_components else None,
        }

    def _energies(self) -> dict[str, float] | None:
        known = sum(energies.n_energies for energies in self.systems.values())
        if not known:
            return None
        mean = sum(energies.per_atom_sum for energies in self.systems.values()) / known
        return {"min": self.energy_range[0], "mean": mean, "max": self.energy_range[1]}

    def _add(self, block: Columns) -> None:
        per_atom = self._add_energies(block)
        self._add_forces(block)
        for system, energies in _by_system(block, per_atom).items():
            known = self.systems.setdefault(system, Energies())
            known.n_structures += energies.n_structures
            known.n_energies += energies.n_energies
            known.per_atom_sum += energies.per_atom_sum
        self.properties.update({name: int(np.count_nonzero(has(block, name))) for name in PROPERTIES})
        self.n_periodic += int(block.arrays["pbc"].all(1).sum())
        self.n_atoms += block.n_atoms
        self.n_structures += len(block)

    def _add_energies(self, block: Columns) -> Floats:
        """Note the range of energies and return them per atom (S,), NaN or infinite where there is none."""
        known = has(block, "energy")
        if not known.any():
            return np.full(len(block), np.nan)
        per_atom = np.where(known, block.arrays["energy"], np.nan) / block.sizes
        finite = np.isfinite(per_atom)
        spoiled = np.flatnonzero(known & ~finite)
        if len(spoiled):
            self.n_not_finite["energy"] += len(spoiled)
            self.not_finite = self.n_structures + int(spoiled[0]) if self.not_finite is None else self.not_finite
        lowest, highest = self.energy_range
        found = per_atom[finite]
        self.energy_range = float(found.min(initial=lowest)), float(found.max(initial=highest))
        return per_atom

    def _add_forces(self, block: Columns) -> None:
        known = has(block, "forces")
        if not known.any():
            return
        forces, owner = block.arrays["forces"], owners(block)
        finite = np.isfinite(forces).all(1)
        if n_spoiled := len(np.unique(owner[known[owner] & ~finite])):
            self.n_not_finite["forces"] += n_spoiled
        squares = (forces[known[owner] & finite] ** 2).sum(1)
        self.force_square_sum += float(squares.sum())
        self.n_force_components += 3 * len(squares)
        self.force_max = max(self.force_max, float(np.sqrt(squares.max(initial=0.0))))


def summary(source: Source) -> dict[str, Any]:
    """Return plain data about a store, columns or a data set; see :meth:`Statistics.summary`.

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> found = summary(pack([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])]))
    >>> found["elements"], found["formulas"], found["force_rms_eV_per_A"] is None
    ({'H': 2}, {'H2': 1}, True)
    """
    return Statistics.of(source).summary()


def count_neighbors(columns: Columns, cutoff: float) -> Integers:
    """Return the number of neighbors of each atom (N,) within the cutoff (Angstrom).

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> count_neighbors(pack([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])]), 5.0).tolist()
    [1, 1]
    """
    edges = _edges(columns, cutoff)
    return np.bincount(edges.centers.numpy(), minlength=columns.n_atoms).astype(np.int64)


def _edges(columns: Columns, cutoff: float) -> "BatchEdges":
    import torch

    from mlff_distiller.atoms.batch_neighbors import find_batch_edges

    arrays = columns.arrays
    positions = torch.from_numpy(arrays["positions"])
    return find_batch_edges(positions, columns.sizes, cells=arrays["cells"], pbc=arrays["pbc"], cutoff=cutoff)


def count_edges(source: Source, cutoff: float) -> NDArray[np.int32]:
    """Return the number of directed pairs within the cutoff (Angstrom) of each structure (S,).

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> count_edges(pack([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])]), 5.0).tolist()
    [2]
    """
    counts = np.zeros(len(source), dtype=np.int32)
    for rows, block in blocks(source):
        counts[rows] = np.add.reduceat(count_neighbors(block, cutoff), block.arrays["offsets"][:-1])
    return counts


def mean_neighbors(source: Source, cutoff: float) -> float:
    """Return the mean number of neighbors of an atom within the cutoff (Angstrom).

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> mean_neighbors(pack([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])]), cutoff=5.0)
    1.0
    """
    return float(count_edges(source, cutoff).sum(dtype=np.int64) / max(1, int(source.sizes.sum())))


def shortest_distance(source: Source, cutoff: float) -> float | None:
    """Return the shortest distance of two atoms, periodic images counted, Angstrom; None where all are further apart.

    Parameters
    ----------
    source : Source
        S structures.
    cutoff : float
        Longest distance that is looked for, Angstrom.

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> shortest_distance(pack([0], [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])]), 1.0)
    0.74
    """
    found = []
    for _, block in blocks(source):
        vectors = _edges(block, cutoff).vectors
        if len(vectors):
            found.append(float(vectors.norm(dim=1).min()))
    return round(min(found), 6) if found else None


def neighbor_histogram(source: Source, cutoff: float) -> Integers:
    """Return how many atoms have 0, 1, 2, ... neighbors within the cutoff (Angstrom); the first are isolated.

    Examples
    --------
    >>> from mlff_distiller.data.columns import pack
    >>> neighbor_histogram(pack([0], [Structure([1] * 3, [[0, 0, 0], [0, 0, 0.7], [0, 0, 9]])]), 5.0).tolist()
    [1, 2]
    """
    histogram = np.zeros(0, dtype=np.int64)
    for _, block in blocks(source):
        found = np.bincount(count_neighbors(block, cutoff), minlength=len(histogram))
        found[: len(histogram)] += histogram
        histogram = found.astype(np.int64)
    return histogram


def _by_system(block: Columns, per_atom: Floats) -> dict[System, Energies]:
    """Return the sums of a block for each system in it."""
    arrays = block.arrays
    flat = np.bincount(owners(block) * _N_ELEMENTS + arrays["numbers"], minlength=len(block) * _N_ELEMENTS)
    counts = flat.reshape(len(block), _N_ELEMENTS)
    elements = np.flatnonzero(counts.any(0))
    keys = np.column_stack([counts[:, elements], arrays["charge"], arrays["spin"]])
    found, of = np.unique(keys, axis=0, return_inverse=True)
    of, known = of.reshape(-1), np.isfinite(per_atom)
    n_structures, n_energies = np.bincount(of, minlength=len(found)), np.bincount(of[known], minlength=len(found))
    sums = np.bincount(of[known], weights=per_atom[known], minlength=len(found))
    return {
        _system(key, elements): Energies(int(n), int(n_known), float(total))
        for key, n, n_known, total in zip(found, n_structures, n_energies, sums, strict=True)
    }


def _system(key: Integers, elements: Integers) -> System:
    *counts, charge, spin = key.tolist()
    present = tuple((z, n) for z, n in zip(elements.tolist(), counts, strict=True) if n)
    return System(present, charge, spin)


def _fractions(system: System, elements: list[int]) -> list[float]:
    counts = dict(system.counts)
    total = sum(counts.values())
    return [counts.get(z, 0) / total for z in elements]
