"""Structure: atoms in space, the unit of everything that flows through the package."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.core.errors import StructureError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms in space, immutable.

    Parameters
    ----------
    numbers : (N,) integers
        Atomic numbers, 1 to 118.
    positions : (N, 3) floats
        Angstrom.
    cell : (3, 3) floats
        Cell vectors as rows, Angstrom; zero where there is none.
    pbc : (3,) booleans
        Which cell vectors are periodic.
    charge : int
        Total charge, e.
    spin : int
        Spin multiplicity 2S + 1.
    info : dict
        Where the structure comes from; free, JSON-able, not part of the physics.

    Raises
    ------
    StructureError
        If shapes do not match, an element or position is impossible, or a periodic direction has no cell vector.

    Examples
    --------
    >>> water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> len(water), water.formula
    (3, 'H2O')
    """

    numbers: Integers
    positions: Floats
    cell: Floats = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: Booleans = field(default_factory=lambda: np.zeros(3, dtype=bool))
    charge: int = 0
    spin: int = 1
    info: dict[str, Any] = field(default_factory=dict)

    def __init__(
        self,
        numbers: ArrayLike,
        positions: ArrayLike,
        *,
        cell: ArrayLike | None = None,
        pbc: ArrayLike = False,
        charge: int = 0,
        spin: int = 1,
        info: dict[str, Any] | None = None,
    ) -> None:
        _set(self, "numbers", _array(numbers, np.int64))
        _set(self, "positions", _array(positions, np.float64).reshape(-1, 3))
        _set(self, "cell", _array(np.zeros((3, 3)) if cell is None else cell, np.float64))
        _set(self, "pbc", _array(np.broadcast_to(pbc, 3), np.bool_))
        object.__setattr__(self, "charge", int(charge))
        object.__setattr__(self, "spin", int(spin))
        object.__setattr__(self, "info", dict(info or {}))
        self._check()

    def _check(self) -> None:
        n = len(self.numbers)
        if n == 0 or self.numbers.shape != (n,) or self.positions.shape != (n, 3):
            raise StructureError(
                "a structure needs N >= 1 numbers and N x 3 positions, "
                f"got {self.numbers.shape} and {self.positions.shape}"
            )
        if self.cell.shape != (3, 3):
            raise StructureError(f"a cell is a 3 x 3 matrix of row vectors in Angstrom, got shape {self.cell.shape}")
        if not (np.isfinite(self.positions).all() and np.isfinite(self.cell).all()):
            raise StructureError(f"{self.formula}: a position or cell vector is not a finite number")
        if self.numbers.min() < 1 or self.numbers.max() >= len(SYMBOLS):
            raise StructureError(
                f"atomic numbers must lie in 1 to {len(SYMBOLS) - 1}, got {sorted(set(self.numbers.tolist()))}"
            )
        if self.spin < 1:
            raise StructureError(f"{self.formula}: spin is the multiplicity 2S + 1, at least 1, got {self.spin}")
        periodic = self.cell[self.pbc]
        if self.pbc.any() and np.linalg.matrix_rank(periodic, tol=1e-6) < len(periodic):
            raise StructureError(f"{self.formula}: a periodic direction has a zero or linearly dependent cell vector")

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def formula(self) -> str:
        """Hill formula: carbon, hydrogen, then alphabetical; without carbon all alphabetical."""
        known = [SYMBOLS[z] if 0 < z < len(SYMBOLS) else "?" for z in self.numbers]
        counts = {symbol: known.count(symbol) for symbol in sorted(set(known))}
        first = [s for s in ("C", "H") if s in counts] if "C" in counts else []
        ordered = first + [s for s in counts if s not in first]
        return "".join(f"{s}{counts[s] if counts[s] > 1 else ''}" for s in ordered)

    @property
    def is_periodic(self) -> bool:
        """Whether all three directions are periodic, so that volume and stress are defined."""
        return bool(self.pbc.all())

    @property
    def volume(self) -> float:
        """Cell volume, Angstrom^3.

        Raises
        ------
        StructureError
            If not all three directions are periodic.
        """
        if not self.is_periodic:
            raise StructureError(f"{self.formula} is not periodic in three directions and has no volume")
        return float(abs(np.linalg.det(self.cell)))

    def moved(self, positions: Floats, *, cell: Floats | None = None) -> Self:
        """Return the same atoms at other positions (N, 3); unchecked, for the inner loop of dynamics."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        _set(other, "positions", _array(positions, np.float64))
        if cell is not None:
            _set(other, "cell", _array(cell, np.float64))
        return other

    def tagged(self, **info: Any) -> Self:
        """Return the same structure with more entries in ``info``."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        object.__setattr__(other, "info", {**self.info, **info})
        return other


def _array(value: ArrayLike, dtype: type) -> NDArray[Any]:
    array: NDArray[Any] = np.array(value, dtype=dtype)
    array.setflags(write=False)
    return array


def _set(structure: Structure, name: str, array: NDArray[Any]) -> None:
    object.__setattr__(structure, name, array)
