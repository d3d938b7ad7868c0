"""What the numbers of a file say about its units: used to contradict or to support, never to guess alone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from mlff_distiller.core.units import BOHR
from mlff_distiller.data.importers.frame import Frame
from mlff_distiller.data.importers.units import ENERGY_UNITS, factor

Floats = NDArray[np.float64]

# Total energies of neutral atoms, Hartree. Z = 1-18: exact non-relativistic (Chakravorty et al. 1993,
# doi:10.1103/PhysRevA.47.3649); Z = 19-36: numerical Hartree-Fock (Koga et al. 1993, doi:10.1103/PhysRevA.47.4510).
# fmt: off
ATOMIC_TOTALS: Final = (
    np.nan, -0.5, -2.9037, -7.4781, -14.6674, -24.6539, -37.8450, -54.5892, -75.0673, -99.7339, -128.9376,
    -162.2546, -200.053, -242.346, -289.359, -341.259, -398.110, -460.148, -527.540,
    -599.1648, -676.7582, -759.7357, -848.4060, -942.8843, -1043.3564, -1149.8663, -1262.4437, -1381.4146, -1506.8709,
    -1638.9637, -1777.8481, -1923.2610, -2075.3597, -2234.2387, -2399.8676, -2572.4413, -2752.0550,
)
# fmt: on
"""All-electron total energies of atoms by atomic number up to 36, Hartree; index 0 is unused."""

_XTB_TOTALS: Final = (
    {1: -0.505, 5: -1.36, 6: -2.128, 7: -2.861, 8: -4.053, 9: -4.722, 14: -1.675, 15: -2.508, 16: -3.234, 17: -4.55},
    {1: -0.538, 5: -1.52, 6: -2.097, 7: -3.148, 8: -4.68, 9: -5.135, 14: -1.763, 15: -2.606, 16: -3.665, 17: -4.257},
)
"""Energies of bonded atoms in GFN2-xTB and GFN1-xTB, Hartree: least squares over the 117 molecules of these elements
with an even number of electrons in the G2 set (doi:10.1063/1.473182), whose totals they give to 1.2 % (one standard
deviation)."""

_XTB_UNITS: Final = ("eV", "Hartree")

_TOTAL_TOLERANCE: Final = 0.03
_COVALENT: Final = (1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 35)
_BOND_RANGE: Final = (0.8, 1.3)
_LENGTHS: Final = ("Angstrom", "Bohr", "nm", "pm")

_GROUP: Final = 1000
_MIN_PAIRS: Final = 8
_MAX_PAIRS: Final = 24
_MAX_STEP_A: Final = 0.3
_CORRELATION: Final = 0.95
SLOPE_TOLERANCE: Final = 0.1
"""How far from 1 the ratio of energy differences to work may be."""


def total_energy_unit(frames: Sequence[Frame], *, per_atom: bool = False) -> str | None:
    """Return the one unit in which all energies are all-electron total energies, or None.

    Every energy must lie within 3 % of the sum of the energies of its free atoms. Pseudopotential and formation
    energies never do, and then nothing is said; nor where they are totals of GFN-xTB in eV or Hartree as well, as those
    of ethanol, in eV, look like all-electron totals in Ry.

    Parameters
    ----------
    frames : sequence of Frame
        In the file's units.
    per_atom : bool
        Whether to take the energies as energies per atom.

    Examples
    --------
    >>> water = Frame("a", np.array([8, 1, 1]), np.zeros((3, 3)), values={"energy": np.array(-47950.0)})
    >>> total_energy_unit([water])
    'kcal/mol'
    """
    last = len(ATOMIC_TOTALS) - 1
    labeled = [f for f in frames if "energy" in f.values and f.numbers.max() <= last and f.numbers.min() > 0]
    if not labeled or len(labeled) < len([f for f in frames if "energy" in f.values]):
        return None
    if per_atom and max(len(f.numbers) for f in labeled) == 1:
        return None
    energies = np.array([float(f.values["energy"].reshape(())) for f in labeled])
    sizes = [len(f.numbers) if per_atom else 1 for f in labeled]

    def unit_of(table: Mapping[int, float], among: Sequence[str]) -> str | None:
        atoms = [sum(table.get(z, np.nan) for z in f.numbers.tolist()) for f in labeled]
        ratios = energies * np.array(sizes) / (np.array(atoms) * factor("energy", "Hartree"))
        fits = (np.abs(ratios * factor("energy", unit) - 1) < _TOTAL_TOLERANCE for unit in among)
        return next((unit for unit, fit in zip(among, fits, strict=True) if fit.all()), None)

    found = unit_of(dict(enumerate(ATOMIC_TOTALS)), list(ENERGY_UNITS))
    return found if found and not any(unit_of(table, _XTB_UNITS) for table in _XTB_TOTALS) else None


def length_unit(frames: Sequence[Frame]) -> str | None:
    """Return the one unit in which nearest neighbors in molecules of main-group atoms are bonded, or None.

    Examples
    --------
    >>> water = np.array([[0, 0, 0], [1.81, 0, 0], [-0.45, 1.75, 0]])
    >>> length_unit([Frame("a", np.array([8, 1, 1]), water)])
    'Bohr'
    """
    ratios = [r for f in frames[:_GROUP] if (r := _bond_ratio(f)) is not None]
    if not ratios:
        return None
    middle = float(np.median(ratios))
    for unit in _LENGTHS:
        if _BOND_RANGE[0] < middle * factor("length", unit) < _BOND_RANGE[1]:
            return unit
    return None


def _bond_ratio(frame: Frame) -> float | None:
    """Return the median of nearest distance over sum of covalent radii."""
    if not 3 <= len(frame.numbers) <= 300 or not np.isin(frame.numbers, _COVALENT).all():
        return None
    vectors = frame.positions[:, None] - frame.positions[None]
    if frame.cell is not None and frame.pbc.any():
        vectors = vectors - _jumps(vectors, frame.cell, frame.pbc)
    distances = np.linalg.norm(vectors, axis=-1)
    radii = covalent_radii[frame.numbers]
    ratios = distances / (radii[:, None] + radii[None])
    np.fill_diagonal(ratios, np.inf)
    return float(np.median(ratios.min(axis=1)))


@dataclass(frozen=True)
class Work:
    """How energy differences compare with the work of the forces, both in the file's units.

    Attributes
    ----------
    slope : float
        Energy difference per work; 1 where energies, forces and lengths belong together.
    n_pairs : int
        How many pairs of frames it rests on.
    n_atoms : float
        Atoms per frame, where all pairs agree; otherwise NaN.
    """

    slope: float
    n_pairs: int
    n_atoms: float


def work(frames: Sequence[Frame], *, length: float = 1.0) -> Work | None:
    """Compare energies with forces between near frames of the same atoms, or return None where too little is known.

    E2 - E1 is set against -(F1 + F2) . (x2 - x1) / 2, the trapezoidal rule, whose error is of third order in the
    step. The 24 nearest pairs count; a statement needs at least eight of them, with a step of at most 0.3 Angstrom
    (root mean square over atoms), and a correlation above 0.95.

    Parameters
    ----------
    frames : sequence of Frame
        In the file's units.
    length : float
        Angstrom per unit of length.

    Examples
    --------
    >>> def spring(r):
    ...     pull = np.array([[0, 0, 2 * (r - 1)], [0, 0, 2 - 2 * r]])
    ...     values = {"energy": np.array((r - 1) ** 2), "forces": pull}
    ...     return Frame("a", np.array([1, 1]), np.array([[0, 0, 0], [0, 0, r]]), values=values)
    >>> springs = [spring(r) for r in np.linspace(0.9, 1.1, 12)]
    >>> round(work(springs).slope, 6)
    1.0
    """
    groups: dict[object, list[Frame]] = defaultdict(list)
    for frame in frames:
        if _is_whole(frame):
            groups[_same_system(frame)].append(frame)
    pairs = [pair for group in groups.values() for pair in _pairs(group[:_GROUP], length)]
    if len(pairs) < _MIN_PAIRS:
        return None
    _, energies, works, sizes = np.array(sorted(pairs)[:_MAX_PAIRS]).T
    norm = np.sqrt((energies**2).sum() * (works**2).sum())
    correlation = (energies * works).sum() / norm if norm > 0 else 0.0
    if not abs(correlation) > _CORRELATION:
        return None
    slope = np.sign(correlation) * np.sqrt((energies**2).sum() / (works**2).sum())
    return Work(float(slope), len(pairs), float(sizes[0]) if np.ptp(sizes) == 0 else float("nan"))


def _is_whole(frame: Frame) -> bool:
    values = frame.values
    shape = (len(frame.numbers), 3)
    return (
        len(frame.numbers) > 1
        and {"energy", "forces"} <= values.keys()
        and values["energy"].size == 1
        and values["forces"].shape == shape == np.shape(frame.positions)
        and bool(np.isfinite(values["energy"]).all() and np.isfinite(values["forces"]).all())
    )


def _same_system(frame: Frame) -> object:
    cell = () if frame.cell is None or not frame.pbc.any() else tuple(np.round(frame.cell, 3).ravel().tolist())
    return tuple(frame.numbers.tolist()), cell, tuple(frame.pbc.tolist()), frame.charge, frame.spin


def _pairs(group: list[Frame], length: float) -> list[tuple[float, float, float, int]]:
    """Return (step, energy difference, work, number of atoms) for each frame and its nearest one."""
    if len(group) < 2:
        return []
    positions = _unwrapped(group)
    energies = np.array([float(f.values["energy"].reshape(())) for f in group])
    forces = np.stack([f.values["forces"] for f in group]).reshape(len(group), -1)
    squares = (positions**2).sum(1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * positions @ positions.T, 0)
    np.fill_diagonal(distances, np.inf)
    n_atoms = len(group[0].numbers)
    nearest = {(min(i, j), max(i, j)) for i, j in enumerate(distances.argmin(1).tolist())}
    found = []
    for i, j in sorted(nearest):
        step = float(np.sqrt(distances[i, j] / n_atoms)) * length
        if 0 < step <= _MAX_STEP_A:
            done = -0.5 * float((forces[i] + forces[j]) @ (positions[j] - positions[i]))
            found.append((step, float(energies[j] - energies[i]), done, n_atoms))
    return found


def _unwrapped(group: list[Frame]) -> Floats:
    """Return centered coordinates (S, 3N) in which no atom jumps through a boundary."""
    positions = np.stack([f.positions for f in group]).astype(np.float64)
    first = group[0]
    if first.cell is not None and first.pbc.any():
        positions -= _jumps(positions - positions[0], first.cell, first.pbc)
    positions -= positions.mean(axis=1, keepdims=True)
    return positions.reshape(len(group), -1)


def _jumps(vectors: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """Return the lattice vectors (..., 3) nearest to vectors."""
    whole = np.where(np.asarray(pbc)[:, None], cell, np.eye(3))
    jumps: Floats = (np.rint(vectors @ np.linalg.pinv(whole)) * pbc) @ whole
    return jumps


def rms_force(frames: Sequence[Frame]) -> float:
    """Return the root mean square of all force components, in the file's unit; NaN where there are none."""
    parts = [f.values["forces"].ravel() for f in frames if "forces" in f.values]
    flat = np.concatenate(parts) if parts else np.zeros(0)
    flat = flat[np.isfinite(flat)]
    return float(np.sqrt((flat**2).mean())) if len(flat) else float("nan")


def stress_sizes(frames: Sequence[Frame], name: str = "stress", *, length: float = 1.0) -> Floats:
    """Return the largest component of each stress (S,), in the file's unit, or of each virial over its volume.

    Zeros and what is not finite are left out.

    Parameters
    ----------
    frames : sequence of Frame
        In the file's units.
    name : str
        "stress" or "virial".
    length : float
        Angstrom per unit of length; volumes are in Angstrom^3.
    """
    sizes = np.array([_largest(f, name, length) for f in frames if f.values.get(name) is not None])
    kept: Floats = sizes[np.isfinite(sizes) & (sizes > 0)] if len(sizes) else sizes
    return kept


def _largest(frame: Frame, name: str, length: float) -> float:
    largest = float(np.abs(frame.values[name]).max())
    if name == "stress":
        return largest
    return largest / (abs(np.linalg.det(frame.cell)) * length**3) if frame.cell is not None else np.nan


def explain(ratio: float, *, energy: str, forces: str, n_atoms: float) -> str:
    """Return what would make the ratio of energy differences to work one, in words; empty where nothing known does.

    Parameters
    ----------
    ratio : float
        Energy difference per work, with the assumed units taken into account.
    energy, forces : str
        The assumed units.
    n_atoms : float
        Atoms per frame, or NaN.

    Examples
    --------
    >>> explain(23.06, energy="eV", forces="eV/Angstrom", n_atoms=9)
    'the energies look like kcal/mol'
    >>> explain(1 / 9, energy="eV", forces="eV/Angstrom", n_atoms=9)
    'the energies look like energies per atom (--energy-per-atom)'
    >>> explain(-1.0, energy="eV", forces="eV/Angstrom", n_atoms=9)
    'the forces look like gradients, of the opposite sign (--forces-are-gradients)'
    """
    found, size = [], abs(ratio)
    if not _near(size, 1):
        found += [
            f"the energies look like {u}"
            for u in ENERGY_UNITS
            if _near(factor("energy", energy) / size, factor("energy", u))
        ]
        found += [
            f"the forces look like {u}"
            for u in _force_units()
            if _near(factor("forces", forces) * size, factor("forces", u))
        ]
        found += [f"the lengths look like {u}" for u, f in (("Bohr", BOHR), ("nm", 10.0)) if _near(size, f)]
        found += ["the energies look like energies per atom (--energy-per-atom)"] * _near(size * n_atoms, 1)
        found += ["the energies look like totals, not per atom"] * _near(size, n_atoms)
    is_turned = ratio < 0 and (bool(found) or _near(size, 1))
    sign = ["the forces look like gradients, of the opposite sign (--forces-are-gradients)"] * is_turned
    return " and ".join(([" or ".join(found)] if found else []) + sign)


def _force_units() -> list[str]:
    return [f"{energy}/{length}" for energy in ENERGY_UNITS for length in ("Angstrom", "Bohr", "nm")]


def _near(a: float, b: float) -> bool:
    return bool(abs(a / b - 1) < SLOPE_TOLERANCE)


def totals(frames: Sequence[Frame], per_atom: bool) -> list[Frame]:
    """Return frames with total energies."""
    if not per_atom:
        return list(frames)
    return [
        Frame(**{**vars(f), "values": {**f.values, "energy": f.values["energy"] * len(f.numbers)}})
        if "energy" in f.values
        else f
        for f in frames
    ]
