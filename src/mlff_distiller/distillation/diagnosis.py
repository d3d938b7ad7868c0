"""Diagnosis: what was not a finite number when a training diverged."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mlff_distiller.data.loading.batch import Batch
from mlff_distiller.potentials.derivatives import Evaluation, derive


def what_is_not_finite(atomic_energies: Evaluation, parts: Sequence[Batch]) -> str | None:
    """Return in a few words for which structure the predictions are not finite; None if they are for all.

    Examples
    --------
    >>> from mlff_distiller.atoms.labels import Labels
    >>> from mlff_distiller.atoms.structure import Structure
    >>> from mlff_distiller.data.loading.dataset import MolecularDataset
    >>> from mlff_distiller.data.loading.loader import GraphLoader
    >>> h2 = Structure([1, 1], [[0, 0, 0], [0, 0, 0.7]])
    >>> data = MolecularDataset.from_structures([h2], [Labels(energy=-31.0)])
    >>> batch = next(GraphLoader(data, cutoff=5.0, batch_size=1, seed=0).batches(0))
    >>> what_is_not_finite(lambda graph: torch.full((2,), torch.nan), [batch])
    'the student gives no finite numbers for a structure of 2 atoms, whose nearest atoms are 0.70 Angstrom apart'
    """
    for part in parts:
        derived = derive(atomic_energies, part.graph, {"forces"})
        assert derived.forces is not None
        bad = ~derived.energy.isfinite() | ~_all_finite(derived.forces, part)
        if bad.any():
            first = int(bad.nonzero()[0])
            size, nearest = int(part.n_atoms[first]), _shortest_distance(part, first)
            near = f", whose nearest atoms are {nearest:.2f} Angstrom apart" if nearest is not None else ""
            return f"the student gives no finite numbers for a structure of {size} atoms{near}"
    return None


def _all_finite(values: Tensor, batch: Batch) -> Tensor:
    """Return for each structure (S,) whether the rows of all its atoms are finite."""
    bad = (~values.isfinite().all(1)).double()
    return (
        torch.zeros(batch.graph.n_systems, dtype=torch.float64).index_add(0, batch.graph.system.cpu(), bad.cpu()) == 0
    )


def _shortest_distance(batch: Batch, number: int) -> float | None:
    graph = batch.graph
    lengths = graph.vectors[graph.system[graph.centers] == number].norm(dim=1)
    return float(lengths.min()) if len(lengths) else None
