"""WorkerPotential: a potential that runs in a process of its own and survives whatever a structure does to it."""

import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core import errors
from mlff_distiller.core.errors import DistillerError, PredictionError, TeacherError, UnsupportedStructureError
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.hessian import Floats
from mlff_distiller.potentials.worker.environment import INSTALLED, interpreter
from mlff_distiller.potentials.worker.process import ProcessDied, ProcessHung, WorkerProcess, own_path
from mlff_distiller.potentials.worker.protocol import Message, pack_structures, unpack_labels

A = TypeVar("A")
B = TypeVar("B")

_MOST_DEATHS: Final = 20
_LOADING_S: Final = 3600.0  # a foundation model may first be downloaded


@dataclass(frozen=True)
class Assignment:
    """What a process is to load, where, and within which limits.

    Parameters
    ----------
    kind : str
        What messages call the potential.
    place : str
        Where the class of its plan is imported from, ``"package.module:Class"``.
    settings : dict
        The plan as plain data.
    environment : str or None
        Python environment, as a recipe names it; None: that of this process.
    time_limit_s : float
        Longest time for one call.
    memory_limit_GB : float or None
        Most memory of the process.
    uses_python_path : bool
        Whether modules of PYTHONPATH belong to it; elsewhere they would be another Python's.
    """

    kind: str
    place: str
    settings: dict[str, Any]
    environment: str | None = None
    time_limit_s: float = 600.0
    memory_limit_GB: float | None = None
    uses_python_path: bool = False

    @property
    def remedy(self) -> str:
        """What to do where the process does not start."""
        if self.environment == INSTALLED:
            return f"make its environment anew with `mlffd teacher install {self.kind} --again`"
        if self.environment is None:
            return "mend that, and run the same command again"
        return f"mend the environment {self.environment}, or name another one"

    def start(self) -> WorkerProcess:
        """Start the process.

        Raises
        ------
        TeacherError
            If the environment is not there.
        """
        if self.environment is None:
            return WorkerProcess(Path(sys.executable), path=own_path())
        without = () if self.uses_python_path else ("PYTHONPATH",)
        return WorkerProcess(interpreter(self.environment, self.kind), without=without)


class WorkerPotential(Potential):
    """A potential in a process of its own, of the environment that its plan names or of this one.

    A structure that ends or hangs the process is found, by asking for every structure of the batch alone, and named
    in a :class:`PredictionError`; the process is started anew. The same structure may end it twice before it is
    given up: something else on the machine may have been at fault the first time. A process that has died many times
    in a row is asked for a lone atom; if it dies of that too, no structure is to blame and the potential is given up.

    Parameters
    ----------
    assignment : Assignment
        What is built in the process; a plan's ``build(own_process=True)`` gives it.

    Attributes
    ----------
    changed : list of str
        Which settings of its process loading it, or the last watched call, changed; empty is as it should be.
    is_watched : bool
        Whether calls look for such changes, which takes a moment.

    Raises
    ------
    TeacherError
        If the environment is not there, the process does not start, or the potential cannot be loaded in it.

    Examples
    --------
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> teacher = XTBPlan().build(own_process=True)
    >>> round(teacher.predict([Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])])[0].energy, 1)
    -26.7
    >>> teacher.close()
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._most = sys.maxsize  # structures in one call; fewer after a batch took too long
        self._deaths = 0
        self.is_watched = False
        self.changed: list[str] = []
        self._process, facts = self._start()
        self.elements = frozenset(facts["elements"])
        self.charges = None if facts["charges"] is None else frozenset(facts["charges"])
        self.spins = None if facts["spins"] is None else frozenset(facts["spins"])
        self.boundaries = frozenset(facts["boundaries"])
        self.opens_along_axes = facts["opens_along_axes"]
        self.cutoff = facts["cutoff"]
        self.properties = frozenset(facts["properties"])
        self.is_conservative = facts["is_conservative"]
        self.identity = Identity(**facts["identity"])
        self.python_version = str(facts["python"])

    def check(self, structures: Sequence[Structure], properties: Collection[str]) -> None:
        """Raise what :meth:`predict` promises; what only the potential itself knows is asked of it."""
        super().check(structures, properties)
        if not structures:
            return
        message = Message("check", {"properties": sorted(properties)}, pack_structures(structures))
        try:
            answer = self._ask(message)
        except (ProcessDied, ProcessHung):  # hardly by looking at them: it was ended in the meantime
            answer = self._asked_again(message)
        _understood(answer, self._assignment.kind)

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels for structures, in order; see :meth:`Potential.predict`."""
        super().check(structures, properties)
        return self._all(structures, lambda part: self._labels(part, properties))

    def hessian_products(self, structures: Sequence[Structure], directions: Sequence[Floats]) -> list[Floats]:
        """Return the products of each structure's Hessian with directions, as the potential itself gives them."""
        super().check(structures, ("forces",))
        return self._all(list(zip(structures, directions, strict=True)), self._products)

    def close(self) -> None:
        """End the process; it is started again if the potential is used again."""
        self._process.close()

    def _all(self, items: Sequence[A], ask: Callable[[Sequence[A]], list[B]]) -> list[B]:
        """Return the answers to items, in order, as many asked for at once as there is time for."""
        self.changed = []
        answers: list[B] = []
        while (first := len(answers)) < len(items):
            try:
                answers += self._answered(items[first : first + self._most], ask)
            except PredictionError as error:
                raise error.after(first) from error
        return answers

    def _answered(self, part: Sequence[A], ask: Callable[[Sequence[A]], list[B]]) -> list[B]:
        try:
            return ask(part)
        except ProcessHung as error:
            if len(part) == 1:
                raise PredictionError(0, "the teacher hung", str(error)) from error
            self._most = max(len(part) // 2, 1)
        except ProcessDied as error:
            self._count_death(error)
        answers: list[B] = []
        for index, item in enumerate(part):
            try:
                answers += ask([item])
            except ProcessDied as error:
                self._count_death(error)
                raise PredictionError(index, "the teacher's process died", str(error)) from error
            except ProcessHung as error:
                raise PredictionError(index, "the teacher hung", str(error)) from error
            except PredictionError as error:
                raise error.after(index) from error
        return answers

    def _labels(self, part: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        facts = {"properties": sorted(properties), "watched": self.is_watched}
        answer = self._ask(Message("predict", facts, pack_structures(part)))
        self._deaths = 0
        return unpack_labels(_understood(answer, self._assignment.kind).arrays, [len(structure) for structure in part])

    def _products(self, part: Sequence[tuple[Structure, Floats]]) -> list[Floats]:
        structures = [structure for structure, _ in part]
        arrays = pack_structures(structures) | {"directions": np.concatenate([along for _, along in part])}
        answer = self._ask(Message("hessian", {"watched": self.is_watched}, arrays))
        self._deaths = 0
        products = np.array(_understood(answer, self._assignment.kind).arrays["products"])
        return np.split(products, np.cumsum([len(structure) for structure in structures])[:-1])

    def _ask(self, message: Message) -> Message:
        if not self._process.is_open:
            self._start_again()
        answer = self._process.ask(message, time_limit_s=self._assignment.time_limit_s)
        self.changed += answer.facts["changed"]
        return answer

    def _asked_again(self, message: Message) -> Message:
        try:
            return self._ask(message)
        except (ProcessDied, ProcessHung) as error:
            raise TeacherError(
                f"the process of teacher '{self._assignment.kind}' does not answer ({error}); mend its environment, "
                "then run the same command again to continue"
            ) from error

    def _start_again(self) -> None:
        """Start a new process, and see to it that the same potential is in it: a file may have been replaced."""
        process, facts = self._start()
        try:
            self.identity.demand(Identity(**facts["identity"]))
        except TeacherError:
            process.close()
            raise
        self._process = process

    def _start(self) -> tuple[WorkerProcess, dict[str, Any]]:
        """Start the process and load the potential in it; return both and what the potential says of itself."""
        assigned = self._assignment
        facts = {
            "place": assigned.place,
            "settings": assigned.settings,
            "memory_limit_GB": assigned.memory_limit_GB,
            "watched": True,
        }
        try:
            process = assigned.start()
            answer = process.ask(Message("load", facts), time_limit_s=_LOADING_S)
        except (ProcessDied, ProcessHung, OSError) as error:
            raise TeacherError(
                f"the process of teacher '{assigned.kind}' did not start ({error}); {assigned.remedy}"
            ) from error
        try:
            self.changed = list(answer.facts["changed"])
            return process, dict(_understood(answer, self._assignment.kind).facts)
        except BaseException:
            process.close()
            raise

    def _count_death(self, error: ProcessDied) -> None:
        """Give up a teacher that dies whatever it is asked: that is no fault of the structures."""
        self._deaths += 1
        if self._deaths >= _MOST_DEATHS and not self._masters_an_atom():
            raise TeacherError(
                f"the process of teacher '{self._assignment.kind}' died {self._deaths} times in a row ({error}), and "
                "of a lone atom too; check its environment and memory, then run the same command again to continue"
            ) from error

    def _masters_an_atom(self) -> bool:
        """Whether it lives on after the smallest structure there is, be it with a refusal."""
        number = min(self.elements, key=lambda z: (z % 2, z))  # paired electrons are refused by fewer
        try:
            with suppress(PredictionError, UnsupportedStructureError):
                self._labels([Structure([number], [[0, 0, 0]])], ["energy"])
        except (ProcessDied, ProcessHung):
            return False
        return True


def _understood(answer: Message, kind: str) -> Message:
    """Return an answer, or raise the error that it is."""
    facts = answer.facts
    match answer.kind:
        case "prediction error":
            raise PredictionError(facts["index"], facts["reason"], facts["detail"])
        case "error":
            raised: type[DistillerError] = getattr(errors, facts["type"], DistillerError)
            raise raised(facts["text"])
        case "fault":
            error = RuntimeError(f"teacher '{kind}' failed in its own process: {facts['text']}")
            error.add_note(f"In the process of the teacher:\n{facts['trace']}")
            raise error
    return answer
