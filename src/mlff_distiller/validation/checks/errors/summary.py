"""All errors of predictions made before, with their intervals."""

from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.errors.energy import energy_errors
from mlff_distiller.validation.checks.errors.force import ForceErrors
from mlff_distiller.validation.checks.errors.parity import Parity
from mlff_distiller.validation.checks.errors.stress import stress_errors, without_stress


def summarize(
    parity: Parity, *, angle_threshold_eV_per_A: float, n_resamples: int = 2000, seed: int = 0
) -> list[Measurement]:
    """Return the errors of forces, energies and, where there is one, stress.

    Parameters
    ----------
    parity : Parity
        Reference and prediction.
    angle_threshold_eV_per_A : float
        Smallest reference force whose direction counts, eV/Angstrom.
    n_resamples : int
        Bootstrap resamples behind each interval.
    seed : int
        Of the resamples.
    """
    forces = ForceErrors(parity, threshold=angle_threshold_eV_per_A)
    kinds = [forces.errors, energy_errors(parity)]
    if not without_stress(parity):
        kinds.append(stress_errors(parity))
    measured = [m for kind in kinds for m in kind.measurements(n_resamples=n_resamples, seed=seed)]
    return [*measured, forces.largest()]
