"""What counts as a failed trajectory, and how that is said."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from pydantic import Field

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.plan import Plan

FaultKind = Literal["explosion", "escape", "broken bond", "hole", "no answer"]
"""Ways to fail: forces or temperature out of bounds; a part that leaves; a bond of the start that is gone; atoms or
energies where no atoms can be; a potential that gives no answer or none that is finite."""


class Limits(Plan):
    """Bounds beyond which a trajectory counts as failed.

    Examples
    --------
    >>> Limits(max_force=50).max_force
    50.0
    """

    max_force: float = Field(200.0, gt=0, description="Largest force allowed on any atom, eV/Angstrom.")
    max_temperature_K: float = Field(
        10_000.0, gt=0, description="Largest temperature allowed, from the kinetic energy per atom."
    )
    min_distance: float = Field(
        0.4, ge=0, description="Two atoms closer than this have fallen into a hole of the potential, Angstrom."
    )
    max_energy_drop: float | None = Field(
        0.5,
        gt=0,
        description="A potential energy further than this below the start is a hole in the potential, eV/atom; "
        "none: not looked at.",
    )
    max_bond_stretch: float | None = Field(
        1.6,
        gt=1.3,
        description="A bond of the start longer than this many times the sum of its covalent radii is broken; "
        "none: not looked at.",
    )
    escape_distance: float = Field(
        6.0,
        gt=0,
        description="A part of a molecule further than this from all the rest has escaped, Angstrom; "
        "not applied with periodic boundaries.",
    )


DEFAULT_LIMITS: Final = Limits(max_bond_stretch=None, max_energy_drop=None)
"""For dynamics in which bonds may break, as they do where it is hot."""


class Fault(NamedTuple):
    """Why a trajectory cannot go on.

    Attributes
    ----------
    kind : str
        One of :data:`FaultKind`.
    reason : str
        In a few words, for people.
    atoms : tuple of int
        The atoms it is about, as far as they are known: one, a pair, or none.
    distance : float
        Of the pair, Angstrom; NaN where there is none.
    """

    kind: FaultKind
    reason: str
    atoms: tuple[int, ...] = ()
    distance: float = float("nan")


@dataclass(frozen=True)
class Failure:
    """When and why a trajectory failed.

    Parameters
    ----------
    reason : str
        In a few words.
    step : int
        Step at which it was seen; 0 is the starting point.
    time_ps : float
        The same as a time, ps.
    kind : str
        One of :data:`FaultKind`.
    atoms : tuple of int
        The atoms it is about: one, a pair, or none.
    distance : float
        Of the pair, Angstrom; NaN where there is none.

    Examples
    --------
    >>> Failure("a hole in the potential: atoms 0 and 1 are 0.21 Angstrom apart", 40, 0.02).step
    40
    """

    reason: str
    step: int
    time_ps: float
    kind: FaultKind = "no answer"
    atoms: tuple[int, ...] = ()
    distance: float = float("nan")


class DynamicsFailure(DistillerError):
    """One system of a run could not be continued.

    Attributes
    ----------
    index : int
        Position of the system in the batch.
    reason : str
        Why, in a few words.

    Examples
    --------
    >>> raise DynamicsFailure(2, "energy or forces are not finite")
    Traceback (most recent call last):
    ...
    mlff_distiller.dynamics.failures.DynamicsFailure: the trajectory of system 2 failed: energy or forces are not finite
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(f"the trajectory of system {index} failed: {reason}")
        self.index = index
        self.reason = reason

    def __reduce__(self) -> tuple[type["DynamicsFailure"], tuple[int, str]]:
        """Keep both arguments when the error crosses a process boundary."""
        return type(self), (self.index, self.reason)
