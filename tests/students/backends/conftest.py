"""Graphs that every compiled form of a student must get right, and students small enough to be compiled in a test."""

from collections.abc import Callable

import ase.build
import numpy as np
import pytest
import torch

from mlff_distiller.atoms.conversion import from_ase
from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.students.painn.plan import PaiNNPlan
from mlff_distiller.students.student import Student

PLAN = PaiNNPlan(preset="ultra-tiny", n_channels=8, n_radial=4, n_readout=4, cutoff=3.0)
ENERGIES = {1: -13.6, 6: -1030.0, 8: -2040.0}
TRICLINIC = [[2.6, 0.0, 0.0], [0.7, 2.5, 0.0], [0.3, -0.4, 2.8]]


def _structures() -> dict[str, list[Structure]]:
    water, ethanol = (from_ase(ase.build.molecule(name)) for name in ("H2O", "CH3CH2OH"))
    atom, pair = Structure([6], [[0.1, 0.2, 0.3]]), Structure([1, 1], [[0, 0, 0], [0, 0, 0.8]])
    apart = Structure([1, 6, 8], [[0, 0, 0], [9, 0, 0], [0, 20, 0]])
    cell = {"cell": np.array(TRICLINIC), "pbc": True}
    crystal = Structure([6, 8], [[0, 0, 0], [1.2, 1.1, 1.3]], **cell)
    slab = Structure(
        [6, 8, 1], [[0, 0, 0], [1.2, 1.1, 1.3], [0.2, 1.2, 4.2]], cell=cell["cell"], pbc=(True, True, False)
    )
    return {
        "molecule": [ethanol],
        "two atoms": [pair],
        "batch": [water, ethanol, atom, pair, crystal, apart],
        "many": [ethanol, water] * 16,
        "triclinic cell": [crystal],
        "slab": [slab],
        "one atom": [atom],
        "one atom, periodic": [Structure([6], [[0, 0, 0]], **cell)],
        "isolated atoms": [apart],
        "single atoms": [atom, atom],
    }


@pytest.fixture(params=_structures())
def case(request) -> list[Structure]:
    """Structures of one kind after the other."""
    return _structures()[request.param]


@pytest.fixture(scope="session")
def student_in() -> Callable[..., Student]:
    """Return a small student with random weights in a precision."""

    def make(dtype: torch.dtype, *, seed: int = 1) -> Student:
        return Student(PLAN, ENERGIES, scale=1.4, neighbor_norm=2.1, seed=seed).to(dtype)

    return make


@pytest.fixture(scope="session")
def graph_for() -> Callable[..., Graph]:
    """Return structures as a student sees them."""

    def make(student: Student, structures: list[Structure]) -> Graph:
        return Graph.from_structures(structures, student.cutoff, dtype=student.dtype)

    return make


@pytest.fixture(scope="session")
def assert_eager() -> Callable[..., None]:
    """Assert that a backend gives energies, forces and virial of the eager network, in float64 to 1e-9."""
    from mlff_distiller.students.backends.backend import Eager

    def check(backend, graph: Graph) -> None:
        tolerance = {torch.float32: 1e-5, torch.float64: 1e-9}[graph.vectors.dtype]
        everything = ("energy", "forces", "stress")
        found, expected = backend.derive(graph, everything), Eager(backend.student).derive(graph, everything)
        for name in ("energy", "atomic_energies", "forces", "virial"):
            ours, theirs = getattr(found, name), getattr(expected, name)
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")

    return check
