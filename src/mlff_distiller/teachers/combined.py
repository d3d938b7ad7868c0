"""Teachers made of teachers: a committee with its spread, a base with a correction, a difference to be learned."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny

from mlff_distiller.core.errors import PlanError, UnknownNameError
from mlff_distiller.core.provenance import digest
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.combination import Committee, WeightedSum
from mlff_distiller.potentials.plan import PotentialPlan
from mlff_distiller.teachers import TEACHERS


def _parsed(value: Any) -> PotentialPlan:
    """Return the plan of any registered teacher; looked up now, not when this module is imported."""
    if isinstance(value, PotentialPlan):
        return value
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise ValueError("a teacher is given by its settings, for instance {kind: xtb}")
    try:
        found: PotentialPlan = TEACHERS.get(value["kind"]).parse(value, where=value["kind"])
    except (PlanError, UnknownNameError) as error:
        raise ValueError(str(error)) from error
    return found


AnyTeacher = Annotated[SerializeAsAny[PotentialPlan], BeforeValidator(_parsed)]
"""The settings of any registered teacher."""


class CombinedPlan(PotentialPlan):
    """Base of teachers made of teachers."""

    @property
    def teachers(self) -> tuple[PotentialPlan, ...]:
        """The teachers that it is made of."""
        values = [getattr(self, name) for name in type(self).model_fields]
        groups = [value if isinstance(value, tuple) else (value,) for value in values]
        return tuple(plan for group in groups for plan in group if isinstance(plan, PotentialPlan))

    @property
    def n_processes(self) -> int:
        """How many processes run it unless the user says: what the most demanding of the teachers says."""
        return max(plan.n_processes for plan in self.teachers)

    def fingerprint(self) -> str:
        """Return a digest of the teachers' fingerprints."""
        return digest([type(self).__name__, [plan.fingerprint() for plan in self.teachers]])

    @property
    def question(self) -> str:
        """Digest of what was asked for: that of every teacher."""
        return digest([type(self).__name__, [plan.question for plan in self.teachers]])

    def located(self, folder: Path) -> Self:
        """Return the same settings with the paths of the teachers' files resolved; see the base."""
        found: dict[str, Any] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, PotentialPlan):
                found[name] = value.located(folder)
            elif isinstance(value, tuple):
                found[name] = tuple(plan.located(folder) for plan in value)
        return super().located(folder).model_copy(update=found)


class CommitteePlan(CombinedPlan):
    """The mean of several teachers, with their spread.

    Examples
    --------
    >>> methods = [{"kind": "xtb", "method": name} for name in ("GFN1-xTB", "GFN2-xTB")]
    >>> committee = CommitteePlan.parse({"members": methods}, where="recipe.yaml").build()
    >>> "force_std" in committee.properties
    True
    """

    kind: Literal["committee"] = Field("committee", description="The mean of several teachers, with their spread.")
    members: tuple[AnyTeacher, ...] = Field(
        min_length=2, description="The teachers, each with its own settings and, if need be, its own environment."
    )

    def load(self) -> Potential:
        """Return the committee; see :meth:`PotentialPlan.load`."""
        return Committee([member.build() for member in self.members])


class CorrectionPlan(CombinedPlan):
    """A teacher plus a correction (delta learning).

    The correction is anything that was fitted to the difference between a better level of theory and the base, for
    instance a student trained on labels of teacher `difference`. Source: doi:10.1021/acs.jctc.5b00099.

    Examples
    --------
    >>> plan = CorrectionPlan.parse({"base": {"kind": "xtb"}, "correction": {"kind": "xtb"}}, where="recipe.yaml")
    >>> plan.base.method
    'GFN2-xTB'
    """

    kind: Literal["correction"] = Field("correction", description="The sum of a base and a correction to it.")
    base: AnyTeacher = Field(description="The teacher that is corrected.")
    correction: AnyTeacher = Field(description="What is added, for instance a student of the difference.")

    def load(self) -> Potential:
        """Return the sum; see :meth:`PotentialPlan.load`."""
        return WeightedSum([self.base.build(), self.correction.build()], [1, 1], kind="correction")


class DifferencePlan(CombinedPlan):
    """A better teacher minus a base, to be learned.

    Examples
    --------
    >>> settings = {"better": {"kind": "xtb"}, "base": {"kind": "xtb", "method": "GFN1-xTB"}}
    >>> teacher = DifferencePlan.parse(settings, where="recipe.yaml").build()
    >>> teacher.identity.kind
    'difference'
    """

    kind: Literal["difference"] = Field("difference", description="A better teacher minus a base.")
    better: AnyTeacher = Field(description="The teacher whose level of theory is wanted.")
    base: AnyTeacher = Field(description="The teacher that is to be corrected.")

    def load(self) -> Potential:
        """Return the difference; see :meth:`PotentialPlan.load`."""
        return WeightedSum([self.better.build(), self.base.build()], [1, -1], kind="difference")
