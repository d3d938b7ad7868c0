"""Tracing: functions of tensors as programs with open sizes, compiled for this machine and kept in the user's cache."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx
from torch.export import Dim, export
from torch.fx.experimental.proxy_tensor import make_fx

from mlff_distiller.core.errors import DistillerError
from mlff_distiller.core.files import write_atomically
from mlff_distiller.core.provenance import machine

_SIZES: Final = {"structures": 23, "atoms": 211, "edges": 2503}  # of a middling batch; primes meet no other size


def compiler() -> str | None:
    """Return the path of the C++ compiler that torch would use, if there is one."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "clang++")))), None)


def cache_folder(kind: str) -> Path:
    """Return where compiled programs of a kind are kept; the folder may be deleted at any time.

    A user without a home gets a new temporary folder: a known one could hold what somebody else has put there.
    """
    with suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlff-distiller" / kind
    return Path(tempfile.mkdtemp(prefix="mlff-distiller-"))


def processor(device: torch.device) -> str:
    """Return the name of what a program for this device is compiled for."""
    return str(torch.cuda.get_device_name(device) if device.type == "cuda" else machine()["processor"])


def open_sizes(taken: Collection[int]) -> dict[str, int]:
    """Return numbers of structures, atoms and edges to trace with; none is equal to a size that is fixed.

    Examples
    --------
    >>> open_sizes({3, 23})
    {'structures': 25, 'atoms': 211, 'edges': 2503}
    """
    return {name: next(n for n in range(size, 2 * size, 2) if n not in taken) for name, size in _SIZES.items()}


def traced(function: Callable[..., Any], inputs: Sequence[Tensor]) -> fx.GraphModule:
    """Return a function, gradients within it included, as a graph of plain tensor operations with open sizes.

    The tracer records ``detach`` where autograd, differentiating a gradient, cuts what it has saved. In the traced
    program, which has no autograd, such a node would be nothing; but the compiler traces it once more and takes the
    cut for real, and gradients come out wrong by half. So they are taken out.

    Parameters
    ----------
    function : callable
        From tensors to tensors; what it does may depend on no value.
    inputs : sequence of Tensor
        Only their types and sizes matter; :func:`open_sizes` gives good ones.
    """
    program: fx.GraphModule = make_fx(function, tracing_mode="symbolic")(*inputs)
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.detach.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.recompile()
    return program


def hold(program: fx.GraphModule, tensors: Sequence[Tensor]) -> fx.GraphModule:
    """Let a program keep its first inputs; it is changed, and takes only the others from then on.

    Examples
    --------
    >>> product = traced(lambda a, b: a * b, [torch.ones(3), torch.ones(3)])
    >>> hold(product, [torch.full((3,), 2.0)])(torch.ones(3))
    tensor([2., 2., 2.])
    """
    inputs = [node for node in program.graph.nodes if node.op == "placeholder"]
    for k, (node, tensor) in enumerate(zip(inputs, tensors, strict=False)):
        program.register_buffer(f"held_{k}", tensor.detach())
        with program.graph.inserting_after(inputs[-1]):
            node.replace_all_uses_with(program.graph.get_attr(f"held_{k}"))
        program.graph.erase_node(node)
    program.recompile()
    return program


def write_package(
    program: fx.GraphModule,
    inputs: Sequence[Tensor],
    axes: Sequence[str | None],
    package: Path,
    *,
    threads: int,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Compile a program by AOTInductor.

    Parameters
    ----------
    program : fx.GraphModule
        From :func:`traced`.
    inputs : sequence of Tensor
        What it was traced with.
    axes : sequence of str or None
        What the rows of each input are: ``"structures"``, ``"atoms"`` or ``"edges"``, two or more of them; None if
        their number is fixed.
    package : Path
        File that is written, usually ``NAME.pt2``.
    threads : int
        Threads of its loops on a CPU.
    metadata : mapping, optional
        Is kept in the file, as JSON.
    """
    dimensions = {name: Dim(name, min=2) for name in _SIZES}
    shapes = tuple(None if axis is None else {0: dimensions[axis]} for axis in axes)
    exported = export(program, tuple(inputs), dynamic_shapes=shapes)
    settings = {"cpp.threads": threads, "aot_inductor.metadata": dict(metadata or {})}
    torch._inductor.aoti_compile_and_package(exported, package_path=str(package), inductor_configs=settings)


def is_whole(package: Path) -> bool:
    """Whether there is a package with every byte as it was written: a damaged one could end the process."""
    try:
        with zipfile.ZipFile(package) as archive:
            return archive.testzip() is None
    except Exception:  # what is damaged may raise anything
        return False


def load_package(package: Path, device: torch.device | None = None) -> Any:
    """Return a package, which is whole, as a function."""
    index = -1 if device is None or device.index is None else device.index
    return torch._inductor.aoti_load_package(str(package), device_index=index)


def build_and_keep(
    package: Path,
    build: Callable[[Path], None],
    load: Callable[[Path], Any],
    *,
    tell: Callable[[DistillerError], None],
) -> Any:
    """Build a package, load it, and keep it in its place for the next time; return what was loaded.

    It is built in a folder of its own, because others may build the same at this moment.

    Parameters
    ----------
    package : Path
        Where it is kept.
    build, load : callable
        Write a file, and return what a file holds.
    tell : callable
        Is told why it could not be kept; what was loaded can be used all the same.
    """
    with tempfile.TemporaryDirectory(prefix="mlff-distiller-") as place:
        built = Path(place) / package.name
        build(built)
        loaded = load(built)
        try:
            write_atomically(package, lambda path: _copy(built, path))
        except DistillerError as error:
            tell(error)
        return loaded


def _copy(built: Path, path: Path) -> None:
    shutil.copyfile(built, path)
