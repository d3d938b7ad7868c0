"""The border: a frame in a file's units becomes a structure and labels in ours, or is refused with a reason."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.neighbors import find_edges
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, StructureError
from mlff_distiller.data.importers.frame import Frame
from mlff_distiller.data.importers.plan import ImportPlan
from mlff_distiller.data.importers.sanity import fault
from mlff_distiller.data.importers.settle import Units
from mlff_distiller.data.importers.stress import from_virial, symmetric, tensor

Floats = NDArray[np.float64]

_TOO_CLOSE_A: Final = 0.1
_NEIGHBOR_A: Final = 2.0  # a search for nothing but 0.1 Angstrom would cut the cell into very many bins
_THIN_A: Final = 0.5
_FAR_A: Final = 1e4
_HUGE_FORCE: Final = 1e4
_HUGE_ENERGY: Final = 1e7
_SUM_TOLERANCE: Final = 1e-3
_STRESS_TOLERANCE: Final = 0.02

NOT_PERIODIC: Final = "stress left out: the cell is not periodic in three directions"
ZERO_STRESS: Final = "stress left out: exactly zero while forces are not, so it was never computed"
NAN_STRESS: Final = "stress left out: not a number in any component, so it was never computed"
NO_SUM: Final = "atomic energies left out: they do not add up to the energy"


class Converted(NamedTuple):
    """What became of a frame.

    Attributes
    ----------
    labeled : LabeledStructure
        In eV, Angstrom and what follows.
    left_out : tuple of str
        Labels of the frame that were left out, and why; and information that was not kept.
    """

    labeled: LabeledStructure
    left_out: tuple[str, ...]


def convert(frame: Frame, units: Units, plan: ImportPlan) -> Converted:
    """Return a frame in our units; what it does not have stays absent, never zero.

    Raises
    ------
    DataError
        If the frame is impossible: a number that is not finite, a wrong shape, two atoms at one place, an unknown
        element, a charge that is no whole number, an asymmetric stress. The sentence begins with the frame.

    Examples
    --------
    >>> from mlff_distiller.data.importers.settle import Settled
    >>> units = Units((Settled("length", "Bohr", "option"), Settled("energy", "Hartree", "option")))
    >>> frame = Frame("h.npz, frame 0", np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 1.4]]),
    ...               values={"energy": np.array(-1.17)})
    >>> structure, labels = convert(frame, units, ImportPlan()).labeled
    >>> structure.positions[1].round(4).tolist(), round(labels.energy, 3), labels.forces is None
    ([0.0, 0.0, 0.7408], -31.837, True)
    """
    try:
        with np.errstate(all="ignore"):  # nonsense numbers are judged, not warned about
            return _converted(frame, units, plan)
    except (DataError, StructureError) as error:
        raise DataError(f"{frame.where}: {error}") from error


def _converted(frame: Frame, units: Units, plan: ImportPlan) -> Converted:
    if reason := fault(frame):
        raise DataError(reason)
    structure = _structure(frame, units, plan)
    energy = _energy(frame, units)
    forces = _forces(frame, units)
    stress, why_not = _stress(frame, units, structure, forces)
    atomic_energies, no_sum = _atomic_energies(frame, units, energy)
    labels = Labels(energy=energy, forces=forces, stress=stress, atomic_energies=atomic_energies)
    left_out = (*(why for why in (why_not, no_sum) if why), *frame.left_out)
    return Converted(LabeledStructure(structure, labels), left_out)


def _structure(frame: Frame, units: Units, plan: ImportPlan) -> Structure:
    length = units.factor("length")
    charge = plan.charge if frame.charge is None else frame.charge
    for name, values in (("an atom", frame.positions), ("the end of a cell vector", frame.cell)):
        if values is not None and np.abs(values).max() * length > _FAR_A:
            raise DataError(f"{name} is farther than {_FAR_A:,.0f} Angstrom from the origin; check the frame")
    structure = Structure(
        frame.numbers,
        np.asarray(frame.positions, dtype=np.float64) * length,
        cell=None if frame.cell is None else np.asarray(frame.cell, dtype=np.float64) * length,
        pbc=frame.pbc,
        charge=_whole("charge", charge, 0),
        spin=_whole("spin multiplicity", frame.spin, 1),
        info=frame.info,
    )
    _refuse_thin_cell(structure)
    _refuse_coincident(structure)
    return structure


def _whole(name: str, value: float | None, default: int) -> int:
    if value is None:
        return default
    if not np.isfinite(value) or value != round(value):
        raise DataError(f"the {name} must be a whole number, got {value:g}")
    return round(value)


def _refuse_thin_cell(structure: Structure) -> None:
    """Refuse cells in which no atom has room; they would also have no end of neighbors."""
    if not structure.pbc.any():
        return
    heights = 1 / np.linalg.norm(np.linalg.pinv(structure.cell[structure.pbc]), axis=0)
    if heights.min() < _THIN_A:
        raise DataError(
            f"the cell is only {heights.min():.2g} Angstrom thick, which none is; check the frame and --length-unit"
        )


def _refuse_coincident(structure: Structure) -> None:
    edges = find_edges(structure, _NEIGHBOR_A)
    distances = np.linalg.norm(edges.vectors, axis=1)
    if len(edges) and distances.min() < _TOO_CLOSE_A:
        k = int(distances.argmin())
        raise DataError(
            f"atoms {edges.centers[k]} and {edges.neighbors[k]} are only {distances[k]:.2g} Angstrom apart; "
            "check the frame and --length-unit"
        )


def _energy(frame: Frame, units: Units) -> float | None:
    value = frame.values.get("energy")
    if value is None:
        return None
    scale = len(frame.numbers) if units.energy_per_atom else 1
    energy = float(np.reshape(value, ())) * units.factor("energy") * scale
    if abs(energy) > _HUGE_ENERGY * len(frame.numbers):
        raise DataError(f"the energy of {energy:.3g} eV is impossible; check the frame and --energy-unit")
    return energy


def _forces(frame: Frame, units: Units) -> Floats | None:
    value = frame.values.get("forces")
    if value is None:
        return None
    forces: Floats = np.asarray(value, dtype=np.float64) * units.factor("forces")
    largest = float(np.abs(forces).max())
    if largest > _HUGE_FORCE:
        raise DataError(f"a force of {largest:.3g} eV/Angstrom is impossible; check the frame and --force-unit")
    return forces


def _stress(frame: Frame, units: Units, structure: Structure, forces: Floats | None) -> tuple[Floats | None, str]:
    """Return the stress, and why it is left out where there was one."""
    if not {"stress", "virial"} & frame.values.keys():
        return None, ""
    if not structure.is_periodic:
        return None, NOT_PERIODIC
    given = (_given_stress(frame, units), _given_virial(frame, units, structure))
    candidates = [one for one in given if one is not None and not np.isnan(one).all()]
    if not candidates:
        return None, NAN_STRESS
    if len(candidates) == 2:
        _refuse_disagreement(*candidates)
    stress = symmetric(candidates[0])
    if not stress.any() and (forces is None or forces.any()):
        return None, ZERO_STRESS
    return stress, ""


def _given_stress(frame: Frame, units: Units) -> Floats | None:
    if "stress" not in frame.values:
        return None
    sign = units.row("stress sign")
    scale = units.factor("stress") * (-1 if sign and sign.unit == "compression-positive" else 1)
    return tensor(frame.values["stress"], order=_order(units)) * scale


def _given_virial(frame: Frame, units: Units, structure: Structure) -> Floats | None:
    if "virial" not in frame.values:
        return None
    virial = tensor(frame.values["virial"], order=_order(units)) * units.factor("virial")
    return from_virial(virial, structure.volume)


def _order(units: Units) -> str | None:
    row = units.row("stress order")
    return row.unit if row else None


def _refuse_disagreement(stress: Floats, other: Floats) -> None:
    difference = np.abs(stress - other).max()
    if difference > _STRESS_TOLERANCE * max(np.abs(stress).max(), np.abs(other).max()) + 1e-5:
        raise DataError(
            f"the stress and -virial / volume differ by {difference:.3g} eV/Angstrom^3, so unit, sign or order of one "
            "is another; give --stress-unit, --stress-sign or --stress-order"
        )


def _atomic_energies(frame: Frame, units: Units, energy: float | None) -> tuple[Floats | None, str]:
    value = frame.values.get("atomic_energies")
    if value is None:
        return None, ""
    energies: Floats = np.asarray(value, dtype=np.float64) * units.factor("energy")
    if energy is not None and abs(energies.sum() - energy) > _SUM_TOLERANCE * len(energies):
        return None, NO_SUM
    return energies, ""
