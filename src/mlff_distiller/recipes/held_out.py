"""What a run holds out: the frames a student is judged on, and where its dynamics starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.splits.files import read_split
from mlff_distiller.data.splits.split import Split
from mlff_distiller.data.storage.store import Store
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.validation.checks.force_errors import HeldOut

_ATOMS_IN_MEMORY = 5_000_000  # with edges about 500 bytes each


@dataclass(frozen=True, eq=False)
class LabeledData:
    """The labeled structures of a run and their split."""

    store: Store
    split: Split

    @classmethod
    def open(cls, directory: RunDirectory) -> "LabeledData":
        """Open the data of a run.

        Raises
        ------
        DataError
            If the labels or the split are missing or damaged, or do not belong together.
        """
        store = Store.open(directory.labels)
        return cls(store, read_split(directory.split_file, data_digest=store.digest).split)

    def part(self, name: str) -> MolecularDataset:
        """Return "train", "validation" or "test": in memory, unless that would take more than a few GB."""
        rows: NDArray[np.int64] = getattr(self.split, name)
        part = MolecularDataset(self.store, rows=rows)
        return MolecularDataset(part, in_memory=True) if part.sizes.sum() <= _ATOMS_IN_MEMORY else part

    def held_out(self) -> HeldOut:
        """Return the test frames with the segments and systems they come from."""
        part = list(self.part("test"))
        infos = [structure.info for structure, _ in part]
        return HeldOut(
            [structure for structure, _ in part],
            [labels for _, labels in part],
            [info["segment"] for info in infos],
            [info["seed"] for info in infos],
        )

    def starts(self, temperature_K: float, *, n: int = 1) -> tuple[list[str], list[Structure]]:
        """Return starting points for dynamics at a temperature, n held-out frames for each system, and their names.

        They are the frames sampled nearest that temperature, and of those the ones nearest the mean potential
        energy there: with velocities of the same temperature, a constant-energy run then stays at it.
        """
        held_out, everything = list(self.part("test")), list(MolecularDataset(self.store))
        names: list[str] = []
        frames: list[Structure] = []
        for name in sorted({structure.info["seed"] for structure, _ in held_out}):
            nearest = _nearest_temperature(held_out, name, temperature_K)
            mean = np.mean([energy for _, energy in _at(everything, name, nearest)])
            ranked = sorted(_at(held_out, name, nearest), key=lambda pair: abs(pair[1] - mean))
            frames += [ranked[k % len(ranked)][0] for k in range(n)]
            names += [name] * n
        return names, frames


def _nearest_temperature(data: Sequence[LabeledStructure], name: str, temperature_K: float) -> float | None:
    """Return the sampled temperature that is nearest; None if this system was never sampled by dynamics."""
    infos = [structure.info for structure, _ in data if structure.info["seed"] == name]
    sampled = {info["temperature_K"] for info in infos if "temperature_K" in info}
    return min(sampled, key=lambda found: abs(found - temperature_K)) if sampled else None


def _at(data: Sequence[LabeledStructure], name: str, temperature_K: float | None) -> list[tuple[Structure, float]]:
    """Return the frames of a system at a sampled temperature, with their energies."""
    return [
        (structure, label.energy or 0.0)
        for structure, label in data
        if structure.info["seed"] == name and structure.info.get("temperature_K") == temperature_K
    ]
