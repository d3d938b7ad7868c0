"""The compiled step: traced once with free sizes, compiled by AOTInductor, kept for every later run like it."""

import os
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, export
from torch.fx.experimental.proxy_tensor import make_fx

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.atoms.labels import OF_ATOMS
from mlff_distiller.core.errors import DistillerError, TrainingError
from mlff_distiller.core.files import write_atomically
from mlff_distiller.core.provenance import digest, machine
from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.distillation.step import EagerStep

_EDGES: Final = frozenset({"centers", "neighbors", "vectors"})
_ATOMS: Final = OF_ATOMS | {"numbers", "system"}
_SIZES: Final = {"structures": 23, "atoms": 211, "edges": 2503}  # of a middling batch; primes meet no other size


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


def compiler() -> str | None:
    """Return the path of the C++ compiler that torch would use, if there is one."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))), None)


def cache_folder() -> Path:
    """Return where compiled steps are kept; the folder may be deleted at any time.

    A user without a home gets a new temporary folder: a known one could hold what somebody else has put there.
    """
    with suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlff-distiller" / "steps"
    return Path(tempfile.mkdtemp(prefix="mlff-distiller-"))


def traced(eager: EagerStep, weights: Tensor, sample: Batch) -> tuple[fx.GraphModule, list[Tensor]]:
    """Return the step as a graph of tensor operations, and inputs that it takes.

    The tracer records ``detach`` where autograd, differentiating a gradient, cuts what it has saved. In the traced
    program, which has no autograd, such a node would be nothing; but the compiler traces it once more and takes the
    cut for real, and gradients come out wrong by half. So they are taken out.
    """
    factors = torch.ones(len(eager.terms), dtype=torch.float64, device=weights.device)
    buffers, template = eager.buffers, _tensors(sample)
    taken = {size for tensor in (weights, factors, *buffers) for size in tensor.shape}
    taken |= {size for tensor in template.values() for size in tensor.shape[1:]}
    sizes = {name: next(n for n in range(size, 2 * size, 2) if n not in taken) for name, size in _SIZES.items()}
    batch = [tensor.new_zeros((sizes[_axis(name)], *tensor.shape[1:])) for name, tensor in template.items()]

    def step(weights: Tensor, factors: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        values = dict(zip(template, rest[: len(batch)], strict=True))
        return eager.pure(weights, factors, _batch(sample, values), rest[len(batch) :])

    inputs = [weights, factors, *batch, *buffers]
    program = make_fx(step, tracing_mode="symbolic")(*inputs)
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.recompile()
    return program, inputs


def _compiled(
    eager: EagerStep, weights: Tensor, sample: Batch, *, folder: Path | None, tell: Callable[[str], None]
) -> Any:
    program, inputs = traced(eager, weights, sample)
    package = (folder or cache_folder()) / f"{_key(program, inputs)}.pt2"
    if _is_whole(package):
        return torch._inductor.aoti_load_package(str(package))
    with tempfile.TemporaryDirectory(prefix="mlff-distiller-") as place:  # of its own: others may compile the same
        built = Path(place) / package.name
        _build(program, inputs, list(_tensors(sample)), built)
        try:
            write_atomically(package, lambda path: _copy(built, path))
        except DistillerError as error:
            tell(f"the compiled step is not kept for the next time: {error}")
        return torch._inductor.aoti_load_package(str(built))


def _is_whole(package: Path) -> bool:
    """Whether there is a package with every byte as it was written: a damaged one could end the process."""
    try:
        with zipfile.ZipFile(package) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _build(program: fx.GraphModule, inputs: Sequence[Tensor], names: Sequence[str], package: Path) -> None:
    """Compile the traced step, whose inputs from the third on are the tensors of a batch with these names."""
    if inputs[0].device.type == "cpu" and compiler() is None:
        raise TrainingError("no C++ compiler is found")
    open_sizes = {axis: Dim(axis, min=2) for axis in _SIZES}
    axes = [{0: open_sizes[_axis(name)]} for name in names]
    shapes = (None, None, *axes, *(None for _ in inputs[2 + len(names) :]))
    exported = export(_Program(program), tuple(inputs), dynamic_shapes=(shapes,))
    settings = {"cpp.threads": torch.get_num_threads()}
    torch._inductor.aoti_compile_and_package(exported, package_path=str(package), inductor_configs=settings)


def _copy(built: Path, path: Path) -> None:
    shutil.copyfile(built, path)


class _Program(nn.Module):
    """The traced step as a module, which is what torch exports."""

    def __init__(self, program: fx.GraphModule) -> None:
        super().__init__()
        self.program = program

    def forward(self, *inputs: Tensor) -> Any:
        return self.program(*inputs)


def _key(program: fx.GraphModule, inputs: Sequence[Tensor]) -> str:
    device = inputs[0].device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()["processor"]
    kinds = [[str(tensor.dtype), list(tensor.shape)] for tensor in inputs]
    return digest([program.code, kinds, torch.__version__, torch.get_num_threads(), str(where)])[:24]


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
