"""A small world of analytic potentials: a teacher, students that differ from it by known amounts, and a report."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import ase.data
import numpy as np
import pytest
from ase.build import molecule

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.memory import MemoryPlan
from mlff_distiller.benchmarking.step_time import StepTimePlan
from mlff_distiller.core.provenance import stamp
from mlff_distiller.core.randomness import generator
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.analytic import morse
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.held_out import HeldOut
from mlff_distiller.validation.plan import ValidationPlan
from mlff_distiller.validation.report import ReportData, StudentReport, summarize_dataset
from mlff_distiller.validation.trial import Trial
from mlff_distiller.validation.validate import validate
from mlff_distiller.validation.verdict import judge
from mlff_distiller.validation.waivers import Waiver

NAMES = {"H2O": "water", "CH4": "methane", "CH3CH2OH": "ethanol", "C6H6": "benzene"}


class Network(Potential):
    """Springs between all pairs of atoms at ASE's geometry of the molecule, stiff along bonds, with exact forces.

    A student is a teacher whose springs are stiffer by a factor and longer by a length.
    """

    is_conservative = True
    properties = frozenset({"energy", "forces"})
    elements = frozenset({1, 6, 8})
    identity = Identity("network", "analytic", "springs")

    def __init__(self, factor: float = 1.0, longer: float = 0.0) -> None:
        self.factor = factor
        self.rest = {s.formula: distances(s.positions)[0] + longer for s in map(at_rest, NAMES)}

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        self.check(structures, properties)
        return [self._label(structure).only(properties) for structure in structures]

    def _label(self, structure: Structure) -> Labels:
        rest = self.rest[structure.formula]
        r, unit = distances(structure.positions)
        stiffness = self.factor * np.where(rest < 1.7, 30.0, 3.0)
        tension = stiffness * (r - rest)
        np.fill_diagonal(tension, 0.0)
        energy = 0.25 * float((tension * (r - rest)).sum()) - 100.0 * len(structure)
        return Labels(energy=energy, forces=(tension[:, :, None] * unit).sum(1))


def distances(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distances (N, N) and unit vectors from i to j (N, N, 3)."""
    vectors = positions[None] - positions[:, None]
    r = np.linalg.norm(vectors, axis=-1)
    return r, vectors / np.where(r > 0, r, 1.0)[:, :, None]


def at_rest(formula: str) -> Structure:
    return from_ase(molecule(formula))


class Swirl(Potential):
    """Forces with a torque about z added that no energy has: deliberately not conservative."""

    is_conservative = False

    def __init__(self, inner: Potential, strength: float) -> None:
        self.inner, self.strength = inner, strength
        self.elements, self.properties, self.identity = inner.elements, frozenset({"energy", "forces"}), inner.identity

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        found = self.inner.predict(structures, properties)
        return [
            x if x.forces is None else replace(x, forces=x.forces + self._torque(s))
            for x, s in zip(found, structures, strict=True)
        ]

    def _torque(self, structure: Structure) -> np.ndarray:
        return self.strength * np.cross([0.0, 0.0, 1.0], structure.positions - structure.positions.mean(0))


def trajectories(potential: Potential, starts: dict[str, Structure], n_segments: int, n_frames: int) -> HeldOut:
    """Return labeled frames of short trajectories at 300 K."""
    runs = [(name, start, k) for name, start in starts.items() for k in range(n_segments)]
    velocities = [maxwell_boltzmann(start, 600.0, generator(1, "frames", name, k)) for name, start, k in runs]
    trace = run_nve(
        potential, [s for _, s, _ in runs], velocities, timestep_fs=0.5, n_steps=20 * n_frames, frame_every=20
    )
    rows = [
        (f, f"{name}/{k}", name) for (name, _, k), frames in zip(runs, trace.frames, strict=True) for f in frames[1:]
    ]
    structures = [frame for frame, _, _ in rows]
    return HeldOut(structures, potential.predict(structures), [s for _, s, _ in rows], [n for _, _, n in rows])


@pytest.fixture(scope="session")
def teacher() -> Network:
    return Network()


@pytest.fixture(scope="session")
def make_student() -> type[Network]:
    return Network


@pytest.fixture(scope="session")
def make_swirl() -> type[Swirl]:
    return Swirl


@pytest.fixture(scope="session")
def starts() -> dict[str, Structure]:
    return {name: at_rest(formula) for formula, name in NAMES.items()}


@pytest.fixture(scope="session")
def held_out(teacher: Network, starts: dict[str, Structure]) -> HeldOut:
    return trajectories(teacher, starts, n_segments=5, n_frames=12)


def history(n_epochs: int, force: float, energy: float) -> list[dict[str, float]]:
    """Return a training log of the usual shape."""
    rng = generator(0, "history", n_epochs)
    decay = np.exp(-6 * np.arange(n_epochs) / n_epochs) + 0.01
    noise = np.exp(0.06 * rng.standard_normal((3, n_epochs)))
    return [
        {
            "step": 50 * (epoch + 1),
            "epoch": epoch + 1,
            "train_loss": float(12 * decay[epoch] * noise[0, epoch]),
            "validation_force_rmse": float(force * (1 + 80 * decay[epoch]) / 1.8 * noise[1, epoch]),
            "validation_energy_rmse_per_atom": float(energy * (1 + 60 * decay[epoch]) / 1.6 * noise[2, epoch]),
            "learning_rate": 3e-3 * float(decay[epoch]),
        }
        for epoch in range(n_epochs)
    ]


def cluster(formula: str) -> Structure:
    """Return atoms at the corners of a bipyramid (of a triangle, a tetrahedron where there are fewer)."""
    ring = np.array([[1, 0, 0], [-0.5, 0.866, 0], [-0.5, -0.866, 0]]) / 1.732
    corners = np.concatenate([ring, [[0, 0, 0.816], [0, 0, -0.816]]])
    numbers = [ase.data.atomic_numbers[symbol] for symbol in ase.Atoms(formula).symbols]
    return Structure(numbers, 1.2 * corners[: len(numbers)])


CLUSTERS = {"triangle": "OH2", "tetrahedron": "COH2", "bipyramid": "CH4"}
BRIEF = {
    "nve": {"duration_ps": 0.4, "record_every": 2},
    "timestep": {"duration_ps": 0.05, "n_replicas": 2},
    "physicality": {"n_per_system": 1, "n_directions": 2, "n_loops": 1, "n_rotations": 2, "n_points": 40},
    "visited": {"n_per_system": 4, "n_resamples": 200},
    "observables": {"duration_ps": 0.05, "equilibration_ps": 0.02, "n_replicas": 2},
}


def timing(*, memory: bool) -> StepTimePlan:
    """Return settings that take no time; to tidy up before memory is read takes the longest of all."""
    watched = MemoryPlan(enabled=memory, n_steps=100, n_warmup_steps=5, n_blocks=10)
    return StepTimePlan(n_blocks=6, duration_s=0.02, memory=watched)


def brief(*names: str) -> ValidationPlan:
    """Return checks with settings that take seconds; all of them, or those that are named."""
    known = ValidationPlan.model_fields
    settings = {name: {**BRIEF.get(name, {}), "enabled": name in (names or known)} for name in known}
    return ValidationPlan.parse(settings, where="brief")


def bonded(depth: float = 4.0, distance: float = 1.2) -> Potential:
    """Return a potential that holds clusters together, the same for all pairs of atoms: it has all symmetries."""
    return morse(depth=depth, width=1.5, distance=distance, cutoff=6.0, elements=[1, 6, 8])


@pytest.fixture(scope="session")
def report_data() -> ReportData:
    teacher, starts = bonded(), {name: cluster(formula) for name, formula in CLUSTERS.items()}
    held_out = trajectories(teacher, starts, n_segments=5, n_frames=12)
    students = {
        "tiny": (77_203, bonded(4.004, 1.2002), brief()),
        "ultra-tiny": (21_459, bonded(4.01, 1.201), brief("errors", "nve")),
        "leaky": (21_459, Swirl(bonded(4.1, 1.202), 0.8), brief("errors", "nve", "physicality", "visited")),
    }
    recipe_yaml = "name: demo # three clusters <small>\nteacher:\n  kind: xtb\n  method: GFN2-xTB\nseed: 7\n"
    splits = np.array(["train", "train", "train", "validation", "test"])[[int(s[-1]) for s in held_out.segments]]
    return ReportData(
        name="Three small clusters",
        teacher="GFN2-xTB",
        recipe={
            "name": "demo",
            "seed": 7,
            "teacher": {"kind": "xtb", "method": "GFN2-xTB", "accuracy": 1.0},
            "seeds": [{"kind": "ase", "name": formula} for formula in CLUSTERS.values()],
            "sampling": {"temperatures_K": [300, 600], "duration_ps": 2.0, "rattle": {"n": 50, "width": 0.05}},
            "students": [{"name": name, "kind": "painn", "n_parameters": n} for name, (n, _, _) in students.items()],
            "training": {"n_epochs": 160, "batch_size": 16, "force_weight": 100, "learning_rate": 3e-3},
        },
        recipe_yaml=recipe_yaml,
        dataset=summarize_dataset(
            held_out.structures,
            held_out.labels,
            splits=splits.tolist(),
            segments=held_out.segments,
            systems=held_out.systems,
            temperatures_K=[300, 600],
        ),
        refusals={"SCF did not converge": 3, "force above 50 eV/Angstrom": 1},
        students={name: student_report(teacher, *row, starts, held_out) for name, row in students.items()},
        provenance={**stamp(), "command": "mlffd run demo.yaml --out runs/demo", "digests": {"recipe": "9f2c4e1b7a"}},
    )


def student_report(
    teacher: Potential,
    n_parameters: int,
    student: Potential,
    plan: ValidationPlan,
    starts: dict[str, Structure],
    held_out: HeldOut,
) -> StudentReport:
    """Make checks on a student and judge it."""
    at_300_K = {name: [held_out.structures[held_out.systems.index(name)]] for name in starts}
    trial = Trial(student, at_300_K, held_out=held_out, make_teacher=lambda: teacher)
    found = validate(trial, plan)
    speed = timing(memory=plan.observables.enabled)
    found["timing"] = speed.measure(student, list(starts.values()), names=list(starts), teacher=teacher)
    measurements = [m for evidence in found.values() for m in evidence.measurements]
    skipped = [one for evidence in found.values() for one in evidence.skipped]
    value = {m.name: m.value for m in measurements}
    waiver = Waiver(check="nve_duration", reason="thermostatted runs only", signed="A. Chemist", date="2025-03-31")
    log = history(120, value["force_rmse"], value["energy_rmse_per_atom"])
    verdict = judge(measurements, CriteriaPlan(), skipped=skipped, waivers=[waiver])
    return StudentReport(n_parameters, verdict, found, log)
