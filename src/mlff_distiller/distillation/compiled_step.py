"""The compiled step: traced once with free sizes, compiled by AOTInductor, kept for every later run like it."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import OF_ATOMS
from mlff_distiller.core.errors import TrainingError
from mlff_distiller.core.provenance import digest
from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.distillation.step import EagerStep
from mlff_distiller.students import tracing
from mlff_distiller.students.tracing import compiler
from mlff_distiller.students.tracing import is_whole as _is_whole

_EDGES: Final = frozenset({"centers", "neighbors", "vectors"})
_ATOMS: Final = OF_ATOMS | {"numbers", "system"}


class CompiledStep:
    """The eager step as one compiled function: the same numbers to rounding, some four times faster on a CPU.

    The whole step is traced, gradient of the gradient included, with the numbers of structures, atoms and edges left
    open, so that one compilation serves all batches. Compiling takes about a minute; the result is kept in the user's
    cache (``$XDG_CACHE_HOME/mlff-distiller/steps``) under a digest of the traced program, of torch's version, the
    threads and the processor, and is loaded from there the next time. Before it is used it must give the eager
    gradient of a batch.

    Parameters
    ----------
    eager : EagerStep
        What is compiled.
    weights : (P,)
        Parameters of the student.
    sample : Batch
        A batch to compare with; it also tells which labels batches carry.
    folder : Path, optional
        Where compiled steps are kept.
    tell : callable
        Is told if the step could not be kept there, and will be compiled again the next time.

    Raises
    ------
    TrainingError
        If there is no C++ compiler, compilation fails, or the result is not the eager one.
    """

    def __init__(
        self,
        eager: EagerStep,
        weights: Tensor,
        sample: Batch,
        *,
        folder: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._buffers = eager.buffers
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of torch about its own parts
                self._compiled = _compiled(eager, weights.detach(), sample, folder=folder, tell=tell)
        except Exception as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TrainingError(
                f"the training step cannot be compiled ({first[:200]}); set training.compile to 'never', "
                "or install a C++ compiler"
            ) from error
        self._demand_eager_gradient(eager, weights, sample)

    def __call__(self, weights: Tensor, factors: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return sums and gradient; see :class:`~mlff_distiller.distillation.step.Step`."""
        sums, gradient = self._compiled(weights.detach(), factors, *_tensors(batch).values(), *self._buffers)
        return sums, gradient

    def _demand_eager_gradient(self, eager: EagerStep, weights: Tensor, sample: Batch) -> None:
        factors = torch.ones(len(eager.terms), dtype=torch.float64, device=weights.device)
        ours, theirs = self(weights, factors, sample)[1].double(), eager(weights, factors, sample)[1].double()
        error = float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))
        if not error < (1e-3 if weights.dtype == torch.float32 else 1e-8):
            raise TrainingError(
                f"the compiled training step differs from the eager one (by {error:.1e} of the gradient); "
                "set training.compile to 'never' and report this with your version of torch"
            )


def cache_folder() -> Path:
    """Return where compiled steps are kept; the folder may be deleted at any time."""
    return tracing.cache_folder("steps")


def traced(eager: EagerStep, weights: Tensor, sample: Batch) -> tuple[fx.GraphModule, list[Tensor]]:
    """Return the step as a graph of tensor operations, see :func:`tracing.traced`, and inputs that it takes."""
    factors = torch.ones(len(eager.terms), dtype=torch.float64, device=weights.device)
    buffers, template = eager.buffers, _tensors(sample)
    taken = {size for tensor in (weights, factors, *buffers) for size in tensor.shape}
    taken |= {size for tensor in template.values() for size in tensor.shape[1:]}
    sizes = tracing.open_sizes(taken)
    batch = [tensor.new_zeros((sizes[_axis(name)], *tensor.shape[1:])) for name, tensor in template.items()]

    def step(weights: Tensor, factors: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        values = dict(zip(template, rest[: len(batch)], strict=True))
        return eager.pure(weights, factors, _batch(sample, values), rest[len(batch) :])

    inputs = [weights, factors, *batch, *buffers]
    return tracing.traced(step, inputs), inputs


def _compiled(
    eager: EagerStep, weights: Tensor, sample: Batch, *, folder: Path | None, tell: Callable[[str], None]
) -> Any:
    program, inputs = traced(eager, weights, sample)
    package = (folder or cache_folder()) / f"{_key(program, inputs)}.pt2"
    if _is_whole(package):
        return tracing.load_package(package)
    return tracing.build_and_keep(
        package,
        lambda path: _build(program, inputs, list(_tensors(sample)), path),
        tracing.load_package,
        tell=lambda error: tell(f"the compiled step is not kept for the next time: {error}"),
    )


def _build(program: fx.GraphModule, inputs: Sequence[Tensor], names: Sequence[str], package: Path) -> None:
    """Compile the traced step, whose inputs from the third on are the tensors of a batch with these names."""
    if inputs[0].device.type == "cpu" and compiler() is None:
        raise TrainingError("no C++ compiler is found")
    axes = [None, None, *map(_axis, names), *(None for _ in inputs[2 + len(names) :])]
    tracing.write_package(program, inputs, axes, package, threads=torch.get_num_threads())


def _key(program: fx.GraphModule, inputs: Sequence[Tensor]) -> str:
    kinds = [[str(tensor.dtype), list(tensor.shape)] for tensor in inputs]
    return digest(
        [program.code, kinds, torch.__version__, torch.get_num_threads(), tracing.processor(inputs[0].device)]
    )[:24]


def _axis(name: str) -> str:
    return "edges" if name in _EDGES else "atoms" if name in _ATOMS else "structures"


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """Return all tensors of a batch that are there, in a fixed order."""
    found = {**vars(batch.graph), **vars(batch)}
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _batch(sample: Batch, values: dict[str, Tensor]) -> Batch:
    """Return a batch of these tensors; what a sample lacks is absent."""
    of_graph = {field.name: values[field.name] for field in fields(Graph) if field.name in values}
    graph = Graph(**of_graph, n_systems=values["n_atoms"].shape[0])
    return replace(sample, graph=graph, **{name: value for name, value in values.items() if name not in of_graph})
