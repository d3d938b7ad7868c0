"""Whether trajectories stay what they were: completed runs, bonds, topology, distance from the start."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.dynamics.bonds import Bonds, find_bonds, pair_name
from mlff_distiller.validation.checks.nve.forensics import failures_of
from mlff_distiller.validation.checks.nve.record import NVERecord
from mlff_distiller.validation.checks.worst import worst
from mlff_distiller.validation.statistics import Replicated

Floats = NDArray[np.float64]

_ENOUGH_SYSTEMS: Final = 3
_GONE: Final = 1.5  # times the sum of covalent radii: a bond is over; between this and find_bonds' 1.3 nothing changed


def completion(record: NVERecord, n_systems: int | None = None) -> list[Measurement]:
    """Return how many systems and replicas ran, which share of them to the end, and the shortest time survived.

    A run that went to its end shows only that it survives at least that long: the time is then censored.

    Parameters
    ----------
    record : NVERecord
        The runs.
    n_systems : int, optional
        How many systems there are to run; those that were run unless given.
    """
    completed = record.failures == ""
    n_runs, n_replicas = len(completed), {name: len(record.runs(name)) for name in record.names}
    there = max(n_systems or 0, len(n_replicas))
    share = min(1.0, len(n_replicas) / min(_ENOUGH_SYSTEMS, there))
    detail = {"n_runs": n_runs, "n_systems": len(n_replicas), "failures": failures_of(record)}
    shortest, censored = float(record.survived_ps.min()), bool(completed.all())
    return [
        Measurement("nve_systems", share, "", None, len(n_replicas), {"run": list(n_replicas), "there_are": there}),
        Measurement("nve_replicas", float(min(n_replicas.values())), "", None, n_runs, {"systems": n_replicas}),
        Measurement("nve_duration", shortest, "ps", None, n_runs, {"censored": censored, **detail}),
        Measurement("nve_stability", float(completed.mean()), "", None, n_runs, detail),
    ]


def geometry(record: NVERecord) -> Evidence:
    """Return how far bonds and atoms moved from where they were, and in how many runs the bonds are others at the end.

    =====================  ======================================================================================
    ``nve_bond_drift``     largest change of the mean length of a bond of the start between the first and the
                           last fifth of a run, Angstrom
    ``nve_topology_..``    number of runs whose bonds differ at the end: the mean length of one over the last
                           geometries is more than 1.5 times the sum of the covalent radii, or that of a pair that
                           was none is less than 1.3 times; for failed runs in the geometry they failed at
    ``nve_rmsd``           root mean square distance of the atoms from the start after optimal superposition, mean
                           over the second half of the runs, Angstrom; of the worst system, for molecules only
    =====================  ======================================================================================
    """
    if not len(record.frame_positions):
        names = ("nve_bond_drift", "nve_topology_changes", "nve_rmsd")
        return Evidence(skipped=[Skipped(name, "no geometries were kept") for name in names])
    found = [_bond_drift(record), _topology_changes(record), _rmsd(record)]
    return Evidence(
        [one for one in found if isinstance(one, Measurement)], [one for one in found if isinstance(one, Skipped)]
    )


def kabsch_rmsd(positions: Floats, reference: Floats) -> Floats:
    """Return the RMSD (F,) of geometries (F, N, 3) from one (N, 3) after the best translation and rotation, Angstrom.

    Source: Kabsch 1976, doi:10.1107/S0567739476001873.

    Examples
    --------
    >>> triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])
    >>> turned = triangle @ np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + 5
    >>> kabsch_rmsd(turned[None], triangle).round(12).tolist()
    [0.0]
    """
    moving = positions - positions.mean(1, keepdims=True)
    fixed = reference - reference.mean(0)
    left, _, right = np.linalg.svd(np.einsum("fni,nj->fij", moving, fixed))
    left[:, :, 2] *= np.sign(np.linalg.det(left) * np.linalg.det(right))[:, None]  # no reflection
    apart = moving @ (left @ right) - fixed
    return np.asarray(np.sqrt((apart**2).sum((1, 2)) / len(fixed)))


def _start(record: NVERecord, run: int) -> Structure:
    return record.structure(run, record.frame_positions[0, record.atoms(run)])


def _started(record: NVERecord) -> list[int]:
    """Return the runs that had a first geometry."""
    return [run for run in range(len(record.systems)) if len(record.positions(run))]


def _bond_drift(record: NVERecord) -> Measurement | Skipped:
    systems: dict[str, dict[str, Any]] = {}
    for run in _started(record):
        found = _largest_drift(record, run)
        if found and found["change_A"] >= systems.get(system := str(record.systems[run]), found)["change_A"]:
            systems[system] = found
    if not systems:
        return Skipped("nve_bond_drift", "there are no covalent bonds", applies=False)
    named = max(systems, key=lambda name: float(systems[name]["change_A"]))
    detail = {"worst_system": named, "systems": systems}
    return Measurement("nve_bond_drift", systems[named]["change_A"], "A", None, len(record.systems), detail)


def _largest_drift(record: NVERecord, run: int) -> dict[str, Any] | None:
    start = _start(record, run)
    bonds = find_bonds(start)
    if not len(bonds):
        return None
    lengths = bonds.lengths(record.positions(run))
    n = max(1, len(lengths) // 5)
    changes = lengths[-n:].mean(0) - lengths[:n].mean(0)
    largest = int(np.abs(changes).argmax())
    bond = bonds.names(start.numbers)[largest]
    return {"change_A": float(abs(changes[largest])), "bond": bond, "replica": record.replica(run)}


def _topology_changes(record: NVERecord) -> Measurement:
    changes = [
        {"system": str(record.systems[run]), "replica": record.replica(run), **change}
        for run in _started(record)
        if (change := _change(record, run))
    ]
    detail = {"changes": changes}
    return Measurement("nve_topology_changes", float(len(changes)), "", None, len(record.systems), detail)


def _change(record: NVERecord, run: int) -> dict[str, list[str]]:
    """Return the names of the bonds that broke and formed; empty where none did."""
    start, last = _start(record, run), record.last(run)
    at_end = last[-1:] if record.failures[run] else last
    before, now = find_bonds(start), find_bonds(record.structure(run, at_end[-1]))
    broken = before.lengths(at_end).mean(0) > _GONE * before.covalent
    known = _keys(before)
    formed = np.array([key not in known for key in _keys(now)], dtype=bool)
    formed &= now.lengths(at_end).mean(0) < 1.3 * now.covalent
    names = {"broken": _chosen(before, broken, start), "formed": _chosen(now, formed, start)}
    return names if any(names.values()) else {}


def _keys(bonds: Bonds) -> list[tuple[float, ...]]:
    return [
        (*pair, *offset) for pair, offset in zip(bonds.pairs.tolist(), bonds.offsets.round(3).tolist(), strict=True)
    ]


def _chosen(bonds: Bonds, chosen: NDArray[np.bool_], start: Structure) -> list[str]:
    return [pair_name(start.numbers, (i, j)) for i, j in bonds.pairs[chosen].tolist()]


def _rmsd(record: NVERecord) -> Measurement | Skipped:
    samples: dict[str, list[float]] = {}
    for run in _started(record):
        if record.n_atoms[run] > 1 and not record.pbc[run].any():
            positions = record.positions(run)
            rmsd = kabsch_rmsd(positions[len(positions) // 2 :], positions[0])
            samples.setdefault(str(record.systems[run]), []).append(float(rmsd.mean()))
    if not samples:
        return Skipped("nve_rmsd", "there are no molecules", applies=False)
    found = {system: Replicated(np.array(own), np.empty((len(own), 0))) for system, own in samples.items()}
    return worst("nve_rmsd", "A", found)
