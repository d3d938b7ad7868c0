"""Energy and forces by graph-pes' PaiNN through its ASE calculator with a skin; runs where graph-pes is."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import ase
from graph_pes.models import PaiNN
from graph_pes.utils.calculator import GraphPESCalculator
from serving import Evaluate, serve


def make(sizes: dict[str, Any]) -> tuple[Callable[[], Evaluate], str]:
    model = PaiNN(
        channels=sizes["n_channels"],
        layers=sizes["n_layers"],
        radial_features=sizes["n_radial"],
        cutoff=sizes["cutoff"],
    )
    # Scales and shifts of an untrained model: from a molecule, since they are to be there and change no time.
    model.pre_fit_all_components([_example(sizes["cutoff"])])

    def new() -> Evaluate:
        calculator = GraphPESCalculator(model, device=sizes["device"], skin=sizes["skin"])

        def evaluate(atoms: ase.Atoms) -> object:
            changes = calculator.check_state(atoms)  # as ASE does, else it would never use its skin
            calculator.calculate(atoms, ["energy", "forces"], changes)
            return calculator.results["forces"]

        return evaluate

    return new, version("graph-pes")


def _example(cutoff: float) -> Any:
    import ase.build
    import torch
    from graph_pes import AtomicGraph

    molecule = ase.build.molecule("CH3CH2OH")
    graph = AtomicGraph.from_ase(molecule, cutoff)
    properties = {"energy": torch.tensor(-1.0), "forces": torch.zeros(len(molecule), 3)}
    return graph._replace(properties=properties)


if __name__ == "__main__":
    serve(make)
