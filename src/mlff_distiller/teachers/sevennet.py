"""SevenNet: equivariant message passing after NequIP, pretrained for materials with 89 elements."""

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

_STRESS: Final = [[0, 3, 5], [3, 1, 4], [5, 4, 2]]  # the model's order is xx, yy, zz, xy, yz, zx


class SevenNetPlan(PotentialPlan):
    """SevenNet: a foundation model or a file.

    Models by name, from the package or downloaded by it, or from a checkpoint file.

    Sources: doi:10.1021/acs.jctc.4c00190; for models of several fidelities doi:10.1021/jacs.4c14455.

    Examples
    --------
    >>> SevenNetPlan(model="7net-mf-0", modal="PBE").model
    '7net-mf-0'
    """

    requirements: ClassVar = ("torch", "sevenn>=0.13.0")
    files: ClassVar = ("model",)

    kind: Literal["sevennet"] = Field("sevennet", description="A SevenNet model, in float32.")
    model: str = Field(
        "7net-0",
        description="Name of a pretrained model (7net-0, 7net-l3i5 and 7net-mf-0 come with the package, others are "
        "downloaded), or a checkpoint file (only one that you trust: loading it can run any code).",
        min_length=1,
    )
    modal: str | None = Field(
        None, description="Which fidelity of a model of several, such as 'PBE' of 7net-mf-0; needed for these only."
    )
    device: str = Field("cpu", description="Where it runs: cpu or cuda.", pattern=r"^(cpu|cuda(:\d+)?)$")
    batch_atoms: int | None = Field(
        None, ge=1, description="Most atoms in a batch; found from the memory unless given."
    )

    def load(self) -> Potential:
        """Return the teacher; see :meth:`PotentialPlan.load`."""
        return SevenNet(self)


class SevenNet(ForeignPotential):
    """The potential behind :class:`SevenNetPlan`; molecules and cells go together in one batch.

    Parameters
    ----------
    plan : SevenNetPlan
        Settings.
    """

    properties = frozenset(SINGLE)
    charges = frozenset({0})
    spins = frozenset({1})
    opens_along_axes = True
    is_conservative = True

    def __init__(self, plan: SevenNetPlan) -> None:
        super().__init__()
        with self.isolation.inside(), redirect_stdout(sys.stderr):
            torch = library("torch", kind="sevennet")
            torch.set_default_dtype(torch.float32)
            torch.set_grad_enabled(True)
            self._keys = library("sevenn._keys", kind="sevennet")
            self._graph_of = library("sevenn.train.dataload", kind="sevennet").unlabeled_atoms_to_graph
            self._graph = library("sevenn.atom_graph_data", kind="sevennet").AtomGraphData
            self._batch = library("torch_geometric.data", kind="sevennet").Batch
            self._model = _loaded(plan)
        self._device = plan.device
        self._modal = _modal(list(self._model.modal_map or []), plan)
        self.batching = Batching(plan.batch_atoms, memory=Memory(plan.device, limit_GB=plan.memory_limit_GB))
        self.elements = frozenset(int(z) for z in self._model.type_map)
        self.cutoff = float(self._model.cutoff)
        name = Path(plan.model).name + (f", modal {self._modal}" if self._modal else "")
        weights = digest([plan.fingerprint(), state_digest(self._model)])
        self.identity = Identity("sevennet", f"{name}, {versions('sevenn')}", weights, "float32", plan.device)

    def evaluate(self, structures: Sequence[Structure], properties: Collection[str]) -> list[Labels]:
        """Return labels of one batch; see :meth:`ForeignPotential.evaluate`."""
        batch = self._batch.from_data_list([self._data(structure) for structure in structures])
        found, keys = self._model(batch.to(self._device)), self._keys
        ends = np.cumsum([len(structure) for structure in structures])[:-1]
        columns = (
            _array(found[keys.PRED_TOTAL_ENERGY]).reshape(-1),
            np.split(_array(found[keys.PRED_FORCE]), ends),
            -_array(found[keys.PRED_STRESS])[:, _STRESS],  # the model counts pressure as positive
            np.split(_array(found[keys.ATOMIC_ENERGY]).reshape(-1), ends),
        )
        return [Labels(*row) for row in zip(*columns, strict=True)]

    def _data(self, structure: Structure) -> Any:
        atoms = to_ase(structure)
        if not structure.is_periodic:  # it searches a box from the origin to the atoms: gigabytes at 200 Angstrom
            atoms.positions -= atoms.positions.mean(axis=0)
        data = self._graph.from_numpy_dict(self._graph_of(atoms, self.cutoff))
        if self._modal:
            data[self._keys.DATA_MODALITY] = self._modal
        return data


class SevenNetCalculator(PlanCalculator):
    """An ASE calculator of SevenNet; its arguments are the settings of :class:`SevenNetPlan`."""

    plan = SevenNetPlan


def _loaded(plan: SevenNetPlan) -> Any:
    """Return the model on its device, ready to evaluate batches."""
    library_of_models = library("sevenn.util", kind="sevennet")
    file = Path(plan.model).expanduser()
    try:
        checkpoint = library_of_models.load_checkpoint(str(file) if file.is_file() else plan.model)
    except ValueError as error:
        known = library_of_models.get_available_pretrained_models()
        raise TeacherError(
            f"the SevenNet model '{plan.model}' is neither a file nor a name that {versions('sevenn')} knows"
            f"{nearest(plan.model, known)}; known: {', '.join(known)}"
        ) from error
    except Exception as error:
        raise TeacherError(
            f"the SevenNet model '{plan.model}' cannot be had ({reason(error)}); bring its checkpoint from a "
            "machine with a network and give the path as `model`"
        ) from error
    try:
        model = checkpoint.build_model().to(plan.device)
    except Exception as error:  # the file is unpickled here, which runs whatever it holds
        raise TeacherError(
            f"{checkpoint.checkpoint_path} cannot be loaded as a SevenNet model on {plan.device} ({reason(error)}); "
            "check `model` and `device`"
        ) from error
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.set_is_batch_data(True)
    return model.eval()


def _modal(known: list[str], plan: SevenNetPlan) -> str | None:
    """Return the fidelity to use; SevenNet itself would ignore one that its model does not have any of."""
    if (plan.modal is None and not known) or plan.modal in known:
        return plan.modal
    if not known:
        raise TeacherError(f"the SevenNet model '{plan.model}' has one fidelity only; leave out `modal`")
    if plan.modal is None:
        raise TeacherError(
            f"the SevenNet model '{plan.model}' has several fidelities ({', '.join(known)}); name one with `modal`"
        )
    raise TeacherError(
        f"the SevenNet model '{plan.model}' has no modal '{plan.modal}'{nearest(plan.modal, known)}; "
        f"it has {', '.join(known)}"
    )


def _array(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()
