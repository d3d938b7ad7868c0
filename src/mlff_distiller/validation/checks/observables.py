"""The check of observables: what dynamics and statics of a student show, against its teacher."""

from collections.abc import Mapping
from typing import ClassVar

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError, UnsupportedStructureError
from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.validation.check import CheckPlan
from mlff_distiller.validation.observables.measures import NAMES, compare
from mlff_distiller.validation.observables.observations import Observations, joined
from mlff_distiller.validation.observables.observe import TEACHER, SystemTask, n_calls, observe, observe_teacher_system
from mlff_distiller.validation.observables.plan import ObservationPlan
from mlff_distiller.validation.trial import Trial


class ObservablesPlan(ObservationPlan, CheckPlan):
    """Observables against the teacher: structure, spectra, frequencies, torsions, and of solids elasticity.

    Examples
    --------
    >>> ObservablesPlan().n_replicas
    4
    """

    builds_on: ClassVar = (TEACHER,)

    def measure(self, trial: Trial) -> Evidence:
        """Observe the potential and return how far it is from its teacher, with everything that was observed of both.

        The arrays are those of :func:`~mlff_distiller.validation.observables.observe.observe`, under keys that begin
        with ``student/`` and ``teacher/``. The teacher's come from ``trial.found["teacher"]``; where there are none, it
        is observed here, system by system.

        Raises
        ------
        DataError
            If there are no systems, or the teacher was observed with other settings.

        Examples
        --------
        >>> from mlff_distiller.potentials.analytic import morse
        >>> teacher, student = (morse(depth=d, width=1.9, distance=0.74, cutoff=6.0) for d in (4.5, 4.6))
        >>> starts = {"H2": [Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])]}
        >>> plan = ObservablesPlan(duration_ps=0.1, equilibration_ps=0.02)
        >>> evidence = plan.measure(Trial(student, starts, make_teacher=lambda: teacher))
        >>> round(evidence.measurement("frequency_mae").value)
        46
        """
        teacher = self._teacher(trial)
        if teacher is None:
            return Evidence(skipped=[Skipped(name, "there is no teacher to compare with") for name in NAMES])
        minima = {name: _minimum(own[0], teacher, name) for name, own in trial.starts.items()}
        try:
            found = observe(
                trial.potential,
                trial.starts,
                self,
                seed=trial.seed,
                role="student",
                minima={name: structure for name, structure in minima.items() if structure is not None},
                advance=trial.reporter.start(f"observables {trial.name}", self.n_steps),
            )
        except UnsupportedStructureError as error:
            return Evidence(skipped=[Skipped(name, str(error)) for name in NAMES])
        student = Observations.of(found.arrays)
        evidence = compare(student, teacher, self)
        arrays = {**student.arrays("student/"), **teacher.arrays("teacher/")}
        return Evidence(evidence.measurements, evidence.skipped, arrays)

    def n_teacher_calls(self, systems: Mapping[str, Structure]) -> int:
        """Return about how many structures the teacher evaluates to be observed."""
        return n_calls(systems, self)

    def _teacher(self, trial: Trial) -> Observations | None:
        found = trial.found.get(TEACHER)
        if found is None and trial.systems and trial.teacher is not None:
            found = joined([self._observed(trial, trial.teacher, name) for name in trial.starts])
        if found is None or not found.arrays:
            return None
        teacher = Observations.of(found.arrays)
        if teacher.settings != self.observation_digest:
            raise DataError("the teacher was observed with other settings than the student is; observe it again")
        return teacher

    def _observed(self, trial: Trial, teacher: object, name: str) -> Evidence:
        task = SystemTask(lambda: teacher, name, trial.starts[name], self, trial.seed, trial.folder)  # type: ignore[return-value,arg-type]
        return observe_teacher_system(task, trial.reporter)


def _minimum(start: Structure, teacher: Observations, name: str) -> Structure | None:
    relaxed = teacher.get(name).get("relaxed")
    return None if relaxed is None else start.moved(relaxed)
