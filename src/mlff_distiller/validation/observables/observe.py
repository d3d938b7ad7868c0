"""Observing a potential: dynamics of all systems in one batch, then each system's statics."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.elements import MASSES
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance, Reporter
from mlff_distiller.core.errors import DistillerError, UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence, texts
from mlff_distiller.core.files import write_atomically
from mlff_distiller.core.provenance import digest
from mlff_distiller.core.randomness import generator
from mlff_distiller.dynamics.relaxation import relax
from mlff_distiller.potentials.base import Potential
from mlff_distiller.validation.observables import bonds, diffusion, dimer, rdf, solids, spectra, torsion, vibrations
from mlff_distiller.validation.observables.answers import stresses
from mlff_distiller.validation.observables.observations import Arrays, Observations
from mlff_distiller.validation.observables.plan import ObservationPlan
from mlff_distiller.validation.observables.sampling import Run, sample

Floats = NDArray[np.float64]
Starts = Mapping[str, Sequence[Structure]]

TEACHER: Final = "teacher"
"""Role of the teacher in :func:`observe`."""


def observe(  # noqa: PLR0913 - what is observed, how, and where unfinished work is kept
    potential: Potential,
    starts: Starts,
    plan: ObservationPlan,
    *,
    seed: int,
    role: str,
    minima: Mapping[str, Structure] | None = None,
    folder: Path | None = None,
    advance: Advance | None = None,
) -> Evidence:
    """Observe a potential and return arrays, for system k under keys that begin with "k/".

    Of every system: ``numbers``, ``cell``, ``pbc``, ``failures`` (R,) and ``missing`` (lines "family: reason").

    Of R runs, NaN for those that failed: ``bond_atoms`` (B, 2), ``bond_kinds`` (B,), ``bond_quantiles`` (R, B, Q)
    Angstrom; ``angle_kinds`` (C,), ``angle_quantiles`` (R, C, Q) and ``dihedral_histograms`` (R, D, bins) degrees;
    ``vacf`` (R, L) and ``vdos`` (R, K); of periodic systems ``rdf`` (R, P, B), ``rdf_pairs`` (P,), ``pressure_GPa``
    (R,), ``displacements`` (R, E, L) Angstrom^2 and ``diffusion`` (R, E) Angstrom^2/ps.

    Of the statics: ``relaxed`` (N, 3) Angstrom, ``relaxed_force``, ``frequencies`` (M,) 1/cm, ``torsion_atoms`` (T, 2),
    ``torsion_energies`` (T, A) eV, ``dimer_pairs`` (P, 2), ``dimer_distances`` and ``dimer_energies`` (P, D) eV,
    ``eos_volumes``, ``eos_energies``, ``eos_volume``, ``bulk_modulus_GPa``, ``elastic_GPa`` (6, 6) and ``stress_GPa``
    (3, 3).

    Parameters
    ----------
    potential : Potential
        What is observed.
    starts : mapping
        Starting points by name of the system; replicas take them in turn.
    plan : ObservationPlan
        Settings.
    seed : int
        Of everything random.
    role : str
        Whose dynamics it is: two roles never share random numbers, else their runs would resemble each other.
    minima : mapping, optional
        Relaxed geometries of the teacher: where relaxations begin, and whose surroundings are scanned; the potential's
        own minimum unless given.
    folder : Path, optional
        Where the result is kept, and found again instead of observing the same a second time.
    advance : Advance, optional
        Called with the number of dynamics steps done.

    Raises
    ------
    UnsupportedStructureError
        If the potential does not cover a system.
    """
    question = [
        role,
        seed,
        plan.observation_digest,
        potential.identity.to_json(),
        _digest(starts),
        _digest(_lists(minima or {})),
    ]
    file = None if folder is None else folder / f"{digest(question)[:24]}.npz"
    if file is not None and file.is_file():
        with np.load(file, allow_pickle=False) as kept:
            return Evidence(arrays=dict(kept))
    each = [(name, r, own[r % len(own)]) for name, own in starts.items() for r in range(plan.n_replicas)]
    names = [(name, r) for name, r, _ in each]
    runs = sample(
        potential,
        [start for _, _, start in each],
        plan,
        lambda k: generator(seed, "observables", role, *names[k]),
        advance=advance,
    )
    systems = []
    for row, (name, own) in enumerate(starts.items()):
        mine = runs[row * plan.n_replicas : (row + 1) * plan.n_replicas]
        systems.append(_System(potential, own[0], plan).observed(mine, (minima or {}).get(name)))
    arrays = Observations(list(starts), systems, plan.observation_digest).arrays()
    if file is not None:
        write_atomically(file, lambda path: _write(path, arrays))
    return Evidence(arrays=arrays)


@dataclass(frozen=True, eq=False)
class SystemTask:
    """One system of a teacher to observe; it travels to worker processes.

    Parameters
    ----------
    make_teacher : callable
        Makes the teacher; picklable.
    name : str
        Of the system.
    starts : sequence of Structure
        Its starting points.
    plan : ObservationPlan
        Settings.
    seed : int
        Of everything random.
    folder : Path, optional
        Where the result is kept.
    """

    make_teacher: Callable[[], Potential]
    name: str
    starts: Sequence[Structure]
    plan: ObservationPlan
    seed: int
    folder: Path | None = None


def observe_teacher_system(task: SystemTask, reporter: Reporter) -> Evidence:
    """Observe one system of a teacher, in a worker process; what is not covered is missing, with the reason."""
    advance = reporter.start(f"teacher {task.name}", task.plan.n_steps)
    starts = {task.name: task.starts}
    try:
        return observe(
            task.make_teacher(),
            starts,
            task.plan,
            seed=task.seed,
            role=TEACHER,
            folder=task.folder,
            advance=advance,
        )
    except UnsupportedStructureError as error:
        nothing: Arrays = {"missing": texts([f"everything: {error}"])}
        return Evidence(arrays=Observations([task.name], [nothing], task.plan.observation_digest).arrays())


def n_calls(systems: Mapping[str, Structure], plan: ObservationPlan) -> int:
    """Return about how many structures a teacher evaluates to be observed.

    Examples
    --------
    >>> water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> n_calls({"water": water}, ObservationPlan())
    16192
    """
    return sum(_n_calls_of(structure, plan) for structure in systems.values())


def _n_calls_of(structure: Structure, plan: ObservationPlan) -> int:
    relaxing = min(80, plan.max_relaxation_steps)
    n_dimers = len(rdf.element_pairs(structure.numbers)) * plan.dimer_points
    statics = relaxing + n_dimers + (6 * len(structure) if len(structure) <= plan.max_hessian_atoms else 0)
    if structure.is_periodic:
        return plan.n_replicas * (plan.n_steps + 1 + plan.n_frames) + statics + plan.volume_points + 13
    n_scans = len(torsion.rotatable_bonds(structure, plan.n_torsions)) if len(structure) > 3 else 0
    return plan.n_replicas * (plan.n_steps + 1) + statics + n_scans * plan.torsion_points


@dataclass(frozen=True, eq=False)
class _System:
    """One system as it is observed; what fails leaves a line that says why."""

    potential: Potential
    start: Structure
    plan: ObservationPlan
    found: Arrays = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def observed(self, runs: Sequence[Run], minimum: Structure | None) -> Arrays:
        """Return everything that could be observed."""
        self.found.update(numbers=self.start.numbers, cell=self.start.cell, pbc=self.start.pbc)
        self.found["failures"] = texts([run.failure for run in runs])
        self._sampled([replace(run, positions=_aligned(run, self.start)) for run in runs])
        self._statics(minimum)
        return {**self.found, "missing": texts(self.missing)}

    def _try(self, family: str, function: Callable[[], Arrays]) -> None:
        try:
            self.found.update(function())
        except (DistillerError, np.linalg.LinAlgError) as error:
            self.missing.append(f"{family}: {error}")

    def _sampled(self, runs: Sequence[Run]) -> None:
        if all(run.failure for run in runs):
            self.missing.append(f"runs: {runs[0].failure}")
            return
        self._bonds(runs)
        masses = MASSES[self.start.numbers]
        seen = [replace(run, velocities=self._inner(run)) for run in runs]
        settings = {"interval_fs": self.plan.interval_fs, "width_per_cm": self.plan.spectrum_width_per_cm}
        self.found["vacf"] = _each(seen, lambda run: spectra.velocity_autocorrelation(run.velocities, masses))
        self.found["vdos"] = _each(seen, lambda run: spectra.density_of_states(run.velocities, masses, **settings))
        if self.start.is_periodic:
            self._try("rdf", lambda: self._rdf(runs))
            self._try("pressure", lambda: self._pressure(runs))
            self._diffusion(runs)

    def _inner(self, run: Run) -> Floats:
        """Return velocities, of molecules without rotation."""
        if self.start.pbc.any() or len(self.start) == 1 or len(run.positions) < 2:
            return run.velocities
        return spectra.without_rotation(
            run.positions, run.velocities, MASSES[self.start.numbers], self.plan.interval_fs
        )

    def _bonds(self, runs: Sequence[Run]) -> None:
        topology, found = bonds.Topology.of(self.start), self.found
        ends = [topology.centers[topology.bonds], topology.neighbors[topology.bonds]]
        found |= {"bond_atoms": np.stack(ends, 1), "bond_kinds": texts(topology.kinds(self.start.numbers))}
        if len(topology.bonds):
            found["bond_quantiles"] = _each(runs, lambda r: bonds.quantiles(topology.bond_lengths(r.positions)))
        if len(topology.angles):
            found["angle_kinds"] = texts(topology.angle_kinds(self.start.numbers))
            found["angle_quantiles"] = _each(runs, lambda r: bonds.quantiles(topology.bond_angles(r.positions)))
        if len(topology.dihedrals):
            found["dihedral_histograms"] = _each(
                runs, lambda r: bonds.circular_histograms(topology.dihedral_angles(r.positions))
            )

    def _rdf(self, runs: Sequence[Run]) -> Arrays:
        stride, reach = self.plan.frame_stride, self.plan.rdf_range
        names = rdf.pair_names(rdf.element_pairs(self.start.numbers))
        found = _each(runs, lambda run: rdf.radial_distributions(run.frames(stride), reach))
        return {"rdf": found, "rdf_pairs": texts(names)}

    def _pressure(self, runs: Sequence[Run]) -> Arrays:
        stride, kelvin = self.plan.frame_stride, self.plan.temperature_K
        means = _each(
            runs, lambda run: solids.pressures(self.potential, run.frames(stride), kelvin).mean(keepdims=True)
        )
        return {"pressure_GPa": means[:, 0]}

    def _diffusion(self, runs: Sequence[Run]) -> None:
        numbers, masses = self.start.numbers, MASSES[self.start.numbers]
        moved = _each(runs, lambda run: diffusion.mean_squared_displacements(run.positions, numbers, masses))
        self.found["displacements"] = moved
        self.found["diffusion"] = np.array(
            [diffusion.diffusion_coefficients(own, runs[0].interval_fs) for own in moved]
        )

    def _statics(self, minimum: Structure | None) -> None:
        self._try("geometry", lambda: self._relaxed(minimum or self.start))
        own = self.start.moved(self.found["relaxed"]) if "relaxed" in self.found else None
        scanned = minimum or own or self.start
        if len(self.start) > 1 and own is not None:
            self._try("frequencies", lambda: self._frequencies(own))
        elif len(self.start) > 1:
            self.missing.append("frequencies: no relaxed geometry was found")
        self._try("dimers", self._dimers)
        if self.start.is_periodic:
            self._try("equation of state", lambda: self._equation_of_state(scanned))
            self._try("elastic constants", lambda: self._elastic(scanned))
        elif not self.start.pbc.any():
            self._try("torsions", lambda: self._torsions(scanned))

    def _relaxed(self, start: Structure) -> Arrays:
        plan = self.plan
        relaxed = relax(self.potential, start, max_force=plan.relaxed_force, max_steps=plan.max_relaxation_steps)
        if not relaxed.converged:
            self.missing.append(
                f"relaxation: forces of {relaxed.max_force:.2g} eV/Angstrom are left after {relaxed.n_steps} steps"
            )
        return {"relaxed": relaxed.structure.positions, "relaxed_force": np.array([relaxed.max_force])}

    def _frequencies(self, minimum: Structure) -> Arrays:
        if len(minimum) > self.plan.max_hessian_atoms:
            self.missing.append(f"frequencies: more than {self.plan.max_hessian_atoms} atoms")
            return {}
        second = vibrations.hessian(self.potential, minimum)
        return {"frequencies": vibrations.harmonic_frequencies(second, minimum)}

    def _torsions(self, minimum: Structure) -> Arrays:
        atoms, found = torsion.torsion_scans(self.potential, minimum, self.plan.n_torsions, self.plan.torsion_points)
        return {"torsion_atoms": atoms, "torsion_energies": found} if len(atoms) else {}

    def _dimers(self) -> Arrays:
        pairs = rdf.element_pairs(self.start.numbers)
        settings = {"longest": self.plan.dimer_range, "n_points": self.plan.dimer_points}
        apart = [dimer.dimer_distances(a, b, **settings) for a, b in pairs]  # type: ignore[arg-type]
        found = [dimer.dimer_curve(self.potential, a, b, r) for (a, b), r in zip(pairs, apart, strict=True)]
        return {"dimer_pairs": np.array(pairs), "dimer_distances": np.array(apart), "dimer_energies": np.array(found)}

    def _equation_of_state(self, structure: Structure) -> Arrays:
        volumes, found = solids.equation_of_state(
            self.potential, structure, largest_strain=self.plan.volume_strain, n_points=self.plan.volume_points
        )
        volume, modulus = solids.birch_murnaghan(volumes, found)
        return {
            "eos_volumes": volumes,
            "eos_energies": found,
            "eos_volume": np.array([volume]),
            "bulk_modulus_GPa": np.array([modulus]),
        }

    def _elastic(self, structure: Structure) -> Arrays:
        constants = solids.elastic_constants(self.potential, structure, strain=self.plan.shear_strain)
        return {"elastic_GPa": constants, "stress_GPa": stresses(self.potential, [structure])[0] * solids.GPA}


def _each(runs: Sequence[Run], function: Callable[[Run], Floats]) -> Floats:
    """Return the results of all runs (R, ...), NaN for those that failed; at least one did not."""
    found = [None if run.failure else function(run) for run in runs]
    known = next(own for own in found if own is not None)
    return np.array([np.full_like(known, np.nan) if own is None else own for own in found])


def _aligned(run: Run, first: Structure) -> Floats:
    """Return positions (T, N, 3) in the same periodic images as another start of the same system."""
    if not first.pbc.any() or run.start is first:
        return run.positions
    inverse = np.linalg.pinv(np.where(first.pbc[:, None], first.cell, 0.0))
    images = np.round((run.start.positions - first.positions) @ inverse)
    return run.positions - images @ first.cell


def _lists(structures: Mapping[str, Structure]) -> Starts:
    return {name: [structure] for name, structure in structures.items()}


def _digest(starts: Starts) -> str:
    """Return a digest of names and geometries, to the last bit."""
    found = hashlib.sha256()
    for name, own in starts.items():
        found.update(name.encode())
        for s in own:
            state = np.array([s.charge, s.spin], dtype=np.int64)
            for array in (s.numbers, s.positions, s.cell, s.pbc, state):
                found.update(array.tobytes())
    return found.hexdigest()


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as handle:
        np.savez_compressed(handle, **arrays)  # type: ignore[arg-type] # numpy types **kwds as its options
