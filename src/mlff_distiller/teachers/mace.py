"""MACE: equivariant message passing with many-body messages; foundation models and models of one's own."""

import os
import sys
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from mlff_distiller.atoms.conversion import to_ase
from mlff_distiller.atoms.labels import SINGLE, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import TeacherError
from mlff_distiller.core.provenance import digest
from mlff_distiller.core.registry import nearest
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.calculator import PlanCalculator
from mlff_distiller.potentials.foreign import ForeignPotential, library, reason, state_digest, versions
from mlff_distiller.potentials.memory import Memory
from mlff_distiller.potentials.plan import PotentialPlan

_LOADERS: Final = ("mace_mp", "mace_off", "mace_omol", "mace_anicc")
# Models that need more than atoms, charge and multiplicity, or give no energy, are other classes.
_CLASSES: Final = frozenset({"MACE", "ScaleShiftMACE"})
_INPUTS: Final = {"total_charge": "charge", "total_spin": "spin"}  # MACE's name, and ours in `Atoms.info`


class MACEPlan(PotentialPlan):
    """MACE: a file or a foundation model.

    Foundation models are downloaded by MACE itself.

    Source: doi:10.48550/arXiv.2206.07697.

    Examples
    --------
    >>> MACEPlan(model="mace_mp:small").precision
    'float64'
    """

    requirements: ClassVar = ("torch", "mace-torch>=0.3.16")
    files: ClassVar = ("model",)

    kind: Literal["mace"] = Field("mace", description="A MACE model.")
    model: str = Field(
        description="File of a model (only one that you trust: loading it can run any code), or one that MACE "
        "downloads: mace_mp, mace_off, mace_omol or mace_anicc, with its size or name after a colon "
        "(mace_mp:medium-mpa-0).",
        min_length=1,
    )
    head: str | None = Field(None, description="Which head of a model with several; none: the only one, or 'default'.")
    precision: Literal["float32", "float64"] = Field(
        "float64", description="Floating-point type; float32 is about twice as fast and rounds total energies."
    )
    device: str = Field("cpu", description="Where it runs: cpu or cuda.", pattern=r"^(cpu|cuda(:\d+)?)$")
    batch_atoms: int | None = Field(
        None, ge=1, description="Most atoms in a batch; found from the memory unless given."
    )

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        return MACE(self)


class MACE(ForeignPotential):
    """The potential behind :class:`MACEPlan`; molecules and cells go together in one batch.

    Parameters
    ----------
    plan : MACEPlan
        Settings.
    """

    opens_along_axes = True
    is_conservative = True

    def __init__(self, plan: MACEPlan) -> None:
        super().__init__()
        with self.isolation.inside(), redirect_stdout(sys.stderr):
            # MACE sets it when it is imported, and never again after it was put back: its files are pickles.
            os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
            self._data = library("mace.data", kind="mace")
            self._tools = library("mace.tools", kind="mace")
            torch = library("torch", kind="mace")
            torch.set_default_dtype(getattr(torch, plan.precision))
            torch.set_grad_enabled(True)
            self._model = _loaded(plan)
        self._device = plan.device
        self.batching = Batching(plan.batch_atoms, memory=Memory(plan.device, limit_GB=plan.memory_limit_GB))
        self._heads: list[str] = list(getattr(self._model, "heads", None) or ["Default"])
        self._head = _head(self._heads, plan)
        self._describe(plan)

    def _describe(self, plan: MACEPlan) -> None:
        inputs = getattr(self._model, "embedding_specs", None) or {}
        foreign = set(inputs) - set(_INPUTS)
        if foreign:
            raise TeacherError(
                f"the MACE model '{plan.model}' wants {', '.join(sorted(foreign))} of a structure, which structures "
                "here do not have; take another model"
            )
        self.charges = _range(inputs["total_charge"]) if "total_charge" in inputs else frozenset({0})
        self.spins = _range(inputs["total_spin"]) if "total_spin" in inputs else frozenset({1})
        numbers = [int(z) for z in self._model.atomic_numbers]
        self._table = self._tools.AtomicNumberTable(numbers)
        self.elements = frozenset(numbers)
        self.cutoff = float(self._model.r_max)
        # What the embedding of charge and spin adds to the energy is in no atom's share.
        left_out = {"atomic_energies"} if hasattr(self._model, "embedding_readout") else set()
        self.properties = frozenset(SINGLE) - left_out
        name = Path(plan.model).name + (f", head {self._head}" if len(self._heads) > 1 else "")
        weights = digest([plan.fingerprint(), state_digest(self._model)])
        self.identity = Identity("mace", f"{name}, {versions('mace-torch')}", weights, plan.precision, plan.device)

    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch; see :meth:`ForeignPotential.evaluate`."""
        batch = self._tools.torch_geometric.Batch.from_data_list([self._graph(structure) for structure in structures])
        found = self._model(
            batch.to(self._device).to_dict(),
            compute_force="forces" in properties,
            compute_stress="stress" in properties,
        )
        ends = np.cumsum([len(structure) for structure in structures])[:-1]
        columns: dict[str, Any] = {"energy": _array(found["energy"])}
        if "atomic_energies" in self.properties:
            columns["atomic_energies"] = np.split(_array(found["node_energy"]), ends)
        if "forces" in properties:
            columns["forces"] = np.split(_array(found["forces"]), ends)
        if "stress" in properties:
            columns["stress"] = _array(found["stress"])
        return [Labels(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

    def _graph(self, structure: Structure) -> Any:
        wanted = self._data.KeySpecification(info_keys=_INPUTS, arrays_keys={})
        atoms = to_ase(structure)
        if not structure.is_periodic:  # MACE searches a box from the origin to the atoms: gigabytes at 200 Angstrom
            atoms.positions -= atoms.positions.mean(axis=0)
        config = self._data.config_from_atoms(atoms, key_specification=wanted, head_name=self._head)
        return self._data.AtomicData.from_config(config, z_table=self._table, cutoff=self.cutoff, heads=self._heads)


class MACECalculator(PlanCalculator):
    """An ASE calculator of MACE; its arguments are the settings of :class:`MACEPlan`."""

    plan = MACEPlan


def _loaded(plan: MACEPlan) -> Any:
    """Return the model on its device, in its precision, ready to evaluate."""
    file = Path(plan.model).expanduser()
    if file.is_file():
        model = _from_file(file, plan)
    elif plan.model.partition(":")[0] in _LOADERS:
        model = _downloaded(plan)
    else:
        raise TeacherError(
            f"the MACE model '{plan.model}' is neither a file nor one of {', '.join(_LOADERS)} "
            "(such as mace_mp:medium-mpa-0); check `model`"
        )
    if type(model).__name__ not in _CLASSES:
        raise TeacherError(
            f"'{plan.model}' holds {type(model).__name__}, not a MACE model with an energy; check `model`"
        )
    for parameter in model.parameters():
        parameter.requires_grad = False
    return (model.double() if plan.precision == "float64" else model.float()).eval()


def _from_file(file: Path, plan: MACEPlan) -> Any:
    try:
        return library("torch", kind="mace").load(file, map_location=plan.device, weights_only=False)
    except Exception as error:  # unpickling runs whatever the file holds
        raise TeacherError(
            f"{file} cannot be loaded as a MACE model on {plan.device} ({reason(error)}); check `model` and `device`"
        ) from error


def _downloaded(plan: MACEPlan) -> Any:
    """Return a foundation model by MACE's own function, from MACE's cache where it is there already."""
    loader, _, name = plan.model.partition(":")
    known = getattr(library("mace.calculators.foundations_models", kind="mace"), f"{loader}_urls", {})
    if name and known and name not in known:
        raise TeacherError(f"{loader} has no model '{name}'{nearest(name, list(known))}; known: {', '.join(known)}")
    function = getattr(library("mace.calculators", kind="mace"), loader)
    try:
        return function(device=plan.device, return_raw_model=True, **({"model": name} if name else {}))
    except Exception as error:
        raise TeacherError(
            f"the MACE model '{plan.model}' cannot be had ({reason(error.__cause__ or error)}); check its name, or "
            "bring its file from a machine with a network and give the path as `model`"
        ) from error


def _head(heads: list[str], plan: MACEPlan) -> str:
    """Return the head to use; MACE itself would take the last one for a name that it does not know."""
    if plan.head in heads:
        return plan.head
    if plan.head is not None:
        raise TeacherError(
            f"the MACE model '{plan.model}' has no head '{plan.head}'{nearest(plan.head, heads)}; "
            f"it has {', '.join(heads)}"
        )
    likely = heads if len(heads) == 1 else [head for head in heads if head.lower() == "default"]
    if not likely:
        raise TeacherError(
            f"the MACE model '{plan.model}' has several heads ({', '.join(heads)}); name one with `head`"
        )
    return likely[0]


def _range(spec: dict[str, Any]) -> frozenset[int] | None:
    """Return the values that an embedding of the model covers; None: any."""
    if spec["type"] != "categorical":
        return None
    first = -int(spec.get("offset", 0))
    return frozenset(range(first, first + int(spec["num_classes"])))


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()
