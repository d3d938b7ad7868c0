"""Names, units and digits of checks, as a reader of the report sees them."""

from html import escape
from typing import Final

TITLES: Final = {
    "systems_covered": "Systems tested",
    "force_rmse": "Force RMSE",
    "force_mae": "Force MAE",
    "force_r2": "Force R²",
    "force_angular_error": "Mean force angle",
    "force_max_error": "Largest force error",
    "energy_rmse_per_atom": "Energy RMSE",
    "energy_mae_per_atom": "Energy MAE",
    "stress_rmse": "Stress RMSE",
    "nve_duration": "Shortest NVE run survived",
    "nve_stability": "NVE runs completed",
    "nve_drift": "NVE drift",
    "nve_drift_percent": "NVE drift, share of kinetic energy",
    "nve_energy_fluctuation": "NVE energy fluctuation",
    "nve_temperature": "NVE mean temperature",
    "step_time": "Time per MD step",
    "teacher_step_time": "Time per MD step, teacher",
    "speedup": "Speed-up over the teacher",
}
"""What a check is called in the report; others keep their own name."""

_DISPLAYED: Final = {"eV/atom": ("meV/atom", 1000.0)}


def title(name: str) -> str:
    """Return the escaped title of a check.

    Examples
    --------
    >>> title("force_r2"), title("my<check>")
    ('Force R²', 'my&lt;check&gt;')
    """
    return escape(TITLES.get(name, name.replace("_", " ")))


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
    return 5 if name == "force_r2" else 3
