"""Structures and labels of every kind a store must hold."""

from collections.abc import Callable

import numpy as np
import pytest

from mlff_distiller.atoms.labels import HESSIAN, Labels
from mlff_distiller.atoms.structure import Structure


def make_structure(number: int) -> Structure:
    """Return a structure that depends on its number alone: molecules, crystals, slabs, ions, single atoms."""
    rng = np.random.default_rng(number)
    n = 1 + number % 5
    kind = number % 4
    cell = rng.normal(0, 0.3, (3, 3)) + 4 * np.eye(3) if kind else None
    pbc = (False, (True, True, True), (True, True, False), (False, False, False))[kind]
    return Structure(
        rng.choice([1, 6, 8, 118], n),
        rng.normal(0, 2, (n, 3)),
        cell=cell,
        pbc=pbc,
        charge=number % 3 - 1,
        spin=1 + number % 2,
        info={"segment": f"Ångström/{number}", "nested": {"list": [1, 2.5, None, True]}} if number % 3 else {},
    )


def make_labels(number: int) -> Labels:
    """Return labels with a set of properties that depends on the number."""
    rng = np.random.default_rng(1000 + number)
    n = 1 + number % 5
    return Labels(
        energy=float(rng.normal()) if number % 7 else None,
        forces=rng.normal(size=(n, 3)) if number % 2 else None,
        stress=rng.normal(size=(3, 3)) if number % 4 == 1 else None,
        atomic_energies=rng.normal(size=n) if number % 5 == 0 else None,
        **{name: rng.normal(size=(n, 2, 3)) for name in HESSIAN if number % 6 == 2},
    )


def same_structure(a: Structure, b: Structure) -> bool:
    arrays = ("numbers", "positions", "cell", "pbc")
    values = ("charge", "spin", "info")
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in arrays) and all(
        getattr(a, k) == getattr(b, k) for k in values
    )


def same_labels(a: Labels, b: Labels) -> bool:
    return a.present == b.present and all(np.array_equal(getattr(a, k), getattr(b, k)) for k in a.present)


@pytest.fixture(scope="session")
def structure() -> Callable[[int], Structure]:
    return make_structure


@pytest.fixture(scope="session")
def label() -> Callable[[int], Labels]:
    return make_labels


@pytest.fixture(scope="session")
def same() -> Callable[..., bool]:
    def compare(a: Structure | Labels, b: Structure | Labels) -> bool:
        return same_structure(a, b) if isinstance(a, Structure) else same_labels(a, b)

    return compare
