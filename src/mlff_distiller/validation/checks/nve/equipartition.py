"""Equipartition: whether every element is as warm as its system."""

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import MASSES, SYMBOLS
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.checks.worst import worst
from mlff_distiller.validation.statistics import Replicated

Floats = NDArray[np.float64]
_MOST_FRAMES = 20
_LINEAR = 1e-3  # as for drawing velocities: what leaves a line by less counts as linear


def equipartition(record: NVERecord) -> list[Measurement]:
    """Return the largest relative deviation of an element's temperature from that of its system, in percent.

    Without total momentum (and, for molecules, angular momentum) an element has fewer degrees of freedom than three
    per atom, the fewer the heavier it is and the farther out it sits: the oxygen of water has 0.33 of 3. They are
    taken from the kept geometries. Systems of one element are left out, and nothing is returned without others.
    Details name the system, the element, and the mean deviation of every one. A harmonic molecule does not exchange
    energy between its modes, so that only the mean over replicas, not a run, is at equipartition.

    Parameters
    ----------
    record : NVERecord
        With temperatures by element and kept geometries.
    """
    samples = {}
    for system in record.names if record.element_temperatures_K.size else ():
        runs = record.runs(system)
        present = np.isin(record.elements, record.numbers[record.atoms(runs[0])])
        if present.sum() < 2:
            continue
        found = np.array([_deviations(record, run) for run in runs])
        for column in np.flatnonzero(present):
            label = f"{system} {SYMBOLS[int(record.elements[column])]}"
            samples[label] = Replicated(found[:, column], np.empty((len(runs), 0)))
    if not samples:
        return []
    return [worst("nve_equipartition", "%", samples, side="magnitude")]


def _deviations(record: NVERecord, run: int) -> Floats:
    """Return how much warmer than its system each element is (K,), percent; NaN where it is not known."""
    numbers = record.numbers[record.atoms(run)]
    counts = (numbers == record.elements[:, None]).sum(1)
    frames = record.positions(run)
    if record.failures[run] or not len(frames):
        return np.full(len(counts), np.nan)
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, _MOST_FRAMES).astype(int))]
    freedom = np.mean([_atom_freedom(numbers, own, periodic=bool(record.pbc[run].any())) for own in chosen], axis=0)
    shares = (freedom * (numbers == record.elements[:, None])).sum(1)
    energies = 3 * counts * np.nan_to_num(record.element_temperatures_K[:, run]).mean(0)  # in units of k_B / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * ((energies / shares) / (energies.sum() / freedom.sum()) - 1))


def _atom_freedom(numbers: NDArray[np.int64], positions: Floats, *, periodic: bool) -> Floats:
    """Return how many of its three motions each atom (N,) keeps when the system neither moves nor rotates.

    Momenta at a temperature are normally distributed in the space orthogonal to the rigid motions, so an atom's share
    is three less what it holds of their orthonormal mass-weighted modes.
    """
    weights = np.sqrt(MASSES[numbers])[:, None]
    rigid = [np.broadcast_to(axis, positions.shape) for axis in np.eye(3)]
    if not periodic:
        center = (weights**2 * positions).sum(0) / (weights**2).sum()
        rigid += [np.cross(axis, positions - center) for axis in np.eye(3)]
    _, sizes, modes = np.linalg.svd(np.array([(weights * own).ravel() for own in rigid]), full_matrices=False)
    held = (modes[sizes > _LINEAR * sizes[0]] ** 2).reshape(-1, len(numbers), 3)
    return np.asarray(3 - held.sum((0, 2)))
