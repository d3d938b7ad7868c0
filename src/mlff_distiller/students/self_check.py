"""Self-check of student files: reference structures with what the student gave for them when it was written."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import torch
from ase.data import covalent_radii

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import CheckpointError
from mlff_distiller.potentials.derivatives import derive
from mlff_distiller.students.student import Student

N_REFERENCES: Final = 3
"""Most structures of the caller's that a file keeps."""

_DTYPES: Final = {"float64": torch.float64, "float32": torch.float32}  # in this order nothing is rounded too soon
_NOISE: Final = {"float32": 2e-5, "float64": 1e-9, "TF32": 2e-2}
"""Relative rounding that is always allowed: a hundred times the resolution of float32 and TF32 (10 bits, a tenth of it
seen in forces); float64 has room for other orders of summation, never for another formula."""


def canonical(elements: Sequence[int]) -> Structure:
    """Return a chain that holds every element, bonded one to the next; the first two are pressed into repulsion.

    Examples
    --------
    >>> canonical([1, 8]).formula
    'H2O2'
    """
    numbers = np.resize(np.array(elements), max(4, len(elements)))
    bonds = covalent_radii[numbers[1:]] + covalent_radii[numbers[:-1]]
    bonds[0] *= 0.68
    turns = 1.1 * np.arange(len(bonds))
    steps = np.stack([0.6 * np.cos(turns), 0.6 * np.sin(turns), np.full(len(bonds), 0.8)], axis=1)
    return Structure(numbers, np.concatenate([np.zeros((1, 3)), np.cumsum(bonds[:, None] * steps, axis=0)]))


def references(student: Student, structures: Iterable[Structure]) -> list[dict[str, Any]]:
    """Return plain data of the canonical structure and the smallest of those given, with predictions in each precision.

    Parameters
    ----------
    student : Student
        On the CPU; a copy of one's own, for it ends in float32.
    structures : iterable of Structure
        Such as it was trained on.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> references(Student(PaiNNPlan(preset="ultra-tiny"), {1: 0.0}), [])[0]["numbers"]
    [1, 1, 1, 1]
    """
    chosen = [canonical(student.elements), *sorted(structures, key=len)[:N_REFERENCES]]
    predictions = {name: _predictions(student.to(dtype), chosen) for name, dtype in _DTYPES.items()}
    return [
        {
            **{name: getattr(s, name).tolist() for name in ("numbers", "positions", "cell", "pbc")},
            "charge": s.charge,
            "spin": s.spin,
            **{name: predicted[k] for name, predicted in predictions.items()},
        }
        for k, s in enumerate(chosen)
    ]


def demand(student: Student, entries: Sequence[dict[str, Any]], *, where: str, written: str) -> None:
    """Refuse a student that does not give what it gave when its file was written.

    The tolerance is :data:`_NOISE` of the forces' size, and ten times the difference between float32 and float64 that
    this student itself had when it was written, unless float64 is asked for.

    Parameters
    ----------
    student : Student
        As read; precisions other than float32 and float64 have no reference and are not checked.
    entries : sequence of dict
        Of :func:`references`.
    where : str
        Name of the file.
    written : str
        What it was written with.

    Raises
    ------
    CheckpointError
        If an energy or force differs by more than rounding; the message names both.
    """
    name = str(student.dtype).removeprefix("torch.")
    if name not in _DTYPES or not entries:
        return
    structures = [_structure(entry) for entry in entries]
    for structure, entry, found in zip(structures, entries, _predictions(student, structures), strict=True):
        energy, force = _tolerances(entry, _precision(student))
        expected, n = entry[name], len(structure)
        energy_error = abs(found["energy"] - expected["energy"])
        force_error = float(np.abs(np.subtract(found["forces"], expected["forces"])).max())
        if not (energy_error <= energy * n and force_error <= force):  # NaN fails too
            raise CheckpointError(
                f"{where} gives {found['energy']:.9g} eV for its reference {structure.formula} in {name} on "
                f"{student.device.type}, expected {expected['energy']:.9g} +- {energy * n:.1g}, and forces that "
                f"differ by {force_error:.2g} eV/Angstrom, expected within {force:.1g}; it is damaged or this "
                f"installation calculates otherwise than {written}, which wrote it"
            )


def _predictions(student: Student, structures: Sequence[Structure]) -> list[dict[str, Any]]:
    graph = Graph.from_structures(structures, student.cutoff, dtype=student.dtype, device=student.device)
    derived = derive(student, graph)
    assert derived.forces is not None
    ends = np.cumsum([len(s) for s in structures])[:-1]
    forces = np.split(derived.forces.double().cpu().numpy(), ends)
    return [{"energy": e, "forces": f.tolist()} for e, f in zip(derived.energy.tolist(), forces, strict=True)]


def _tolerances(entry: dict[str, Any], precision: str) -> tuple[float, float]:
    """Return how far energies per atom (eV) and forces (eV/Angstrom) may be off."""
    exact, rounded = entry["float64"], entry["float32"]
    floor = _NOISE[precision] * (1 + float(np.abs(exact["forces"]).max()))
    if precision == "float64":
        return floor, floor
    energy_noise = abs(exact["energy"] - rounded["energy"]) / len(entry["numbers"])
    force_noise = float(np.abs(np.subtract(exact["forces"], rounded["forces"])).max())
    return floor + 10 * energy_noise, floor + 10 * force_noise


def _precision(student: Student) -> str:
    if student.dtype == torch.float32 and student.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32:
        return "TF32"
    return str(student.dtype).removeprefix("torch.")


def _structure(entry: dict[str, Any]) -> Structure:
    return Structure(**{k: entry[k] for k in ("numbers", "positions", "cell", "pbc", "charge", "spin")})
