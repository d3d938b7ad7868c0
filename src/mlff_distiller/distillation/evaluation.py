"""Validation errors during training; the verdict's errors, with intervals, are measured in ``validation``."""

import math
from dataclasses import dataclass

from mlff_distiller.data.loading.loader import GraphLoader
from mlff_distiller.distillation.losses import TERMS
from mlff_distiller.potentials.derivatives import AtomicEnergies, derive


@dataclass(frozen=True)
class Errors:
    """Root mean square errors over a data set; None where it holds no such labels.

    Attributes
    ----------
    force_rmse : float or None
        Over force components, eV/Angstrom.
    energy_rmse_per_atom : float or None
        eV/atom.
    stress_rmse : float or None
        Over components of the virial per atom, eV.
    """

    force_rmse: float | None
    energy_rmse_per_atom: float | None
    stress_rmse: float | None

    @property
    def selection(self) -> float:
        """The number by which the best student is chosen: the force error, without forces the energy error."""
        for error in (self.force_rmse, self.energy_rmse_per_atom, self.stress_rmse):
            if error is not None:
                return error
        return math.inf


def evaluate(atomic_energies: AtomicEnergies, loader: GraphLoader) -> Errors:
    """Return the errors of a student over all batches of a loader, in order.

    Examples
    --------
    >>> import torch
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.loading.dataset import MolecularDataset
    >>> from mlff_distiller.potentials.analytic import morse
    >>> bond = morse(depth=4.5, width=1.9, distance=0.74, cutoff=6.0)
    >>> frames = [Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])]
    >>> data = MolecularDataset.from_structures(frames, bond.predict(frames))
    >>> loader = GraphLoader(data, cutoff=6.0, batch_size=1, seed=0, dtype=torch.float64)
    >>> evaluate(bond.atomic_energies, loader).force_rmse
    0.0
    """
    properties = [name for name in TERMS if name in loader.properties]
    sums = {name: [0.0, 0] for name in TERMS}
    for batch in loader.all_in_order():
        derived = derive(atomic_energies, batch.graph, properties)
        for name in properties:
            residual = TERMS[name][1](derived, batch).double()
            sums[name][0] += float(residual.square().sum())
            sums[name][1] += residual.numel()
    rmse = {name: math.sqrt(total / count) if count else None for name, (total, count) in sums.items()}
    return Errors(rmse["forces"], rmse["energy"], rmse["stress"])
