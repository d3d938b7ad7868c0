"""What is watched of a dynamics step: the functions of which its parts consist, by what they do."""

from collections.abc import Iterator
from typing import Any, Final

from mlff_distiller.benchmarking.spans import Place
from mlff_distiller.benchmarking.trajectory import Trajectory
from mlff_distiller.potentials import derivatives, graph_potential
from mlff_distiller.potentials.graph_potential import GraphPotential
from mlff_distiller.students.backends.backend import Backend
from mlff_distiller.students.potential import StudentPotential

STEP: Final = "integrator (ASE)"
FOUND_ANEW: Final = "neighbor list: found anew"


def places_of(run: Trajectory, potential: GraphPotential) -> list[Place]:
    """Return the functions that a step of a trajectory goes through.

    Parameters
    ----------
    run : Trajectory
        The trajectory.
    potential : GraphPotential
        What gives its forces.
    """
    return [*_around(run, potential), *_evaluation(potential)]


def _around(run: Trajectory, potential: GraphPotential) -> Iterator[Place]:
    graphs: Any = potential._graphs
    yield Place(run.dynamics, "step", STEP)
    yield Place(run.calculator, "check_state", "ASE calculator: what has changed")
    yield Place(run.calculator, "calculate", "ASE calculator: results")
    yield Place(run.calculator, "_structure", "conversion from ASE")
    yield Place(potential, "predict", "potential: batches and checks")
    yield Place(graphs, "graph", "neighbor list: from the kept one")
    yield Place(graphs, "_made", FOUND_ANEW)
    yield Place(graph_potential, "_labels", "conversion to labels")


def _evaluation(potential: GraphPotential) -> Iterator[Place]:
    yield Place(derivatives, "_gradient", "network: derivatives (backward)")
    if not isinstance(potential, StudentPotential):
        yield Place(potential, "_derive", "evaluation")
        return
    backend = potential.choice.backend
    yield Place(backend, "derive", f"evaluation ({backend.name}): the rest")
    if backend.name == "kernel":
        yield from _kernel(backend)
    elif backend.name == "eager":
        yield from _network(potential)


def _kernel(backend: Backend) -> Iterator[Place]:
    yield Place(backend, "_listed", "kernel: rows of neighbors")
    yield Place(backend, "_evaluated", "kernel: compiled network, forward and backward")
    yield Place(backend, "_collected", "kernel: forces from edges")
    yield Place(backend, "_with_repulsion", "kernel: short-range repulsion")


def _network(potential: StudentPotential) -> Iterator[Place]:
    network: Any = potential.student.network
    for name, label in (("messages", "messages"), ("updates", "atom-wise")):
        for layer in getattr(network, name, ()):
            yield Place(layer, "forward", f"network: {label} (forward)")
    for name in ("radial", "readout"):
        if hasattr(network, name):
            yield Place(getattr(network, name), "forward", f"network: {name} (forward)")
    yield Place(network, "forward", "network: the rest (forward)")
