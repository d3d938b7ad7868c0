"""How far relaxed geometry, frequencies, torsions, dimers and elasticity of a student are from its teacher's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.validation.observables.dimer import curve_error
from mlff_distiller.validation.observables.observations import Arrays
from mlff_distiller.validation.observables.plan import ObservationPlan
from mlff_distiller.validation.observables.rdf import pair_names
from mlff_distiller.validation.observables.torsion import profile_error
from mlff_distiller.validation.observables.vibrations import rmsd

Compared = tuple[float, dict[str, Any]]
"""The error of one system, and facts about it."""


class Static(NamedTuple):
    """An observable without dynamics.

    Attributes
    ----------
    key : str
        Name of its array.
    unit : str
        Of the error.
    compare : callable
        Arrays of student and teacher, and settings, to the error of one system and facts about it.
    total : callable
        Errors of systems to the one that is measured.
    family : str
        Under which name it is said to be missing.
    absent : str
        Why a system has none where it makes no sense.
    undefined : str
        What it means where the error is not a number.
    """

    key: str
    unit: str
    compare: Callable[[Arrays, Arrays, ObservationPlan], Compared]
    total: Callable[[Sequence[float]], float]
    family: str
    absent: str
    undefined: str = "the teacher gave no number"


def geometry_error(student: Arrays, teacher: Arrays, plan: ObservationPlan) -> Compared:
    """Return the distance of the relaxed geometries, Angstrom; infinite where the student found no minimum."""
    numbers, cell, pbc = (teacher[name] for name in ("numbers", "cell", "pbc"))
    own, other = (Structure(numbers, arrays["relaxed"], cell=cell, pbc=pbc) for arrays in (student, teacher))
    left = {side: float(x["relaxed_force"][0]) for side, x in (("student", student), ("teacher", teacher))}
    detail = {"force_left_eV_per_A": left}
    if left["student"] > 10 * max(plan.relaxed_force, left["teacher"]):
        return float("inf"), {**detail, "note": "the relaxation of the student did not end"}
    value = rmsd(own, other)
    return value, {"rmsd": value, **detail}


def frequency_error(student: Arrays, teacher: Arrays, plan: ObservationPlan) -> Compared:
    """Return the mean absolute error of harmonic frequencies, matched by order, 1/cm."""
    own, other = student["frequencies"], teacher["frequencies"]
    if len(own) != len(other):  # linear for one of them
        shorter = min(len(own), len(other))
        own, other = own[-shorter:], other[-shorter:]
    error = own - other
    return float(np.abs(error).mean()), {
        "mae": float(np.abs(error).mean()),
        "mean_error": float(error.mean()),
        "largest": float(error[np.abs(error).argmax()]),
        "n_modes": len(error),
        "imaginary_student": student["frequencies"][student["frequencies"] < 0].round(2).tolist(),
        "imaginary_teacher": teacher["frequencies"][teacher["frequencies"] < 0].round(2).tolist(),
    }


def torsion_error(student: Arrays, teacher: Arrays, plan: ObservationPlan) -> Compared:
    """Return the largest error of torsion profiles, meV, where the teacher is not too far above its minimum."""
    pairs = zip(student["torsion_energies"], teacher["torsion_energies"], strict=True)
    errors = [1000 * profile_error(own, other, plan.energy_range_eV) for own, other in pairs]
    atoms = ["-".join(f"{SYMBOLS[teacher['numbers'][k]]}{k}" for k in bond) for bond in teacher["torsion_atoms"]]
    return _largest(errors), {"bonds_meV": dict(zip(atoms, errors, strict=True))}


def dimer_error(student: Arrays, teacher: Arrays, plan: ObservationPlan) -> Compared:
    """Return the largest error of dimer curves, meV, where the teacher is not too far above its minimum."""
    pairs = zip(student["dimer_energies"], teacher["dimer_energies"], strict=True)
    errors = [1000 * curve_error(own, other, plan.energy_range_eV) for own, other in pairs]
    names = pair_names([tuple(pair) for pair in teacher["dimer_pairs"].tolist()])
    return _largest(errors), {"pairs_meV": dict(zip(names, errors, strict=True))}


def eos_error(student: Arrays, teacher: Arrays, plan: ObservationPlan) -> Compared:
    """Return the error of the bulk modulus, %; infinite where the student alone has no minimum near."""
    own, other = (float(arrays["bulk_modulus_GPa"][0]) for arrays in (student, teacher))
    volumes = [float(arrays["eos_volume"][0]) for arrays in (student, teacher)]
    value = abs(own - other) / abs(other) * 100 if other else float("nan")
    detail = {"bulk_modulus_GPa": {"student": own, "teacher": other}}
    detail["volume_A3"] = dict(zip(("student", "teacher"), volumes, strict=True))
    return (float("inf") if np.isnan(own) and not np.isnan(other) else value), detail


def elastic_error(student: Arrays, teacher: Arrays, plan: ObservationPlan) -> Compared:
    """Return the error of the elastic constants, %: the norm of the difference over that of the teacher's."""
    own, other = student["elastic_GPa"], teacher["elastic_GPa"]
    size = float(np.linalg.norm(other))
    value = float(np.linalg.norm(own - other)) / size * 100 if size else float("nan")
    largest = {"C11": (0, 0), "C12": (0, 1), "C44": (3, 3)}
    facts = {name: {"student": float(own[at]), "teacher": float(other[at])} for name, at in largest.items()}
    pressure = {side: -float(np.trace(x["stress_GPa"])) / 3 for side, x in (("student", student), ("teacher", teacher))}
    failed = np.isnan(own).any() and not np.isnan(other).any()
    return (float("inf") if failed else value), {"constants_GPa": facts, "pressure_GPa": pressure}


def _largest(errors: Sequence[float]) -> float:
    known = [error for error in errors if not np.isnan(error)]
    return max(known) if known else float("nan")


def _mean(errors: Sequence[float]) -> float:
    return float(np.mean(errors))


_SOLID = "no system is periodic in three directions"
STATICS: Final[Mapping[str, Static]] = {
    "frequency_mae": Static("frequencies", "1/cm", frequency_error, _mean, "frequencies", "no system vibrates"),
    "geometry_rmsd": Static("relaxed", "A", geometry_error, _mean, "geometry", "there is no system"),
    "torsion_error": Static(
        "torsion_energies", "meV", torsion_error, _largest, "torsions", "no molecule has a bond that turns"
    ),
    "dimer_error": Static("dimer_energies", "meV", dimer_error, _largest, "dimers", "there is no pair of elements"),
    "eos_error": Static(
        "bulk_modulus_GPa",
        "%",
        eos_error,
        _largest,
        "equation of state",
        _SOLID,
        "the teacher has no minimum of the energy near the volume of the cell",
    ),
    "elastic_error": Static("elastic_GPa", "%", elastic_error, _largest, "elastic constants", _SOLID),
}
"""Observables without dynamics by the names of their measurements."""
