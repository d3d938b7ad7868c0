"""Smoothness: does energy or force jump where a bond is stretched or atoms leave the teacher's cutoff."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.html.words import quantity
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.audit.energy_noise import energy_noise
from mlff_distiller.validation.audit.paths import Jump, Path, find_jumps
from mlff_distiller.validation.audit.probe import OutOfTime
from mlff_distiller.validation.audit.theme import Evidence, Found, Outcome, Skipped, Subject, Theme

Floats = NDArray[np.float64]

_REACH: Final = 4.0  # Angstrom: every bond is shorter
_SHORTEST: Final = 2.5  # Angstrom between two molecules at the start of a scan
_POINTS: Final = 60
_MOST_ATOMS: Final = 200


def measure(subject: Subject) -> Evidence:
    """Walk along a stretched bond and through the cutoff, and look for jumps."""
    structure = min(subject.structures, key=lambda one: (len(one) == 1, len(one)))
    measurements: list[Measurement] = []
    skipped: list[Skipped] = []
    makers: dict[str, Callable[[], Path | None]] = {
        "bond": lambda: stretched_bond(structure),
        "cutoff": lambda: through_cutoff(structure, subject.probe.potential.cutoff or subject.plan.largest_scan_A),
    }
    for name, make in makers.items():
        path = make()
        if path is None:
            skipped.append(Skipped(f"{name}_energy_jump", "there are no two atoms to move apart", applies=False))
            continue
        try:
            noise = energy_noise(subject.probe, path.start, rng=subject.rng("path", name))
            measurements += _jumps(name, find_jumps(subject.probe, path, energy_noise=noise))
        except OutOfTime:
            skipped.append(Skipped(f"{name}_energy_jump", "the time budget of the audit is used up"))
        except DistillerError as error:
            skipped.append(Skipped(f"{name}_energy_jump", f"the teacher gave no answer with {path.name} ({error})"))
    return Evidence(measurements, skipped)


def stretched_bond(structure: Structure) -> Path | None:
    """Return the path of an atom away from its nearest neighbor, from 0.85 to 1.5 times their distance.

    Examples
    --------
    >>> path = stretched_bond(Structure([1, 1], [[0, 0, 0], [0, 0, 1.0]]))
    >>> round(path.length, 2), path.at(0.0).positions.round(2).tolist()
    (0.65, [[0.0, 0.0, 0.15], [0.0, 0.0, 1.0]])
    """
    found = _closest(structure)
    if found is None:
        return None
    atom, vector = found
    distance = float(np.linalg.norm(vector))
    tangent = np.zeros((len(structure), 3))
    tangent[atom] = -vector / distance
    start = structure.moved(structure.positions - 0.15 * distance * tangent)
    return Path("a bond stretched", start, tangent, 0.65 * distance, 0.65 * distance / _POINTS)


def through_cutoff(structure: Structure, cutoff: float) -> Path | None:
    """Return the path of two copies of a molecule, or of two atoms of a crystal, out of each other's reach.

    Examples
    --------
    >>> path = through_cutoff(Structure([10], [[0, 0, 0]]), 6.0)
    >>> path.start.formula, path.length
    ('Ne2', 4.0)
    """
    end = cutoff + 0.5
    if not structure.pbc.any() and 2 * len(structure) > _MOST_ATOMS:
        return None
    start = _pair_of(structure, end) if structure.pbc.any() else _two_copies(structure)
    tangent = np.zeros((len(start), 3))
    tangent[len(start) // 2 :, 0] = 1.0
    return Path("two parts drawn apart", start, tangent, end - _SHORTEST, max(0.1, (end - _SHORTEST) / 2 / _POINTS))


def _closest(structure: Structure) -> tuple[int, Floats] | None:
    """Return an atom with its nearest neighbor, of all the closest pair, and the vector to it."""
    edges = find_edges(structure, _REACH)
    own = edges.centers != edges.neighbors
    if not own.any():
        return None
    lengths = np.where(own, np.linalg.norm(edges.vectors, axis=1), np.inf)
    nearest = int(lengths.argmin())
    return int(edges.centers[nearest]), edges.vectors[nearest]


def _two_copies(structure: Structure) -> Structure:
    """Return a molecule twice, the gap between the copies along x."""
    width = float(np.ptp(structure.positions[:, 0]))
    shift = np.array([width + _SHORTEST, 0.0, 0.0])
    return Structure(
        np.tile(structure.numbers, 2),
        np.concatenate([structure.positions, structure.positions + shift]),
        charge=2 * structure.charge,
        spin=2 * structure.spin - 1,
    )


def _pair_of(structure: Structure, end: float) -> Structure:
    """Return two atoms of a crystal in a large box, with the boundary conditions of the crystal."""
    numbers = structure.numbers[[0, -1]]
    box = np.diag([2 * end + 5.0, end + 5.0, end + 5.0])
    return Structure(numbers, [[0.0, 0.0, 0.0], [_SHORTEST, 0.0, 0.0]], cell=box, pbc=structure.pbc)


def _jumps(name: str, jumps: tuple[Jump, Jump]) -> Sequence[Measurement]:
    found = []
    for kind, unit, jump in zip(("energy", "force"), ("eV", "eV/A"), jumps, strict=True):
        ci95 = (max(jump.size - jump.doubt, 0.0), jump.size + jump.doubt)
        detail = {"path": jump.path, "way_A": jump.way}
        found.append(Measurement(f"{name}_{kind}_jump", jump.size, unit, ci95, 1, detail))
    return found


def _say(found: Found, outcome: Outcome) -> str:
    energies = [m for name, m in found.items() if "energy" in name]
    forces = [m for name, m in found.items() if "force" in name]
    energy, force = max(energies, key=lambda m: m.value), max(forces, key=lambda m: m.value)
    where = " and ".join(m.detail["path"] for m in energies)
    sizes = f"{quantity(energy.value, 'eV', 2)} in energy or {quantity(force.value, 'eV/A', 2)} in a force"
    if outcome == "FAIL":
        jump = energy if energy.value > 5e-3 else force
        return (
            f"The teacher is not smooth: with {jump.detail['path']} there is a jump of {sizes} after "
            f"{quantity(jump.detail['way_A'], 'Å', 3)}; dynamics gains or loses energy there."
        )
    if outcome == "PASS":
        return f"Energy and forces are smooth with {where}: no jump is larger than {sizes}."
    return f"With {where} no jump was seen beyond {sizes}, but that is not certain."


THEME: Final = Theme("smoothness", "Smoothness", measure, _say)
