"""ForeignPotential: the base of every potential over somebody else's library."""

import hashlib
import re
from abc import abstractmethod
from collections.abc import Collection, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from mlff_distiller.atoms.labels import Labels, shape
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DistillerError, PredictionError, TeacherError
from mlff_distiller.potentials.base import Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.isolation import Isolation
from mlff_distiller.potentials.memory import is_out_of_memory


class ForeignPotential(Potential):
    """A potential over a library that we do not own.

    A subclass sets the attributes of :class:`Potential` and says in :meth:`evaluate` how one batch is evaluated. The
    rest is done here, the same for all: the process's settings are put back after every call, batches are cut to fit
    into memory, a structure that fails is found and named, and shapes and finiteness are checked.

    Parameters
    ----------
    batching : Batching, optional
        How batches are cut; one structure at a time unless given.
    """

    def __init__(self, batching: Batching | None = None) -> None:
        self.isolation = Isolation()
        self.batching = batching or Batching(1)

    @abstractmethod
    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch, in order; they may hold more than was asked for.

        Called with checked structures. Whatever it raises becomes a :class:`PredictionError` that names the
        structure. Arrays are in eV and Angstrom, stress as a matrix with tension positive.

        Parameters
        ----------
        structures : sequence of Structure
            One or more.
        properties : collection of str
            What is asked for, all of it among :attr:`properties`.
        """

    def predict(
        self, structures: Sequence[Structure], properties: Collection[str] = ("energy", "forces")
    ) -> list[Labels]:
        """Return labels for structures, in order; see :meth:`Potential.predict`."""
        self.check(structures, properties)
        with self.isolation.inside():
            return self.batching.run(structures, lambda batch: self._answers(batch, properties))

    def _answers(self, batch: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        try:
            found = self.evaluate(batch, properties)
            return [_checked(k, *pair, properties) for k, pair in enumerate(zip(batch, found, strict=True))]
        except (Exception, SystemExit) as error:  # foreign code raises whatever it hits first
            if is_out_of_memory(error) or isinstance(error, DistillerError):
                raise
            if len(batch) == 1:
                raise PredictionError(0, reason(error)) from error
        labels: list[Labels] = []
        for index, structure in enumerate(batch):  # find the one that does not work
            try:
                labels += self._answers([structure], properties)
            except PredictionError as error:
                raise error.after(index) from error
        return labels


def _checked(index: int, structure: Structure, labels: Labels, properties: Collection[str]) -> Labels:
    """Return what was asked for, in our types and shapes; a wrong shape or a NaN must not reach a data set."""
    kept: dict[str, Any] = {}
    for name in labels.present:
        if name not in properties or (name == "stress" and not structure.is_periodic):
            continue
        array = np.array(getattr(labels, name), dtype=np.float64)  # a copy: some libraries return their own buffer
        expected = shape(name, len(structure))
        if array.shape != expected:
            raise PredictionError(index, f"{name} of a wrong shape", f"{array.shape}, not {expected}")
        if not np.isfinite(array).all():
            raise PredictionError(index, "the potential gave numbers that are not finite")
        kept[name] = array if array.shape else float(array)
    absent = [name for name in properties if name not in kept and name != "stress"]
    if absent:
        raise PredictionError(index, f"the potential gave no {', '.join(sorted(absent))}")
    return Labels(**kept)


def library(module: str, *, kind: str) -> Any:
    """Import and return a module of a teacher's library.

    Raises
    ------
    TeacherError
        If it cannot be imported; the message says how to install it.

    Examples
    --------
    >>> library("json", kind="mace").__name__
    'json'
    """
    try:
        return import_module(module)
    except Exception as error:  # libraries that do not fit together raise all sorts of errors at import
        raise TeacherError(
            f"teacher '{kind}' needs {module.partition('.')[0]}, which cannot be loaded here ({reason(error)}); run "
            f"`mlffd teacher install {kind}` and set `environment: installed` in the recipe's teacher"
        ) from error


def state_digest(model: Any) -> str:
    """Return the SHA-256 of the weights of a torch module: names, types, shapes and bytes.

    Examples
    --------
    >>> import torch
    >>> state_digest(torch.nn.Linear(2, 1)) == state_digest(torch.nn.Linear(2, 1))
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if hasattr(tensor, "detach"):  # some modules keep settings among their weights
            array = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {array.dtype} {tuple(array.shape)} ".encode())
            digest.update(array.reshape(-1).view(_uint8()).numpy().tobytes() if array.numel() else b"")
    return digest.hexdigest()


def _uint8() -> Any:
    return import_module("torch").uint8


def versions(*packages: str) -> str:
    """Return "package 1.2, other 3.4" for installed packages.

    Examples
    --------
    >>> versions("numpy").startswith("numpy ")
    True
    """
    return ", ".join(f"{package} {_version(package)}" for package in packages)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def reason(error: BaseException) -> str:
    r"""Return an error in a few words: its type and the first line it says, addresses in memory left out.

    Examples
    --------
    >>> reason(ValueError("no such element\nand a long explanation"))
    'ValueError: no such element'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = re.sub(r" at 0x[0-9a-f]+", "", lines[0])[:160] if lines else ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
