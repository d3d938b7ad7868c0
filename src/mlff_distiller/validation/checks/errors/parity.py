"""Parity: reference and prediction side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import PredictionError
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.held_out import HeldOut

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_CHUNK: Final = 256


@dataclass(frozen=True, eq=False)
class Parity:
    """Reference and prediction side by side, F frames of A atoms in all; NaN where there is no label.

    Attributes
    ----------
    systems, segments : (F,) str
        Names of each frame's system and trajectory segment.
    n_atoms : (F,) int
        Atoms of each frame.
    numbers : (A,) int
        Atomic numbers.
    positions : (A, 3)
        Angstrom.
    cells : (F, 3, 3)
        Cell vectors as rows, Angstrom.
    pbc : (F, 3) bool
        Which of them are periodic.
    reference_energies, predicted_energies : (F,)
        Total energies, eV.
    reference_forces, predicted_forces : (A, 3)
        eV/Angstrom.
    reference_stresses, predicted_stresses : (F, 3, 3)
        eV/Angstrom^3.
    """

    systems: NDArray[np.str_]
    segments: NDArray[np.str_]
    n_atoms: NDArray[np.int64]
    numbers: NDArray[np.int64]
    positions: Floats
    cells: Floats
    pbc: Flags
    reference_energies: Floats
    predicted_energies: Floats
    reference_forces: Floats
    predicted_forces: Floats
    reference_stresses: Floats
    predicted_stresses: Floats

    @property
    def atom_frames(self) -> NDArray[np.int64]:
        """Frame of each atom (A,)."""
        return np.repeat(np.arange(len(self.n_atoms)), self.n_atoms)

    @property
    def force_errors(self) -> Floats:
        """Error vectors of the forces (A, 3), eV/Angstrom; NaN without a reference, see :func:`error_of`."""
        return error_of(self.predicted_forces, self.reference_forces)

    @property
    def frame_force_rmse(self) -> Floats:
        """Root mean square error of the force components of each frame (F,), eV/Angstrom; NaN without a reference."""
        square = np.zeros(len(self.n_atoms))
        np.add.at(square, self.atom_frames, (self.force_errors**2).sum(1))
        return np.asarray(np.sqrt(square / (3 * self.n_atoms)))


def compare(potential: Potential, frames: HeldOut, *, advance: Advance | None = None) -> Parity:
    """Predict all frames and return reference and prediction side by side; a refused frame is infinitely wrong."""
    labeled = {name for labels in frames.labels for name in labels.present}
    wanted = [name for name in ("energy", "forces", "stress") if name in labeled & potential.properties]
    predicted: list[Labels] = []
    for first in range(0, len(frames.structures), _CHUNK):
        chunk = frames.structures[first : first + _CHUNK]
        predicted += _answers(potential, chunk, wanted)
        if advance is not None:
            advance(len(chunk))
    return side_by_side(frames, predicted)


def _answers(potential: Potential, structures: Sequence[Structure], wanted: Sequence[str]) -> list[Labels]:
    """Return predictions, NaN where the potential gives none."""
    found = [_nothing(structure, wanted) for structure in structures]
    asked = list(range(len(structures)))
    while asked:
        try:
            answers = potential.predict([structures[row] for row in asked], wanted)
        except PredictionError as error:
            del asked[error.index]
        else:
            for row, labels in zip(asked, answers, strict=True):
                found[row] = labels
            break
    return found


def _nothing(structure: Structure, wanted: Sequence[str]) -> Labels:
    nothing: dict[str, Any] = {
        "energy": float("nan"),
        "forces": np.full((len(structure), 3), np.nan),
        "stress": np.full((3, 3), np.nan),
    }
    return Labels(**{name: nothing[name] for name in wanted})


def side_by_side(frames: HeldOut, predicted: Sequence[Labels]) -> Parity:
    """Return frames with their labels and the predictions for them.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> frames = HeldOut([Structure([1], [[0, 0, 0]])], [Labels(energy=-1.0)], ["h/0"])
    >>> side_by_side(frames, [Labels(energy=-1.5)]).predicted_energies.tolist()
    [-1.5]
    """
    structures = frames.structures
    sizes = [len(structure) for structure in structures]
    return Parity(
        systems=np.array(frames.systems),
        segments=np.array(frames.segments),
        n_atoms=np.array(sizes),
        numbers=np.concatenate([structure.numbers for structure in structures]),
        positions=np.concatenate([structure.positions for structure in structures]),
        cells=np.array([structure.cell for structure in structures]),
        pbc=np.array([structure.pbc for structure in structures]),
        **_stacked("reference", frames.labels, sizes),
        **_stacked("predicted", predicted, sizes),
    )


def _stacked(side: str, labels: Sequence[Labels], sizes: Sequence[int]) -> dict[str, Any]:
    forces = [np.full((n, 3), np.nan) if x.forces is None else x.forces for x, n in zip(labels, sizes, strict=True)]
    return {
        f"{side}_energies": np.array([np.nan if x.energy is None else x.energy for x in labels]),
        f"{side}_forces": np.concatenate(forces),
        f"{side}_stresses": np.array([np.full((3, 3), np.nan) if x.stress is None else x.stress for x in labels]),
    }


def labeled_rows(reference: Floats) -> Flags:
    """Return for which rows (n, ...) there is a reference."""
    return np.asarray(np.isfinite(reference.reshape(len(reference), -1)).all(axis=1))


def error_of(predicted: Floats, reference: Floats) -> Floats:
    """Return errors; a prediction that is not a number is infinitely wrong, not missing; NaN without a reference.

    Examples
    --------
    >>> error_of(np.array([1.5, np.nan, 1.0]), np.array([1.0, 1.0, np.nan])).tolist()
    [0.5, inf, nan]
    """
    error = predicted - reference
    return np.asarray(np.where(np.isnan(error) & np.isfinite(reference), np.inf, error))
