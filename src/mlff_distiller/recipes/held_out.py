"""What a run holds out: the frames a student is judged on, and where its dynamics starts."""

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlff_distiller.atoms.structure import Structure
from mlff_distiller.core.errors import DataError
from mlff_distiller.data.split import Split
from mlff_distiller.data.store import Store
from mlff_distiller.distillation.distill import LabeledSet
from mlff_distiller.recipes.run_directory import RunDirectory
from mlff_distiller.validation.checks.force_errors import HeldOut


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
            If the labels or the split are missing or damaged.
        """
        try:
            split = Split.from_json(json.loads(directory.split_file.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{directory.split_file} is missing or damaged; delete it and run again") from error
        store = Store.open(directory.labels)
        rows = np.concatenate([split.train, split.validation, split.test])
        if len(rows) != len(store) or set(rows.tolist()) != set(range(len(store))):
            raise DataError(f"{directory.split_file} does not fit the labels; delete it and run again")
        return cls(store, split)

    def part(self, name: str) -> LabeledSet:
        """Return "train", "validation" or "test"."""
        rows: NDArray[np.int64] = getattr(self.split, name)
        return LabeledSet(self.store.structures(rows), self.store.all_labels(rows))

    def held_out(self) -> HeldOut:
        """Return the test frames with the segments and systems they come from."""
        part = self.part("test")
        infos = [structure.info for structure in part.structures]
        return HeldOut(
            part.structures, part.labels, [info["segment"] for info in infos], [info["seed"] for info in infos]
        )

    def starts(self, temperature_K: float, *, n: int = 1) -> tuple[list[str], list[Structure]]:
        """Return starting points for dynamics at a temperature, n held-out frames for each system, and their names.

        They are the frames sampled nearest that temperature, and of those the ones nearest the mean potential
        energy there: with velocities of the same temperature, a constant-energy run then stays at it.
        """
        held_out = self.part("test")
        everything = LabeledSet(self.store.structures(), self.store.all_labels())
        names: list[str] = []
        frames: list[Structure] = []
        for name in sorted({structure.info["seed"] for structure in held_out.structures}):
            nearest = _nearest_temperature(held_out, name, temperature_K)
            mean = np.mean([energy for _, energy in _at(everything, name, nearest)])
            ranked = sorted(_at(held_out, name, nearest), key=lambda pair: abs(pair[1] - mean))
            frames += [ranked[k % len(ranked)][0] for k in range(n)]
            names += [name] * n
        return names, frames


def _nearest_temperature(data: LabeledSet, name: str, temperature_K: float) -> float | None:
    """Return the sampled temperature that is nearest; None if this system was never sampled by dynamics."""
    infos = [structure.info for structure in data.structures if structure.info["seed"] == name]
    sampled = {info["temperature_K"] for info in infos if "temperature_K" in info}
    return min(sampled, key=lambda found: abs(found - temperature_K)) if sampled else None


def _at(data: LabeledSet, name: str, temperature_K: float | None) -> list[tuple[Structure, float]]:
    """Return the frames of a system at a sampled temperature, with their energies."""
    return [
        (structure, label.energy or 0.0)
        for structure, label in zip(data.structures, data.labels, strict=True)
        if structure.info["seed"] == name and structure.info.get("temperature_K") == temperature_K
    ]
