"""Evidence: what a check measured, what it could not, and the arrays behind its numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.measurement import Measurement


@dataclass(frozen=True)
class Skipped:
    """A check that did not run.

    Parameters
    ----------
    check : str
        Name of the number that was not measured.
    reason : str
        Why, in a few words.
    applies : bool
        Whether it should have run: what does not apply (stress of a molecule) leaves nothing undecided.
    """

    check: str
    reason: str
    applies: bool = True


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a check measured, and what it could not.

    Parameters
    ----------
    measurements : sequence of Measurement
        Numbers with intervals.
    skipped : sequence of Skipped
        What was not measured, and why.
    arrays : mapping
        Numeric or string arrays behind the numbers, for the report; never objects.

    Examples
    --------
    >>> Evidence([Measurement("force_rmse", 0.04, "eV/A")]).measurement("force_rmse").value
    0.04
    """

    measurements: Sequence[Measurement] = ()
    skipped: Sequence[Skipped] = ()
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def measurement(self, name: str) -> Measurement | None:
        """Return a measurement by name, or None."""
        return next((m for m in self.measurements if m.name == name), None)


def texts(values: Sequence[str]) -> NDArray[np.str_]:
    """Return names as an array that a file of arrays can hold, also where there are none.

    Examples
    --------
    >>> texts(["H2O", "CH4"]).tolist(), texts([]).dtype.kind
    (['H2O', 'CH4'], 'U')
    """
    return np.array(list(values), dtype=np.str_)
