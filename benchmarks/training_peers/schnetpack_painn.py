"""Training step of SchNetPack's PaiNN, as its own AtomisticTask does it, less the logging; runs where SchNetPack is."""

from importlib.metadata import version
from typing import Any, TypeVar

import torch
import torch.utils.data.dataloader
from serving import Data, Engine, in_mode, serve

if not hasattr(torch.utils.data.dataloader, "T_co"):  # SchNetPack 2.1.1 imports it for an annotation
    torch.utils.data.dataloader.T_co = TypeVar("T_co", covariant=True)

from schnetpack import properties
from schnetpack.atomistic import Atomwise, Forces, PairwiseDistances
from schnetpack.data.loader import _atoms_collate_fn
from schnetpack.model import NeuralNetworkPotential
from schnetpack.nn import BesselRBF, CosineCutoff
from schnetpack.representation import PaiNN
from schnetpack.task import AtomisticTask, ModelOutput


def example(data: Data, index: int) -> dict[str, torch.Tensor]:
    s = data.structure(index)
    return {
        properties.Z: torch.from_numpy(s["numbers"]),
        properties.R: torch.from_numpy(s["positions"]).float(),
        properties.n_atoms: torch.tensor([len(s["numbers"])]),
        properties.cell: torch.zeros(1, 3, 3),
        properties.pbc: torch.zeros(3, dtype=torch.bool),
        properties.offsets: torch.zeros(len(s["centers"]), 3),
        properties.idx_i: torch.from_numpy(s["centers"]),
        properties.idx_j: torch.from_numpy(s["neighbors"]),
        properties.energy: torch.from_numpy(data.relative_energy[index : index + 1]).float(),
        properties.forces: torch.from_numpy(s["forces"]).float(),
    }


def potential(sizes: dict[str, Any]) -> NeuralNetworkPotential:
    representation = PaiNN(
        n_atom_basis=sizes["n_channels"],
        n_interactions=sizes["n_layers"],
        radial_basis=BesselRBF(n_rbf=sizes["n_radial"], cutoff=sizes["cutoff"]),
        cutoff_fn=CosineCutoff(sizes["cutoff"]),
    )
    readout = Atomwise(n_in=sizes["n_channels"], n_hidden=sizes["n_readout"], output_key=properties.energy)
    return NeuralNetworkPotential(
        representation, input_modules=[PairwiseDistances()], output_modules=[readout, Forces()]
    )


def make(data: Data, mode: str, sizes: dict[str, Any]) -> Engine:
    torch.manual_seed(0)
    batches = [_atoms_collate_fn([example(data, index) for index in rows]) for rows in data.batches]
    model = potential(sizes)
    outputs = [
        ModelOutput(name, loss_fn=torch.nn.MSELoss(), loss_weight=weight, metrics={})
        for name, weight in ((properties.energy, 1.0), (properties.forces, 100.0))
    ]
    task = AtomisticTask(model, outputs, torch.optim.AdamW, {"lr": 1e-3, "fused": True})
    task.train()
    optimizer = task.configure_optimizers()

    def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return task.loss_fn(task.predict_without_postprocessing(dict(batch)), batch)

    evaluate = in_mode(mode, loss)

    def step(number: int) -> None:
        batch = batches[number]
        # Its loader makes a new tensor for every step; the model asks for the gradient of the one that it is given.
        value = evaluate({**batch, properties.R: batch[properties.R].detach()})
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    # Its table has a row for every element; only those of the data count.
    table = model.representation.embedding.weight
    unused = (len(table) - len(set(data.numbers.tolist()))) * table.shape[1]
    return Engine(step, sum(p.numel() for p in model.parameters()) - unused, version("schnetpack"))


if __name__ == "__main__":
    serve(make)
