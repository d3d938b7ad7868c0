"""Triton: our own kernels on a GPU, and a recorded step for graphs of each capacity."""

import copy
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final, Self

import torch
from torch import Tensor, nn

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.core.errors import BackendError
from mlff_distiller.potentials.derivatives import Derived, derive
from mlff_distiller.students.backends.backend import Backend
from mlff_distiller.students.painn.network import PaiNN
from mlff_distiller.students.student import Student

GRID_POINTS: Final = 2049  # at least
"""Points of the tables that filters are interpolated from."""

MOST_CAPACITIES: Final = 4
"""Capacities that are kept, each with buffers and recordings; the one that was not used for longest makes room."""


class Triton(Backend):
    """PaiNN by Triton kernels for the edges, cuBLAS for the atoms, and one launch for a whole step.

    Graphs are copied into buffers with a little more room than they need. What is left over are atoms in a system of
    their own, and edges that nobody sums; a graph that has no room gets larger buffers, and nothing is ever cut off.
    The first evaluation at a capacity runs kernel by kernel, the second is recorded, all others replay the recording.

    Parameters
    ----------
    student : Student
        A PaiNN in float32, on a CUDA device. With ``TRITON_INTERPRET=1`` in the environment before triton is imported
        for the first time, any device will do: the same code is interpreted, slowly, for tests.
    cuda_graphs : bool
        Record steps; without it they run kernel by kernel, which costs small structures most of their time.

    Raises
    ------
    BackendError
        If this student cannot be evaluated so here.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> Triton.obstacle(Student(PaiNNPlan(preset="ultra-tiny"), {1: -13.6}).double())
    "it is in float64, and the kernels know float32; use backend='eager'"
    """

    name = "triton"

    def __init__(self, student: Student, *, cuda_graphs: bool = True) -> None:
        super().__init__(student)
        if reason := self.obstacle(student):
            raise BackendError(f"this student cannot be evaluated by the backend 'triton': {reason}")
        self._fused = copy.deepcopy(student).requires_grad_(False)
        self._fused.network = _FusedPaiNN(self._fused.network)
        self._records = cuda_graphs and student.device.type == "cuda" and not _is_interpreted()
        self._stages: OrderedDict[tuple[int, int, int], _Stage] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    @classmethod
    def knows(cls, student: Student) -> bool:
        """Whether a student is a PaiNN in float32: splines do not reach the precision of float64."""
        return isinstance(student.network, PaiNN) and student.dtype == torch.float32

    @classmethod
    def obstacle(cls, student: Student) -> str:
        """Return why a student cannot be evaluated so here; see :meth:`Backend.obstacle`."""
        if not isinstance(student.network, PaiNN):
            return f"it is of the kind '{student.plan.kind}', and the kernels know PaiNN; use backend='eager'"
        if not cls.knows(student):
            dtype = str(student.dtype).removeprefix("torch.")
            return f"it is in {dtype}, and the kernels know float32; use backend='eager'"
        if find_spec("triton") is None:
            return "the package triton is not installed; pip install 'mlff-distiller[gpu]', or use backend='eager'"
        if student.device.type != "cuda" and not _is_interpreted():
            return f"it is on {student.device}, and the kernels run on a GPU; use device='cuda'"
        return ""

    @property
    def capacities(self) -> list[tuple[int, int, int]]:
        """Atoms, edges and systems that there is room for; the last one was used last."""
        return list(self._stages)

    def derive(self, graph: Graph, properties: Collection[str] = ("energy", "forces")) -> Derived:
        """Return energies and what is asked for; see :meth:`Backend.derive`.

        Parameters
        ----------
        graph : Graph
            As there, and symmetric: each edge comes with its opposite, as from all neighbor lists.
        properties : collection of str
            As there.

        Raises
        ------
        BackendError
            If the edges are not sorted by center; looked at as long as nothing is replayed.
        """
        key = capacity(graph.n_atoms, 8), capacity(graph.centers.shape[0], 64), capacity(graph.n_systems, 2)
        with self._one_at_a_time, _current(self.student.device):
            if key not in self._stages:
                while len(self._stages) >= MOST_CAPACITIES:  # first, so that its memory can be used again
                    self._stages.popitem(last=False)
                self._stages[key] = _Stage(self._fused, *key, records=self._records)
            self._stages.move_to_end(key)
            return self._stages[key].derive(graph, frozenset({"forces", "stress"}.intersection(properties)))


def capacity(n: int, finest: int) -> int:
    """Return room for some items and at least one more, in steps of an eighth to a sixteenth of it, or the finest.

    Examples
    --------
    >>> capacity(21, 16), capacity(32, 16), capacity(130_000, 64)
    (32, 48, 131072)
    """
    step = max(finest, 1 << max(0, n.bit_length() - 4))
    return (n // step + 1) * step


@dataclass(frozen=True, eq=False)
class PaddedGraph(Graph):
    """A graph that ends in padding: one atom at least, and one edge at least from the last atom to itself.

    Attributes
    ----------
    ranks : (N + 1,) int64
        Numbers of atoms, the last one twice.
    """

    ranks: Tensor

    @classmethod
    def empty(cls, n_atoms: int, n_edges: int, n_systems: int, *, student: Student) -> Self:
        """Return nothing but padding: atoms of the last system, and edges that no filter or repulsion reaches."""

        def filled(n: int, value: int) -> Tensor:
            return torch.full((n,), value, dtype=torch.int64, device=student.device)

        return cls(
            numbers=filled(n_atoms, student.elements[0]),
            system=filled(n_atoms, n_systems - 1),
            centers=filled(n_edges, n_atoms - 1),
            neighbors=filled(n_edges, n_atoms - 1),
            vectors=torch.full((n_edges, 3), 2 * student.cutoff, dtype=student.dtype, device=student.device),
            n_systems=n_systems,
            ranks=torch.arange(n_atoms + 1, device=student.device).clamp(max=n_atoms - 1),
        )

    @property
    def starts(self) -> Tensor:
        """First edge of each atom, and the end of the last one's: none of the padding belongs to any atom."""
        return torch.searchsorted(self.centers, self.ranks)

    def hold(self, graph: Graph, *, instead_of: tuple[int, int]) -> None:
        """Copy a graph to the front; where it is shorter than what was there, of some atoms and edges, put padding."""
        for names, n, before in (
            (("numbers", "system"), graph.n_atoms, instead_of[0]),
            (("centers", "neighbors", "vectors"), graph.centers.shape[0], instead_of[1]),
        ):
            for name in names:
                room: Tensor = getattr(self, name)
                room[:n].copy_(getattr(graph, name))
                if n < before:
                    room[n:before] = room[-1]


class _Stage:
    """Buffers of one capacity, and the steps that were recorded on them."""

    def __init__(self, student: Student, n_atoms: int, n_edges: int, n_systems: int, *, records: bool) -> None:
        self._student, self._records = student, records
        self._held = PaddedGraph.empty(n_atoms, n_edges, n_systems, student=student)
        self._size = 0, 0
        self._seen: set[frozenset[str]] = set()
        self._recordings: dict[frozenset[str], tuple[torch.cuda.CUDAGraph, Derived]] = {}

    def derive(self, graph: Graph, properties: frozenset[str]) -> Derived:
        self._held.hold(graph, instead_of=self._size)
        self._size = graph.n_atoms, graph.centers.shape[0]
        if self._records and properties in self._seen:
            return _part(self._replayed(properties), graph, copied=True)
        if bool((graph.centers.diff() < 0).any()):
            raise BackendError("the edges of this graph are not sorted by center; sort them, or use backend='eager'")
        self._seen.add(properties)
        return _part(derive(self._student, self._held, properties), graph, copied=False)

    def _replayed(self, properties: frozenset[str]) -> Derived:
        if properties not in self._recordings:
            try:
                self._recordings[properties] = _recorded(self._student, self._held, properties)
            except RuntimeError as error:
                first = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise BackendError(
                    f"the step could not be recorded as a CUDA graph ({first[:200]}); use cuda_graphs=False or "
                    "backend='eager'"
                ) from error
        recording, derived = self._recordings[properties]
        recording.replay()
        return derived


def _recorded(student: Student, held: PaddedGraph, properties: frozenset[str]) -> tuple[torch.cuda.CUDAGraph, Derived]:
    """Return a recording of one step, and the tensors that each replay writes its results to."""
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # libraries set themselves up once per stream, which must not be recorded
        derive(student, held, properties)
    torch.cuda.current_stream().wait_stream(beside)
    recording = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recording):
        derived = derive(student, held, properties)
    return recording, derived


class _FusedPaiNN(nn.Module):
    """The network with fused messages; atoms are done by its own modules."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        from mlff_distiller.students.kernels.tables import enough_points, filter_table
        from mlff_distiller.students.kernels.triton_messages import (
            Messages,
            Rows,
            Spline,
        )  # chooses to interpret or not

        assert isinstance(network, PaiNN)
        self.network, self._rows = network, Rows
        self._message: Callable[..., tuple[Tensor, Tensor]] = Messages.apply
        weight, exact = network.scalars.weight, copy.deepcopy(network).cpu()
        n_points = max(GRID_POINTS, enough_points(network))
        self._splines = [
            Spline.through(
                filter_table(exact, layer, n_points),
                network.radial.cutoff,
                dtype=weight.dtype,
                device=weight.device,
            )
            for layer in range(len(network.messages))
        ]

    def forward(self, species: Tensor, graph: PaddedGraph) -> Tensor:
        """Return energies of atoms (N,); see :class:`PaiNN`."""
        rows = self._rows(graph.starts, graph.neighbors)
        scalars, vectors = self.network.scalars(species), None
        for message, update, spline in zip(self.network.messages, self.network.updates, self._splines, strict=True):
            content = message.content(species if vectors is None else scalars)  # type: ignore[operator]
            scalars, vectors = self._message(scalars, vectors, content, graph.vectors, rows, spline)
            scalars, vectors = update(scalars, vectors)
        return self.network.readout(scalars).squeeze(1)  # type: ignore[no-any-return]


def _part(padded: Derived, graph: Graph, *, copied: bool) -> Derived:
    """Return what belongs to a graph; copied if the next step will write to the same place."""

    def front(values: Tensor, n: int) -> Tensor:
        return values[:n].clone() if copied else values[:n]

    return Derived(
        energy=front(padded.energy, graph.n_systems),
        atomic_energies=front(padded.atomic_energies, graph.n_atoms),
        forces=None if padded.forces is None else front(padded.forces, graph.n_atoms),
        virial=None if padded.virial is None else front(padded.virial, graph.n_systems),
    )


def _current(device: torch.device) -> AbstractContextManager[object]:
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _is_interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on")  # as triton itself reads it
