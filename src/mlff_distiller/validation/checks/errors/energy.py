"""Errors of energies per atom, as they are: no constant is subtracted."""

from typing import Any, Final

import numpy as np

from mlff_distiller.validation.checks.errors.estimates import Errors, Estimate, by_segment, mean
from mlff_distiller.validation.checks.errors.parity import Floats, Parity, error_of, labeled_rows

ESTIMATES: Final = {
    "energy_rmse_per_atom": Estimate("eV/atom", 0, mean(2, 0, root=True)),
    "energy_mae_per_atom": Estimate("eV/atom", 0, mean(1, 0)),
}
"""What follows from the columns of frames: count, sum |d|, sum d^2."""

_NOTE: Final = "energies are compared as they are; no constant was subtracted"


def energy_errors(parity: Parity) -> Errors:
    """Return the sums over segments, and the errors per system."""
    columns = _columns(parity)
    count, size, square = columns.T
    labeled = count > 0
    groups = {str(name): labeled & np.asarray(parity.systems == name) for name in np.unique(parity.systems[labeled])}
    rmse: dict[str, Any] = {name: float(square[own].mean() ** 0.5) for name, own in groups.items()}
    mae: dict[str, Any] = {name: float(size[own].mean()) for name, own in groups.items()}
    detail = {
        "energy_rmse_per_atom": {"per_system": rmse, "note": _NOTE},
        "energy_mae_per_atom": {"per_system": mae, "note": _NOTE},
    }
    return Errors(ESTIMATES, by_segment(parity, columns), detail)


def _columns(parity: Parity) -> Floats:
    labeled = labeled_rows(parity.reference_energies)
    error = error_of(parity.predicted_energies, parity.reference_energies) / parity.n_atoms
    error = np.where(labeled, error, 0.0)
    return np.column_stack([labeled, np.abs(error), error**2])
