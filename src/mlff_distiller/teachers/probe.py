"""Probe: a potential that covers no element; building it proves that an environment can run a teacher."""

from collections.abc import Collection, Sequence
from importlib import import_module
from typing import Literal

from pydantic import Field

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import TeacherError
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.foreign import reason
from mlff_distiller.potentials.plan import PotentialPlan


class ProbePlan(PotentialPlan):
    """Loads modules and nothing else, in the same process that a teacher would get.

    Examples
    --------
    >>> ProbePlan(modules=("json",)).build().predict([])
    []
    >>> ProbePlan(modules=("no_such_module",)).build()
    Traceback (most recent call last):
    ...
    mlff_distiller.core.errors.TeacherError: no_such_module cannot be loaded (ModuleNotFoundError: No module named
    'no_such_module')
    """

    kind: Literal["probe"] = Field("probe", description="Loads modules and covers no element.")
    modules: tuple[str, ...] = Field(description="What is loaded, in this order.")

    def load(self) -> Potential:
        """Load the modules.

        Raises
        ------
        TeacherError
            If one cannot be loaded; the message says which and why.
        """
        for name in self.modules:
            try:
                import_module(name)
            except Exception as error:  # libraries that do not fit together raise all sorts of errors at import
                raise TeacherError(f"{name} cannot be loaded ({reason(error)})") from error
        return Probe()


class Probe(Potential):
    """The potential of no element."""

    elements = frozenset[int]()
    properties = frozenset[str]()
    is_conservative = True
    identity = Identity("probe", "1", "")

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return no labels for no structures; see :meth:`Potential.predict`."""
        self.check(structures, properties if structures else ())
        return []
