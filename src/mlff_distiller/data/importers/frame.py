"""Frames and readers: what a foreign file holds, before anything is converted."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Quantity = str
"""What has a unit: "length", "energy", "forces", "stress", "virial"; and "stress sign", whose unit is a sign."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One structure as its file holds it: the file's units, signs and order, under our names.

    Attributes
    ----------
    where : str
        What an error message calls it ("train.xyz, frame 12").
    numbers : (N,)
        Atomic numbers.
    positions : (N, 3)
        In the file's unit of length.
    cell : (3, 3) or None
        Vectors as rows, in the file's unit of length; None where there is none.
    pbc : (3,)
        Which cell vectors are periodic.
    charge, spin : float or None
        Total charge (e) and multiplicity 2S + 1; None where the file does not say.
    values : dict
        "energy" (), "forces" (N, 3), "atomic_energies" (N,), "stress" and "virial" (3, 3), (9,) or (6,); only what
        the frame has.
    info : dict
        JSON-able things worth keeping: where it comes from, names of molecule and configuration.
    left_out : tuple of str
        What the file says beside and is not kept, for instance "info 'spectrum'".
    """

    where: str
    numbers: Array
    positions: Array
    cell: Array | None = None
    pbc: Array = field(default_factory=lambda: np.zeros(3, dtype=bool))
    charge: float | None = None
    spin: float | None = None
    values: dict[str, Array] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """A unit that is certain, and why.

    Attributes
    ----------
    unit : str
        Name of the unit, for instance "kcal/mol".
    why : str
        Who says so: "attribute 'units' of the file", "definition of the rMD17 data set".
    """

    unit: str
    why: str


class Reader(Protocol):
    """One foreign file, opened: what it declares, and its frames.

    A reader never converts and never guesses: a unit that neither the file nor the definition of its format states
    is missing from ``units``, and the border (``importers/border.py``) settles or refuses it.

    Attributes
    ----------
    units : dict
        Quantity to what is certain about its unit.
    n_frames : int or None
        Number of frames, if that is known without reading all.
    """

    units: dict[Quantity, Declared]
    n_frames: int | None

    def frames(self) -> Iterator[Frame]:
        """Yield all frames, in the order of the file; may be called again."""
