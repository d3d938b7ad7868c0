"""Measurements of what was observed of a student and of its teacher."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.evidence import Evidence, Skipped
from mlff_distiller.core.measurement import Measurement
from mlff_distiller.validation.observables.bonds import circular_wasserstein, wasserstein
from mlff_distiller.validation.observables.comparison import Distances, Metric, distances, measure_ratio
from mlff_distiller.validation.observables.diffusion import is_mobile
from mlff_distiller.validation.observables.observations import Observations
from mlff_distiller.validation.observables.plan import ObservationPlan
from mlff_distiller.validation.observables.rdf import area_between
from mlff_distiller.validation.observables.spectra import spectral_distance
from mlff_distiller.validation.observables.statics import STATICS, Static

Floats = NDArray[np.float64]


class Sampled(NamedTuple):
    """An observable of dynamics.

    Attributes
    ----------
    key : str
        Name of its array (R, ...).
    metric : callable
        Distance of what two runs gave.
    unit : str
        Of the distance.
    what : str
        What the distance is, in a few words.
    family : str
        Under which name it is said to be missing.
    absent : str
        Why a system has none where it makes no sense.
    """

    key: str
    metric: Metric
    unit: str
    what: str
    family: str
    absent: str


def _difference(a: Floats, b: Floats) -> float:
    return float(np.abs(a - b).mean())


_SHIFT = "mean Wasserstein-1 distance of"
_SOLID = "no system is periodic in three directions"
SAMPLED: Final[Mapping[str, Sampled]] = {
    "bond_distribution": Sampled(
        "bond_quantiles", wasserstein, "A", f"{_SHIFT} each bond's lengths", "runs", "no system has a covalent bond"
    ),
    "angle_distribution": Sampled(
        "angle_quantiles", wasserstein, "degree", f"{_SHIFT} each bond angle", "runs", "no system has a bond angle"
    ),
    "dihedral_distribution": Sampled(
        "dihedral_histograms",
        circular_wasserstein,
        "degree",
        f"{_SHIFT} each dihedral, on the circle",
        "runs",
        "no system has a dihedral",
    ),
    "rdf": Sampled("rdf", area_between, "A", "area between radial distribution functions", "rdf", _SOLID),
    "vdos": Sampled("vdos", spectral_distance, "", "area between spectra of area 1", "runs", "no system vibrates"),
    "pressure": Sampled("pressure_GPa", _difference, "GPa", "difference of mean pressures", "pressure", _SOLID),
    "diffusion": Sampled(
        "diffusion",
        _difference,
        "A^2/ps",
        "difference of diffusion coefficients, mean of elements",
        "runs",
        "in no periodic system do atoms leave their places",
    ),
}
"""Observables of dynamics by the names of their measurements."""

NAMES: Final = (*SAMPLED, *STATICS)
"""Names of all measurements."""


def compare(student: Observations, teacher: Observations, plan: ObservationPlan) -> Evidence:
    """Return how far a student is from its teacher in everything that was observed of both.

    Observables of dynamics are compared with the difference of two runs of the teacher; a student whose runs failed is
    infinitely far. What none of the systems has is skipped.
    """
    pair = _Pair(student, teacher, plan)
    found = [pair.sampled(name, of) for name, of in SAMPLED.items()]
    found += [pair.static(name, of) for name, of in STATICS.items()]
    return Evidence(
        [one for one in found if isinstance(one, Measurement)], [one for one in found if isinstance(one, Skipped)]
    )


@dataclass(frozen=True, eq=False)
class _Pair:
    """What was observed of a student and of its teacher."""

    student: Observations
    teacher: Observations
    plan: ObservationPlan

    def sampled(self, name: str, of: Sampled) -> Measurement | Skipped:
        found: dict[str, Distances] = {}
        left_out: dict[str, str] = {}
        for system in self.teacher.names:
            own = self._distances(system, name, of)
            if isinstance(own, Distances):
                found[system] = own
            elif own:
                left_out[system] = own
        if not found:
            return _skipped(name, left_out, of.absent)
        return _noted(measure_ratio(name, found, unit=of.unit, what=of.what), left_out, self._failures())

    def _distances(self, system: str, name: str, of: Sampled) -> Distances | str:
        """Return distances of the runs of one system, or why there are none; "" where they make no sense."""
        teacher, student = self.teacher.get(system), self.student.get(system)
        if of.key not in teacher:
            return self._reason(self.teacher, system, of.family, "the teacher")
        found = teacher[of.key]
        runs = np.flatnonzero(np.isfinite(found.reshape(len(found), -1)).all(1))
        if len(runs) < 2:
            return "fewer than two runs of the teacher gave numbers"
        if name == "diffusion" and not any(is_mobile(x["displacements"]) for x in (teacher, student) if x):
            return ""
        if of.key in student:
            return distances(student[of.key][runs], found[runs], of.metric)
        if self.student.reason(system, "runs"):  # all failed
            return distances(np.full_like(found[runs], np.nan), found[runs], of.metric)
        return self._reason(self.student, system, of.family, "the student") or "it was not observed of the student"

    def static(self, name: str, of: Static) -> Measurement | Skipped:
        values: dict[str, float] = {}
        details: dict[str, Any] = {}
        left_out: dict[str, str] = {}
        failed: dict[str, str] = {}
        for system in self.teacher.names:
            teacher, student = self.teacher.get(system), self.student.get(system)
            if of.key not in teacher:
                left_out[system] = self._reason(self.teacher, system, of.family, "the teacher")
            elif of.key not in student:
                failed[system] = self._reason(self.student, system, of.family, "the student") or "not observed"
            else:
                values[system], details[system] = of.compare(student, teacher, self.plan)
                if np.isnan(values[system]):
                    left_out[system] = of.undefined
        values = {system: value for system, value in values.items() if not np.isnan(value)}
        left_out = {system: why for system, why in left_out.items() if why}
        if not values:
            return _skipped(name, failed | left_out, of.absent)
        values |= dict.fromkeys(failed, float("inf"))  # it can do others, so this one is its fault
        worst = max(values, key=lambda system: values[system])
        detail = {"worst_system": worst, "systems": {system: details[system] for system in details if system in values}}
        value = of.total(list(values.values()))
        return _noted(Measurement(name, value, of.unit, None, len(values), detail), left_out, failed)

    def _failures(self) -> dict[str, list[str]]:
        found = {
            name: [str(why) for why in self.student.get(name).get("failures", []) if why] for name in self.teacher.names
        }
        return {name: reasons for name, reasons in found.items() if reasons}

    @staticmethod
    def _reason(observed: Observations, system: str, family: str, whose: str) -> str:
        why = (
            observed.reason(system, "everything") or observed.reason(system, "runs") or observed.reason(system, family)
        )
        return f"{whose}: {why}" if why else ""


def _skipped(name: str, left_out: Mapping[str, str], absent: str) -> Skipped:
    """Return that nothing was measured: because it does not apply, or with the first reason why it failed."""
    if not left_out:
        return Skipped(name, absent, applies=False)
    system, why = next(iter(left_out.items()))
    more = f" (and {len(left_out) - 1} more systems)" if len(left_out) > 1 else ""
    return Skipped(name, f"{system}: {why}{more}")


def _noted(found: Measurement, left_out: Mapping[str, str], failures: Mapping[str, Any]) -> Measurement:
    """Return a measurement whose detail says which systems were left out, and which runs of the student failed."""
    notes = {name: dict(value) for name, value in (("left_out", left_out), ("failures", failures)) if value}
    return Measurement(found.name, found.value, found.unit, found.ci95, found.n_samples, {**found.detail, **notes})
