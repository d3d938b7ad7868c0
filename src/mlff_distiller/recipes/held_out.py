"""What a run holds out: the frames a student is judged on, and where its dynamics starts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.labeled import LabeledStructure
from mlff_distiller.atoms.structure import Structure
from mlff_distiller.data.loading.dataset import MolecularDataset
from mlff_distiller.data.splits.files import read_split
from mlff_distiller.data.splits.split import Split
from mlff_distiller.data.storage.store import Store
from mlff_distiller.distillation.reference import ReferenceData, joint_digest, teachers_part
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.recipes.trainees import Trained
from mlff_distiller.validation.checks.force_errors import HeldOut

_ATOMS_IN_MEMORY = 5_000_000  # with edges about 500 bytes each


@dataclass(frozen=True, eq=False)
class LabeledData:
    """The labeled structures of a run and their split, and the reference data beside them, if any."""

    store: Store
    split: Split
    reference: ReferenceData | None = None

    @classmethod
    def open(
        cls, directory: RunDirectory, *, labels: Path | None = None, reference: str | None = None
    ) -> "LabeledData":
        """Open the data of a run.

        Parameters
        ----------
        directory : RunDirectory
            The run.
        labels : Path, optional
            Store of the labels, where it is not the directory's own.
        reference : str, optional
            Store of reference data.

        Raises
        ------
        DataError
            If the labels or the split are missing or damaged, or do not belong together.
        """
        store = Store.open(labels or directory.labels)
        other = None if reference is None else Store.open(Path(reference))
        split = read_split(directory.split_file, data_digest=joint_digest(store, other)).split
        both = None if other is None else ReferenceData.of(store, other, split)
        return cls(store, teachers_part(split, len(store)), both)

    @classmethod
    def of(cls, directory: RunDirectory, recipe: Trained) -> "LabeledData":
        """Open the data of the run of a recipe; see :meth:`open`."""
        return cls.open(directory, labels=recipe.labels(directory.path), reference=recipe.training.reference_data)

    def part(self, name: str) -> MolecularDataset:
        """Return "train", "validation" or "test": in memory, unless that would take more than a few GB."""
        rows: NDArray[np.int64] = getattr(self.split, name)
        part = MolecularDataset(self.store, rows=rows)
        return MolecularDataset(part, in_memory=True) if part.sizes.sum() <= _ATOMS_IN_MEMORY else part

    @property
    def digest(self) -> str:
        """Digest of all labels."""
        other = None if self.reference is None else self.reference.mixed.reference
        return joint_digest(self.store, other if isinstance(other, Store) else None)

    def to_train_on(self, on_reference: bool = False) -> tuple[MolecularDataset, MolecularDataset]:
        """Return what a student is trained on and what chooses the best.

        With reference data it is these that choose: they are what the student is for.

        Parameters
        ----------
        on_reference : bool
            Leave the teacher's labels out.
        """
        if self.reference is None:
            return self.part("train"), self.part("validation")
        train = self.reference.reference_part("train") if on_reference else self.reference.part("train")
        validation = self.reference.reference_part("validation")
        return MolecularDataset(train, in_memory=True), MolecularDataset(validation, in_memory=True)

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
