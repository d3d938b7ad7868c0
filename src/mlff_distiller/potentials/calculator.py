"""PotentialCalculator: any Potential as an ASE calculator."""

from copy import deepcopy
from typing import Any, ClassVar, Final, NamedTuple

import ase
import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import SINGLE
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import StructureError
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.plan import PotentialPlan

# A total charge or multiplicity edited in `atoms.info` changes the answer, so it must reset the cache.
_INFO: Final = ("charge", "spin")
_ARRAYS: Final = ("numbers", "initial_charges", "initial_magmoms")  # what ASE compares, beside positions, cell and pbc
_PERIODIC: Final = frozenset(SINGLE)
_OTHERS: Final = _PERIODIC - {"stress"}


class PotentialCalculator(Calculator):  # type: ignore[misc] # ASE ships no types
    """An ASE calculator over any Potential: energy, free_energy, energies, forces and stress.

    One evaluation gives everything the potential has. Stress exists only for cells periodic in three directions;
    elsewhere asking for it raises ASE's ``PropertyNotImplementedError``. Where only positions changed since the last
    evaluation, as in dynamics, nothing else is converted or checked again.

    Parameters
    ----------
    potential : Potential
        What to evaluate.

    Examples
    --------
    >>> from mlff_distiller.potentials.analytic import morse
    >>> h2 = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])
    >>> h2.calc = PotentialCalculator(morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0))
    >>> round(h2.get_potential_energy(), 3)
    -4.5
    """

    atoms: Any  # a copy of the atoms of the last evaluation, as ASE has it

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        self._converted: _Converted | None = None
        known = {"energy": ["energy", "free_energy"], "atomic_energies": ["energies"]}
        self.implemented_properties = [name for own in sorted(potential.properties) for name in known.get(own, [own])]

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last evaluation, total charge and multiplicity included."""
        last = self._converted
        if self.atoms is not None and not self.ignored_changes and last and last.facts == _facts(atoms):
            distances = np.abs(atoms.positions - last.structure.positions)
            if not distances.any():
                return []
            if distances.max() > tol:  # false for NaN
                return ["positions"]
        changes: list[str] = super().check_state(atoms, tol=tol)
        if self.atoms is not None and any(self.atoms.info.get(k) != atoms.info.get(k) for k in _INFO):
            changes.append("initial_charges")
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the potential for ``atoms``; called by ASE."""
        structure, is_periodic = self._structure(atoms, properties, system_changes)
        if "stress" in (properties or []) and not is_periodic:
            raise PropertyNotImplementedError(
                f"stress of {structure.formula}: it is defined only for cells periodic in three directions"
            )
        asked = self.potential.properties & (_PERIODIC if is_periodic else _OTHERS)
        labels = self.potential.predict([structure], asked)[0]
        results: dict[str, Any] = {"energy": labels.energy, "free_energy": labels.energy}
        if labels.forces is not None:
            results["forces"] = labels.forces
        if labels.atomic_energies is not None:
            results["energies"] = labels.atomic_energies
        if labels.stress is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(labels.stress)
        self.results = results

    def _structure(
        self, atoms: ase.Atoms | None, properties: list[str] | None, system_changes: list[str]
    ) -> tuple[Structure, bool]:
        """Keep a copy of the atoms, as ASE does, and return them as a Structure, and whether it is periodic.

        What changed is seen from the atoms: ``system_changes`` may be said of other atoms than those converted last.
        """
        last = self._converted
        if atoms is None or last is None or last.facts != _facts(atoms):
            super().calculate(atoms, properties, system_changes)
            structure = from_ase(self.atoms)
            last = _Converted(_facts(self.atoms), self.atoms.copy(), structure, structure.is_periodic)
        else:
            if not np.isfinite(atoms.positions).all():
                raise StructureError(f"{last.structure.formula}: a position or cell vector is not a finite number")
            self.atoms = _copied(atoms, last.template)
            structure = last.structure.moved(atoms.positions)
            last = _Converted(last.facts, last.template, structure, last.is_periodic)
        self._converted = last
        return structure, last.is_periodic


class _Converted(NamedTuple):
    """Atoms that were converted: all that matters but positions, a copy that nobody else holds, and the Structure."""

    facts: tuple[Any, ...]
    template: ase.Atoms
    structure: Structure
    is_periodic: bool


def _facts(atoms: ase.Atoms) -> tuple[Any, ...]:
    """Return everything that ASE compares or an evaluation depends on, positions aside, to the last bit."""
    arrays, info = atoms.arrays, atoms.info
    return (
        atoms.cell.array.tobytes(),
        atoms.pbc.tobytes(),
        *[arrays[name].tobytes() if name in arrays else None for name in _ARRAYS],
        *[info.get(name) for name in _INFO],
    )


def _copied(atoms: ase.Atoms, template: ase.Atoms) -> ase.Atoms:
    """Return what ``atoms.copy()`` gives, faster: from a copy made when cell and boundary conditions were the same."""
    other = object.__new__(type(template))
    other.__dict__.update(template.__dict__)
    other._cellobj, other._pbc = template.cell.copy(), template.pbc.copy()  # their setters write into the template's
    other.arrays = {name: array.copy() for name, array in atoms.arrays.items()}
    other.info = dict(atoms.info)
    other.constraints = deepcopy(atoms.constraints) if atoms.constraints else []
    other.set_celldisp(atoms.get_celldisp())
    return other


class PlanCalculator(PotentialCalculator):
    """Base of ASE calculators named after a teacher, such as ``MACECalculator``; a subclass names its plan.

    Parameters
    ----------
    **settings
        The settings of the plan, as in a recipe; ``environment`` runs the teacher in a process of its own.

    Raises
    ------
    PlanError
        If a setting is unknown or out of bounds.
    TeacherError
        If the teacher cannot be loaded.

    Examples
    --------
    >>> from mlff_distiller.teachers.xtb import XTBCalculator
    >>> h2 = ase.Atoms("H2", [[0, 0, 0], [0, 0, 0.74]], calculator=XTBCalculator(method="GFN1-xTB"))
    >>> -30 < h2.get_potential_energy() < -25
    True
    """

    plan: ClassVar[type[PotentialPlan]]

    def __init__(self, **settings: Any) -> None:
        super().__init__(self.plan.parse(settings, where=type(self).__name__).build())
