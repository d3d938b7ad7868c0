"""A small world of analytic potentials: a teacher, students that differ from it by known amounts, and a report."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking.step_time import StepTimePlan
from mlff_distiller.core.provenance import stamp
from mlff_distiller.core.randomness import generator
from mlff_distiller.dynamics.nve import run_nve
from mlff_distiller.dynamics.velocities import maxwell_boltzmann
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.validation.checks.force_errors import ForceErrorsPlan, HeldOut
from mlff_distiller.validation.checks.nve_drift import NVEPlan
from mlff_distiller.validation.criteria import CriteriaPlan
from mlff_distiller.validation.report import ReportData, StudentReport, summarize_dataset
from mlff_distiller.validation.verdict import judge

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
        return [replace(x, forces=x.forces + self._torque(s)) for x, s in zip(found, structures, strict=True)]

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


@pytest.fixture(scope="session")
def report_data(teacher: Network, starts: dict[str, Structure], held_out: HeldOut) -> ReportData:
    students = {
        "tiny": (77_203, Network(1.01, 2e-4), 160),
        "ultra-tiny": (21_459, Network(1.04, 1e-3), 120),
        "leaky": (21_459, Swirl(Network(1.1, 2e-3), 0.15), 60),
    }
    recipe_yaml = "name: demo # four molecules <small>\nteacher:\n  kind: xtb\n  method: GFN2-xTB\nseed: 7\n"
    splits = np.array(["train", "train", "train", "validation", "test"])[[int(s[-1]) for s in held_out.segments]]
    return ReportData(
        name="Four small molecules",
        teacher="GFN2-xTB",
        recipe={
            "name": "demo",
            "seed": 7,
            "teacher": {"kind": "xtb", "method": "GFN2-xTB", "accuracy": 1.0},
            "seeds": [{"kind": "ase", "name": formula} for formula in NAMES],
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
    n_epochs: int,
    starts: dict[str, Structure],
    held_out: HeldOut,
) -> StudentReport:
    """Run every check on a student, briefly, and judge it."""
    errors, parity = ForceErrorsPlan().measure(student, held_out)
    at_300_K = {name: held_out.structures[held_out.systems.index(name)] for name in starts}
    plan = NVEPlan(duration_ps=0.4, record_every=2, temperature_K=300)
    dynamics, record = plan.measure(student, list(at_300_K.values()), names=list(at_300_K))
    speed = StepTimePlan(n_blocks=6, duration_s=0.02).measure(
        student, list(starts.values()), names=list(starts), teacher=teacher
    )
    measurements = [*errors, *dynamics, *speed]
    value = {m.name: m.value for m in measurements}
    criteria = CriteriaPlan.parse({"nve_duration": {"limit": 0.4}}, where="criteria")
    log = history(n_epochs, value["force_rmse"], value["energy_rmse_per_atom"])
    return StudentReport(n_parameters, judge(measurements, criteria), measurements, log, parity, record)
