"""Traced: a student and its gradient as one program of tensor operations, for backends that compile it."""

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Final

import torch
from torch import Tensor, fx
from torch.func import functional_call

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.core.errors import BackendError
from mlff_distiller.potentials.derivatives import Derived, derive
from mlff_distiller.students import tracing
from mlff_distiller.students.backends.backend import Backend
from mlff_distiller.students.self_check import canonical
from mlff_distiller.students.student import Student

AXES: Final = ("atoms", "atoms", "edges", "edges", "edges", "structures")
"""What the rows of each input of the program are: numbers, system, centers, neighbors, vectors, structures."""

_DTYPES: Final = {torch.float32: "float32", torch.float64: "float64"}
_ALIGNMENT: Final = 16  # bytes, at which compiled code may expect a tensor to begin


class Traced(Backend):
    """Base of what compiles energies, forces and virial as a whole.

    Compilers of tensor programs take sizes of zero and one for constants. Where they occur, it is done so: every batch
    has one structure more, without atoms, so that a single structure is nothing special; a graph of one atom, or
    without edges, is evaluated by the eager network.

    Parameters
    ----------
    student : Student
        In float32 or float64.

    Raises
    ------
    BackendError
        If it cannot be compiled, what comes out is not what the eager network gives for the student's canonical
        structure, or a graph is of another precision or device than the student.
    """

    def __init__(self, student: Student) -> None:
        super().__init__(student)
        self._dtype, self._device = student.dtype, student.device  # which it takes a while to find out

    def derive(self, graph: Graph, properties: Collection[str] = ("energy", "forces")) -> Derived:
        """Return energies and what is asked for; see :meth:`Backend.derive`."""
        if graph.n_atoms < 2 or graph.centers.shape[0] < 2:
            return derive(self.student, graph, properties)
        energy, atomic_energies, forces, virial = self._run(self._inputs(graph))
        return Derived(
            energy[: graph.n_systems],
            atomic_energies,
            forces if "forces" in properties else None,
            virial[: graph.n_systems] if "stress" in properties else None,
        )

    @abstractmethod
    def _run(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        """Return energies (S + 1,), energies of atoms (N,), forces (N, 3) and virials (S + 1, 3, 3)."""

    def _inputs(self, graph: Graph) -> list[Tensor]:
        """Return the inputs of the program; it would read anything else as if it were what it expects."""
        vectors, n_atoms, n_edges = graph.vectors.detach(), graph.n_atoms, graph.centers.shape[0]
        indices = [graph.numbers, graph.system, graph.centers, graph.neighbors]
        if vectors.dtype != self._dtype or any(tensor.dtype != torch.int64 for tensor in indices):
            raise BackendError(
                f"the student is compiled for {_name(self._dtype)} and a graph in {_name(vectors.dtype)} was "
                "given; make the graph in the precision of the student, with indices in int64"
            )
        if any(tensor.device != self._device for tensor in (*indices, vectors)):
            raise BackendError(
                f"the student is compiled for {self._device} and a graph on {vectors.device} was given; "
                "make the graph on the device of the student"
            )
        shapes = [tuple(tensor.shape) for tensor in (*indices, vectors)]
        if shapes != [(n_atoms,), (n_atoms,), (n_edges,), (n_edges,), (n_edges, 3)]:
            raise BackendError(f"a graph has tensors of shapes {shapes}, which do not belong together; make it anew")
        return [*map(_in_order, (*indices, vectors)), vectors.new_empty(graph.n_systems + 1)]

    def _demand_agreement(self) -> None:
        """Refuse what does not give the numbers of the eager network for the student's canonical structure."""
        student = self.student
        structure = canonical(student.elements)
        graph = Graph.from_structures([structure], student.cutoff, dtype=student.dtype, device=student.device)
        found, expected = (
            way(graph, ("energy", "forces", "stress")) for way in (self.derive, lambda *of: derive(student, *of))
        )
        for name in ("energy", "atomic_energies", "forces", "virial"):
            ours, theirs = getattr(found, name), getattr(expected, name)
            error, allowed = float((ours - theirs).abs().max()), _noise(student) * (1 + float(theirs.abs().max()))
            if not error <= allowed:  # NaN fails too
                raise BackendError(
                    f"the compiled student differs from the eager one ({name.replace('_', ' ')} by {error:.1e}, "
                    f"expected within {allowed:.1e}); use backend='eager' and report this with your version of torch"
                )


def obstacle(student: Student, *, needs_compiler: bool) -> str:
    """Return why torch cannot compile a student here, with the next step; empty if it can."""
    if student.dtype not in _DTYPES:
        return f"the student is in {_name(student.dtype)}; load it in float32 or float64"
    if student.device.type not in ("cpu", "cuda"):
        return f"students on {student.device.type} are not compiled; load it on cpu or cuda, or use backend='eager'"
    if needs_compiler and tracing.compiler() is None:
        return "no C++ compiler is found; install g++ or clang++ (or name one in CXX), or use backend='eager'"
    return ""


def program(student: Student) -> tuple[fx.GraphModule, list[Tensor]]:
    """Return a student with its weights as a program of tensor operations, and inputs that it takes.

    Parameters
    ----------
    student : Student
        Its tensors are shared, not copied.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> graph, inputs = program(Student(PaiNNPlan(preset="ultra-tiny", n_layers=1), {1: -13.6}))
    >>> [tuple(output.shape) for output in graph(*inputs)]
    [(23,), (211,), (211, 3), (23, 3, 3)]
    """
    weights = {name: tensor.detach() for name, tensor in [*student.named_parameters(), *student.named_buffers()]}
    taken = {size for tensor in weights.values() for size in tensor.shape}
    sizes, like = tracing.open_sizes(taken | {3}), next(iter(student.parameters())).detach()
    rows = [sizes[axis] for axis in AXES]
    indices = [torch.zeros(n, dtype=torch.int64, device=student.device) for n in rows[:4]]
    inputs = [indices[0] + student.elements[0], *indices[1:], like.new_ones(rows[4], 3), like.new_empty(rows[5])]

    def function(*tensors: Tensor) -> tuple[Tensor | None, ...]:
        state = dict(zip(weights, tensors, strict=False))
        numbers, system, centers, neighbors, vectors, structures = tensors[len(weights) :]
        graph = Graph(numbers, system, centers, neighbors, vectors, structures.shape[0])
        derived = derive(lambda graph: functional_call(student, state, (graph,)), graph, ("forces", "stress"))
        return derived.energy, derived.atomic_energies, derived.forces, derived.virial

    traced = tracing.traced(function, [*weights.values(), *inputs])
    _write_out_outer_products(traced)
    return tracing.hold(traced, list(weights.values())), inputs


def _write_out_outer_products(traced: fx.GraphModule) -> None:
    """Make matrix products of a column with a row plain products.

    ``torch.compile`` does so for small ones, and would compile everything again for a graph on the other side of small.
    """
    for node in traced.graph.nodes:
        if node.target is torch.ops.aten.mm.default and node.args[0].meta["val"].shape[1] == 1:
            node.target = torch.ops.aten.mul.Tensor
    traced.recompile()


def _in_order(tensor: Tensor) -> Tensor:
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor


def _noise(student: Student) -> float:
    """Return what rounding in another order may change, relative to the largest value."""
    if student.dtype == torch.float64:
        return 1e-9
    return 2e-2 if student.device.type == "cuda" and torch.backends.cuda.matmul.allow_tf32 else 1e-4


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
