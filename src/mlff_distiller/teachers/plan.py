"""TeacherPlan: the settings of a teacher, light to read; the teacher itself is built where it is used."""

from abc import abstractmethod

from mlff_distiller.core.plan import Plan
from mlff_distiller.potentials.base import Potential


class TeacherPlan(Plan):
    """Base of the settings of all teachers; a subclass has a field ``kind`` and builds the potential.

    Examples
    --------
    >>> from mlff_distiller.teachers.xtb import XTBPlan
    >>> isinstance(XTBPlan(), TeacherPlan)
    True
    """

    def fingerprint(self) -> str:
        """Return a digest of everything the labels depend on that can be known without loading the teacher."""
        return self.digest()

    @abstractmethod
    def build(self) -> Potential:
        """Load the heavy libraries and return the teacher.

        Raises
        ------
        TeacherError
            If a library or a file is missing, or the settings do not fit together.
        """
