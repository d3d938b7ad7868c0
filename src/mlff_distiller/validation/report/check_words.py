"""Names, units and digits of checks, as a reader of the report sees them."""

from html import escape
from typing import Final

TITLES: Final = {
    "errors": {
        "systems_covered": "Systems tested",
        "force_rmse": "Force RMSE",
        "force_mae": "Force MAE",
        "force_r2": "Force R²",
        "force_magnitude_r2": "R² of force magnitudes",
        "force_angular_error": "Mean force angle",
        "force_max_error": "Largest force error",
        "energy_rmse_per_atom": "Energy RMSE",
        "energy_mae_per_atom": "Energy MAE",
        "stress_rmse": "Stress RMSE",
        "stress_error_percent": "Stress error",
    },
    "nve": {
        "nve_systems": "NVE systems run of those needed",
        "nve_replicas": "NVE replicas of a system",
        "nve_duration": "Shortest NVE run survived",
        "nve_stability": "NVE runs completed",
        "nve_drift": "NVE drift",
        "nve_drift_percent": "NVE drift in % of the kinetic energy",
        "nve_energy_fluctuation": "NVE energy fluctuation",
        "nve_conservation_ratio": "NVE fluctuation of total over kinetic energy",
        "nve_temperature": "NVE mean temperature",
        "nve_equipartition": "NVE equipartition between elements",
        "nve_bond_drift": "NVE drift of bond lengths",
        "nve_topology_changes": "NVE runs that end with other bonds",
        "nve_rmsd": "NVE RMSD from the start",
    },
    "timestep": {
        "timestep_order": "Order of the energy error in the time step",
    },
    "physicality": {
        "force_residual": "Forces against the gradient of the energy",
        "stress_residual": "Stress against the strain derivative",
        "loop_force": "Work of the forces on closed loops",
        "force_spread": "Forces after symmetry operations",
        "energy_spread": "Energy after symmetry operations",
        "force_jump": "Largest jump of a force",
        "energy_jump": "Largest jump of the energy",
        "extensivity_error": "Extensivity",
        "short_range_hole": "Hole at short range",
        "out_of_domain": "Forces outside the training domain",
    },
    "visited": {
        "visited_force_rmse": "Force RMSE on visited frames",
        "visited_force_mae": "Force MAE on visited frames",
        "visited_force_max_error": "Largest force error on visited frames",
        "visited_energy_rmse_per_atom": "Energy RMSE on visited frames",
        "visited_force_ratio": "Force RMSE on visited over held-out frames",
    },
    "observables": {
        "bond_distribution": "Bond lengths against the teacher",
        "angle_distribution": "Bond angles against the teacher",
        "dihedral_distribution": "Dihedral angles against the teacher",
        "rdf": "Radial distribution against the teacher",
        "vdos": "Vibrational spectrum against the teacher",
        "pressure": "Pressure against the teacher",
        "density": "Density against the teacher",
        "diffusion": "Diffusion against the teacher",
        "frequency_mae": "MAE of harmonic frequencies",
        "geometry_rmsd": "RMSD of the relaxed geometry",
        "torsion_error": "Largest error of a torsion profile",
        "dimer_error": "Largest error of a dimer curve",
        "eos_error": "Bulk modulus error",
        "elastic_error": "Elastic constants error",
    },
    "timing": {
        "step_time": "Time per MD step",
        "teacher_step_time": "Time per MD step of the teacher",
        "speedup": "Speed-up over the teacher",
        "memory_growth": "Memory growth over a long run",
    },
}
"""What a number is called in the report, by the check that it comes from; others keep their own name."""

UNSEEN: Final = {
    "errors": "errors on held-out frames",
    "nve": "stability and energy conservation in dynamics",
    "timestep": "the dependence on the time step",
    "physicality": "symmetries, smoothness and short range",
    "visited": "errors on the frames that its own dynamics visits",
    "observables": "structure, vibrations and other observables against the teacher",
    "timing": "time and memory",
}
"""What remains unknown without the evidence of a check."""

_DISPLAYED: Final = {"eV/atom": ("meV/atom", 1000.0)}


def title(name: str) -> str:
    """Return the escaped title of a check.

    Examples
    --------
    >>> title("force_r2"), title("my<check>")
    ('Force R²', 'my&lt;check&gt;')
    """
    return escape(TITLES.get(kind_of(name), {}).get(name, name.replace("_", " ")))


def kind_of(name: str) -> str:
    """Return which check a number comes from; empty where that is not known.

    Examples
    --------
    >>> kind_of("visited_force_rmse"), kind_of("step_time"), kind_of("mine")
    ('visited', 'timing', '')
    """
    return next((check for check, own in TITLES.items() if name in own), "")


def place(name: str) -> int:
    """Return where a number stands in lists of all; unknown ones come last.

    Examples
    --------
    >>> place("force_rmse") < place("nve_drift") < place("mine")
    True
    """
    known = [one for own in TITLES.values() for one in own]
    return known.index(name) if name in known else len(known)


def displayed(value: float, unit_name: str) -> tuple[float, str]:
    """Return a value and its unit on the scale that the report uses: energies per atom in meV.

    Examples
    --------
    >>> displayed(0.05, "eV/atom"), displayed(0.2, "eV/A")
    ((50.0, 'meV/atom'), (0.2, 'eV/A'))
    """
    shown, factor = _DISPLAYED.get(unit_name, (unit_name, 1.0))
    return value * factor, shown


def digits_for(name: str) -> int:
    """Return how many significant digits a check deserves; R² needs more near one."""
    return 5 if name in ("force_r2", "force_magnitude_r2") else 3
