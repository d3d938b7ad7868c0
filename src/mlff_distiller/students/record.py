"""What a student file says of its training: teacher, data, domain, errors."""

from collections.abc import Iterable, Mapping

import torch
from pydantic import BaseModel, ConfigDict, Field

from mlff_distiller.atoms.elements import SYMBOLS
from mlff_distiller.atoms.graph import Graph

_N = len(SYMBOLS)


class Domain(BaseModel):
    """What the structures were like that a student was trained on; None where it is not known.

    Examples
    --------
    >>> Domain(n_structures=950, shortest_distances={"C-H": 0.98}).n_structures
    950
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_structures: int | None = Field(None, description="Training structures.")
    n_atoms: Mapping[str, int] | None = Field(None, description="Atoms of each element in all structures, by symbol.")
    shortest_distances: Mapping[str, float] | None = Field(
        None, description="Shortest distance of each pair of elements that came within the cutoff, Angstrom."
    )
    force_rms: float | None = Field(None, description="Root mean square of force components, eV/Angstrom.")
    force_max: float | None = Field(None, description="Longest force on an atom, eV/Angstrom.")
    energy_per_atom_range: tuple[float, float] | None = Field(
        None, description="Lowest and highest energy per atom, eV."
    )


class TrainingRecord(BaseModel):
    """What a student came from and how good it was; None where it is not known.

    Examples
    --------
    >>> record = TrainingRecord(data_digest="9f86d081", metrics={"validation_force_rmse": 0.031})
    >>> TrainingRecord.model_validate(record.model_dump(mode="json")) == record
    True
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_digest: str | None = Field(None, description="Digest of the training data.")
    teacher: Mapping[str, str] | None = Field(None, description="Identity of the potential that made the labels.")
    domain: Domain | None = Field(None, description="What the training structures were like.")
    metrics: Mapping[str, float | None] | None = Field(
        None, description="Errors on validation structures, by name; None for what was not measured."
    )


def shortest_distances(graphs: Iterable[Graph]) -> dict[str, float]:
    """Return the shortest distance (Angstrom) of each pair of elements, as in ``{"C-H": 1.07}``.

    Parameters
    ----------
    graphs : iterable of Graph
        Batches, for instance one epoch of a loader; pairs that never come within their cutoff are left out.

    Examples
    --------
    >>> from mlff_distiller.atoms.structure import Structure
    >>> water = Structure([8, 1, 1], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    >>> {pair: round(r, 3) for pair, r in shortest_distances([Graph.from_structures([water], 5.0)]).items()}
    {'H-H': 1.518, 'H-O': 0.96}
    """
    found = torch.full((_N * _N,), torch.inf, dtype=torch.float64)
    for graph in graphs:
        pairs = graph.numbers[graph.centers] * _N + graph.numbers[graph.neighbors]
        distances = torch.linalg.vector_norm(graph.vectors.detach().double(), dim=1)
        found.scatter_reduce_(0, pairs.cpu(), distances.cpu(), "amin")
    seen = [(divmod(int(k), _N), float(found[k])) for k in torch.isfinite(found).nonzero().flatten()]
    return {f"{SYMBOLS[a]}-{SYMBOLS[b]}": distance for (a, b), distance in seen if a <= b}
