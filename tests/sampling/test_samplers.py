"""What the samplers make: amplitudes, segments and gaps, temperatures, failures."""

import itertools

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Silent
from mlff_distiller.core.errors import PlanError
from mlff_distiller.sampling.molecular_dynamics import MDPlan
from mlff_distiller.sampling.molecule import MoleculeSeed
from mlff_distiller.sampling.rattle import RattlePlan
from mlff_distiller.sampling.smiles import SmilesSeed
from mlff_distiller.teachers.xtb import XTBPlan

WATER = MoleculeSeed(molecule="H2O").build(1)
COPPER = from_ase(ase.build.bulk("Cu", cubic=True)).tagged(seed="Cu", conformer=0)


def rattled(plan: RattlePlan, seeds: list[Structure], seed: int = 1, name: str = "rattle") -> list[Structure]:
    return [s for task in plan.tasks(seeds, name) for s in task.draw(XTBPlan(), seed, Silent())]


def test_rattle_has_the_amplitude_that_was_asked_for() -> None:
    copies = rattled(RattlePlan(n_per_seed=500, amplitude=0.08), WATER)
    moves = np.array([copy.positions - WATER[0].positions for copy in copies])
    assert moves.std() == pytest.approx(0.08, rel=0.05)
    assert abs(moves.mean()) < 0.005
    assert {copy.info["segment"] for copy in copies} == {"H2O/rattle"}
    origin = {"seed": "H2O", "conformer": 0, "sampler": "rattle", "segment": "H2O/rattle", "stratum": "H2O"}
    assert copies[0].info == origin


def test_rattle_strains_cells_symmetrically() -> None:
    copies = rattled(RattlePlan(n_per_seed=300, amplitude=1e-6, strain=0.03), [COPPER])
    strains = np.array([np.linalg.solve(COPPER.cell, copy.cell) - np.eye(3) for copy in copies])
    np.testing.assert_allclose(strains, strains.transpose(0, 2, 1), atol=1e-12)
    assert strains[:, 0, 0].std() == pytest.approx(0.03, rel=0.15)
    scaled = np.linalg.solve(copies[0].cell.T, copies[0].positions.T).T
    np.testing.assert_allclose(scaled, np.linalg.solve(COPPER.cell.T, COPPER.positions.T).T, atol=1e-5)
    still = rattled(RattlePlan(n_per_seed=2, amplitude=0.05), [COPPER])
    np.testing.assert_array_equal(still[0].cell, COPPER.cell)


def test_rattles_of_different_seeds_names_and_conformers_differ() -> None:
    plan, (water,) = RattlePlan(n_per_seed=1), WATER
    starts = [water, water.tagged(conformer=1), water.tagged(seed="other")]
    copies = rattled(plan, starts) + rattled(plan, WATER, seed=2) + rattled(plan, WATER, name="rattle-2")
    for one, two in itertools.combinations(copies, 2):
        assert not np.allclose(one.positions, two.positions)
    np.testing.assert_array_equal(rattled(plan, WATER)[0].positions, copies[0].positions)


def test_one_atom_is_not_rattled() -> None:
    atom = MoleculeSeed(molecule="N").build(1)
    assert not RattlePlan().tasks(atom, "rattle")
    assert not MDPlan().tasks(atom, "md")


def test_schedule_of_segments_and_gaps() -> None:
    plan = MDPlan(duration_ps=2.0, segment_ps=0.4, gap_ps=0.1, frame_interval_fs=20, timestep_fs=0.5)
    assert plan.interval_steps == 40
    assert plan.n_recorded == 100
    segments = [plan.segment_of(frame) for frame in range(plan.n_recorded)]
    assert segments == [s for k in range(4) for s in [k] * 20 + [None] * 5]
    assert plan.n_frames == sum(segment is not None for segment in segments) == 80
    assert MDPlan(gap_ps=0, duration_ps=1, segment_ps=10).n_frames == 100


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperatures_K": []}, "temperatures_K"),
        ({"temperatures_K": [300, -5]}, "temperatures_K.1"),
        ({"temperatures_K": [300, 300]}, "names a temperature twice"),
        ({"duration_ps": 0.005}, "no structures"),
        ({"duration_ps": 99999, "frame_interval_fs": 1}, "longer frame_interval_fs"),
    ],
)
def test_impossible_settings(settings: dict[str, object], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        MDPlan.parse(settings, where="recipe.yaml")


def test_walkers_start_from_the_conformers_in_turn() -> None:
    conformers = SmilesSeed(smiles="CCO", name="ethanol", n_conformers=3).build(1)
    tasks = MDPlan(temperatures_K=(300, 600), n_walkers=2).tasks([*conformers, *WATER], "md")
    assert [(task.title, task.start.info["conformer"]) for task in tasks] == [
        ("ethanol/md/300K/w0", 0),
        ("ethanol/md/300K/w1", 1),
        ("ethanol/md/600K/w0", 2),
        ("ethanol/md/600K/w1", 0),
        ("H2O/md/300K/w0", 0),
        ("H2O/md/300K/w1", 0),
        ("H2O/md/600K/w0", 0),
        ("H2O/md/600K/w1", 0),
    ]


class Recorder(Silent):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.steps, self.total, self.messages = 0, 0, []

    def start(self, title: str, total: int, *, done: int = 0):
        self.total = total

        def advance(n: int = 1, *, note: str = "") -> None:
            self.steps += n

        return advance

    def message(self, text: str) -> None:
        self.messages.append(text)


def test_md_frames() -> None:
    plan = MDPlan(
        temperatures_K=(500,), duration_ps=0.2, equilibration_ps=0.05, frame_interval_fs=5, segment_ps=0.05, gap_ps=0.05
    )
    [task] = plan.tasks(WATER, "md")
    recorder = Recorder()
    frames = task.draw(XTBPlan(), 1, recorder)
    assert recorder.steps == recorder.total == task.n_steps == 500
    assert not recorder.messages
    assert len(frames) == plan.n_frames == 20
    assert [f.info["segment"] for f in frames] == ["H2O/md/500K/w0/s00"] * 10 + ["H2O/md/500K/w0/s01"] * 10
    assert frames[0].info == {
        "seed": "H2O",
        "conformer": 0,
        "sampler": "md",
        "temperature_K": 500.0,
        "walker": 0,
        "segment": "H2O/md/500K/w0/s00",
        "stratum": "H2O/md/500K",
    }
    distances = [np.linalg.norm(f.positions[0] - f.positions[1]) for f in frames]
    assert 0.8 < min(distances) < max(distances) < 1.2
    assert np.std(distances) > 0.01


def test_md_is_the_same_for_the_same_seed() -> None:
    plan = MDPlan(temperatures_K=(300,), duration_ps=0.02, equilibration_ps=0, n_walkers=2)
    draws = [
        [task.draw(XTBPlan(), seed, Silent())[-1].positions for task in plan.tasks(WATER, "md")] for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.allclose(draws[0], draws[2])
    assert not np.allclose(draws[0][0], draws[0][1])


def test_a_walker_that_falls_apart_keeps_its_frames_and_says_so() -> None:
    plan = MDPlan(temperatures_K=(12000,), duration_ps=2, equilibration_ps=0, frame_interval_fs=2, friction_per_ps=100)
    [task] = plan.tasks(WATER, "md")
    recorder = Recorder()
    frames = task.draw(XTBPlan(), 1, recorder)
    assert 0 < len(frames) < plan.n_frames
    assert recorder.steps == recorder.total
    [message] = recorder.messages
    assert message.startswith("H2O/md/12000K/w0 stopped after 0.")
    assert message.endswith(f"{len(frames)} frames kept")
