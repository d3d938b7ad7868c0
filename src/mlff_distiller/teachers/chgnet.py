"""CHGNet: a graph neural network for inorganic crystals, pretrained on the Materials Project."""

import io
import warnings
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
from ase.units import GPa
from pydantic import Field

from mlff_distiller.atoms.labels import SINGLE, Labels
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import PredictionError, TeacherError
from mlff_distiller.core.provenance import digest
from mlff_distiller.core.registry import nearest
from mlff_distiller.potentials.base import Identity, Potential
from mlff_distiller.potentials.batching import Batching
from mlff_distiller.potentials.calculator import PlanCalculator
from mlff_distiller.potentials.foreign import ForeignPotential, library, reason, state_digest, versions
from mlff_distiller.potentials.memory import Memory
from mlff_distiller.potentials.plan import PotentialPlan

_NAMES: Final = ("0.3.0", "0.2.0", "r2scan")
# Those of its training set MPtrj (doi:10.1038/s42256-023-00716-3). The network has rows for 94, but those of
# polonium to radium were never trained.
_ELEMENTS: Final = frozenset(range(1, 84)) | frozenset(range(89, 95))


class CHGNetPlan(PotentialPlan):
    """CHGNet: inorganic crystals, MPtrj.

    One of the models in the package, or a file.

    Source: doi:10.1038/s42256-023-00716-3.

    Examples
    --------
    >>> CHGNetPlan(model="r2scan").device
    'cpu'
    """

    requirements: ClassVar = ("torch", "chgnet>=0.4.2")
    files: ClassVar = ("model",)

    kind: Literal["chgnet"] = Field("chgnet", description="A CHGNet model, in float32; periodic crystals only.")
    model: str = Field(
        "0.3.0",
        description="Name of a model in the package (0.3.0, 0.2.0 or r2scan), or a file (only one that you trust: "
        "loading it can run any code).",
        min_length=1,
    )
    device: str = Field("cpu", description="Where it runs: cpu or cuda.", pattern=r"^(cpu|cuda(:\d+)?)$")
    batch_atoms: int | None = Field(
        None, ge=1, description="Most atoms in a batch; found from the memory unless given."
    )

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        return CHGNet(self)


class CHGNet(ForeignPotential):
    """The potential behind :class:`CHGNetPlan`.

    Parameters
    ----------
    plan : CHGNetPlan
        Settings.
    """

    elements = _ELEMENTS
    charges = frozenset({0})
    spins = frozenset({1})  # it finds magnetic moments itself
    boundaries = frozenset({3})
    is_conservative = True

    def __init__(self, plan: CHGNetPlan) -> None:
        super().__init__()
        with self.isolation.inside(), redirect_stdout(io.StringIO()):  # it tells the number of its parameters
            torch = library("torch", kind="chgnet")
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            self._pymatgen = library("pymatgen.core", kind="chgnet")
            self._model = _loaded(plan)
        self._device = plan.device
        self.batching = Batching(plan.batch_atoms, memory=Memory(plan.device, limit_GB=plan.memory_limit_GB))
        self.cutoff = float(self._model.graph_converter.atom_graph_cutoff)
        # A model that averages over the crystal before its last layer has no energies of atoms.
        self.properties = frozenset(SINGLE) - (set() if self._model.mlp_first else {"atomic_energies"})
        weights = digest([plan.fingerprint(), state_digest(self._model)])
        self.identity = Identity(
            "chgnet", f"{Path(plan.model).name}, {versions('chgnet')}", weights, "float32", plan.device
        )

    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch; see :meth:`ForeignPotential.evaluate`."""
        warnings.simplefilter("ignore", UserWarning)  # of pymatgen about electronegativities, of torch about CHGNet
        graphs = [self._graph(index, structure) for index, structure in enumerate(structures)]
        # In company with angles, 0.2.0 updates the bonds of a graph without any, which alone it does not: 0.2 eV.
        found: dict[int, dict[str, Any]] = {}
        for has_angles in (True, False):
            group = [k for k, graph in enumerate(graphs) if bool(len(graph.bond_graph)) == has_angles]
            found |= zip(group, self._predicted([graphs[k] for k in group], properties), strict=True)
        return [self._labels(structure, found[k]) for k, structure in enumerate(structures)]

    def _predicted(self, graphs: list[Any], properties: Collection[str]) -> list[dict[str, Any]]:
        found = self._model.predict_graph(
            graphs,
            task="efs" if "stress" in properties else "ef" if "forces" in properties else "e",
            return_site_energies="atomic_energies" in self.properties,
            batch_size=max(len(graphs), 1),
        )
        return [found] if isinstance(found, dict) else found  # a single one comes without a list

    def _labels(self, structure: Structure, found: dict[str, Any]) -> Labels:
        # CHGNet divides by the triple product of the cell vectors, which is negative where they are left-handed.
        sign = np.sign(np.linalg.det(structure.cell))
        return Labels(
            energy=float(found["e"]) * (len(structure) if self._model.is_intensive else 1),
            forces=found.get("f"),
            stress=found["s"] * sign * GPa if "s" in found else None,
            atomic_energies=found.get("site_energies"),
        )

    def _graph(self, index: int, structure: Structure) -> Any:
        crystal = self._pymatgen.Structure(
            self._pymatgen.Lattice(structure.cell),
            structure.numbers.tolist(),
            structure.positions,
            coords_are_cartesian=True,
        )
        try:
            return self._model.graph_converter(crystal).to(self._device)
        except ValueError as error:
            if "isolated atom" not in str(error):
                raise
            raise PredictionError(index, f"an atom has no other within the cutoff of {self.cutoff:g} A") from error


class CHGNetCalculator(PlanCalculator):
    """An ASE calculator of CHGNet; its arguments are the settings of :class:`CHGNetPlan`."""

    plan = CHGNetPlan


def _loaded(plan: CHGNetPlan) -> Any:
    """Return the model on its device, ready to evaluate."""
    CHGNetModel = library("chgnet.model", kind="chgnet").CHGNet
    file = Path(plan.model).expanduser()
    if plan.model not in _NAMES and not file.is_file():
        raise TeacherError(
            f"the CHGNet model '{plan.model}' is neither a file nor in the package{nearest(plan.model, list(_NAMES))}; "
            f"known: {', '.join(_NAMES)}"
        )
    try:
        if plan.model in _NAMES:
            model = CHGNetModel.load(model_name=plan.model, use_device="cpu", verbose=False)
        else:
            model = CHGNetModel.from_file(str(file))
        model = model.to(plan.device)
    except Exception as error:  # unpickling runs whatever the file holds
        raise TeacherError(
            f"the CHGNet model '{plan.model}' cannot be loaded on {plan.device} ({reason(error)}); check `model` and "
            "`device`"
        ) from error
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.graph_converter.set_isolated_atom_response("error")
    return model.eval()
