"""Criteria: limits for all that is measured, from presets that can be made stricter but never looser."""

from math import isfinite
from typing import Any, Final, Self

from pydantic import Field, model_validator

from mlff_distiller.core.errors import PlanError
from mlff_distiller.core.plan import Plan
from mlff_distiller.validation.criterion import AtLeast, AtMost, Criterion, Outcome
from mlff_distiller.validation.presets import FLOOR_FACTOR, Preset, Settings, demand_stricter, preset_criteria
from mlff_distiller.validation.waivers import Waiver, demand_known

__all__ = ["AtLeast", "AtMost", "CriteriaPlan", "Criterion", "Outcome"]


def _at_most(
    limit: float | None = None, screening: float | None = None, *, needed: bool = False, of: str, **more: bool
) -> Any:
    """Return a field of a check of which less is better."""
    return Field(AtMost(limit=limit, screening_limit=screening, required=needed, **more), description=of)


def _at_least(limit: float | None = None, screening: float | None = None, *, needed: bool = False, of: str) -> Any:
    """Return a field of a check of which more is better."""
    return Field(AtLeast(limit=limit, screening_limit=screening, required=needed), description=of)


_UNASKED: Final = {"limit": None, "screening_limit": None, "required": False}
"""How runs of older releases noted that a check had no limit; the preset's counts now."""


class CriteriaPlan(Plan):
    """What a student must reach to be approved: a preset, made stricter where a recipe says so.

    Examples
    --------
    >>> strict = CriteriaPlan.parse({"force_rmse": {"limit": 0.05}}, where="criteria")
    >>> strict.force_rmse.limit, strict.force_rmse.screening_limit, strict.force_rmse.required
    (0.05, 0.4, True)
    >>> CriteriaPlan.parse({"preset": "quantitative"}, where="criteria").force_mae.limit
    0.02
    """

    preset: Preset = Field(
        "production",
        description="Limits to start from; quantitative asks for more, screening gives SCREENING_ONLY at best.",
    )
    waivers: list[Waiver] = Field(
        [], description="Signed lines for checks that do not matter here; they leave the verdict as it is."
    )

    force_rmse: AtMost = _at_most(
        0.2, 0.4, needed=True, of="Root mean square error of force components on held-out frames, eV/Angstrom."
    )
    force_mae: AtMost = _at_most(
        0.1, 0.2, needed=True, of="Mean absolute error of force components on held-out frames, eV/Angstrom."
    )
    force_r2: AtLeast = _at_least(
        0.95, 0.85, needed=True, of="Coefficient of determination of force components on held-out frames."
    )
    force_magnitude_r2: AtLeast = _at_least(of="Coefficient of determination of the sizes of forces.")
    force_angular_error: AtMost = _at_most(of="Mean angle between the student's and the reference force, degrees.")
    force_max_error: AtMost = _at_most(of="Largest error of a force vector, eV/Angstrom.")
    energy_rmse_per_atom: AtMost = _at_most(
        0.05, 0.1, needed=True, of="Root mean square error of the energy on held-out frames, eV/atom."
    )
    energy_mae_per_atom: AtMost = _at_most(of="Mean absolute error of the energy on held-out frames, eV/atom.")
    stress_rmse: AtMost = _at_most(of="Root mean square error of stress components on held-out frames, eV/Angstrom^3.")
    stress_error_percent: AtMost = _at_most(
        5.0, 15.0, needed=True, of="Error of the stress in percent of the spread of the reference; periodic only."
    )
    systems_covered: AtLeast = _at_least(
        1.0,
        0.0,
        needed=True,
        of="Share of the systems trained on that were tested too; isolated atoms do not count.",
    )
    nve_systems: AtLeast = _at_least(
        1.0, needed=True, of="Systems run at constant energy, as a share of three or of all if there are fewer."
    )
    nve_replicas: AtLeast = _at_least(3.0, needed=True, of="Fewest constant-energy runs of a system.")
    nve_duration: AtLeast = _at_least(10.0, needed=True, of="Shortest time that a constant-energy run survived, ps.")
    nve_stability: AtLeast = _at_least(1.0, of="Share of the constant-energy runs that went to their end.")
    nve_drift: AtMost = _at_most(1e-6, of="Size of the slope of the total energy, worst system, eV/atom/ps.")
    nve_drift_percent: AtMost = _at_most(
        1.0,
        5.0,
        needed=True,
        of="Energy gained or lost over a run in percent of the mean kinetic energy, worst system.",
    )
    nve_energy_fluctuation: AtMost = _at_most(
        of="Root mean square of the total energy about its straight line, worst system, meV/atom."
    )
    nve_conservation_ratio: AtMost = _at_most(of="Fluctuation of the total energy over that of the kinetic energy.")
    nve_equipartition: AtMost = _at_most(
        of="Largest deviation of an element's kinetic temperature from that of its system, %."
    )
    nve_bond_drift: AtMost = _at_most(of="Largest change of the mean length of a starting bond in a run, Angstrom.")
    nve_topology_changes: AtMost = _at_most(of="Number of runs that end with other bonds than they began with.")
    nve_rmsd: AtMost = _at_most(of="Mean distance from the starting geometry, worst system, Angstrom; molecules only.")
    timestep_order: AtLeast = _at_least(
        1.7, of="Power of the time step with which the total energy fluctuates; forces that are a gradient give 2."
    )
    force_residual: AtMost = _at_most(
        0.01, 0.05, needed=True, of="Difference of the forces from the gradient of the energy, eV/Angstrom."
    )
    stress_residual: AtMost = _at_most(
        5e-4, 2e-3, needed=True, of="Difference of the stress from the strain derivative, eV/Angstrom^3; periodic only."
    )
    force_spread: AtMost = _at_most(
        0.01, 0.05, needed=True, of="Change of forces on rotation, permutation, images or batches, eV/Angstrom."
    )
    energy_spread: AtMost = _at_most(
        1e-3, 5e-3, needed=True, of="Change of the energy on rotation, permutation, images or batches, eV/atom."
    )
    force_jump: AtMost = _at_most(
        0.05, 0.2, needed=True, of="Largest step of a force along a smooth path, through the cutoff too, eV/Angstrom."
    )
    energy_jump: AtMost = _at_most(
        5e-3, 2e-2, needed=True, of="Largest step of the energy along a smooth path, through the cutoff too, eV."
    )
    extensivity_error: AtMost = _at_most(
        1e-3, 5e-3, needed=True, of="Energy of two copies far apart against twice that of one, eV/atom."
    )
    short_range_hole: AtMost = _at_most(
        0.5, 1.0, needed=True, of="Depth to which the energy falls again when atoms are pushed together, eV."
    )
    out_of_domain: AtMost = _at_most(of="Largest force on scaled and displaced structures, eV/Angstrom.")
    visited_force_rmse: AtMost = _at_most(
        of="Root mean square error of forces on frames that the student's own dynamics visits, eV/Angstrom."
    )
    visited_force_mae: AtMost = _at_most(of="Mean absolute error of forces on such frames, eV/Angstrom.")
    visited_force_max_error: AtMost = _at_most(of="Largest error of a force vector on such frames, eV/Angstrom.")
    visited_energy_rmse_per_atom: AtMost = _at_most(of="Root mean square error of the energy on such frames, eV/atom.")
    visited_force_ratio: AtMost = _at_most(of="Force error on such frames over that on held-out frames.")
    bond_distribution: AtMost = _at_most(of="Bond lengths: distance from the teacher's over its own run-to-run one.")
    angle_distribution: AtMost = _at_most(of="The same of bond angles.")
    dihedral_distribution: AtMost = _at_most(of="The same of dihedral angles.")
    rdf: AtMost = _at_most(of="The same of radial distribution functions.")
    vdos: AtMost = _at_most(of="The same of the vibrational density of states.")
    pressure: AtMost = _at_most(of="The same of the mean pressure.")
    diffusion: AtMost = _at_most(of="The same of the diffusion coefficient.")
    frequency_mae: AtMost = _at_most(of="Mean absolute error of harmonic frequencies, 1/cm.")
    geometry_rmsd: AtMost = _at_most(of="Distance of the relaxed geometry from the teacher's, Angstrom.")
    torsion_error: AtMost = _at_most(of="Largest error of a torsion profile, meV.")
    dimer_error: AtMost = _at_most(of="Largest error of a dimer curve in the range that matters, meV.")
    eos_error: AtMost = _at_most(of="Error of the bulk modulus, %.")
    elastic_error: AtMost = _at_most(of="Error of the elastic constants, %.")
    step_time: AtMost = _at_most(
        10.0, needed=True, for_screening=False, of="Time of one dynamics step with the student, ms."
    )
    speedup: AtLeast = _at_least(of="How many times faster a step is than with the teacher.")
    memory_growth: AtMost = _at_most(1.0, 5.0, needed=True, of="Growth of the memory over 10,000 steps, %.")

    @model_validator(mode="before")
    @classmethod
    def _on_top_of_the_preset(cls, value: Any) -> Any:
        """Let a recipe make one limit stricter and keep the rest of the preset."""
        if not isinstance(value, dict):
            return value
        preset = value.get("preset", "production")
        base = cls._preset(preset)
        filled: dict[str, Any] = dict(base)
        for name, own in value.items():
            plain = own.model_dump() if isinstance(own, Criterion) else own
            if name in base and isinstance(plain, dict):
                plain = base[name] | ({} if plain == _UNASKED else plain)
                demand_stricter(name, plain, base[name], sign=cls._sign(name), of=preset)
            filled[name] = plain
        return filled

    @model_validator(mode="after")
    def _not_loosened(self) -> Self:
        base = self._preset(self.preset)
        for name in self.names():
            own = self.criterion(name).model_dump()
            demand_stricter(name, own, base[name], sign=self._sign(name), of=self.preset)
        try:
            demand_known(self.waivers, self.names())
        except PlanError as error:
            raise ValueError(str(error)) from error
        return self

    @classmethod
    def _preset(cls, preset: str) -> dict[str, Settings]:
        """Return all criteria of a preset as plain data; the defaults of this class are those of production."""
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        production = {name: found.model_dump() for name, found in defaults.items() if isinstance(found, Criterion)}
        return preset_criteria(preset, production)

    @classmethod
    def _sign(cls, name: str) -> int:
        return int(cls.model_fields[name].default.sign)

    def criterion(self, name: str) -> Criterion:
        """Return the criterion of a check; one without limits for checks that are only reported.

        Examples
        --------
        >>> CriteriaPlan().criterion("teacher_step_time").limit is None
        True
        """
        found = getattr(self, name, None)
        return found if isinstance(found, Criterion) else AtMost()

    def names(self, *, required: bool = False) -> list[str]:
        """Return the names of all checks that have a criterion, or of those that the verdict depends on.

        Examples
        --------
        >>> CriteriaPlan().names(required=True)[:3]
        ['force_rmse', 'force_mae', 'force_r2']
        """
        criteria = [name for name in type(self).model_fields if isinstance(getattr(self, name), Criterion)]
        return [name for name in criteria if self.criterion(name).required or not required]

    @property
    def own(self) -> dict[str, Any]:
        """The preset, and what differs from it: all that is needed to have these criteria again.

        Examples
        --------
        >>> CriteriaPlan.parse({"force_rmse": {"limit": 0.05}}, where="criteria").own
        {'preset': 'production', 'force_rmse': {'limit': 0.05}}
        """
        base, found = self._preset(self.preset), dict[str, Any](preset=self.preset)
        for name in self.names():
            settings = self.criterion(name).model_dump()
            changed = {key: value for key, value in settings.items() if value != base[name][key]}
            found |= {name: changed} if changed else {}
        return found

    def above(self, floor: float | None) -> Self:
        """Return the criteria in face of a teacher whose own forces scatter: none follows it closer than that.

        Under ``quantitative`` the mean force error may be twice the error floor, unless the recipe has a limit of its
        own, and never more than ``production`` allows. Other presets know nothing of the floor.

        Parameters
        ----------
        floor : float or None
            Error floor of the teacher, eV/Angstrom; None where it was not audited.

        Examples
        --------
        >>> CriteriaPlan(preset="quantitative").above(0.015).force_mae.limit
        0.03
        """
        preset = self._preset(self.preset)["force_mae"]["limit"]
        if self.preset != "quantitative" or self.force_mae.limit != preset or floor is None or not isfinite(floor):
            return self
        most = self._preset("production")["force_mae"]["limit"]
        limit = min(max(preset, FLOOR_FACTOR * floor), most)
        return self.model_copy(update={"force_mae": self.force_mae.model_copy(update={"limit": limit})})
