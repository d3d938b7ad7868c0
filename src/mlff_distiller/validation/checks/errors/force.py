"""Errors of forces: of components and vectors, by element, system and size of the force, and where the worst are."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.errors.estimates import Errors, Estimate, by_segment, mean, unexplained
from mlff_distiller.validation.checks.errors.parity import Floats, Parity, labeled_rows

ESTIMATES: Final = {
    "force_rmse": Estimate("eV/A", 0, mean(2, 0, root=True)),
    "force_mae": Estimate("eV/A", 0, mean(1, 0)),
    "force_r2": Estimate("", 0, unexplained(0, 2, 3, 4), from_one=True),
    "force_magnitude_r2": Estimate("", 7, unexplained(7, 8, 9, 10), from_one=True),
    "force_angular_error": Estimate("degree", 5, mean(6, 5)),
}
"""What follows from the columns of :func:`force_errors`."""

_BINS: Final = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, np.inf)  # eV/Angstrom
_WORST_FRAMES: Final = 10


class ForceErrors:
    """Errors of force vectors, atom by atom.

    Parameters
    ----------
    parity : Parity
        Reference and prediction.
    threshold : float
        Smallest reference force whose direction counts, eV/Angstrom.
    """

    def __init__(self, parity: Parity, *, threshold: float) -> None:
        self.parity, self.threshold = parity, threshold
        self.labeled = labeled_rows(parity.reference_forces)
        known = self.labeled[:, None]
        self.reference = np.where(known, parity.reference_forces, 0.0)
        self.error = np.where(known, parity.force_errors, 0.0)
        self.size = np.linalg.norm(self.reference, axis=1)
        self.angles = np.where(self.labeled, _angles(self.reference, parity.predicted_forces), 0.0)
        self.angled = self.labeled & (self.size > threshold)

    @property
    def errors(self) -> Errors:
        """Sums over segments and all that follows from them."""
        detail = self._breakdown()
        detail["force_rmse"] |= {"per_magnitude": self._by_size(), "worst_frames": self._worst_frames()}
        detail["force_angular_error"] = {"threshold_eV_per_A": self.threshold}
        return Errors(ESTIMATES, by_segment(self.parity, self._columns()), detail)

    def _columns(self) -> Floats:
        """Per atom: components, |d|, d^2, y, y^2 summed; angles, their sum; vectors, (|p| - |y|)^2, |y|, |y|^2."""
        y, d, known = self.reference, self.error, self.labeled
        predicted = np.linalg.norm(y + d, axis=1)
        return np.column_stack(
            [
                3.0 * known,
                np.abs(d).sum(1),
                (d**2).sum(1),
                y.sum(1),
                (y**2).sum(1),
                self.angled,
                np.where(self.angled, self.angles, 0.0),
                known,
                (predicted - self.size) ** 2,
                self.size,
                self.size**2,
            ]
        )

    def _breakdown(self) -> dict[str, dict[str, Any]]:
        """Return RMSE and MAE per element and per system."""
        elements = np.array([SYMBOLS[z] for z in self.parity.numbers])
        systems = self.parity.systems[self.parity.atom_frames]
        parts = {"per_element": elements, "per_system": systems}
        return {
            "force_rmse": {part: self._per(keys, root=True) for part, keys in parts.items()},
            "force_mae": {part: self._per(keys, root=False) for part, keys in parts.items()},
        }

    def _per(self, keys: NDArray[np.str_], *, root: bool) -> dict[str, float]:
        d = self.error**2 if root else np.abs(self.error)
        groups = {str(key): self.labeled & np.asarray(keys == key) for key in np.unique(keys[self.labeled])}
        means = {key: float(d[own].mean()) for key, own in groups.items()}
        return {key: found**0.5 if root else found for key, found in means.items()}

    def _by_size(self) -> list[dict[str, Any]]:
        """Return the errors of forces of about the same size; bins without any are left out."""
        place = np.digitize(self.size, _BINS) - 1
        rows = []
        for k, (low, high) in enumerate(pairwise(_BINS)):
            own, angled = self.labeled & (place == k), self.angled & (place == k)
            if own.any():
                error = self.error[own]
                rows.append(
                    {
                        "from_eV_per_A": low,
                        "to_eV_per_A": high,
                        "n_atoms": int(own.sum()),
                        "rmse_eV_per_A": float(np.sqrt((error**2).mean())),
                        "mae_eV_per_A": float(np.abs(error).mean()),
                        "typical_eV_per_A": float(np.sqrt((self.reference[own] ** 2).mean())),
                        "angular_error_degree": float(self.angles[angled].mean()) if angled.any() else None,
                    }
                )
        return rows

    def _worst_frames(self) -> list[dict[str, Any]]:
        """Return the frames with the largest root mean square error."""
        rmse = self.parity.frame_force_rmse
        order = np.argsort(-np.where(np.isnan(rmse), -np.inf, rmse), kind="stable")[:_WORST_FRAMES]
        return [
            {
                "frame": frame,
                "system": str(self.parity.systems[frame]),
                "segment": str(self.parity.segments[frame]),
                "rmse_eV_per_A": float(rmse[frame]),
            }
            for frame in order.tolist()
            if not np.isnan(rmse[frame])
        ]

    def largest(self) -> Measurement:
        """Return the largest error of a force vector and where it is."""
        if not self.labeled.any():
            return Measurement("force_max_error", float("nan"), "eV/A", None, 0)
        error = np.linalg.norm(self.error, axis=1)
        atom = int(np.argmax(error))
        frame = int(self.parity.atom_frames[atom])
        detail = {
            "element": SYMBOLS[self.parity.numbers[atom]],
            "system": str(self.parity.systems[frame]),
            "segment": str(self.parity.segments[frame]),
            "frame": frame,
            "reference_force_eV_per_A": float(self.size[atom]),
        }
        return Measurement("force_max_error", float(error[atom]), "eV/A", None, int(self.labeled.sum()), detail)


def _angles(reference: Floats, predicted: Floats) -> Floats:
    """Return the angles between vectors in degrees, right also where they are tiny; 180 where undefined."""
    predicted = np.where(np.isfinite(predicted), predicted, 0.0)
    cross = np.linalg.norm(np.cross(reference, predicted), axis=1)
    dot = (reference * predicted).sum(1)
    undefined = (predicted == 0).all(1)
    return np.asarray(np.where(undefined, 180.0, np.degrees(np.arctan2(cross, dot))))
