"""Energy and forces by SchNetPack's PaiNN through its ASE calculator with a skin; runs where SchNetPack is."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeVar

import torch
import torch.utils.data.dataloader
from serving import Evaluate, serve

if not hasattr(torch.utils.data.dataloader, "T_co"):  # SchNetPack 2.1.1 imports it for an annotation
    torch.utils.data.dataloader.T_co = TypeVar("T_co", covariant=True)

import ase
from schnetpack import properties
from schnetpack.atomistic import Atomwise, Forces, PairwiseDistances
from schnetpack.interfaces.ase_interface import SpkCalculator
from schnetpack.model import NeuralNetworkPotential
from schnetpack.nn import BesselRBF, CosineCutoff
from schnetpack.representation import PaiNN
from schnetpack.transform import MatScipyNeighborList, SkinNeighborList


class Calculator(SpkCalculator):
    """The calculator with a model that is in memory already."""

    def _load_model(self, model: NeuralNetworkPotential) -> NeuralNetworkPotential:
        return model.eval()


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


def make(sizes: dict[str, Any]) -> tuple[Callable[[], Evaluate], str]:
    model = potential(sizes)

    def new() -> Evaluate:
        neighbors = SkinNeighborList(MatScipyNeighborList(cutoff=sizes["cutoff"]), cutoff_skin=sizes["skin"])
        calculator = Calculator(model, neighbors, energy_unit="eV", position_unit="Ang", device=sizes["device"])

        def evaluate(atoms: ase.Atoms) -> object:
            calculator.calculate(atoms, ["energy", "forces"])
            return calculator.results["forces"]

        return evaluate

    return new, version("schnetpack")


if __name__ == "__main__":
    serve(make)
