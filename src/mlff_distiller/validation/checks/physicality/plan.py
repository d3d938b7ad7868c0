"""The check of physicality: its settings, and how it is done."""

from pydantic import Field

from mlff_distiller.core.evidence import Evidence
from mlff_distiller.validation.check import CheckPlan
from mlff_distiller.validation.trial import Trial


class PhysicalityPlan(CheckPlan):
    """Whether the potential is a smooth, conservative energy surface with walls where atoms meet."""

    n_systems: int = Field(12, ge=1, description="Systems that are looked at; evenly chosen where there are more.")
    n_per_system: int = Field(3, ge=1, description="Frames of each, held out where there are such.")
    n_directions: int = Field(8, ge=2, description="Random directions for finite differences, for each frame.")
    n_loops: int = Field(2, ge=1, description="Closed loops for each frame.")
    n_rotations: int = Field(
        4, ge=2, description="Random rotations, mirrored rotations, translations and orders of atoms, of each frame."
    )
    n_repeats: int = Field(2, ge=2, description="How often the same call is repeated.")
    longest_cutoff_A: float = Field(
        12.0, gt=3, le=100, description="Reach of a potential that names no cutoff, Angstrom, for the scan through it."
    )
    closest_fraction: float = Field(
        0.4, gt=0, le=0.4, description="How near two atoms are pushed, as a fraction of the sum of covalent radii."
    )
    closest_A: float = Field(
        0.4,
        gt=0,
        le=0.4,
        description="The nearest in any case, Angstrom: dynamics ends there, as atoms have collapsed.",
    )
    reachable_eV: float = Field(
        10.0, ge=10.0, description="Highest barrier that atoms may get over: a hole behind a higher one does not count."
    )
    n_points: int = Field(160, ge=40, description="Points of each curve of two atoms that are pushed together.")

    def measure(self, trial: Trial) -> Evidence:
        """Measure everything that must hold of any potential energy surface.

        Arrays, for the figures (C curves of G points, P paths of H points, NaN where the potential gave no answer):
        ``short_range_labels`` (C,) str, ``short_range_distances`` (C, G) in Angstrom and ``short_range_energies``
        (C, G) in eV, counted from where the way in begins; ``cutoff_labels`` (P,) str, ``cutoff_gaps`` (P, H) in
        Angstrom, ``cutoff_energies`` (P, H) in eV, counted from the end, and ``cutoff_forces`` (P, H), by which two
        parts repel each other, eV/Angstrom.

        Examples
        --------
        >>> from mlff_distiller.atoms.structure import Structure
        >>> from mlff_distiller.potentials.analytic import morse
        >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]])
        >>> trial = Trial(morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0, elements=[1]), {"H2": [h2]})
        >>> found = PhysicalityPlan().measure(trial)
        >>> found.measurement("force_residual").value < 1e-6, found.measurement("short_range_hole").value
        (True, 0.0)
        """
        from mlff_distiller.validation.checks.physicality.measure import measure  # loads torch

        return measure(trial, self)
