"""Transforms: changes of a structure that its labels follow, or that cost it its labels.

Energies do not depend on where and how a system stands in space; forces and stress turn with it. A transform that
moves atoms against each other drops the labels: they belong to the structure as it was.
"""

from dataclasses import replace
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.labels import EMBEDDINGS, HESSIAN, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.core.plan import Plan

Floats = NDArray[np.float64]

_VECTORS: Final[tuple[str, ...]] = ("forces", *HESSIAN)
_UNITLESS: Final = frozenset({"hessian_directions", *EMBEDDINGS})
_LENGTHS: Final = {"forces": 1, "force_std": 1, "stress": 3, "hessian_products": 2}  # by which a unit is divided


class Transform(Protocol):
    """A change of a labeled structure.

    Attributes
    ----------
    keeps_distances : bool
        Whether all distances, and so the neighbor lists, stay as they are.
    keeps_labels : bool
        Whether labels are still known afterwards.
    """

    @property
    def keeps_distances(self) -> bool:
        """Whether all distances stay as they are."""

    @property
    def keeps_labels(self) -> bool:
        """Whether labels are still known afterwards."""

    def apply(self, labeled: LabeledStructure, rng: np.random.Generator) -> LabeledStructure:
        """Return the changed structure with its labels; nothing is random but what ``rng`` gives."""


class Rotation:
    """A rotation, or rotation and reflection, of everything: positions, cell, forces, Hessian rows and stress.

    Vectors become R v, the stress R S R^T; energies stay.

    Parameters
    ----------
    matrix : (3, 3)
        Orthogonal matrix R.

    Raises
    ------
    DataError
        If the matrix is not orthogonal.

    Examples
    --------
    >>> quarter = Rotation(np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]))
    >>> bond = LabeledStructure(Structure([1, 1], [[0, 0, 0], [1, 0, 0]]), Labels(energy=-4.5))
    >>> turned = quarter.apply(bond)
    >>> turned.structure.positions[1].tolist(), turned.labels.energy
    ([0.0, 1.0, 0.0], -4.5)
    >>> quarter.inverse().apply(turned).structure.positions[1].tolist()
    [1.0, 0.0, 0.0]
    """

    keeps_distances = True
    keeps_labels = True

    def __init__(self, matrix: Floats) -> None:
        self.matrix = np.array(matrix, dtype=np.float64)
        is_matrix = self.matrix.shape == (3, 3) and np.isfinite(self.matrix).all()
        if not is_matrix or np.abs(self.matrix @ self.matrix.T - np.eye(3)).max() > 1e-9:
            raise DataError(
                "a rotation needs an orthogonal 3 x 3 matrix; divide its rows by their lengths, or check it"
            )

    def apply(self, labeled: LabeledStructure, rng: np.random.Generator | None = None) -> LabeledStructure:
        """Return the rotated structure and labels."""
        (structure, labels), turn = labeled, self.matrix.T
        turned: dict[str, Any] = {name: getattr(labels, name) @ turn for name in _VECTORS if name in labels.present}
        if labels.stress is not None:
            turned["stress"] = self.matrix @ labels.stress @ turn
        return LabeledStructure(
            structure.moved(structure.positions @ turn, cell=structure.cell @ turn), replace(labels, **turned)
        )

    def inverse(self) -> "Rotation":
        """Return the rotation back."""
        return Rotation(self.matrix.T)


class RandomRotation(Plan):
    """A new rotation for every structure, uniform over all orientations.

    The quaternion of four normal numbers has no preferred direction (Marsaglia 1972, doi:10.1214/aoms/1177692644).

    Examples
    --------
    >>> lone = LabeledStructure(Structure([1], [[0, 0, 2.0]]), Labels(energy=-13.6))
    >>> turned = RandomRotation().apply(lone, np.random.default_rng(0))
    >>> round(float(np.linalg.norm(turned.structure.positions)), 12)
    2.0
    """

    reflection: bool = Field(False, description="Also mirror every second structure, on average; energies allow it.")

    @property
    def keeps_distances(self) -> bool:
        """Always."""
        return True

    @property
    def keeps_labels(self) -> bool:
        """Always."""
        return True

    def draw(self, rng: np.random.Generator) -> Rotation:
        """Return one rotation."""
        w, *xyz = (q := rng.normal(size=4)) / np.linalg.norm(q)
        x, y, z = xyz
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        matrix = np.eye(3) + 2 * w * cross + 2 * cross @ cross
        return Rotation(-matrix if self.reflection and rng.random() < 0.5 else matrix)

    def apply(self, labeled: LabeledStructure, rng: np.random.Generator) -> LabeledStructure:
        """Return the structure in a random orientation, with its labels."""
        return self.draw(rng).apply(labeled)


class Noise(Plan):
    """Gaussian displacements of all atoms; the labels are dropped, for they belong to the structure as it was.

    Examples
    --------
    >>> lone = LabeledStructure(Structure([1], [[0, 0, 0]]), Labels(energy=-13.6))
    >>> Noise(displacement=0.05).apply(lone, np.random.default_rng(0)).labels.present
    ()
    """

    displacement: float = Field(
        gt=0, le=1, description="Standard deviation of each coordinate's displacement, Angstrom; 0.05 is thermal."
    )

    @property
    def keeps_distances(self) -> bool:
        """Never."""
        return False

    @property
    def keeps_labels(self) -> bool:
        """Never."""
        return False

    def apply(self, labeled: LabeledStructure, rng: np.random.Generator) -> LabeledStructure:
        """Return the displaced structure without labels."""
        structure = labeled.structure
        moved = structure.positions + rng.normal(0.0, self.displacement, structure.positions.shape)
        return LabeledStructure(structure.moved(moved), Labels())


class Translation:
    """A displacement of all atoms together; no label changes.

    Parameters
    ----------
    vector : (3,)
        Angstrom.

    Examples
    --------
    >>> lone = LabeledStructure(Structure([1], [[0, 0, 0]]), Labels(energy=-13.6))
    >>> Translation(np.array([0, 0, 1])).apply(lone).structure.positions.tolist()
    [[0.0, 0.0, 1.0]]
    """

    keeps_distances = True
    keeps_labels = True

    def __init__(self, vector: Floats) -> None:
        self.vector = np.array(vector, dtype=np.float64)

    def apply(self, labeled: LabeledStructure, rng: np.random.Generator | None = None) -> LabeledStructure:
        """Return the displaced structure with its labels."""
        structure, labels = labeled
        return LabeledStructure(structure.moved(structure.positions + self.vector), labels)

    def inverse(self) -> "Translation":
        """Return the displacement back."""
        return Translation(-self.vector)


class Centering(Plan):
    """Moves the mean of all positions to the origin; no label changes.

    Examples
    --------
    >>> bond = LabeledStructure(Structure([1, 1], [[0, 0, 1], [0, 0, 3]]), Labels())
    >>> Centering().apply(bond).structure.positions.tolist()
    [[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]
    """

    @property
    def keeps_distances(self) -> bool:
        """Always."""
        return True

    @property
    def keeps_labels(self) -> bool:
        """Always."""
        return True

    def of(self, structure: Structure) -> Translation:
        """Return the translation that centers this structure; its inverse brings it back."""
        return Translation(-structure.positions.mean(0))

    def apply(self, labeled: LabeledStructure, rng: np.random.Generator | None = None) -> LabeledStructure:
        """Return the centered structure with its labels."""
        return self.of(labeled.structure).apply(labeled)


class Units(Plan):
    """Multiplies energies and lengths; forces and stress follow. For data in other units than eV and Angstrom.

    Examples
    --------
    >>> bond = LabeledStructure(Structure([1], [[0, 0, 2]]), Labels(energy=1.0, forces=np.ones((1, 3))))
    >>> converted = Units(energy_factor=27.0, length_factor=0.5).apply(bond)
    >>> converted.structure.positions.tolist(), converted.labels.energy, converted.labels.forces.tolist()
    ([[0.0, 0.0, 1.0]], 27.0, [[54.0, 54.0, 54.0]])
    """

    energy_factor: float = Field(1.0, gt=0, description="One unit of energy of the data in eV.")
    length_factor: float = Field(1.0, gt=0, description="One unit of length of the data in Angstrom.")

    @property
    def keeps_distances(self) -> bool:
        """Whether lengths stay as they are."""
        return self.length_factor == 1.0

    @property
    def keeps_labels(self) -> bool:
        """Always."""
        return True

    def apply(self, labeled: LabeledStructure, rng: np.random.Generator | None = None) -> LabeledStructure:
        """Return structure and labels in the new units."""
        (structure, labels), length = labeled, self.length_factor
        scaled = {
            name: getattr(labels, name) * self.energy_factor / length ** _LENGTHS.get(name, 0)
            for name in labels.present
            if name not in _UNITLESS
        }
        return LabeledStructure(
            structure.moved(structure.positions * length, cell=structure.cell * length), replace(labels, **scaled)
        )

    def inverse(self) -> "Units":
        """Return the conversion back."""
        return Units(energy_factor=1 / self.energy_factor, length_factor=1 / self.length_factor)


class Compose:
    """Several transforms, one after the other.

    Parameters
    ----------
    *transforms : Transform
        The first is applied first.

    Examples
    --------
    >>> lone = LabeledStructure(Structure([1], [[0, 0, 2.0]]), Labels())
    >>> both = Compose(Units(length_factor=0.5), Translation(np.array([0, 0, 1])))
    >>> both.apply(lone, np.random.default_rng(0)).structure.positions.tolist()
    [[0.0, 0.0, 2.0]]
    >>> both.inverse().apply(lone, np.random.default_rng(0)).structure.positions.tolist()
    [[0.0, 0.0, 2.0]]
    """

    def __init__(self, *transforms: Transform) -> None:
        self.transforms = transforms

    @property
    def keeps_distances(self) -> bool:
        """Whether all of them do."""
        return all(transform.keeps_distances for transform in self.transforms)

    @property
    def keeps_labels(self) -> bool:
        """Whether all of them do."""
        return all(transform.keeps_labels for transform in self.transforms)

    def apply(self, labeled: LabeledStructure, rng: np.random.Generator) -> LabeledStructure:
        """Return the result of the last transform."""
        for transform in self.transforms:
            labeled = transform.apply(labeled, rng)
        return labeled

    def inverse(self) -> "Compose":
        """Return the way back.

        Raises
        ------
        DataError
            If one of them has no inverse.
        """
        inverses = []
        for transform in reversed(self.transforms):
            if not hasattr(transform, "inverse"):
                raise DataError(f"{type(transform).__name__} has no inverse; undo the drawn transform instead")
            inverses.append(transform.inverse())
        return Compose(*inverses)
