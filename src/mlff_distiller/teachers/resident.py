"""One teacher for each process: loading weights takes seconds, so tasks in one worker share the built teacher."""

from functools import lru_cache

from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.plan import PotentialPlan


def resident_teacher(plan: PotentialPlan, *, own_process: bool = False) -> Potential:
    """Return the teacher of this plan, built on the first call in this process.

    Parameters
    ----------
    plan : PotentialPlan
        Settings of the teacher.
    own_process : bool
        Run it in a process of its own, which a structure may crash or hang without harm.

    Sharing is safe because a teacher's answer depends on the structure alone, never on earlier calls.

    Examples
    --------
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> resident_teacher(XTBPlan()) is resident_teacher(XTBPlan())
    True
    """
    return _built(_Key(plan, own_process))


class _Key:
    """A plan that can be looked up: equal where kind and settings are."""

    def __init__(self, plan: PotentialPlan, own_process: bool) -> None:
        self.plan, self.own_process = plan, own_process
        self._identity = (type(plan), plan.digest(), own_process)

    def __hash__(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._identity == other._identity


@lru_cache(maxsize=1)
def _built(key: _Key) -> Potential:
    return key.plan.build(own_process=key.own_process)
