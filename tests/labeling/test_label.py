"""Labeling: every structure once, labeled or refused, through failures, kills and continuations."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_tasks import SCRIPT

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.console import Advance, Silent
from mlff_distiller.core.errors import DataError, PropertyError, TeacherError, UnsupportedStructureError
from mlff_distiller.core.randomness import generator
from mlff_distiller.data.storage.store import Store
from mlff_distiller.data.storage.writer import StoreWriter
from mlff_distiller.labeling.gates import GatesPlan
from mlff_distiller.labeling.label import Chunk, LabelingPlan, LabelingResult, label, label_chunk
from mlff_distiller.labeling.refused import REFUSED
from mlff_distiller.potentials.hessian import random_directions
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.potentials.worker.potential import WorkerPotential
from mlff_distiller.scale.local import LocalPool
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.combined import CommitteePlan
from mlff_distiller.teachers.xtb import XTBPlan

HERE = Path(__file__).parent
WATER = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], info={"seed": "water", "segment": "a"})
PICKY = ASEFactoryPlan(factory="label_tasks:Picky")
PATIENT = ASEFactoryPlan(factory=PICKY.factory, arguments={"wait_s": 0.02})


def stored(path: Path, structures: list[Structure], ids: list[int] | None = None) -> Store:
    writer = StoreWriter(path)
    writer.append(ids or range(len(structures)), structures)
    return writer.seal()


def waters(count: int) -> list[Structure]:
    rng = generator(1, "waters")
    return [WATER.moved(WATER.positions + rng.normal(scale=0.05, size=(3, 3))).tagged(k=k) for k in range(count)]


def commanded(commands: list[int]) -> list[Structure]:
    """Return pairs of atoms whose first coordinate tells the picky teacher what to do."""
    return [Structure([18, 18], [[c, 0, 0], [c, 0, 2.0 + 0.01 * k]]) for k, c in enumerate(commands)]


def labeled(structures: Store, path: Path, teacher: PotentialPlan = PICKY, **settings: Any) -> LabelingResult:
    pool, reporter = settings.pop("pool", LocalPool(1)), settings.pop("reporter", Silent())
    return label(structures, LabelingPlan(**settings), teacher, path=path, pool=pool, reporter=reporter)


class Interrupted:
    """A pool that is stopped after some results."""

    def __init__(self, n_results: int) -> None:
        self.n_results = n_results

    def run(self, function: Any, tasks: Any, *, reporter: Any) -> Iterator[Any]:
        yield from islice(LocalPool(1).run(function, tasks, reporter=reporter), self.n_results)
        raise KeyboardInterrupt


def test_labels_are_those_of_the_teacher(tmp_path: Path) -> None:
    periodic = Structure(WATER.numbers, WATER.positions + 1, cell=np.diag([5, 5.5, 6]), pbc=True)
    structures = stored(tmp_path / "s", [*waters(5), periodic], ids=[9, 3, 40, 1, 7, 20])
    result = labeled(structures, tmp_path / "l", XTBPlan(), chunk_size=2)
    assert (result.n_labeled, result.refusals) == (6, {})
    assert result.store.ids.tolist() == [1, 3, 7, 9, 20, 40]
    assert result.store.identity == XTBPlan().build().identity.to_json()
    expected = XTBPlan().build().predict(structures.structures(), ("energy", "forces", "stress"))
    for row, labels in enumerate(expected):
        found = result.store.labels(row)
        assert found.present == labels.present
        assert found.energy == pytest.approx(labels.energy, abs=1e-9)
        np.testing.assert_allclose(found.forces, labels.forces, atol=1e-8)
        assert result.store.structure(row).info == structures.structure(row).info
    assert [("stress" in result.store.labels(row).present) for row in range(6)] == [False] * 4 + [True, False]


def test_every_refusal_has_its_reason(tmp_path: Path) -> None:
    close = Structure([18, 18], [[0, 0, 0], [0, 0, 0.2]])
    structures = stored(tmp_path / "s", [*commanded([0, 1, 2, 3, 1, 0, 1]), close])
    result = labeled(structures, tmp_path / "l", properties=("energy", "forces"))
    assert result.store.ids.tolist() == [0, 5]
    assert result.refusals == {
        "CalculationFailed: no convergence": 3,
        "the potential gave numbers that are not finite": 1,
        "max_force": 1,
        "min_distance": 1,
    }
    assert labeled(structures, tmp_path / "l", properties=("energy", "forces")).refusals == result.refusals


def test_scf_failures_are_counted(tmp_path: Path) -> None:
    structures = stored(tmp_path / "s", [*waters(3), Structure([2], [[0, 0, 0]])])
    result = labeled(structures, tmp_path / "l", XTBPlan(max_iterations=3))
    assert result.refusals == {"SCF did not converge": 3}
    assert result.store.structure(0).formula == "He"


def test_the_teacher_is_not_asked_about_atoms_too_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    predict = WorkerPotential.predict
    monkeypatch.setattr(WorkerPotential, "predict", lambda self, s, p: asked.append(len(s)) or predict(self, s, p))
    close = WATER.moved(WATER.positions * 0.3)
    chunk = Chunk([4, 5], [close, WATER], ("energy", "forces"), GatesPlan(), XTBPlan(), XTBPlan().build().identity)
    result = label_chunk(chunk, Silent())
    assert asked == [1]
    assert (result.ids, [refusal.id for refusal in result.refusals]) == ([5], [4])


def test_many_failures_in_one_batch(tmp_path: Path) -> None:
    commands = [1] * 200 + [0]
    result = labeled(stored(tmp_path / "s", commanded(commands)), tmp_path / "l", chunk_size=1000)
    assert (result.n_labeled, sum(result.refusals.values())) == (1, 200)


def test_everything_refused(tmp_path: Path) -> None:
    structures = stored(tmp_path / "s", commanded([1, 1, 3]))
    said = r"all 3 structures were refused, 2 of them because of 'CalculationFailed: no convergence'"
    for _ in range(2):
        with pytest.raises(DataError, match=said):
            labeled(structures, tmp_path / "l")
    assert len((tmp_path / "l" / REFUSED).read_text().splitlines()) == 3


def test_what_cannot_be_labeled_is_said_before_labeling(tmp_path: Path) -> None:
    structures = stored(tmp_path / "s", [Structure([92], [[0, 0, 0]]), Structure([93], [[0, 0, 0]])])
    with pytest.raises(UnsupportedStructureError, match="none of the 2 structures: U holds U, which xtb"):
        labeled(structures, tmp_path / "l", XTBPlan())
    with pytest.raises(PropertyError, match="cannot give atomic_energies"):
        labeled(structures, tmp_path / "l", PICKY, properties=("energy", "atomic_energies"))
    assert not (tmp_path / "l").exists()


def test_what_the_teacher_does_not_cover_is_refused_and_the_rest_is_labeled(tmp_path: Path) -> None:
    uranium, radical = Structure([92], [[0, 0, 0]]), WATER.moved(WATER.positions + 1).tagged(k=1)
    radical = Structure(radical.numbers, radical.positions, spin=2)
    structures = stored(tmp_path / "s", [WATER, uranium, radical, WATER])
    said: list[str] = []

    class Says(Silent):
        def message(self, text: str) -> None:
            said.append(text)

    result = labeled(structures, tmp_path / "l", XTBPlan(), reporter=Says())
    assert result.store.ids.tolist() == [0, 3]
    assert result.refusals == {"not covered by the teacher": 2}
    refused = [json.loads(line) for line in (tmp_path / "l" / REFUSED).read_text().splitlines()]
    assert "holds U" in refused[0]["detail"]
    assert "spin multiplicity 2" in refused[1]["detail"]
    assert said[0].startswith("2 of 4 structures are not covered by the teacher and refused: U holds U")


def test_a_teacher_that_changes_in_the_midst_is_not_mixed_in(tmp_path: Path) -> None:
    """The worker that comes later would load a file that has been replaced; the chunk knows who began."""
    now, before = XTBPlan(accuracy=0.5), XTBPlan().build().identity
    chunk = Chunk([4], [WATER], ("energy", "forces"), GatesPlan(), now, before)
    with pytest.raises(TeacherError, match=r"teacher 'xtb' has changed \(weights was .*, is .*\)"):
        label_chunk(chunk, Silent())


def test_continued_after_interruptions(tmp_path: Path) -> None:
    structures = stored(tmp_path / "s", commanded([0, 1, 0, 3, 0, 0, 2, 0, 0, 0, 1, 0]))
    whole = labeled(structures, tmp_path / "whole", chunk_size=2)
    bars: list[tuple[int, int]] = []

    class Counts(Silent):
        def start(self, title: str, total: int, *, done: int = 0) -> Advance:
            bars.append((done, total))
            return super().start(title, total)

    for n_results in (2, 1):
        with pytest.raises(KeyboardInterrupt):
            labeled(structures, tmp_path / "l", chunk_size=2, pool=Interrupted(n_results), reporter=Counts())
    result = labeled(structures, tmp_path / "l", chunk_size=5, reporter=Counts())  # chunks may change on the way
    assert bars == [(0, 12), (4, 12), (6, 12)]
    assert result.store.digest == whole.store.digest
    assert result.refusals == whole.refusals
    assert labeled(structures, tmp_path / "l", pool=Interrupted(0)).store.digest == whole.store.digest


def test_other_inputs_are_refused(tmp_path: Path) -> None:
    structures = stored(tmp_path / "s", commanded([0, 0]))
    labeled(structures, tmp_path / "l")
    with pytest.raises(DataError, match="begun with another gates"):
        labeled(structures, tmp_path / "l", gates=GatesPlan(max_force=10))
    with pytest.raises(DataError, match="begun with another structures"):
        labeled(stored(tmp_path / "t", commanded([0, 0, 0])), tmp_path / "l")
    with pytest.raises(DataError, match="holds labels of"):
        labeled(structures, tmp_path / "l", XTBPlan())


def test_refusals_show_in_the_progress(tmp_path: Path) -> None:
    notes: list[str] = []

    class Notes(Silent):
        def start(self, title: str, total: int, *, done: int = 0) -> Advance:
            return lambda n=1, *, note="": notes.append(f"{n} {note}")

    labeled(
        stored(tmp_path / "s", commanded([0, 0, 1])), tmp_path / "l", chunk_size=2, pool=LocalPool(1), reporter=Notes()
    )
    assert notes == ["2 ", "1 1 refused"]


def test_killed_for_good_and_continued(tmp_path: Path) -> None:
    """Kill a real run with SIGKILL, then let it finish: the same store as without any kill."""
    structures = stored(tmp_path / "s", commanded([0, 0, 1, 0, 3] * 12))
    whole = labeled(structures, tmp_path / "whole", PATIENT, hessian_directions=2)
    path = tmp_path / "l"
    script = SCRIPT.format(here=str(HERE), structures=str(tmp_path / "s"), labels=str(path), n_directions=2)
    run = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    journal = path / "journals" / "00.journal"
    while not (journal.exists() and journal.read_bytes().count(b"MLFFDREC") >= 5) and run.poll() is None:
        time.sleep(0.005)
    os.kill(run.pid, signal.SIGKILL)
    _, said = run.communicate()
    assert run.returncode == -signal.SIGKILL, said.decode()
    assert not (path / "manifest.json").exists()
    subprocess.run([sys.executable, "-c", script], check=True)
    store = Store.open(path)
    assert store.digest == whole.store.digest
    lines = (path / REFUSED).read_text().splitlines()
    assert len(lines) == len(set(lines)) == len(structures) - len(store) == 24


def test_what_ends_hangs_or_fills_the_teacher_is_reported_and_the_rest_is_labeled(tmp_path: Path) -> None:
    commands = [0, 4, 0, 5, 0, 6, 2, 0, 4]
    structures = stored(tmp_path / "s", commanded(commands))
    teacher = ASEFactoryPlan(factory="label_tasks:Picky", time_limit_s=1.0, memory_limit_GB=4.0)
    result = labeled(structures, tmp_path / "l", teacher, pool=LocalPool(2), chunk_size=5)
    assert result.store.ids.tolist() == [0, 2, 4, 7]
    assert result.refusals == {
        "the teacher's process died": 2,
        "the teacher hung": 1,
        "out of memory": 1,
        "the potential gave numbers that are not finite": 1,
    }
    lines = map(json.loads, (tmp_path / "l" / REFUSED).read_text().splitlines())
    refused = {line["id"]: line["detail"] for line in lines}
    assert refused[1] == refused[8] == "SIGSEGV"
    assert refused[3] == "no answer within 1 s"
    assert refused[5] == "2 atoms"


def test_a_committee_stores_its_spread_and_refuses_where_it_does_not_know(tmp_path: Path) -> None:
    members = (XTBPlan(), XTBPlan(method="GFN1-xTB"))
    structures = stored(tmp_path / "s", waters(4))
    result = labeled(structures, tmp_path / "l", CommitteePlan(members=members))
    one, other = (plan.build().predict(structures.structures()) for plan in members)
    for row in range(4):
        labels = result.store.labels(row)
        assert labels.energy == pytest.approx((one[row].energy + other[row].energy) / 2, abs=1e-8)
        assert labels.energy_std == pytest.approx(abs(one[row].energy - other[row].energy) / 2**0.5, abs=1e-8)
        apart = np.linalg.norm(one[row].forces - other[row].forces, axis=1) / 2**0.5
        np.testing.assert_allclose(labels.force_std, apart, atol=1e-8)
    largest = sorted(result.store.labels(row).force_std.max() for row in range(4))
    gates = GatesPlan(max_force_std=(largest[1] + largest[2]) / 2)
    strict = labeled(structures, tmp_path / "m", CommitteePlan(members=members), gates=gates)
    assert (strict.n_labeled, strict.refusals) == (2, {"max_force_std": 2})


def test_hessian_rows_are_those_of_the_teacher(tmp_path: Path) -> None:
    periodic = Structure(WATER.numbers, WATER.positions + 1, cell=np.diag([5, 5.5, 6]), pbc=True)
    structures = stored(tmp_path / "s", [*waters(3), periodic], ids=[9, 3, 40, 20])
    result = labeled(structures, tmp_path / "l", XTBPlan(), chunk_size=3, hessian_directions=2)
    assert result.n_labeled == 4
    assert result.store.widths == {"K": 2}
    xtb = XTBPlan().build()
    for row, number in enumerate([3, 9, 20, 40]):
        structure, labels = result.store.structure(row), result.store.labels(row)
        along = labels.hessian_directions
        assert np.array_equal(along, random_directions(3, 2, seed=0, number=number))
        for k in range(2):
            moved = [structure.moved(structure.positions + h * along[:, k]) for h in (-4e-4, 4e-4)]
            behind, ahead = (one.forces for one in xtb.predict(moved, ("forces",)))
            np.testing.assert_allclose(labels.hessian_products[:, k], (behind - ahead) / 8e-4, rtol=2e-3, atol=0.05)


def test_directions_depend_on_seed_and_id_alone(tmp_path: Path) -> None:
    structures = stored(tmp_path / "s", commanded([0] * 5), ids=[5, 1, 8, 2, 4])
    one = labeled(structures, tmp_path / "a", hessian_directions=2, chunk_size=1)
    other = labeled(structures, tmp_path / "b", hessian_directions=2, chunk_size=4)
    assert one.store.digest == other.store.digest
    plan, settings = LabelingPlan(hessian_directions=2), {"pool": LocalPool(1), "reporter": Silent()}
    seeded = label(structures, plan, PICKY, path=tmp_path / "c", seed=1, **settings)
    assert seeded.store.digest != one.store.digest
    assert seeded.store.header["hessian"] == {"directions": 2, "seed": 1}
    for count in (0, 3):
        with pytest.raises(DataError, match="begun with another hessian"):
            labeled(structures, tmp_path / "a", hessian_directions=count)


def test_a_structure_whose_hessian_fails_is_refused(tmp_path: Path) -> None:
    structures = stored(tmp_path / "s", commanded([0, 7, 0, 8, 1, 0, 7]))
    plain = labeled(structures, tmp_path / "plain").store
    assert plain.ids.tolist() == [0, 1, 2, 3, 5, 6]
    assert "hessian" not in plain.header  # nor in those of older releases, which are continued
    result = labeled(structures, tmp_path / "l", hessian_directions=2, chunk_size=4)
    assert result.store.ids.tolist() == [0, 2, 5]
    assert result.refusals == {
        "CalculationFailed: no convergence": 3,
        "the potential gave numbers that are not finite": 1,
    }


def test_the_calls_are_as_many_as_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, int]] = []
    ask = WorkerPotential._ask
    monkeypatch.setattr(
        WorkerPotential, "_ask", lambda self, m: asked.append((m.kind, len(m.arrays["sizes"]))) or ask(self, m)
    )
    close = WATER.moved(WATER.positions * 0.3)
    chunk = Chunk([4, 5, 6], [close, *waters(2)], ("energy",), GatesPlan(), XTBPlan(), XTBPlan().build().identity, 3)
    result = label_chunk(chunk, Silent())
    assert asked == [("predict", 2), ("hessian", 2)]
    assert result.ids == [5, 6]
    assert result.labels[0].present == ("energy", "hessian_directions", "hessian_products")
