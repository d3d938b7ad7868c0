"""A potential in its own process: the same numbers, and nothing that a structure does to it ends the run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.build
import numpy as np
import pytest

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError, PropertyError, TeacherError, UnsupportedStructureError
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.potentials.worker.potential import WorkerPotential
from mlff_distiller.teachers.ase_factory import ASEFactoryPlan
from mlff_distiller.teachers.xtb import XTBPlan

MODULE = '''
import os, signal, sys, time
import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Commanded(Calculator):
    """Does what the number of the first atom says."""
    implemented_properties = ["energy", "forces"]

    def __init__(self, marks=None):
        super().__init__()
        self.marks = marks

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        command = int(atoms.numbers[0])
        if command == 10:
            os.kill(os.getpid(), signal.SIGSEGV)
        if command == 3:
            time.sleep(3600)
        if command == 4:
            print("not a frame", flush=True)
            os.write(1, b"nor is this")
        if command == 5:
            print("the last words", file=sys.stderr)
            os._exit(7)
        if command == 6:
            np.ones(10_000_000_000)
        if command == 7 and not os.path.exists(self.marks):
            os.mkdir(self.marks)  # a folder: the content of a file that an argument names is part of the identity
            os._exit(1)
        if command == 8:
            np.random.seed(3)
        energy = float("nan") if command == 9 else float(atoms.positions.sum())
        self.results = {"energy": energy, "forces": np.ones((len(atoms), 3))}


class Doomed(Commanded):
    def calculate(self, *arguments, **others):
        os._exit(9)


def fails(**arguments):
    raise FileNotFoundError("no weights here")


def exits():
    print("cannot begin", file=sys.stderr)
    os._exit(3)
'''


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "commanded.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)

    def plan(factory: str = "Commanded", *, marks: Path | None = None, **settings: object) -> ASEFactoryPlan:
        arguments = {"marks": str(marks)} if marks else {}
        return ASEFactoryPlan(factory=f"commanded:{factory}", arguments=arguments, **settings)

    return plan


@pytest.fixture
def started(plan):
    opened: list[WorkerPotential] = []

    def started(**settings: object) -> WorkerPotential:
        opened.append(plan(**settings).build(own_process=True))
        return opened[-1]

    yield started
    for potential in opened:
        potential.close()


def atom(command: int, place: float = 0.0) -> Structure:
    return Structure([command], [[0, 0, place]])


def test_the_numbers_are_those_of_the_potential_itself() -> None:
    water = from_ase(ase.build.molecule("H2O"))
    cation = Structure(water.numbers, water.positions, charge=1, spin=2)
    cell = Structure(water.numbers, water.positions, cell=[[4.5, 0, 0], [0.3, 4.6, 0], [0, 0.1, 4.7]], pbc=True)
    asked = ("energy", "forces", "stress", "atomic_energies")
    here, there = XTBPlan().build(), XTBPlan().build(own_process=True)
    structures = [water, cation, cell]
    for one, other in zip(here.predict(structures, asked), there.predict(structures, asked), strict=True):
        assert one.present == other.present
        assert one.energy == pytest.approx(other.energy, abs=1e-10)
        for name in set(one.present) - {"energy"}:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-8)
    for name in ("elements", "charges", "cutoff", "properties", "is_conservative", "identity"):
        assert getattr(here, name) == getattr(there, name)
    assert there.predict([]) == []
    there.close()


def test_errors_arrive_as_the_same_errors(started) -> None:
    xtb = XTBPlan(max_iterations=3).build(own_process=True)
    with pytest.raises(UnsupportedStructureError, match="holds U"):
        xtb.predict([Structure([92], [[0, 0, 0]])])
    with pytest.raises(UnsupportedStructureError, match="lowest possible: 2"):
        xtb.check([Structure([1], [[0, 0, 0]])], ["energy"])
    with pytest.raises(PropertyError, match="cannot give stress"):
        started().predict([atom(1)], ["stress"])
    with pytest.raises(PredictionError) as caught:
        xtb.predict([Structure([2], [[0, 0, 0]]), from_ase(ase.build.molecule("H2O"))])
    assert (caught.value.index, caught.value.reason) == (1, "SCF did not converge")
    broken = from_ase(ase.build.molecule("H2O"))
    with pytest.raises(PredictionError):
        xtb.predict([broken.moved(np.full((3, 3), np.nan))])
    xtb.close()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (10, r"the teacher's process died \(SIGSEGV\)"),
        (5, r"the teacher's process died \(exit code 7, saying 'the last words'\)"),
        (6, r"out of memory \(1 atoms\)"),
        (9, "the potential gave numbers that are not finite"),
    ],
)
def test_a_structure_that_ends_the_process_is_named_and_the_others_are_not_lost(started, command, reason) -> None:
    potential = started(memory_limit_GB=4.0)
    with pytest.raises(PredictionError, match=reason) as caught:
        potential.predict([atom(1), atom(1), atom(command), atom(1)])
    assert caught.value.index == 2
    assert [labels.energy for labels in potential.predict([atom(1, 0.5), atom(1, 1.5)])] == [0.5, 1.5]


def test_a_structure_that_hangs_the_process_is_named(started) -> None:
    potential = started(time_limit_s=1.0)
    began = time.monotonic()
    with pytest.raises(PredictionError, match=r"the teacher hung \(no answer within 1 s\)") as caught:
        potential.predict([atom(1), atom(3), atom(1)])
    assert caught.value.index == 1
    assert time.monotonic() - began < 30
    assert potential.predict([atom(1, 2.0)])[0].energy == 2.0


def test_a_process_that_died_once_for_another_reason_loses_nothing(started, tmp_path: Path) -> None:
    marks = tmp_path / "was here"
    assert [x.energy for x in started(marks=marks).predict([atom(1, 1.0), atom(7, 2.0)])] == [1.0, 2.0]
    assert marks.exists()


def test_what_a_library_prints_is_not_taken_for_an_answer(started) -> None:
    assert [labels.energy for labels in started().predict([atom(4, 1.0), atom(4, 2.0)])] == [1.0, 2.0]


def test_changed_settings_are_named_when_watched(started, monkeypatch: pytest.MonkeyPatch) -> None:
    potential = started()
    potential.is_watched = True
    potential.predict([atom(8)])  # the calculator seeds NumPy's random state, which is put back
    assert potential.changed == []


def test_many_structures_that_end_the_process_do_not_end_the_run(started) -> None:
    potential = started()
    for _ in range(12):  # each kills it twice; the lone atom that it is then asked for does not
        with pytest.raises(PredictionError, match="exit code 7"):
            potential.predict([atom(5)])
    assert potential.predict([atom(1, 3.0)])[0].energy == 3.0


def test_a_teacher_that_dies_with_every_structure_is_given_up(started) -> None:
    potential = started(factory="Doomed")
    for _ in range(9):  # each kills it twice
        with pytest.raises(PredictionError):
            potential.predict([atom(1)])
    with pytest.raises(TeacherError, match=r"died 20 times in a row .*of a lone atom too"):
        potential.predict([atom(1)])


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
def test_killed_or_stopped_between_calls_nothing_is_lost(started, blow) -> None:
    potential = started(time_limit_s=2.0)
    os.kill(potential._process._process.pid, blow)
    assert [x.energy for x in potential.predict([atom(1, 1.0), atom(1, 2.0)])] == [1.0, 2.0]
    os.kill(potential._process._process.pid, blow)
    potential.check([atom(1)], ["energy"])


def test_a_file_that_was_replaced_is_not_taken_for_the_same_teacher(started, tmp_path: Path) -> None:
    potential = started()
    source = tmp_path / "commanded.py"
    source.write_text(source.read_text() + "\n# another version\n")
    assert potential.predict([atom(1, 1.0)])[0].energy == 1.0  # the process has loaded the old one
    for _ in range(2):
        with pytest.raises(TeacherError, match=r"teacher 'ase' has changed \(weights was"):
            potential.predict([atom(10)])


def test_memory_that_a_potential_does_not_look_after_is_an_error_of_one_structure(plan) -> None:
    potential = HungryPlan(memory_limit_GB=4.0).build(own_process=True)
    hungry, modest = Structure([6], [[0, 0, 0]]), Structure([1], [[0, 0, 0]])
    with pytest.raises(PredictionError, match=r"out of memory \(1 atoms\)") as caught:
        potential.predict([modest, modest, hungry, modest], ["energy"])
    assert caught.value.index == 2
    assert [x.energy for x in potential.predict([modest] * 3, ["energy"])] == [1.0] * 3
    potential.close()


class HungryPlan(PotentialPlan):
    """A potential of somebody else, which lets a lack of memory through."""

    kind: str = "hungry"

    def load(self) -> Potential:
        return Hungry()


class Hungry(Potential):
    elements, properties, is_conservative = frozenset({1, 6}), frozenset({"energy"}), True
    identity = Identity("hungry", "1", "")

    def predict(self, structures, properties=("energy",)):
        if any(6 in structure.numbers for structure in structures):
            np.ones(10_000_000_000)
        return [Labels(energy=1.0) for _ in structures]


def test_a_plan_that_no_other_process_can_import_is_refused() -> None:
    class InHere(HungryPlan):
        pass

    with pytest.raises(TeacherError, match="InHere is defined in the running script or in a function"):
        InHere().build(own_process=True)


def test_what_comes_from_the_process_may_be_written_to(started) -> None:
    labels = started().predict([atom(1)])[0]
    labels.forces[:] += 1.0
    assert labels.forces.tolist() == [[2.0, 2.0, 2.0]]


def test_a_script_in_the_working_directory_is_not_taken_for_a_library(tmp_path: Path, monkeypatch, plan) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "numpy.py").write_text("raise RuntimeError('a script of the user')")
    monkeypatch.chdir(folder)
    potential = plan().build(own_process=True)
    assert potential.predict([atom(1, 2.0)])[0].energy == 2.0
    potential.close()


@pytest.mark.parametrize(
    ("wrapper", "said"),
    [
        ('exec "{python}" -S "$@"', "numpy, ase, pydantic and pyyaml are needed in it, and one cannot be loaded: No"),
        ('exec "{python}" -c "import sys; sys.version_info = (3, 10, 4)\n$2"', "is too old: 3.11 or later is needed"),
        ("echo broken >&2; exit 3", "exit code 3, saying 'broken'"),
    ],
)
def test_an_environment_that_cannot_run_it_says_why(tmp_path: Path, wrapper: str, said: str) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n" + wrapper.replace("{python}", sys.executable) + "\n")
    python.chmod(0o755)
    with pytest.raises(TeacherError) as caught:
        XTBPlan(environment=str(python)).build()
    assert said in str(caught.value)
    assert f"mend the environment {python}, or name another one" in str(caught.value)


def test_what_does_not_start_says_why(plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TeacherError, match="FileNotFoundError: no weights here"):
        plan("fails").build(own_process=True)
    with pytest.raises(TeacherError, match=r"did not start .*exit code 3, saying 'cannot begin'"):
        plan("exits").build(own_process=True)


def test_the_process_ends_with_the_one_that_asks(tmp_path: Path, plan) -> None:
    script = (
        "import sys, time\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from mlff_distiller.teachers.ase_factory import ASEFactoryPlan\n"
        "from mlff_distiller.atoms.structure import Structure\n"
        "potential = ASEFactoryPlan(factory='commanded:Commanded').build(own_process=True)\n"
        "print(potential._process._process.pid, flush=True)\n"
        "potential.predict([Structure([3], [[0, 0, 0]])])\n"
    )
    asker = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(asker.stdout.readline())
    time.sleep(0.5)
    asker.kill()
    asker.wait()
    asker.stdout.close()
    deadline = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < deadline, "the process outlived the one that asked"
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] not in "ZX"
    except FileNotFoundError:
        return False


def test_an_interrupted_call_does_not_spoil_the_next_one(started) -> None:
    potential = started()

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            potential.predict([atom(3)])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert potential.predict([atom(1, 4.0)])[0].energy == 4.0
