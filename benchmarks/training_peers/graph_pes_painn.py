"""Training step of graph-pes' PaiNN, as its own TrainingTask does it, less the logging; runs where graph-pes is."""

from importlib.metadata import version
from typing import Any

import torch
from graph_pes import AtomicGraph
from graph_pes.atomic_graph import to_batch
from graph_pes.models import PaiNN
from graph_pes.training.loss import PerAtomEnergyLoss, PropertyLoss, TotalLoss
from graph_pes.training.opt import Optimizer
from serving import Data, Engine, in_mode, serve


def graph(data: Data, index: int, cutoff: float) -> AtomicGraph:
    s = data.structure(index)
    energy = torch.tensor(data.relative_energy[index], dtype=torch.float32)
    return AtomicGraph(
        Z=torch.from_numpy(s["numbers"]),
        R=torch.from_numpy(s["positions"]).float(),
        cell=torch.zeros(3, 3),
        neighbour_list=torch.stack([torch.from_numpy(s["centers"]), torch.from_numpy(s["neighbors"])]),
        neighbour_cell_offsets=torch.zeros(len(s["centers"]), 3),
        properties={"energy": energy, "forces": torch.from_numpy(s["forces"]).float()},
        other={},
        cutoff=cutoff,
        batch=None,
        ptr=None,
    )


def make(data: Data, mode: str, sizes: dict[str, Any]) -> Engine:
    torch.manual_seed(0)
    graphs = [graph(data, index, sizes["cutoff"]) for index in range(len(data))]
    batches = [to_batch([graphs[index] for index in rows]) for rows in data.batches]
    model = PaiNN(
        channels=sizes["n_channels"],
        layers=sizes["n_layers"],
        radial_features=sizes["n_radial"],
        cutoff=sizes["cutoff"],
    )
    model.pre_fit_all_components(graphs)
    model.train()
    total = TotalLoss([PerAtomEnergyLoss("MSE", weight=1.0), PropertyLoss("forces", "MSE", weight=100.0)])
    optimizer = Optimizer("AdamW", lr=1e-3, fused=True)(model)

    def loss(batch: AtomicGraph) -> torch.Tensor:
        return total(model, batch, model.predict(batch, properties=["energy", "forces"])).loss_value

    evaluate = in_mode(mode, loss)

    def step(number: int) -> None:
        optimizer.zero_grad()
        evaluate(batches[number]).backward()
        optimizer.step()

    # Its tables have a row for every element; only those of the data count.
    used = len(set(data.numbers.tolist()))
    tables = [model.z_embedding._embeddings, model.scaler.per_element_scaling]
    unused = sum(t.numel() // len(t) * (len(t) - used) for t in tables)
    return Engine(step, sum(p.numel() for p in model.parameters()) - unused, version("graph-pes"))


if __name__ == "__main__":
    serve(make)
