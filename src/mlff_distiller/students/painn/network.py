"""PaiNN, the polarizable atom interaction neural network (Schuett et al. 2021, arXiv:2102.03150).

Two weights of the paper are left out because they cannot change the energy: the vector gate of the last update,
whose output nobody reads, and the vector-to-vector filter of the first message, whose input is zero. The network
before the first message is replaced by a table, because at that point an atom is its element and nothing else.
The parameters that this saves are spent on width; `docs/decisions/0003-student-sizes.md` has the count.
"""

import torch
from torch import Tensor, nn

from mlff_distiller.atoms.graph import Graph
from mlff_distiller.students.blocks.radial import RadialBasis


class PaiNN(nn.Module):
    """Atomic energies from elements and edge vectors, invariant under rotation.

    Parameters
    ----------
    n_elements : int
        Number of different elements.
    radial : RadialBasis
        Functions of the distance that filters are made of.
    n_channels, n_layers, n_readout : int
        Sizes, as in the plan.
    neighbor_norm : float
        Messages are divided by this, usually the square root of the mean number of neighbors.

    Examples
    --------
    >>> from mlff_distiller.students.painn.plan import PaiNNPlan
    >>> network = PaiNNPlan(preset="ultra-tiny").build(4)
    >>> sum(p.numel() for p in network.parameters())
    20289
    """

    def __init__(
        self,
        n_elements: int,
        *,
        radial: RadialBasis,
        n_channels: int,
        n_layers: int,
        n_readout: int,
        neighbor_norm: float = 1.0,
    ) -> None:
        super().__init__()
        last = n_layers - 1
        self.register_buffer("neighbor_norm", torch.tensor(neighbor_norm, dtype=torch.float64), persistent=False)
        self.neighbor_norm: Tensor
        self.scalars = nn.Embedding(n_elements, n_channels)
        self.radial = radial
        self.messages = nn.ModuleList(
            [FirstMessage(radial, n_channels, n_elements), *(Message(radial, n_channels) for _ in range(last))]
        )
        self.updates = nn.ModuleList([Update(n_channels, is_last=layer == last) for layer in range(n_layers)])
        self.readout = _mlp(n_channels, n_readout, 1)

    def forward(self, species: Tensor, graph: Graph) -> Tensor:
        """Return energies of atoms (N,) in units of the training set's scale.

        Parameters
        ----------
        species : (N,) int64
            Index of each atom's element, 0 to n_elements - 1.
        graph : Graph
            The batch.
        """
        distances = torch.linalg.vector_norm(graph.vectors, dim=1)
        directions = graph.vectors / distances.unsqueeze(1)
        basis = self.radial(distances) / self.neighbor_norm
        scalars = self.scalars(species)
        vectors = scalars.new_zeros(species.shape[0], 3, scalars.shape[1])
        for message, update in zip(self.messages, self.updates, strict=True):
            scalars, vectors = message(scalars, vectors, species, basis, directions, graph)
            scalars, vectors = update(scalars, vectors)
        return self.readout(scalars).squeeze(1)  # type: ignore[no-any-return]


class FirstMessage(nn.Module):
    """The message of bare elements: a table instead of a network, and no vectors to pass on yet."""

    def __init__(self, radial: RadialBasis, n_channels: int, n_elements: int) -> None:
        super().__init__()
        self.content = nn.Embedding(n_elements, 2 * n_channels)
        self.filters = _linear(radial.n_functions, 2 * n_channels, bias=False)

    def forward(
        self, scalars: Tensor, vectors: Tensor, species: Tensor, basis: Tensor, directions: Tensor, graph: Graph
    ) -> tuple[Tensor, Tensor]:
        """Return scalars (N, C) and vectors (N, 3, C) after the message."""
        content = self.content(species)[graph.neighbors] * self.filters(basis)
        to_scalars, along = content.chunk(2, dim=1)
        outgoing = along.unsqueeze(1) * directions.unsqueeze(2)
        return scalars.index_add(0, graph.centers, to_scalars), vectors.index_add(0, graph.centers, outgoing)


class Message(nn.Module):
    """Continuous-filter messages of scalars and vectors (eqs. 7 and 8 of the paper)."""

    def __init__(self, radial: RadialBasis, n_channels: int) -> None:
        super().__init__()
        self.content = _mlp(n_channels, n_channels, 3 * n_channels)
        self.filters = _linear(radial.n_functions, 3 * n_channels, bias=False)

    def forward(
        self, scalars: Tensor, vectors: Tensor, species: Tensor, basis: Tensor, directions: Tensor, graph: Graph
    ) -> tuple[Tensor, Tensor]:
        """Return scalars (N, C) and vectors (N, 3, C) after the message."""
        content = self.content(scalars)[graph.neighbors] * self.filters(basis)
        to_scalars, along, gates = content.chunk(3, dim=1)
        outgoing = along.unsqueeze(1) * directions.unsqueeze(2) + gates.unsqueeze(1) * vectors[graph.neighbors]
        return scalars.index_add(0, graph.centers, to_scalars), vectors.index_add(0, graph.centers, outgoing)


class Update(nn.Module):
    """Mixing of scalars and vectors within an atom (eqs. 9 and 10 of the paper)."""

    SOFTENING = 1e-4  # keeps the norm twice differentiable where a vector vanishes by symmetry

    def __init__(self, n_channels: int, *, is_last: bool) -> None:
        super().__init__()
        self.is_last = is_last
        self.mix = _linear(n_channels, 2 * n_channels, bias=False)
        self.gates = _mlp(2 * n_channels, n_channels, (2 if is_last else 3) * n_channels)

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return scalars (N, C) and vectors (N, 3, C) after the update."""
        left, right = self.mix(vectors).chunk(2, dim=2)
        norm = (right.square().sum(1) + self.SOFTENING).sqrt()
        gates = self.gates(torch.cat([scalars, norm], dim=1)).chunk(2 if self.is_last else 3, dim=1)
        scalars = scalars + gates[0] + gates[1] * (left * right).sum(1)
        if not self.is_last:
            vectors = vectors + gates[2].unsqueeze(1) * left
        return scalars, vectors


def _linear(n_in: int, n_out: int, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def _mlp(n_in: int, n_hidden: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(_linear(n_in, n_hidden), nn.SiLU(), _linear(n_hidden, n_out))
