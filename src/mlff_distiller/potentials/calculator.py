"""PotentialCalculator: any Potential as an ASE calculator."""

from typing import Any, ClassVar

import ase
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.plan import PotentialPlan


class PotentialCalculator(Calculator):  # type: ignore[misc] # ASE ships no types
    """An ASE calculator over any Potential: energy, free_energy, energies, forces and stress.

    One evaluation gives everything the potential has. Stress exists only for cells periodic in three directions;
    elsewhere asking for it raises ASE's ``PropertyNotImplementedError``.

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

    # A total charge or multiplicity edited in `atoms.info` changes the answer, so it must reset the cache.
    _INFO: ClassVar = ("charge", "spin")

    def __init__(self, potential: Potential) -> None:
        super().__init__()
        self.potential = potential
        known = {"energy": ["energy", "free_energy"], "atomic_energies": ["energies"]}
        self.implemented_properties = [name for own in sorted(potential.properties) for name in known.get(own, [own])]

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last evaluation, total charge and multiplicity included."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if self.atoms is not None and any(self.atoms.info.get(k) != atoms.info.get(k) for k in self._INFO):
            changes.append("initial_charges")
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the potential for ``atoms``; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        structure = from_ase(self.atoms)
        if "stress" in (properties or []) and not structure.is_periodic:
            raise PropertyNotImplementedError(
                f"stress of {structure.formula}: it is defined only for cells periodic in three directions"
            )
        asked = self.potential.properties if structure.is_periodic else self.potential.properties - {"stress"}
        labels = self.potential.predict([structure], asked)[0]
        results: dict[str, Any] = {"energy": labels.energy, "free_energy": labels.energy}
        if labels.forces is not None:
            results["forces"] = labels.forces
        if labels.atomic_energies is not None:
            results["energies"] = labels.atomic_energies
        if labels.stress is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(labels.stress)
        self.results = results


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
