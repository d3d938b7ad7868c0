"""The contract's own check: what a potential declares not to cover is refused, with a next step."""

import numpy as np
import pytest

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PropertyError, UnsupportedStructureError
from mlff_distiller.potentials.analytic import morse

TILTED = np.array([[6.0, 0, 0], [0.5, 7, 0], [1, 0, 8]])


def hydrogen(*, spin: int = 1, charge: int = 0, pbc: object = False, cell: np.ndarray = TILTED) -> Structure:
    return Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]], spin=spin, charge=charge, pbc=pbc, cell=cell)


@pytest.mark.parametrize(
    ("declared", "structure", "said"),
    [
        ({"charges": {0, -1}}, hydrogen(charge=1), r"H2 has charge \+1, which morse .* it covers -1, 0$"),
        ({"spins": {1, 3}}, hydrogen(spin=2), r"H2 has spin multiplicity 2, which .* it covers 1, 3$"),
        ({"boundaries": {0, 3}}, hydrogen(pbc=(1, 1, 0)), r"periodic in 2 of 3 directions, .* add vacuum and set pbc"),
        ({"boundaries": {3}}, hydrogen(), r"periodic in 0 of 3 directions, .* add vacuum and set pbc"),
        ({"boundaries": {0}}, hydrogen(pbc=True), r"periodic in 3 of 3 directions, .*; unset pbc, or take another"),
        (
            {"opens_along_axes": True},
            hydrogen(pbc=(1, 0, 0), cell=TILTED[[2, 1, 0]] * [0, 1, 1]),
            r"without the others lying along their Cartesian axes, .*; rotate the structure",
        ),
    ],
)
def test_what_is_declared_not_to_be_covered_is_refused(declared, structure, said):
    potential = morse(depth=1.0, width=1.5, distance=0.8, cutoff=5.0)
    for name, value in declared.items():
        setattr(potential, name, frozenset(value) if isinstance(value, set) else value)
    with pytest.raises(UnsupportedStructureError, match=said):
        potential.predict([structure])


@pytest.mark.parametrize("pbc", [False, True, (1, 1, 0), (0, 0, 1), (0, 1, 0)])
def test_what_is_declared_to_be_covered_is_answered(pbc):
    potential = morse(depth=1.0, width=1.5, distance=0.8, cutoff=5.0)
    potential.opens_along_axes, potential.spins = True, frozenset({1})
    assert len(potential.predict([hydrogen(pbc=pbc)])) == 1
    with pytest.raises(PropertyError, match="cannot give hessian"):
        potential.check([], ["hessian"])
