"""Potential: the one contract of teachers, students and analytic potentials."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from mlff_distiller.atoms.elements import names
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PropertyError, UnsupportedStructureError


@dataclass(frozen=True)
class Identity:
    """Which potential made a label.

    Parameters
    ----------
    kind : str
        Kind name, for instance "xtb".
    version : str
        Version of the software or model.
    weights : str
        Digest of what the numbers depend on: weights and settings.
    precision : str
        Floating-point type of the evaluation, for instance "float64"; "" where it is not known.
    device : str
        "cpu" or "cuda"; "" where it is not known.

    Examples
    --------
    >>> str(Identity("xtb", "GFN2-xTB, tblite 0.4.0", "9f86d081"))
    'xtb (GFN2-xTB, tblite 0.4.0)'
    """

    kind: str
    version: str
    weights: str
    precision: str = ""
    device: str = ""

    def __str__(self) -> str:
        return f"{self.kind} ({self.version})"

    def to_json(self) -> dict[str, str]:
        """Return plain data."""
        return asdict(self)


class Potential(ABC):
    """Energies and derivatives for batches of structures.

    Attributes
    ----------
    elements : frozenset[int]
        Atomic numbers it covers.
    charges : frozenset[int] or None
        Total charges it covers; None: any.
    cutoff : float or None
        Range beyond which atoms do not interact directly, Angstrom; None: not local.
    properties : frozenset[str]
        What :meth:`predict` can return. Stress is returned only for structures periodic in three directions.
    is_conservative : bool
        Whether forces are the negative gradient of the energy by construction.
    identity : Identity
        What is stored with every label.
    """

    elements: frozenset[int]
    charges: frozenset[int] | None = None
    cutoff: float | None = None
    properties: frozenset[str]
    is_conservative: bool
    identity: Identity

    @abstractmethod
    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels for structures, in order.

        Parameters
        ----------
        structures : sequence of Structure
            Any sizes and compositions; may be empty.
        properties : collection of str
            What is asked for. Stress is left out for structures that are not periodic in three directions.

        Raises
        ------
        PropertyError
            If a property is not among :attr:`properties`.
        UnsupportedStructureError
            If an element or charge is not covered; the message names it.
        PredictionError
            If a structure could not be evaluated; it names the index and the reason.
        """

    def close(self) -> None:  # noqa: B027 - most potentials hold nothing
        """Let go of what it holds beside memory, such as a process of its own; it may be used again."""

    def check(self, structures: Sequence[Structure], properties: Collection[str]) -> None:
        """Raise what :meth:`predict` promises to raise before any work is done."""
        missing = set(properties) - self.properties
        if missing:
            raise PropertyError(
                f"{self.identity} cannot give {', '.join(sorted(missing))}; "
                f"it gives {', '.join(sorted(self.properties))}"
            )
        for structure in structures:
            foreign = set(structure.numbers.tolist()) - self.elements
            if foreign:
                raise UnsupportedStructureError(
                    f"{structure.formula} holds {names(foreign)}, which {self.identity} does not cover; "
                    f"it covers {_covered(self.elements)}"
                )
            if self.charges is not None and structure.charge not in self.charges:
                known = ", ".join(f"{c:+d}" if c else "0" for c in sorted(self.charges))
                raise UnsupportedStructureError(
                    f"{structure.formula} has charge {structure.charge:+d}, which {self.identity} does not cover; "
                    f"it covers {known}"
                )


def _covered(elements: frozenset[int]) -> str:
    """Return the names of elements; runs of them, such as "H to Bi", where they are many."""
    if len(elements) <= 20:
        return names(elements)
    ordered = sorted(elements)
    starts = [k for k, z in enumerate(ordered) if k == 0 or z != ordered[k - 1] + 1]
    runs = [ordered[first:last] for first, last in zip(starts, [*starts[1:], len(ordered)], strict=True)]
    return ", ".join(names([run[0]]) if len(run) == 1 else f"{names([run[0]])} to {names([run[-1]])}" for run in runs)
