"""Errors of the stress, of cells that are periodic in three directions."""

from typing import Any, Final

import numpy as np

from mlff_distiller.core.evidence import Skipped
from mlff_distiller.validation.checks.errors.estimates import Errors, Estimate, by_segment, mean
from mlff_distiller.validation.checks.errors.parity import Floats, Parity, error_of, labeled_rows


def _percent(sums: Floats) -> Any:
    """Return the error in percent of the spread of the reference about its mean tensor."""
    spread = sums[..., 3] - (sums[..., 4:] ** 2).sum(-1) / sums[..., 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 1e-12 * sums[..., 3], 100 * np.sqrt(sums[..., 2] / spread), np.nan)


ESTIMATES: Final = {
    "stress_rmse": Estimate("eV/A^3", 0, mean(2, 0, root=True)),
    "stress_error_percent": Estimate("%", 0, _percent),
}
"""What follows from the columns of frames: components, frames, sum d^2, sum s^2, sum of each of nine components s."""


def stress_errors(parity: Parity) -> Errors:
    """Return the sums over segments; see :func:`without_stress` for where there are none."""
    labeled = labeled_rows(parity.reference_stresses)
    known = labeled[:, None, None]
    stress = np.where(known, parity.reference_stresses, 0.0)
    error = np.where(known, error_of(parity.predicted_stresses, parity.reference_stresses), 0.0)
    square, squares = (error**2).sum((1, 2)), (stress**2).sum((1, 2))
    columns = np.column_stack([9.0 * labeled, labeled, square, squares, stress.reshape(len(stress), 9)])
    spread = stress[labeled] - stress[labeled].mean(0)
    detail = {"spread_eV_per_A3": float(np.sqrt((spread**2).mean())), "n_frames": int(labeled.sum())}
    return Errors(ESTIMATES, by_segment(parity, columns), dict.fromkeys(ESTIMATES, detail))


def without_stress(parity: Parity) -> list[Skipped]:
    """Return why the stress was not compared; empty where it was.

    Of molecules there is none, which leaves nothing undecided; a crystal whose stress nobody knows does.
    """
    if not parity.pbc.all(1).any():
        reason, applies = "no held-out frame is periodic in three directions", False
    elif not labeled_rows(parity.reference_stresses).any():
        reason, applies = "no periodic held-out frame carries a stress label", True
    elif not np.isfinite(parity.predicted_stresses).any():
        reason, applies = "the potential gives no stress", True
    else:
        return []
    return [Skipped(name, reason, applies) for name in ESTIMATES]
