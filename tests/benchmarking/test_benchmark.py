"""Potentials side by side: known times are reported as they are, sizes grow as asked, and slow ones are left out."""

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.benchmarking import benchmark, turns
from mlff_distiller.benchmarking.benchmark import Benchmark, BenchmarkPlan, Row
from mlff_distiller.benchmarking.contenders import Entrant, student_files, teacher, teacher_of_run
from mlff_distiller.benchmarking.crossover import Cost, cost, report
from mlff_distiller.benchmarking.page import benchmark_page
from mlff_distiller.benchmarking.systems import batches, from_plain, grown, kept, to_plain
from mlff_distiller.core.errors import DataError, PlanError, TeacherError
from mlff_distiller.potentials.analytic import harmonic

H2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.75]])
H3 = Structure([1, 1, 1], [[0, 0, 0], [0, 0, 0.75], [2.0, 0, 0]], charge=1)


class Ticking:
    """A potential whose call takes a known time of a clock that only it moves."""

    def __init__(self, clock: list[float], overhead_ms: float, per_atom_ms: float, exponent: float = 1.0) -> None:
        self.clock, self.cost = clock, Cost(overhead_ms, per_atom_ms, exponent)

    def predict(self, structures, properties=("energy", "forces")):
        self.clock[0] += 1e-3 * sum(float(self.cost.at(len(structure))) for structure in structures)
        return []


class Even:
    """Work that always takes a millisecond."""

    def block(self, seconds: float) -> list[float]:
        return [1.0]


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(benchmark, "ReferenceWork", Even)
    return now


def both(clock, **settings) -> Benchmark:
    student = Entrant("tiny", "student", lambda: Ticking(clock, 1.0, 0.1), base="xtb")
    xtb = Entrant("xtb", "teacher", lambda: Ticking(clock, 0.2, 0.01, 3.0), base="xtb")
    plan = BenchmarkPlan(seconds=0.05, rounds=6, **settings)
    return plan.measure([student, xtb], plan.systems({"H2": [H2]}, given=False))


def test_known_costs_are_reported_as_they_are(clock) -> None:
    found = both(clock, batches=(1, 8), sizes=(2, 4, 8, 16))
    assert list(dict.fromkeys(row.system for row in found.rows)) == [
        "H2",
        "H2 x 8",
        *(f"{n} H2 in one" for n in (2, 4, 8, 16)),
    ]
    row, batch = found.row("tiny", "16 H2 in one"), found.row("tiny", "H2 x 8")
    assert row.median_ms == pytest.approx(4.2, rel=1e-3)
    assert row.ns_per_day == pytest.approx(86_400e3 / 4.2 * 0.5e-6, rel=1e-3)
    assert row.us_per_atom == pytest.approx(4200 / 32, rel=1e-3)
    assert batch.structures_per_s == pytest.approx(8000 / (8 * 1.2), rel=1e-3)
    assert found.times_faster(row) == pytest.approx((0.2 + 0.01 * 32**3) / 4.2, rel=1e-3)


def test_the_report_says_what_bounds_and_where_lines_cross(clock) -> None:
    said = report(both(clock, sizes=(2, 4, 8, 16)))
    assert said[0].startswith(
        "tiny: 1 ms for a call of any size, and 100 µs per atom; up to 10 atoms the fixed overhead"
    )
    assert "grows as n^3" in said[1]
    # 1 + 0.1 n = 0.2 + 0.01 n^3 at n = 5.1
    assert said[2].startswith("tiny on cpu is faster than xtb at 8, 16, 32 atoms and slower at 2, 4")
    assert "by the fits, it is faster from 5 atoms on" in said[2]


@pytest.mark.parametrize(
    ("truth", "sizes"),
    [(Cost(0.3, 0.02, 1.0), [2, 9, 21, 100]), (Cost(0.4, 0.003, 2.6), [3, 6, 12, 24, 48]), (Cost(0.5, 0, 1), [2, 4])],
)
def test_a_fit_finds_the_cost_that_made_the_times(truth, sizes) -> None:
    rng = np.random.default_rng(0)
    found = cost(sizes, truth.at(sizes) * (1 + 0.01 * rng.standard_normal(len(sizes))))
    assert found.exponent == pytest.approx(truth.exponent, abs=0.1)
    assert found.at(sizes) == pytest.approx(truth.at(sizes), rel=0.05)


def test_with_one_size_nothing_is_fitted(clock) -> None:
    found = both(clock, batches=(1, 8))
    assert cost([3, 3], [1.0, 1.1]) is None
    assert report(found) == [
        "tiny on cpu is slower than xtb at every size timed (2 atoms); with one size nothing is known of others."
    ]


def test_who_would_take_too_long_is_left_out_of_larger_systems(clock) -> None:
    found = both(clock, sizes=(2, 4, 8, 16), longest_call_s=0.1)
    assert found.row("xtb", "8 H2 in one") is not None
    assert found.row("xtb", "16 H2 in one") is None
    assert "--longest-call-s" in found.refusals[0].reason


def test_memory_of_a_call_is_its_own() -> None:
    def hungry():
        spring = harmonic(stiffness=10.0, distance=1.0, cutoff=3.0)
        predict = spring.predict

        def predicts(*arguments):
            np.ones(20_000_000).sum()
            return predict(*arguments)

        spring.predict = predicts
        return spring

    first, modest = (
        Entrant(name, "teacher", lambda: harmonic(stiffness=10.0, distance=1.0, cutoff=3.0))
        for name in ("first", "modest")  # what libraries load at the first call counts for the first
    )
    entrants = [first, modest, Entrant("hungry", "teacher", hungry)]
    found = BenchmarkPlan(seconds=0.0).measure(entrants, {"H2": [H2]})
    peaks = {row.name: row.peak_MB for row in found.rows}
    if peaks["hungry"] is None:
        pytest.skip("reads memory where Linux says it")
    assert peaks["hungry"] > 150 > 20 > peaks["modest"]


def test_copies_of_a_molecule_keep_their_distance_and_cells_stay_crystals() -> None:
    ((cluster,),) = grown({"H3": [H3], "H2": [H2]}, [5]).values()
    assert cluster.charge == 5
    distances = np.linalg.norm(cluster.positions[:, None] - cluster.positions[None], axis=2)
    other = np.repeat(np.arange(5), 3)
    assert distances[other[:, None] != other[None]].min() >= 3.0
    copper = from_ase(bulk("Cu", cubic=True))
    ((super_,),) = grown({"Cu": [copper]}, [8]).values()
    assert np.allclose(super_.cell, 2 * copper.cell)
    assert len(super_) == 32
    assert super_.volume == pytest.approx(8 * copper.volume)
    slab = Structure(copper.numbers, copper.positions, cell=copper.cell, pbc=[True, True, False])
    ((wide,),) = grown({"Cu": [slab]}, [6]).values()
    assert np.allclose(wide.cell[2], slab.cell[2])
    assert [len(b) for b in batches({"H2": [H2]}, [1, 4]).values()] == [4]


def test_structures_survive_as_plain_data() -> None:
    again = from_plain(json.loads(json.dumps(to_plain(H3))))
    assert np.array_equal(again.positions, H3.positions)
    assert again.charge == 1
    assert list(kept([to_plain(H2), to_plain(H3), to_plain(H3)])) == ["H3"]
    assert list(kept([to_plain(H2)])) == ["H2"]


def test_contenders_come_from_files_runs_and_kinds(tmp_path) -> None:
    (tmp_path / "run" / "students").mkdir(parents=True)
    for name in ("b", "a"):
        (tmp_path / "run" / "students" / f"{name}.safetensors").touch()
    other = tmp_path / "a.safetensors"
    found = student_files([tmp_path / "run", other])
    assert list(found) == [str(tmp_path / "run/students/a.safetensors"), "b", str(other)]
    assert teacher_of_run([tmp_path / "run"]) is None
    (tmp_path / "run" / "recipe.yaml").write_text("teacher:\n  kind: xtb\n  method: GFN1-xTB\n")
    assert teacher_of_run([tmp_path / "run"]).settings["method"] == "GFN1-xTB"
    (tmp_path / "plan.yaml").write_text("kind: xtb\naccuracy: 0.1\n")
    assert teacher(str(tmp_path / "plan.yaml")).settings["accuracy"] == 0.1
    with pytest.raises(DataError, match="without students"):
        student_files([tmp_path])
    (tmp_path / "wrong.yaml").write_text("method: GFN1-xTB\n")
    with pytest.raises(TeacherError, match="names no teacher"):
        teacher(str(tmp_path / "wrong.yaml"))
    with pytest.raises(PlanError, match="does not exist"):
        teacher(str(Path(tmp_path) / "missing.yaml"))


def test_the_page_shows_times_scaling_and_throughput(clock, parsed) -> None:
    page = parsed(benchmark_page(both(clock, batches=(1, 8), sizes=(2, 4, 8, 16))))
    assert all(title in page.text for title in ("Time of a call", "Size and cross-over", "Throughput"))
    scaling = page.figure("Time and size")
    assert [trace["name"] for trace in scaling["data"] if "name" in trace] == ["tiny", "xtb"]
    assert page.figure("Throughput")["data"][0]["x"] == [1, 8]
    assert not [tag for tag, attributes in page.tags if "http" in (attributes.get("src") or "")]


def test_quick_calls_stand_for_a_round() -> None:
    rounds = [np.r_[np.full(20, 2.0), np.full(80, 9.0)]] * 3
    row = Row(Entrant("a", "teacher", list), 1, "x", 2, 1, rounds, [np.r_[np.full(40, 2.0), 8.0]] * 3)
    assert row.rounds_ms.tolist() == [2.0] * 3
    assert row.normalized.tolist() == [1.0] * 3
    assert row.median_ms == 9.0


def test_long_calls_are_held_to_as_much_work_of_reference() -> None:
    """Where others get every other 10 ms, a call of 100 ms takes twice as long, and the reference too."""
    reference = [np.tile(np.r_[np.ones(9), 11.0], 20)] * 3
    row = Row(Entrant("a", "teacher", list), 1, "x", 2, 1, [np.full(4, 200.0)] * 3, reference)
    assert row.normalized == pytest.approx([100.0] * 3, rel=0.05)
