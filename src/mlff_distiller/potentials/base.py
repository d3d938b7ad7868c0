"""Potential: the one contract of teachers, students and analytic potentials."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from mlff_distiller.atoms.elements import names
from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PropertyError, TeacherError, UnsupportedStructureError
from mlff_distiller.potentials.hessian import Floats, finite_difference_products


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

    def demand(self, found: "Identity") -> None:
        """Refuse a potential that is not the one of this identity.

        Raises
        ------
        TeacherError
            If it is another; the message says what differs.

        Examples
        --------
        >>> Identity("mace", "mace 0.3", "9f86d081").demand(Identity("mace", "mace 0.3", "60303ae2"))
        Traceback (most recent call last):
        ...
        mlff_distiller.core.errors.TeacherError: teacher 'mace' has changed (weights was 9f86d081, is 60303ae2) ...
        """
        was, now = self.to_json(), found.to_json()
        changes = ", ".join(
            f"{name} was {was[name][:80]}, is {now[name][:80]}" for name in was if was[name] != now[name]
        )
        if changes:
            raise TeacherError(
                f"teacher '{self.kind}' has changed ({changes}) since this was begun, and labels of two teachers are "
                "never mixed; put back what was there, or take another output directory"
            )


class Potential(ABC):
    """Energies and derivatives for batches of structures.

    Attributes
    ----------
    elements : frozenset[int]
        Atomic numbers it covers.
    charges : frozenset[int] or None
        Total charges it covers; None: any.
    spins : frozenset[int] or None
        Spin multiplicities it covers; None: any.
    boundaries : frozenset[int]
        In how many directions a structure may be periodic: 0 for molecules, 3 for crystals.
    opens_along_axes : bool
        Whether a direction k that is not periodic, of a structure with others that are, must lie along Cartesian axis
        k, because the library completes the cell so.
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
    spins: frozenset[int] | None = None
    boundaries: frozenset[int] = frozenset(range(4))
    opens_along_axes: bool = False
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
            If an element, charge, multiplicity or boundary condition is not covered; the message names it.
        PredictionError
            If a structure could not be evaluated; it names the index and the reason.
        """

    def hessian_products(self, structures: Sequence[Structure], directions: Sequence[Floats]) -> list[Floats]:
        """Return the products of each structure's Hessian with directions: here by finite differences of the forces.

        Parameters
        ----------
        structures : sequence of Structure
            As for :meth:`predict`.
        directions : sequence of (N, K, 3)
            Displacements of the atoms of each structure, without unit.

        Returns
        -------
        list of (N, K, 3)
            eV/Angstrom^2.

        Raises
        ------
        PropertyError
            If it does not give forces.
        UnsupportedStructureError, PredictionError
            As :meth:`predict` does.
        """

        def forces(displaced: Sequence[Structure]) -> list[Floats]:
            return [np.asarray(labels.forces) for labels in self.predict(displaced, ("forces",))]

        return finite_difference_products(forces, structures, directions)

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
            uncovered = self._uncovered(structure)
            if uncovered:
                what, covered = uncovered
                raise UnsupportedStructureError(
                    f"{structure.formula} {what}, which {self.identity} does not cover; {covered}"
                )

    def _uncovered(self, structure: Structure) -> tuple[str, str] | None:
        """Return what a structure has that is not covered, and what is covered instead."""
        foreign = set(structure.numbers.tolist()) - self.elements
        if foreign:
            return f"holds {names(foreign)}", f"it covers {_covered(self.elements)}"
        if self.charges is not None and structure.charge not in self.charges:
            known = ", ".join(f"{c:+d}" if c else "0" for c in sorted(self.charges))
            return f"has charge {structure.charge:+d}", f"it covers {known}"
        if self.spins is not None and structure.spin not in self.spins:
            known = ", ".join(map(str, sorted(self.spins)))
            return f"has spin multiplicity {structure.spin}", f"it covers {known}"
        return self._boundary(structure)

    def _boundary(self, structure: Structure) -> tuple[str, str] | None:
        """Return the boundary conditions of a structure if they are not covered, and what to do."""
        n_periodic = int(structure.pbc.sum())
        what = f"is periodic in {n_periodic} of 3 directions"
        closed = "add vacuum and set pbc in all three directions"
        if n_periodic not in self.boundaries:
            return what, f"{closed if 3 in self.boundaries else 'unset pbc'}, or take another teacher"
        if self.opens_along_axes and 0 < n_periodic < 3 and not _can_be_completed(structure):
            return (
                f"{what} without the others lying along their Cartesian axes",
                f"rotate the structure, or {closed}",
            )
        return None


def _can_be_completed(structure: Structure) -> bool:
    """Return whether the periodic cell vectors, with Cartesian axes for the others, span space."""
    completed = np.where(structure.pbc[:, None], structure.cell, np.eye(3))
    return bool(abs(np.linalg.det(completed / np.linalg.norm(completed, axis=1, keepdims=True))) >= 1e-3)


def _covered(elements: frozenset[int]) -> str:
    """Return the names of elements; runs of them, such as "H to Bi", where they are many."""
    if len(elements) <= 20:
        return names(elements)
    ordered = sorted(elements)
    starts = [k for k, z in enumerate(ordered) if k == 0 or z != ordered[k - 1] + 1]
    runs = [ordered[first:last] for first, last in zip(starts, [*starts[1:], len(ordered)], strict=True)]
    return ", ".join(names([run[0]]) if len(run) == 1 else f"{names([run[0]])} to {names([run[-1]])}" for run in runs)
