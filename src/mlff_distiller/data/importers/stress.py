"""Stress of foreign files: order of components, sign, and virials, to a symmetric tensor with tension positive.

Ours is ASE's convention: stress = (dE/d strain) / volume, positive under tension, Voigt order xx, yy, zz, yz, xz, xy
(https://wiki.fysik.dtu.dk/ase/ase/stress.html). The virial of QUIP, GAP files, VASP training sets and DeePMD-kit is
-dE/d(strain), so that stress = -virial / volume (https://libatoms.github.io/GAP, dpdata's VASP reader). VASP prints
its stress ("in kB") with compression positive and in the order xx, yy, zz, xy, yz, zx
(https://www.vasp.at/wiki/index.php/Stresses_and_forces).
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.core.errors import DataError

Floats = NDArray[np.float64]

VOIGT: Final = "xx,yy,zz,yz,xz,xy"
"""ASE's order of six components."""

_AXES: Final = {"x": 0, "y": 1, "z": 2}
_RELATIVE: Final = 1e-3
_ABSOLUTE: Final = 1e-5


def tensor(values: NDArray[Any], *, order: str | None) -> Floats:
    """Return six or nine numbers as a 3 x 3 matrix, in the unit they have.

    Parameters
    ----------
    values : (6,), (9,) or (3, 3)
        Components; nine are row by row.
    order : str or None
        Order of six components, for instance "xx,yy,zz,yz,xz,xy".

    Raises
    ------
    DataError
        If the shape is another, or the order of six components is not known.

    Examples
    --------
    >>> tensor(np.arange(6.0), order="xx,yy,zz,xy,yz,xz").tolist()
    [[0.0, 3.0, 5.0], [3.0, 1.0, 4.0], [5.0, 4.0, 2.0]]
    """
    values = np.asarray(values, dtype=np.float64)
    if values.size == 9:
        return values.reshape(3, 3)
    if values.shape != (6,):
        raise DataError(f"a stress or virial has six or nine components, not shape {values.shape}")
    if order is None:
        raise DataError("six components of a stress in an unknown order; give it with --stress-order")
    matrix = np.zeros((3, 3))
    for value, component in zip(values, order.split(","), strict=True):
        i, j = _AXES[component[0]], _AXES[component[1]]
        matrix[i, j] = matrix[j, i] = value
    return matrix


def symmetric(stress: Floats) -> Floats:
    """Return the symmetric part of a stress (3, 3) in eV/Angstrom^3, which must be all of it but rounding.

    Raises
    ------
    DataError
        If the two halves differ by more than 0.1 % of the largest component and 1e-5 eV/Angstrom^3 (16 bar): then
        this is no stress, or its components are in another order.

    Examples
    --------
    >>> symmetric(np.diag([1.0, 2.0, 3.0])).diagonal().tolist()
    [1.0, 2.0, 3.0]
    """
    difference = np.abs(stress - stress.T).max()
    if difference > _RELATIVE * np.abs(stress).max() + _ABSOLUTE:
        raise DataError(
            f"the stress is not symmetric (its halves differ by {difference:.3g} eV/Angstrom^3), so it is no stress, "
            "or its components are in another order"
        )
    return (stress + stress.T) / 2


def from_virial(virial: Floats, volume: float) -> Floats:
    """Return the stress (3, 3) in eV/Angstrom^3 of a virial (3, 3) in eV and a volume in Angstrom^3.

    Examples
    --------
    >>> from_virial(np.eye(3), 10.0).diagonal().tolist()
    [-0.1, -0.1, -0.1]
    """
    return -virial / volume
