"""Why runs failed: which pair, how near, which force came first, and what the teacher says there."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError, StructureError
from mlff_distiller.dynamics.bonds import covalent_length, find_bonds, pair_name
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.checks.nve.record import NVERecord

Floats = NDArray[np.float64]

_REACH: Final = 6.0  # Angstrom: within it lies the nearest neighbor of any atom that did not escape
_SHORTEST: Final = 0.75  # times the sum of covalent radii: triple bonds are longer
_TEACHER_FRAMES: Final = 2  # the last good geometry, and the one where the run failed


def with_labels(record: NVERecord, student: Potential, teacher: Potential | None) -> NVERecord:
    """Return a record with what student and teacher say of the last geometries of the runs that failed.

    The student labels all of them, the teacher the last good one and the one where the run failed; NaN where one of
    them gives no answer, and for runs that did not fail.
    """
    arrays: dict[str, Any] = {}
    for name, potential, n_frames in (("student", student, 0), ("teacher", teacher, _TEACHER_FRAMES)):
        energies = np.full(record.last_times_ps.shape, np.nan)
        forces = np.full(record.last_positions.shape, np.nan)
        for run in record.failed if potential is not None else []:
            atoms = record.atoms(run)
            for frame in _frames(record, run)[-n_frames:]:
                structure = record.structure(run, record.last_positions[frame, atoms])
                energies[frame, run], forces[frame, atoms] = _answer(potential, structure)
        arrays |= {f"last_{name}_energies": energies, f"last_{name}_forces": forces}
    return replace(record, **arrays)


def _frames(record: NVERecord, run: int) -> list[int]:
    """Return which of the last geometries a run has."""
    return np.flatnonzero(np.isfinite(record.last_times_ps[:, run])).tolist()


def _answer(potential: Potential | None, structure: Structure) -> tuple[float, Floats | float]:
    if potential is None:
        return np.nan, np.nan
    try:
        labels = potential.predict([structure], ("energy", "forces"))[0]
    except (PredictionError, StructureError):  # a geometry that makes no sense to it
        return np.nan, np.nan
    found = (labels.energy, labels.forces)
    return (np.nan, np.nan) if found[0] is None or found[1] is None else (found[0], found[1])


def failures_of(record: NVERecord) -> list[dict[str, Any]]:
    """Return plain data on every run that failed.

    Of each: ``system`` and ``replica`` (counted from 1); ``time_ps``, ``reason`` and ``kind``, the reason in a word;
    ``good_time_ps``, the time of the last good geometry; ``pair`` (as "C0-H4"), ``atoms`` (indices) and ``distance_A``
    of the pair it is about: that of the reason, else the bond or contact that is furthest from what it should be;
    ``first_atom`` and ``first_time_ps``, the atom whose force went astray first, and when: the largest force then was
    nearer, as a ratio, to that of the failure than to what was usual before; ``student_force`` and ``teacher_force``,
    magnitudes on that atom where the run failed, eV/Angstrom, with ``_good`` behind in the last good geometry;
    ``student_energy_change`` and ``teacher_energy_change``, from the last good geometry to the failure, eV.

    What is not known is None.
    """
    return [_failure(record, run) for run in record.failed]


def _failure(record: NVERecord, run: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "system": str(record.systems[run]),
        "replica": record.replica(run),
        "time_ps": float(record.survived_ps[run]),
        "reason": str(record.failures[run]),
    }
    frames = _frames(record, run) if len(record.last_positions) else []
    if not frames:
        return found
    atoms = record.atoms(run)
    start, failing = (
        record.structure(run, positions[atoms])
        for positions in (record.frame_positions[0], record.last_positions[frames[-1]])
    )
    named, distance = record.failure_atoms[run].tolist(), float(record.failure_distances[run])
    about = _pair(failing, named, distance) if min(named) >= 0 else _suspect(start, failing, named[0])
    found |= {"kind": str(record.failure_kinds[run]), **about}
    found["good_time_ps"] = float(record.last_times_ps[frames[-2], run]) if len(frames) > 1 else None
    if len(record.last_student_forces):
        found |= _forces(record, run, frames)
    return found


def _pair(structure: Structure, pair: list[int], distance: float) -> dict[str, Any]:
    return {"pair": pair_name(structure.numbers, (pair[0], pair[1])), "atoms": pair, "distance_A": distance}


def _suspect(start: Structure, failing: Structure, atom: int) -> dict[str, Any]:
    """Return the pair that is furthest from what it should be; of an atom, if one is named (else -1)."""
    pairs, distances, scores = _strained(start, failing)
    if not len(pairs):
        return {"pair": None, "atoms": None, "distance_A": None}
    about = (pairs == atom).any(1)
    worst = int(np.where(about | ~about.any(), scores, -np.inf).argmax())
    return _pair(failing, pairs[worst].tolist(), float(distances[worst]))


def _strained(start: Structure, failing: Structure) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return pairs (P, 2), their distances (P,), and how far these are from what they should be, as logarithms (P,).

    Bonds of the start should be as long as they were, and other atoms no nearer than the shortest bonds there are.
    """
    from mlff_distiller.atoms.neighbors import find_edges

    bonds, edges = find_bonds(start), find_edges(failing, _REACH)
    lengths, near = bonds.lengths(failing.positions), np.linalg.norm(edges.vectors, axis=1)
    shortest = _SHORTEST * covalent_length(failing.numbers, edges.centers, edges.neighbors)
    with np.errstate(divide="ignore"):  # atoms in the same place
        scores = [np.abs(np.log(lengths / bonds.lengths(start.positions))), np.log(shortest / near)]
    pairs = np.concatenate([bonds.pairs, np.stack([edges.centers, edges.neighbors], axis=1)])
    return pairs, np.concatenate([lengths, near]), np.concatenate(scores)


def _forces(record: NVERecord, run: int, frames: list[int]) -> dict[str, Any]:
    """Return the atom whose force went astray first, and what student and teacher say of it."""
    atoms = record.atoms(run)
    student = np.linalg.norm(record.last_student_forces[frames][:, atoms], axis=-1)
    teacher = np.linalg.norm(record.last_teacher_forces[frames][:, atoms], axis=-1)
    frame, atom = _first_astray(student)
    good = -2 if len(frames) > 1 else -1
    return {
        "first_atom": None if atom is None else f"{SYMBOLS[int(record.numbers[atoms][atom])]}{atom}",
        "first_time_ps": None if atom is None else float(record.last_times_ps[frames[frame], run]),
        "student_force": _number(student, -1, atom),
        "teacher_force": _number(teacher, -1, atom),
        "student_force_good": _number(student, good, atom),
        "teacher_force_good": _number(teacher, good, atom),
        "student_energy_change": _change(record.last_student_energies[frames, run], good),
        "teacher_energy_change": _change(record.last_teacher_energies[frames, run], good),
    }


def _first_astray(forces: Floats) -> tuple[int, int | None]:
    """Return frame and atom of the first force (L, N) that is nearer, as a ratio, to the last than to the usual."""
    known = np.nan_to_num(forces, nan=0.0)
    largest = known.max(1)
    usual = float(np.median(largest[:-1])) if len(largest) > 1 else 0.0
    between = min(np.sqrt(largest[-1] * usual), largest[-1]) if usual > 0 else largest[-1]  # a start may have no forces
    frame = int(np.flatnonzero(largest >= between)[0])
    atom = int(known[frame].argmax())
    return frame, atom if known[frame, atom] > 0 else None


def _number(forces: Floats, frame: int, atom: int | None) -> float | None:
    return None if atom is None or not np.isfinite(forces[frame, atom]) else float(forces[frame, atom])


def _change(energies: Floats, good: int) -> float | None:
    change = float(energies[-1] - energies[good])
    return change if np.isfinite(change) and good < -1 else None
