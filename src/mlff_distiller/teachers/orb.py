"""Orb: the universal potentials of Orbital Materials, for materials (v2, v3) and for molecules (OrbMol)."""

import warnings
from collections.abc import Callable, Collection, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import ase
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
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

# What the models were trained on: OMol25 (doi:10.48550/arXiv.2505.08762) has the elements up to bismuth; OMat24,
# MPtrj and Alexandria have these and the actinides up to plutonium.
_MOLECULAR: Final = frozenset(range(1, 84))
_MATERIALS: Final = _MOLECULAR | frozenset(range(89, 95))

_PRECISIONS: Final = {"float32": "float32-highest", "float32-high": "float32-high", "float64": "float64"}
_OLD_HEADS: Final = {"node_head": "forces", "graph_head": "energy", "stress_head": "stress"}  # as v2 files name them
_PATIENCE_S: Final = 10.0


class OrbPlan(PotentialPlan):
    """Orb v2, v3 and OrbMol.

    Models by their name in ``orb_models``, from a local file or its own download.

    Sources: Orb-v2, doi:10.48550/arXiv.2410.22570; Orb-v3, doi:10.48550/arXiv.2504.06231.

    Examples
    --------
    >>> OrbPlan(model="orb-v3-conservative-omol", weights="orbmol.ckpt").precision
    'float32'
    """

    requirements: ClassVar = ("torch", "orb-models>=0.5.5")
    files: ClassVar = ("weights",)

    kind: Literal["orb"] = Field("orb", description="Orb models of Orbital Materials, through the library orb-models.")
    model: str = Field(
        "orb-v3-conservative-inf-omat",
        description="Name of the pretrained model, as orb-models calls it; 'orb-v3-conservative-omol' is OrbMol.",
    )
    weights: str | None = Field(
        None, description="File with the weights of this model; none: orb-models downloads them and keeps them."
    )
    precision: Literal["float32", "float32-high", "float64"] = Field(
        "float32", description="Precision of the evaluation; float32-high lets a GPU round matrix products to TF32."
    )
    device: str = Field("cpu", description="Where it runs: cpu or cuda.", pattern=r"^(cpu|cuda(:\d+)?)$")
    compile: bool = Field(
        False, description="Compile the model, which takes up to a minute at the first call and pays off on a GPU only."
    )
    batch_atoms: int | None = Field(
        None, ge=1, description="Most atoms in a batch; found from the memory unless given."
    )

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        return Orb(self)


class Orb(ForeignPotential):
    """The potential behind :class:`OrbPlan`.

    Parameters
    ----------
    plan : OrbPlan
        Settings.
    """

    boundaries = frozenset({0, 3})

    def __init__(self, plan: OrbPlan) -> None:
        super().__init__()
        self._device = plan.device
        with self.isolation.inside():
            self._torch = library("torch", kind="orb")
            loader = _loader(plan.model)
            path = _weights(plan, loader)
            self._model, adapter = _loaded(plan, loader, path)
            self._graphs, radius = self._featurizer(adapter)
            memory = Memory(plan.device, limit_GB=plan.memory_limit_GB)  # only now: it asks torch about the device
            self.batching = Batching(plan.batch_atoms, memory=memory)
        # From here on everything follows from the model itself, not from its name.
        self.cutoff = None if getattr(self._model, "coulomb_module", None) is not None else radius
        self._takes_charge = self._model.model.conditioner is not None
        self.elements = _MOLECULAR if self._takes_charge else _MATERIALS
        self.charges = None if self._takes_charge else frozenset({0})
        self.spins = None if self._takes_charge else frozenset({1})
        self.is_conservative = hasattr(self._model, "grad_forces_name")
        self.properties = frozenset({"energy", "forces"} | ({"stress"} if self._model.has_stress else set()))
        settings = plan.model_copy(update={"weights": None}).fingerprint()
        version = f"{plan.model}, {versions('orb-models')}"
        self.identity = Identity("orb", version, digest([settings, file_digest(path)]), plan.precision, plan.device)

    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch; see :meth:`ForeignPotential.evaluate`."""
        prefix = "grad_" if self.is_conservative else ""
        graphs = self._graphs([self._atoms(structure) for structure in structures])
        with self._torch.set_grad_enabled(self.is_conservative):  # also where the caller has switched it off
            found = self._model.predict(graphs)
        energies = _array(found["energy"]).reshape(-1)
        last = np.cumsum([len(structure) for structure in structures])[:-1]
        forces = np.split(_array(found[f"{prefix}forces"]), last)
        stress = list(_array(found[f"{prefix}stress"])) if "stress" in self.properties else [None] * len(structures)
        return [
            Labels(energy=e, forces=f, stress=None if s is None else voigt_6_to_full_3x3_stress(s))
            for e, f, s in zip(energies, forces, stress, strict=True)
        ]

    def _atoms(self, structure: Structure) -> ase.Atoms:
        # Orb takes a cell for periodicity, whatever pbc says, so a molecule must not bring one along.
        cell = structure.cell if structure.is_periodic else None
        info = {"charge": structure.charge, "spin": structure.spin} if self._takes_charge else {}
        return ase.Atoms(structure.numbers, structure.positions, cell=cell, pbc=structure.pbc, info=info)

    def _featurizer(self, adapter: Any) -> tuple[Callable[[list[ase.Atoms]], Any], float]:
        """Return the function that makes one batch of graphs, and the longest edge in it."""
        if adapter is not None:
            return lambda atoms: adapter.from_ase_atoms_list(atoms, device=self._device), adapter.radius
        system = library("orb_models.forcefield.atomic_system", kind="orb")
        base = library("orb_models.forcefield.base", kind="orb")
        config = self._model.system_config

        def graphs(atoms: list[ase.Atoms]) -> Any:
            single = [system.ase_atoms_to_atom_graphs(one, config, device=self._device) for one in atoms]
            return base.batch_graphs(single)

        return graphs, config.radius


class OrbCalculator(PlanCalculator):
    """An ASE calculator of Orb; its arguments are the settings of :class:`OrbPlan`."""

    plan = OrbPlan


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()


def _loader(model: str) -> Callable[..., Any]:
    """Return the function of ``orb_models`` that loads a model; names it has withdrawn count as unknown."""
    found: dict[str, Callable[..., Any]] = library("orb_models.forcefield.pretrained", kind="orb").ORB_PRETRAINED_MODELS
    known = {name: loader for name, loader in found.items() if _address(loader)}
    if model not in known:
        raise TeacherError(
            f"{versions('orb-models')} has no model '{model}'{nearest(model, list(known))}; it has {', '.join(known)}"
        )
    return known[model]


def _address(loader: Callable[..., Any]) -> str | None:
    address: str | None = signature(loader).parameters["weights_path"].default
    return address


def _weights(plan: OrbPlan, loader: Callable[..., Any]) -> Path:
    """Return the file of the weights: the one that is named, one downloaded before, or one downloaded now."""
    if plan.weights is not None:
        path = Path(plan.weights).expanduser()
        if not path.is_file():
            raise TeacherError(f"the weights {path} of {plan.model} are not a file; check the path")
        return path
    cache, address = library("cached_path", kind="orb"), _address(loader)
    kept = cache.find_latest_cached(address)
    try:
        if kept is None:  # one quick try: the library's own five would take half a minute without a network
            library("requests", kind="orb").head(address, timeout=_PATIENCE_S).raise_for_status()
        return Path(kept or cache.cached_path(address))
    except Exception as error:
        raise TeacherError(
            f"the weights of {plan.model} cannot be downloaded ({type(error).__name__}); get {address} on a machine "
            "with a network and name the file with `weights`"
        ) from error


def _loaded(plan: OrbPlan, loader: Callable[..., Any], path: Path) -> tuple[Any, Any]:
    """Return the model and, with orb-models 0.7, what makes its graphs."""
    # The library warns that it changes settings of the process and that precision is slow; neither concerns the user.
    warnings.filterwarnings("ignore", "Setting global torch default dtype|Consider passing 'precision")
    settings = {"device": plan.device, "precision": _PRECISIONS[plan.precision], "compile": plan.compile}
    try:
        found = loader(weights_path=str(path), **settings)
        model, adapter = found if isinstance(found, tuple) else (found, None)
        missing = set(model.heads) - _heads(path)
    except Exception as error:
        raise TeacherError(
            f"{plan.model} cannot be loaded from {path} on {plan.device} ({reason(error)}); check that the file holds "
            "the weights of this very model, and the device"
        ) from error
    if missing:  # orb-models leaves what it does not find at random values
        raise TeacherError(
            f"{path} has no weights for {', '.join(sorted(missing))} of {plan.model}; name the model that it belongs to"
        )
    return model, adapter


def _heads(path: Path) -> set[str]:
    """Return the quantities for which a file holds weights."""
    state = library("torch", kind="orb").load(path, map_location="cpu", weights_only=True)
    parts = [key.split(".") for key in state]
    return {key[1] if key[0] == "heads" else _OLD_HEADS.get(key[0], "") for key in parts}
