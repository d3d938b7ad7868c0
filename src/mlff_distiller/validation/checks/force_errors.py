"""Errors of a student on held-out frames: forces, energies and stress against the reference labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.core.plan import Plan
from mlff_distiller.core.randomness import generator
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.statistics import Estimator, Interval, segment_interval

Floats = NDArray[np.float64]
_CHUNK = 256
_ENERGY_NOTE = "energies are compared as they are; no constant was subtracted"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Labeled frames that no student was trained or selected on.

    Parameters
    ----------
    structures : sequence of Structure
        F frames.
    labels : sequence of Labels
        Their reference labels.
    segments : sequence of str
        Which trajectory segment each frame comes from; frames of one segment are taken as correlated.
    systems : sequence of str, optional
        Which molecule or material each frame is; by its formula unless given.

    Raises
    ------
    DataError
        If there are no frames or the lengths differ.

    Examples
    --------
    >>> HeldOut([Structure([1], [[0, 0, 0]])], [Labels(energy=-1.0)], ["h/0"]).systems
    ('H',)
    """

    structures: Sequence[Structure]
    labels: Sequence[Labels]
    segments: Sequence[str]
    systems: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.structures:
            raise DataError("there are no held-out frames to validate on; label more structures or enlarge the split")
        if not self.systems:
            object.__setattr__(self, "systems", tuple(structure.formula for structure in self.structures))
        sizes = {len(self.structures), len(self.labels), len(self.segments), len(self.systems)}
        if len(sizes) > 1:
            raise DataError(
                f"held-out frames do not match: {len(self.structures)} structures, {len(self.labels)} labels, "
                f"{len(self.segments)} segments and {len(self.systems)} systems; give one of each per frame"
            )


@dataclass(frozen=True, eq=False)
class Parity:
    """Reference and prediction side by side, F frames of A atoms in all; NaN where the reference has no label.

    Attributes
    ----------
    systems, segments : (F,) str
        Names of each frame's system and trajectory segment.
    n_atoms : (F,) int
        Atoms of each frame.
    numbers : (A,) int
        Atomic numbers.
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


class ForceErrorsPlan(Plan):
    """Errors of forces, energies and stress on held-out frames."""

    angle_threshold_eV_per_A: float = Field(
        0.1, ge=0, description="Atoms with a smaller reference force are left out of the mean angular error."
    )
    n_resamples: int = Field(
        2000, ge=200, le=100_000, description="Number of bootstrap resamples behind each 95 % interval."
    )

    def measure(
        self, student: Potential, frames: HeldOut, *, seed: int = 0, advance: Advance | None = None
    ) -> tuple[list[Measurement], Parity]:
        """Predict all frames and return the errors with 95 % intervals, and the numbers behind them.

        Parameters
        ----------
        student : Potential
            What is validated.
        frames : HeldOut
            What it is validated on.
        seed : int
            Of the bootstrap.
        advance : Advance, optional
            Told how many frames are done.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import morse
        >>> teacher, student = (morse(depth=d, width=1.9, distance=0.74, cutoff=6.0) for d in (4.5, 4.6))
        >>> dimers = [Structure([1, 1], [[0, 0, 0], [0, 0, r]]) for r in (0.7, 0.8, 0.9, 1.0)]
        >>> frames = HeldOut(dimers, teacher.predict(dimers), ["a", "a", "b", "b"])
        >>> measurements, parity = ForceErrorsPlan().measure(student, frames)
        >>> {m.name: round(m.value, 3) for m in measurements}["force_rmse"]
        0.037
        """
        parity = compare(student, frames, advance=advance)
        return self.summarize(parity, seed=seed), parity

    def summarize(self, parity: Parity, *, seed: int = 0) -> list[Measurement]:
        """Return the error measurements of predictions made before."""
        forces = _ForceErrors(parity, self.angle_threshold_eV_per_A)
        energy = _energy_errors(parity)
        groups = [
            _Group(_FORCE, _by_segment(parity, forces.columns, per_atom=True), forces.breakdown()),
            _Group(_ENERGY, _by_segment(parity, energy), _energy_breakdown(parity)),
        ]
        if np.isfinite(parity.reference_stresses).any():
            groups.append(_Group(_STRESS, _by_segment(parity, _stress_errors(parity)), {}))
        measured = [m for group in groups for m in self._measure_group(group, seed)]
        return [*measured, forces.largest()]

    def _measure_group(self, group: "_Group", seed: int) -> list[Measurement]:
        found = []
        for name, (unit, count, estimate) in group.estimates.items():
            sums = group.sums[group.sums[:, count] > 0]
            rng = generator(seed, "bootstrap", name)
            value, ci95 = segment_interval(sums, estimate, rng=rng, n_resamples=self.n_resamples)
            if name == "force_r2":
                value, ci95 = 1 - value, _mirrored(ci95)
            detail = {"n_segments": len(sums), "n_values": int(sums[:, count].sum()), **group.detail.get(name, {})}
            if name == "force_angular_error":
                detail["threshold_eV_per_A"] = self.angle_threshold_eV_per_A
            found.append(Measurement(name, value, unit, ci95, len(sums), detail))
        return found


@dataclass(frozen=True, eq=False)
class _Group:
    """Sums per segment of one kind of error, and what goes into the details of its measurements."""

    estimates: "dict[str, _Estimate]"
    sums: Floats
    detail: dict[str, dict[str, Any]]


def _mean(total: int, count: int, *, root: bool = False) -> Estimator:
    def estimate(sums: Floats) -> Any:
        mean = sums[..., total] / sums[..., count]
        return np.sqrt(mean) if root else mean

    return estimate


def _unexplained(sums: Floats) -> Any:
    """Return 1 - R2: the sum of squared errors over the sum of squares about the mean."""
    n, squared_error, total, squares = (sums[..., k] for k in (0, 2, 3, 4))
    spread = squares - total**2 / n
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, squared_error / spread, np.nan)


class _Estimate(NamedTuple):
    """Unit, column that holds the count, and the function of the sums; columns as the functions below stack them."""

    unit: str
    count_column: int
    function: Estimator


_FORCE = {
    "force_rmse": _Estimate("eV/A", 0, _mean(2, 0, root=True)),
    "force_mae": _Estimate("eV/A", 0, _mean(1, 0)),
    "force_r2": _Estimate("", 0, _unexplained),
    "force_angular_error": _Estimate("degree", 5, _mean(6, 5)),
}
_ENERGY = {
    "energy_rmse_per_atom": _Estimate("eV/atom", 0, _mean(2, 0, root=True)),
    "energy_mae_per_atom": _Estimate("eV/atom", 0, _mean(1, 0)),
}
_STRESS = {"stress_rmse": _Estimate("eV/A^3", 0, _mean(2, 0, root=True))}


class _ForceErrors:
    """Errors of force vectors, atom by atom."""

    def __init__(self, parity: Parity, threshold: float) -> None:
        self.parity = parity
        self.labeled = _labeled(parity.reference_forces)
        self.reference = np.where(self.labeled[:, None], parity.reference_forces, 0.0)
        error = _never_nan(parity.predicted_forces - parity.reference_forces)
        self.error = np.where(self.labeled[:, None], error, 0.0)
        self.angles = np.where(self.labeled, _angles(self.reference, parity.predicted_forces), 0.0)
        self.angled = self.labeled & (np.linalg.norm(self.reference, axis=1) > threshold)

    @property
    def columns(self) -> Floats:
        """Per atom: count, sum |d|, sum d^2, sum y, sum y^2, count of angles, sum of angles."""
        y, d = self.reference, self.error
        return np.column_stack(
            [
                3.0 * self.labeled,
                np.abs(d).sum(1),
                (d**2).sum(1),
                y.sum(1),
                (y**2).sum(1),
                self.angled,
                np.where(self.angled, self.angles, 0.0),
            ]
        )

    def breakdown(self) -> dict[str, dict[str, Any]]:
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
        groups = {str(key): self.labeled & _is(keys, key) for key in np.unique(keys[self.labeled])}
        means = {key: float(d[own].mean()) for key, own in groups.items()}
        return {key: mean**0.5 if root else mean for key, mean in means.items()}

    def largest(self) -> Measurement:
        """Return the largest error of a force vector and where it is."""
        size = np.linalg.norm(self.error, axis=1)
        if not self.labeled.any():
            return Measurement("force_max_error", float("nan"), "eV/A", None, 0)
        atom = int(np.argmax(size))
        frame = int(self.parity.atom_frames[atom])
        detail = {
            "element": SYMBOLS[self.parity.numbers[atom]],
            "system": str(self.parity.systems[frame]),
            "segment": str(self.parity.segments[frame]),
            "frame": frame,
            "reference_force_eV_per_A": float(np.linalg.norm(self.reference[atom])),
        }
        return Measurement("force_max_error", float(size[atom]), "eV/A", None, int(self.labeled.sum()), detail)


def compare(student: Potential, frames: HeldOut, *, advance: Advance | None = None) -> Parity:
    """Predict all frames and return reference and prediction side by side."""
    labeled = {name for labels in frames.labels for name in labels.present}
    wanted = [name for name in ("energy", "forces", "stress") if name in labeled & student.properties]
    predicted: list[Labels] = []
    for first in range(0, len(frames.structures), _CHUNK):
        chunk = frames.structures[first : first + _CHUNK]
        predicted += student.predict(chunk, wanted)
        if advance is not None:
            advance(len(chunk))
    sizes = [len(structure) for structure in frames.structures]
    arrays = {}
    for side, labels in (("reference", frames.labels), ("predicted", predicted)):
        arrays[f"{side}_energies"] = np.array([np.nan if x.energy is None else x.energy for x in labels])
        forces = [np.full((n, 3), np.nan) if x.forces is None else x.forces for x, n in zip(labels, sizes, strict=True)]
        arrays[f"{side}_forces"] = np.concatenate(forces)
        arrays[f"{side}_stresses"] = np.array(
            [np.full((3, 3), np.nan) if x.stress is None else x.stress for x in labels]
        )
    return Parity(
        systems=np.array(frames.systems),
        segments=np.array(frames.segments),
        n_atoms=np.array(sizes),
        numbers=np.concatenate([structure.numbers for structure in frames.structures]),
        **arrays,
    )


def _labeled(reference: Floats) -> NDArray[np.bool_]:
    """Return for which rows there is a reference."""
    return np.asarray(np.isfinite(reference.reshape(len(reference), -1)).all(axis=1))


def _is(names: NDArray[np.str_], name: str) -> NDArray[np.bool_]:
    return np.asarray(names == name)


def _never_nan(error: Floats) -> Floats:
    """Return errors in which a prediction that is not a number is infinitely wrong, not missing."""
    return np.where(np.isnan(error), np.inf, error)


def _angles(reference: Floats, predicted: Floats) -> Floats:
    """Return the angles between vectors in degrees, right also where they are tiny; 180 where undefined."""
    predicted = np.where(np.isfinite(predicted), predicted, 0.0)
    cross = np.linalg.norm(np.cross(reference, predicted), axis=1)
    dot = (reference * predicted).sum(1)
    undefined = (predicted == 0).all(1)
    return np.asarray(np.where(undefined, 180.0, np.degrees(np.arctan2(cross, dot))))


def _energy_errors(parity: Parity) -> Floats:
    labeled = _labeled(parity.reference_energies)
    error = _never_nan((parity.predicted_energies - parity.reference_energies) / parity.n_atoms)
    error = np.where(labeled, error, 0.0)
    return np.column_stack([labeled, np.abs(error), error**2])


def _energy_breakdown(parity: Parity) -> dict[str, dict[str, Any]]:
    count, size, square = _energy_errors(parity).T
    labeled = count > 0
    groups = {str(name): labeled & _is(parity.systems, name) for name in np.unique(parity.systems[labeled])}
    rmse = {name: float(square[own].mean() ** 0.5) for name, own in groups.items()}
    mae = {name: float(size[own].mean()) for name, own in groups.items()}
    return {
        "energy_rmse_per_atom": {"per_system": rmse, "note": _ENERGY_NOTE},
        "energy_mae_per_atom": {"per_system": mae, "note": _ENERGY_NOTE},
    }


def _stress_errors(parity: Parity) -> Floats:
    labeled = _labeled(parity.reference_stresses)
    error = _never_nan(parity.predicted_stresses - parity.reference_stresses)
    error = np.where(labeled[:, None, None], error, 0.0)
    return np.column_stack([9.0 * labeled, np.abs(error).sum((1, 2)), (error**2).sum((1, 2))])


def _by_segment(parity: Parity, columns: Floats, *, per_atom: bool = False) -> Floats:
    """Sum the columns of atoms or frames over each segment."""
    names, index = np.unique(parity.segments, return_inverse=True)
    if per_atom:
        index = index[parity.atom_frames]
    sums = np.zeros((len(names), columns.shape[1]))
    np.add.at(sums, index, columns)
    return sums


def _mirrored(interval: Interval | None) -> Interval | None:
    return None if interval is None else (1 - interval[1], 1 - interval[0])
