"""Our own kernels for processors: PaiNN with hand-derived forces, by numba."""

import sys
import threading
from collections.abc import Collection
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.core.errors import BackendError
from mlff_distiller.potentials.derivatives import Derived, derive
from mlff_distiller.students.backends.backend import Backend
from mlff_distiller.students.kernels import forces as collecting
from mlff_distiller.students.kernels.evaluation import Weights, evaluate
from mlff_distiller.students.kernels.messages import Edges, Integers
from mlff_distiller.students.kernels.order import Listed, clustered
from mlff_distiller.students.kernels.room import Workspace
from mlff_distiller.students.kernels.tables import enough_points, exact_table, spline_error
from mlff_distiller.students.kernels.threads import Team, single_threaded_blas
from mlff_distiller.students.kernels.weights import weights_of
from mlff_distiller.students.painn.network import PaiNN
from mlff_distiller.students.student import Student

_WORTH_A_THREAD = 1e8
"""Operations that take about a millisecond; with less to do a thread costs more than it brings."""


_MANY = 3000
"""Atoms from which on their order in memory matters."""

_FEWEST, _COARSEST = 16, 0.1  # points of a spline, and what it may change of the forces

_FAULTS = ("", "are not sorted by center; sort them", "do not hold every pair in both directions; add the missing ones")

_STEPS = 1000
"""Calls for which an order is kept: atoms diffuse, and neighbors part."""


class Kernel(Backend):
    """Energies and forces of a PaiNN student on a processor, without autograd.

    Neighbors are gone through sorted by center, forward and once more backward, with filters from splines of the
    distance; see :mod:`~mlff_distiller.students.kernels.messages`. The list must hold every pair in both directions,
    as neighbor lists here do.

    Parameters
    ----------
    student : Student
        A PaiNN on the CPU, in float32 or float64.
    n_threads : int, optional
        Most threads of a call; those of torch unless given. Small structures take one.
    filters : {"spline", "exact"}, optional
        Exact filters take about five times the time and much memory; the default in float64.
    n_points : int, optional
        Grid points of the splines; unless given, so many that derivatives are right to rounding in float32.

    Raises
    ------
    BackendError
        If the student is not a PaiNN or not on the CPU.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> student = Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6})
    >>> graph = Graph.from_structures([Structure([1, 1], [[0, 0, 0], [0, 0, 0.74]])], student.cutoff)
    >>> Kernel(student).derive(graph).forces.shape
    torch.Size([2, 3])
    """

    name = "kernel"

    def __init__(
        self,
        student: Student,
        *,
        n_threads: int | None = None,
        filters: Literal["spline", "exact"] | None = None,
        n_points: int | None = None,
    ) -> None:
        super().__init__(student)
        if reason := self.obstacle(student):
            raise BackendError(f"this student cannot be evaluated by the backend 'kernel': {reason}")
        self.n_threads = torch.get_num_threads() if n_threads is None else n_threads
        self.filters = filters or ("spline" if student.dtype == torch.float32 else "exact")
        _demand(self.n_threads >= 1, f"n_threads is {n_threads}; at least one is needed")
        _demand(self.filters in ("spline", "exact"), f"filters is '{filters}'; known are 'spline' and 'exact'")
        _demand(n_points is None or n_points >= _FEWEST, f"n_points is {n_points}; at least {_FEWEST} are needed")
        network = student.network
        assert isinstance(network, PaiNN)
        self.n_points = n_points or enough_points(network)
        self._weights = weights_of(network, n_points=self.n_points)
        n_layers, c = len(self._weights.mix), self._weights.scalars.shape[1]
        self._work = (90 * c * c * n_layers, 100 * c * n_layers)  # operations for an atom and for an edge
        self._workspace = Workspace(
            n_layers, c, len(self._weights.readout_out), n_threads=self.n_threads, dtype=self._weights.mix.dtype
        )
        self._species = student._species.numpy().copy()
        self._reference = student.reference.energies.numpy().copy()
        self._ranges = _ranges(student)
        self._team = Team(self.n_threads)
        self._last_order: tuple[Tensor | None, int, Integers | None] = (None, 0, None)
        self._one_at_a_time = threading.Lock()

    @classmethod
    def knows(cls, student: Student) -> bool:
        """Whether a student is a PaiNN in float32 or float64."""
        return isinstance(student.network, PaiNN) and student.dtype in (torch.float32, torch.float64)

    @classmethod
    def obstacle(cls, student: Student) -> str:
        """Return why a student cannot be evaluated so; see :meth:`Backend.obstacle`."""
        if not cls.knows(student):
            kind, precision = student.plan.kind, str(student.dtype).removeprefix("torch.")
            return (
                f"it is of the kind '{kind}' in {precision}, and the kernels know PaiNN in float32 and float64; "
                "use backend='eager'"
            )
        if sys.platform == "win32":
            return "the kernels do not run on Windows; use backend='eager'"
        if student.device.type != "cpu":
            return f"it is on {student.device.type}, and the kernels run on the CPU; use device='cpu'"
        return ""

    @property
    def tolerance(self) -> float:
        """As :attr:`Backend.tolerance`; more where splines that were asked for are coarser than the precision."""
        if self.filters == "exact":
            return super().tolerance
        network = self.student.network
        assert isinstance(network, PaiNN)
        errors = [spline_error(network, layer, self.n_points)[1] for layer in range(len(network.messages))]
        return min(max(super().tolerance, 10 * max(errors)), _COARSEST)

    def derive(self, graph: Graph, properties: Collection[str] = ("energy", "forces")) -> Derived:
        """Return energies and what is asked for; see :meth:`Backend.derive`."""
        given = self._listed(graph)
        wanted = {"forces", "stress"} & set(properties)
        with self._one_at_a_time:
            order = self._order(graph, given)
            atoms = given if order is None else given.ordered(order)
            edges, output = self._evaluated(atoms, bool(wanted))
            derived = self._collected(atoms, order, graph.n_systems, edges, output, wanted)
        centers = graph.centers.numpy()
        if self._ranges is None or not collecting.any_within(
            centers, given.neighbors, given.vectors, given.species, self._ranges
        ):
            return derived
        return self._with_repulsion(derived, graph, given.species, properties)

    def _listed(self, graph: Graph) -> Listed:
        ptr = np.empty(graph.n_atoms + 1, np.int64)
        neighbors, vectors = graph.neighbors.contiguous().numpy(), graph.vectors.detach().contiguous().numpy()
        if fault := _FAULTS[collecting.rows(graph.centers.numpy(), neighbors, ptr)]:
            raise BackendError(f"the edges of this graph {fault}, or use backend='eager'")
        return Listed(self._species[graph.numbers.numpy()], graph.system.numpy(), ptr, neighbors, vectors)

    def _order(self, graph: Graph, given: Listed) -> Integers | None:
        """Return the order that is best for the caches; kept while the same atoms come, for it ages slowly."""
        if graph.n_atoms < _MANY:
            return None
        atoms, uses, order = self._last_order
        if atoms is not graph.numbers or uses >= _STEPS or order is None:
            atoms, uses, order = graph.numbers, 0, clustered(given.ptr, given.neighbors)
        self._last_order = atoms, uses + 1, order
        return order

    def _evaluated(self, atoms: Listed, backward: bool) -> tuple[Edges, NDArray[np.float64]]:
        """Run the kernels; return the edges with their derivatives, and the network's output (N,)."""
        n_atoms = len(atoms.species)
        room, output = self._workspace.room(n_atoms), np.empty(n_atoms)
        edges = self._workspace.edges(atoms.ptr, atoms.neighbors, atoms.vectors)
        n_threads = self._threads(n_atoms, len(atoms.neighbors))
        limits = np.empty(n_threads + 1, np.int64)
        collecting.shares(atoms.ptr, self._work[0] // self._work[1], limits)
        is_exact = self.filters == "exact"
        weights = self._with_exact_filters(atoms.vectors) if is_exact else self._weights
        rest = (n_threads, limits, atoms.species, edges, weights, room, output, backward, is_exact)
        with single_threaded_blas():
            self._team.run(lambda thread, barrier: evaluate(thread, barrier, *rest), n_threads)
        return edges, output

    def _threads(self, n_atoms: int, n_edges: int) -> int:
        work = n_atoms * self._work[0] + n_edges * self._work[1]
        return max(1, min(self.n_threads, n_atoms, int(work / _WORTH_A_THREAD)))

    def _with_exact_filters(self, vectors: NDArray[np.floating]) -> Weights:
        network, distances = self.student.network, torch.linalg.vector_norm(torch.from_numpy(vectors), dim=1)
        assert isinstance(network, PaiNN)
        first, *rest = (exact_table(network, layer, distances) for layer in range(len(network.messages)))
        tables = np.stack(rest) if rest else self._weights.tables
        return self._weights._replace(first_table=first, tables=tables)

    def _collected(
        self,
        atoms: Listed,
        order: Integers | None,
        n_systems: int,
        edges: Edges,
        output: NDArray[np.float64],
        wanted: set[str],
    ) -> Derived:
        scale, system, n_atoms = self.student.scale, atoms.system, len(atoms.species)
        energy, atomic = np.empty(n_systems), np.empty(n_atoms)
        collecting.collect_energies(output, atoms.species, self._reference, scale, system, atomic, energy)
        forces = virial = None
        if "forces" in wanted:
            forces = np.empty((n_atoms, 3))
            collecting.collect_forces(edges.ptr, edges.senders, edges.gradient, scale, forces)
        if "stress" in wanted:
            virial = np.empty((n_systems, 3, 3))
            collecting.collect_virials(edges.ptr, edges.vectors, edges.gradient, scale, system, virial)
        arrays = (energy, _back(atomic, order), None if forces is None else _back(forces, order), virial)
        return Derived(*(None if array is None else torch.from_numpy(array) for array in arrays))  # type: ignore[arg-type]

    def _with_repulsion(
        self, derived: Derived, graph: Graph, species: Integers, properties: Collection[str]
    ) -> Derived:
        """Add what atoms that are far too close repel each other with, by torch: it hardly ever happens."""
        kinds = torch.from_numpy(species)

        def energies(graph: Graph) -> Tensor:
            return torch.stack([repulsion(kinds, graph) for repulsion in self.student.repulsions]).sum(0)

        extra = derive(energies, graph, properties)
        parts = ((getattr(derived, name), getattr(extra, name)) for name in _PARTS)
        return Derived(*(None if own is None else own + more for own, more in parts))  # type: ignore[arg-type]


def _back(values: NDArray[np.float64], order: Integers | None) -> NDArray[np.float64]:
    """Return what belongs to atoms in the order that they were given in."""
    if order is None:
        return values
    given = np.empty_like(values)
    given[order] = values
    return given


_PARTS = ("energy", "atomic_energies", "forces", "virial")


def _demand(fine: bool, otherwise: str) -> None:
    if not fine:
        raise BackendError(f"backend 'kernel': {otherwise}")


def _ranges(student: Student) -> NDArray[np.float64] | None:
    """Return the range of the repulsion of each pair of elements; None without repulsion."""
    ranges = [repulsion.ranges.numpy() for repulsion in student.repulsions]  # type: ignore[operator]
    return np.ascontiguousarray(np.max(ranges, axis=0)) if ranges else None
