"""AIMNet2: neural network potentials for molecules of fourteen elements, charged and open-shell ones included."""

import logging
import math
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from mlff_distiller.atoms.labels import Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.provenance import digest, file_digest
from mlff_distiller.core.registry import nearest
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.calculator import PlanCalculator
from mlff_distiller.potentials.foreign import ForeignPotential, library, reason, versions
from mlff_distiller.potentials.memory import Memory
from mlff_distiller.potentials.plan import PotentialPlan

# H B C N O F Si P S Cl As Se Br I (doi:10.1039/D4SC08572H), for old files that do not say it themselves.
_ELEMENTS: Final = frozenset({1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 33, 34, 35, 53})


class AIMNet2Plan(PotentialPlan):
    """AIMNet2: molecules of 14 elements, any charge.

    A model by its name in the library ``aimnet``, or from a file; it evaluates in single precision.

    Source: doi:10.1039/D4SC08572H.

    Examples
    --------
    >>> AIMNet2Plan(model="aimnet2-nse").device
    'cpu'
    """

    requirements: ClassVar = ("torch", "aimnet>=0.2.5")
    files: ClassVar = ("model",)

    kind: Literal["aimnet2"] = Field("aimnet2", description="AIMNet2, through the library aimnet.")
    model: str = Field(
        "aimnet2",
        description="File of a model, or the name of one that aimnet downloads and keeps: aimnet2, aimnet2-b973c, "
        "aimnet2-2025, aimnet2-nse (open shells), aimnet2-rxn, aimnet2-pd; '_1' to '_3' after a full name: other "
        "members of its ensemble.",
        min_length=1,
    )
    device: str = Field("cpu", description="Where it runs: cpu or cuda.", pattern=r"^(cpu|cuda(:\d+)?)$")
    batch_atoms: int | None = Field(
        None, ge=1, description="Most atoms in a batch; found from the memory unless given."
    )

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        return AIMNet2(self)


class AIMNet2(ForeignPotential):
    """The potential behind :class:`AIMNet2Plan`.

    Molecules go together in one batch, and cells in another: in cells the Coulomb interaction is cut off and damped.

    Parameters
    ----------
    plan : AIMNet2Plan
        Settings.
    """

    properties = frozenset({"energy", "forces", "stress"})
    boundaries = frozenset({0, 3})
    is_conservative = True

    def __init__(self, plan: AIMNet2Plan) -> None:
        super().__init__()
        with self.isolation.inside(), _as_it_was(logging.getLogger()), redirect_stdout(sys.stderr):
            torch = library("torch", kind="aimnet2")
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            warp = library("warp", kind="aimnet2")
            warp.config.log_level = warp.LOG_WARNING  # it greets, and reports each kernel that it compiles
            name, path = _found(plan.model)
            self._calculator = _loaded(name, plan.device)
            memory = Memory(plan.device, limit_GB=plan.memory_limit_GB)
            self.batching = Batching(plan.batch_atoms, memory=memory)
        facts = self._calculator.metadata or {}
        self.elements = frozenset(facts.get("implemented_species") or _ELEMENTS)
        self.charges = frozenset({0}) if facts.get("supports_charged_systems") is False else None
        self.spins = None if self._calculator.is_nse else frozenset({1})
        reach = self._calculator.cutoff_lr or self._calculator.cutoff
        self.cutoff = None if math.isinf(reach) else float(reach)  # without a limit between charges of molecules
        self.identity = Identity(
            "aimnet2",
            f"{path.name}, {versions('aimnet')}",
            digest([plan.fingerprint(), file_digest(path)]),  # of a downloaded model the former knows the name only
            "float32",
            plan.device,
        )

    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch; see :meth:`ForeignPotential.evaluate`."""
        labels: dict[int, Labels] = {}
        for periodic in (False, True):
            alike = {k: structure for k, structure in enumerate(structures) if structure.is_periodic == periodic}
            if alike:
                labels |= zip(alike, self._labels(list(alike.values()), properties), strict=True)
        return [labels[k] for k in range(len(structures))]

    def _labels(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        wanted = {"forces": "forces" in properties, "stress": "stress" in properties and structures[0].is_periodic}
        warnings.filterwarnings(
            "ignore", "Switching to DSF Coulomb"
        )  # what happens in cells; the documentation says it
        found = self._calculator(_inputs(structures), **wanted)
        arrays = {name: found[name].detach().cpu().numpy() for name in ("energy", *(n for n in wanted if wanted[n]))}
        if "forces" in arrays:
            arrays["forces"] = np.split(arrays["forces"], np.cumsum([len(s) for s in structures])[:-1])
        return [Labels(**{name: array[k] for name, array in arrays.items()}) for k in range(len(structures))]


class AIMNet2Calculator(PlanCalculator):
    """An ASE calculator of AIMNet2; its arguments are the settings of :class:`AIMNet2Plan`."""

    plan = AIMNet2Plan


def _inputs(structures: Sequence[Structure]) -> dict[str, Any]:
    """Return the inputs of one call for structures that are all periodic, or all molecules."""
    sizes = [len(structure) for structure in structures]
    inputs = {
        "coord": np.concatenate([structure.positions for structure in structures]),
        "numbers": np.concatenate([structure.numbers for structure in structures]),
        "charge": np.array([structure.charge for structure in structures]),
        "mult": np.array([structure.spin for structure in structures]),
        "mol_idx": np.repeat(np.arange(len(structures)), sizes),
    }
    if structures[0].is_periodic:
        inputs |= {"cell": np.stack([s.cell for s in structures]), "pbc": np.stack([s.pbc for s in structures])}
    return inputs


def _found(model: str) -> tuple[str, Path]:
    """Return what the library is to load, and the file in which the weights lie, downloaded if need be."""
    path = Path(model).expanduser()
    if path.is_file():
        return str(path.absolute()), path  # absolute: of a bare name the library would think as one of its own
    registry = library("aimnet.calculators.model_registry", kind="aimnet2")
    known = registry.load_model_registry()
    name = registry.try_resolve_registry_model_name(model)
    if name is None:
        names = sorted({*known["models"], *known["aliases"]})
        raise TeacherError(
            f"the AIMNet2 model '{model}' is neither a file nor one that {versions('aimnet')} downloads"
            f"{nearest(model, names)}; it downloads {', '.join(known['models'])}"
        )
    try:
        return model, Path(registry.get_registry_model_path(name))
    except Exception as error:
        raise TeacherError(
            f"the AIMNet2 model '{model}' cannot be downloaded ({type(error).__name__}); get "
            f"{known['models'][name]['url']} on a machine with a network and name the file with `model`"
        ) from error


def _loaded(name: str, device: str) -> Any:
    calculators = library("aimnet.calculators", kind="aimnet2")
    try:
        return calculators.AIMNet2Calculator(name, device=device)
    except Exception as error:
        raise TeacherError(
            f"the AIMNet2 model '{name}' cannot be loaded on {device} ({reason(error)}); check that the file was "
            "exported by aimnet, and the device"
        ) from error


@contextmanager
def _as_it_was(logger: logging.Logger) -> Iterator[None]:
    """Put a logger back as it was: the library sets up the logging of the whole process when it is imported."""
    level, handlers = logger.level, list(logger.handlers)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.handlers[:] = handlers
